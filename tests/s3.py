"""A real server that speaks S3, on loopback, and a way to it that breaks off where a test asks for it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.sweeps import wait_for

BUCKET = "outputs"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass
class Server:
    url: str
    way: Way

    @property
    def environment(self) -> dict[str, str]:
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": self.url, "AWS_EC2_METADATA_DISABLED": "true"}

    def keys(self, count: int) -> list[dict[str, str]]:
        """Credentials of a user who may do all, as the environment has them; takes two requests and one for each."""
        import boto3

        client = boto3.client("iam", endpoint_url=self.url, **boto_credentials())
        client.create_user(UserName="palms")
        all_of_it = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        client.put_user_policy(UserName="palms", PolicyName="all", PolicyDocument=json.dumps(all_of_it))
        made = [client.create_access_key(UserName="palms")["AccessKey"] for _ in range(count)]
        return [{"AWS_ACCESS_KEY_ID": one["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": one["SecretAccessKey"]} for one in made]

    def withdraw(self, key: dict[str, str], by: dict[str, str]) -> None:
        import boto3

        credentials = dict(zip(("aws_access_key_id", "aws_secret_access_key"), by.values(), strict=True))
        client = boto3.client("iam", endpoint_url=self.url, **{**boto_credentials(), **credentials})
        client.delete_access_key(UserName="palms", AccessKeyId=key["AWS_ACCESS_KEY_ID"])

    def names(self, prefix: str = "") -> list[str]:
        import boto3

        client = boto3.client("s3", endpoint_url=self.url, **boto_credentials())
        return [one["Key"] for one in client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]

    def put(self, name: str, content: bytes) -> None:
        import boto3

        boto3.client("s3", endpoint_url=self.url, **boto_credentials()).put_object(Bucket=BUCKET, Key=name, Body=content)


def boto_credentials() -> dict[str, str]:
    names = ("aws_access_key_id", "aws_secret_access_key", "region_name")
    return dict(zip(names, CREDENTIALS.values(), strict=True))


@contextmanager
def server(*, strict_after: int | None = None) -> Iterator[Server]:
    """With one bucket. `strict_after`: who is not known is refused after so many requests, of which the first makes the bucket."""
    behind = _free_port()
    more = {} if strict_after is None else {"INITIAL_NO_AUTH_ACTION_COUNT": str(strict_after)}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(behind)]
    process = subprocess.Popen(command, env={**os.environ, **more}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: _answers(behind))
        with way(behind) as one:
            import boto3

            made = Server(f"http://127.0.0.1:{one.port}", one)
            boto3.client("s3", endpoint_url=made.url, **boto_credentials()).create_bucket(Bucket=BUCKET)
            yield made
    finally:
        process.kill()
        process.wait()


@dataclass
class Way:
    """To a port. Of a request whose first line fits `breaks` half of what comes at once goes through, and then nothing."""

    port: int
    breaks: re.Pattern[bytes] | None = None
    times: int = 0  # that it still breaks
    broken: list[bytes] = field(default_factory=list)

    def break_off(self, pattern: bytes, times: int) -> None:
        self.breaks, self.times = re.compile(pattern), times

    def breaks_now(self, content: bytes) -> bool:
        if self.times > 0 and self.breaks is not None and self.breaks.match(content):
            self.times -= 1
            self.broken.append(content.split(b"\r\n")[0])
            return True
        return False


@contextmanager
def way(to: int) -> Iterator[Way]:
    listener = socket.create_server(("127.0.0.1", 0))
    made = Way(listener.getsockname()[1])

    def accept() -> None:
        with suppress(OSError):  # of a listener that was closed
            while True:
                here, _ = listener.accept()
                there = socket.create_connection(("127.0.0.1", to))
                threading.Thread(target=_carry, args=(here, there, made.breaks_now), daemon=True).start()
                threading.Thread(target=_carry, args=(there, here, lambda _content: False), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield made
    finally:
        listener.close()


def _carry(a: socket.socket, b: socket.socket, breaks) -> None:  # type: ignore[no-untyped-def]
    with suppress(OSError):
        while content := a.recv(2**16):
            if breaks(content):
                b.sendall(content[: len(content) // 2])
                break
            b.sendall(content)
    for one in (a, b):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def _answers(port: int) -> bool:
    with suppress(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/data.json", timeout=2).close()
        return True
    return False

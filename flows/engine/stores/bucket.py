"""Objects by name under an address of fsspec: read, written, and made once or not at all.

The one condition that is asked of a file system is that it refuses to make an object that is there (S3's and Azure's `If-None-Match: *`, Google's
generation 0), which fsspec has as the mode `create`; one that only says so is found out by `found`. Objects are asked for by name: what a listing
shows may lag, and nothing that matters is told from one. Knows nothing of outputs; says what went wrong in one line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from configs.problems import BadInput
from model_registry.scoring.folder import one_line

PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "abfss": "adlfs", "az": "adlfs"}
# of a server that is not there it is told in seconds: botocore's own patience is a minute a try, five times
PATIENCE: Mapping[str, Mapping[str, Any]] = {"s3fs": {"config_kwargs": {"connect_timeout": 5, "retries": {"max_attempts": 2}}}}
NEEDED = "credentials that may get, put, list and delete there are required"
CHUNK = 2**22  # bytes
CONFLICT, TRIES = "ConditionalRequestConflict", 5  # what S3 says where two put at once and neither has won yet: ask again


class Refused(BadInput):
    """The server is there, and does not let this program do what it must."""


class Unreachable(BadInput, ConnectionError):
    """The server was not reached, or failed. In a stage it is one more lost connection, which may pass."""


class Bucket:
    """
    Args:
        address: `s3://bucket/prefix`, or of any file system that fsspec knows and that has objects.

    Raises:
        BadInput: it is no such address, holds a password, or nothing is installed that reads it.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        parts = urlsplit(self.address)
        self._package = PACKAGES.get(parts.scheme, "")
        if parts.password:
            raise BadInput(
                f"{parts.scheme}://…@{parts.hostname}: a password in an address is written into notes; the environment is for it"
            )
        if parts.scheme in {"file", "local"}:
            raise BadInput(f"{self.address}: a folder is named by its path, without {parts.scheme}://")
        if not (parts.netloc or parts.path.strip("/")) or set("*?[") & set(self.address):
            raise BadInput(f"{self.address}: is no address of objects; such as s3://BUCKET/PREFIX is accepted")

    @cached_property
    def _at(self) -> tuple[Any, str]:
        """The file system, and this address in it."""
        from fsspec.core import url_to_fs

        try:
            found: tuple[Any, str] = url_to_fs(self.address, use_listings_cache=False, **PATIENCE.get(self._package, {}))
        except ImportError as error:
            extra = "`pip install 'palms-sweep[s3]'` installs it" if self._package == "s3fs" else "installing it lets it be read"
            raise BadInput(f"{self.address}: {self._package or error.name} is not installed; {extra}") from None
        except ValueError as error:  # no such protocol
            raise BadInput(f"{self.address}: {error}; such as s3://BUCKET/PREFIX is accepted") from None
        return found

    @property
    def _files(self) -> Any:
        return self._at[0]

    def _name(self, name: str) -> str:
        return f"{self._at[1]}/{name}"

    # ---- small objects ---------------------------------------------------------------------------------------------

    def require(self, name: str, content: bytes) -> None:
        """Make an object that says what lies here, if there is none, and see that none is made twice.

        Raises:
            BadInput: there is no such bucket, it may not be written to, or its file system makes objects twice.
            Unreachable
        """
        self.create(name, content)
        if self.create(name, content + b" "):
            raise BadInput(
                f"{self.address}: an object that was there was made again; a file system that refuses (If-None-Match) is required"
            )

    def create(self, name: str, content: bytes) -> bool:
        """Whether it was made with this content, which should be no other writer's: not if another was there. Of writers that come at once one
        makes it."""
        for left in reversed(range(TRIES)):
            try:
                with self._in_words():
                    self._files.pipe_file(self._name(name), content, mode="create")
                return True
            except FileExistsError:
                return self.read([name]) == [content]  # a put whose answer was lost is sent again, and finds itself there
            except FileNotFoundError as error:
                raise BadInput(f"{self.address}: no such bucket ({error}); one that is there is required") from None
            except Unreachable as error:
                if not left or CONFLICT not in str(error):
                    raise
        raise AssertionError  # the last try returns or raises

    def write(self, name: str, content: bytes) -> None:
        """For an object that one writer alone has."""
        with self._in_words():
            self._files.pipe_file(self._name(name), content)

    def read(self, names: Sequence[str]) -> list[bytes | None]:
        """The content of each, all asked for at once; None where there is none."""
        places = [self._name(name) for name in names]
        with self._in_words():
            found = self._files.cat(places, on_error="return")
            for place in places:
                if isinstance(found[place], Exception) and not isinstance(found[place], FileNotFoundError):
                    raise found[place]
        return [None if isinstance(found[place], Exception) else found[place] for place in places]

    # ---- files -----------------------------------------------------------------------------------------------------

    def send(self, files: Mapping[str, Path]) -> None:
        if files:
            with self._in_words():
                self._files.put([str(path) for path in files.values()], [self._name(name) for name in files])

    def fetch(self, files: Mapping[str, Path]) -> None:
        """Raises FileNotFoundError: one of them is not there."""
        if files:
            with self._in_words():
                self._files.get([self._name(name) for name in files], [str(path) for path in files.values()])

    def sha256(self, name: str) -> str | None:
        """Of its content, read through; None where there is none."""
        digest = hashlib.sha256()
        try:
            with self._in_words(), self._files.open(self._name(name), "rb") as stream:
                while chunk := stream.read(CHUNK):
                    digest.update(chunk)
        except FileNotFoundError:
            return None
        return digest.hexdigest()

    # ---- what is there, as far as it is told -------------------------------------------------------------------------

    def folders(self, name: str) -> list[str]:
        """The names right below that have something below them; what came just now may lack."""
        try:
            with self._in_words():
                found = self._files.ls(self._name(name), detail=True, refresh=True)
        except FileNotFoundError:
            return []
        return sorted(Path(one["name"]).name for one in found if one["type"] == "directory")

    def remove(self, folder: str) -> None:
        with suppress(FileNotFoundError), self._in_words():
            self._files.rm(self._name(folder), recursive=True)

    # ---- faults ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, FileExistsError, BadInput):
            raise
        except Exception as error:  # each file system has its own
            said = f"{type(error).__name__}: {one_line(error)}"
            if _is_refusal(error):
                raise Refused(f"{self.address}: refuses ({said}); {NEEDED}") from error
            raise Unreachable(f"{self.address}: does not answer ({said})") from error


def _is_refusal(error: Exception) -> bool:
    codes = {getattr(error, name, None) for name in ("code", "status", "status_code")}
    return isinstance(error, PermissionError) or "Credential" in type(error).__name__ or bool(codes & {401, 403, "401", "403"})

"""A store on a server that speaks S3: whole sweeps, two writers, broken connections, refusals."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import s3, sweeps
from tests.commands import environment

pytest.importorskip("s3fs")
pytest.importorskip("moto")
pytestmark = [pytest.mark.external, pytest.mark.slow]

# One process that makes a key: `python -c HOLDER name seconds`. Prints what came of it; its lease runs out after a second of silence.
HOLDER = """
import sys, time
from pathlib import Path
from flows.engine.stores import open_store, records
from tests import toy
records.LEASE_S, records.BEAT_S, records.LOOK_S = 1.0, 0.2, 0.1
name, address, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
store = open_store(address)
store.ready()
node = toy.node("a")
order = toy.session(Path(sys.argv[4]), [node]).order(node, {})
with store.lock(order.stage, order.key) as had:
    there = store.find(order.stage, order.key) or store.finish(order)
    print("working", flush=True)
    if there is None:
        time.sleep(seconds)
        work = store.begin(order)
        (work / "value.txt").write_text(name)
        there = store.commit(order, {"seconds": 1.0, "finished": name})
    print((there.folder / "value.txt").read_text(), flush=True)
"""


@pytest.fixture(scope="module")
def one_server() -> Iterator[s3.Server]:
    with s3.server() as one:
        yield one


@pytest.fixture
def server(one_server: s3.Server, monkeypatch: pytest.MonkeyPatch) -> s3.Server:
    known(one_server, monkeypatch)
    return one_server


def known(server: s3.Server, monkeypatch: pytest.MonkeyPatch, **changed: str) -> None:
    """Have every process that is started find the server."""
    for name, value in {**server.environment, **changed}.items():
        monkeypatch.setenv(name, value)


def holder(home: Path, name: str, address: str, seconds: float = 0.0, host: str = "") -> subprocess.Popen[str]:
    script = (
        f"import socket; socket.gethostname = lambda: {host!r}\n{HOLDER}" if host else HOLDER
    )  # whether it lives cannot be seen then
    command = [sys.executable, "-c", script, name, address, str(seconds), str(home / "any")]
    return subprocess.Popen(command, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def metrics(home: Path) -> dict[tuple[str, str], float]:
    """By place and metric; which sweep, and where its outputs lie, aside."""
    return {(place, metric): value for (_, place, metric), value in sweeps.current_points(home).items()}


def test_a_sweep_has_the_metrics_that_it_has_in_a_folder_and_another_home_finds_it_made(
    server: s3.Server, tmp_path: Path
) -> None:
    config = sweeps.experiment(tmp_path, {"tiny": sweeps.tiny_model(tmp_path / "model")})
    sweeps.palms(tmp_path / "folder", "run", str(config))
    there = ("--set", f"store.path=s3://{s3.BUCKET}/sweep")
    sweeps.palms(tmp_path / "one", "run", str(config), *there)
    assert metrics(tmp_path / "one") == metrics(tmp_path / "folder") != {}
    again = sweeps.palms(tmp_path / "two", "run", str(config), *there)
    assert metrics(tmp_path / "two") == metrics(tmp_path / "folder")
    assert "cached" in again.stdout + again.stderr
    assert not list((tmp_path / "two").glob("store/*"))
    assert "22 stages: 22 cached" in sweeps.palms(tmp_path / "two", "status").stdout


def test_a_damaged_object_is_made_again_by_the_next_run(server: s3.Server, tmp_path: Path) -> None:
    alone = {"arms": {"base": {"method": "none"}}, "contrasts": []}
    config = sweeps.experiment(tmp_path, {"tiny": sweeps.tiny_model(tmp_path / "model")}, **alone, **sweeps.TOXICITY)
    there = ("--set", f"store.path=s3://{s3.BUCKET}/damaged")
    sweeps.palms(tmp_path / "one", "run", str(config), *there)
    (drawn,) = (name for name in server.names("damaged/sampling/") if name.endswith("completions.jsonl"))
    server.put(drawn, b"{}\n")
    told = sweeps.palms(tmp_path / "two", "run", str(config), "--verify", *there)
    assert "completions.jsonl has changed" in told.stdout + told.stderr + "".join(
        path.read_text() for path in (tmp_path / "two").glob("sweeps/*/state.json")
    )
    assert metrics(tmp_path / "two") == metrics(tmp_path / "one")


def test_of_two_that_make_a_key_at_once_one_makes_it_and_both_have_it(server: s3.Server, tmp_path: Path) -> None:
    address = f"s3://{s3.BUCKET}/race"
    both = [holder(tmp_path / name, name, address, 1.5) for name in ("one", "two")]
    said = [process.communicate(timeout=120)[0].splitlines() for process in both]
    assert said[0] == said[1]
    assert said[0][-1] in {"one", "two"}


def test_a_writer_that_was_stopped_past_its_lease_does_not_overwrite(server: s3.Server, tmp_path: Path) -> None:
    address = f"s3://{s3.BUCKET}/stopped"
    slow = holder(tmp_path / "one", "slow", address, 1.0, host="elsewhere")
    assert slow.stdout is not None
    assert slow.stdout.readline() == "working\n"
    slow.send_signal(signal.SIGSTOP)
    quick = holder(tmp_path / "two", "quick", address)
    assert quick.communicate(timeout=120)[0].splitlines()[-1] == "quick"
    slow.send_signal(signal.SIGCONT)
    assert slow.communicate(timeout=120)[0].splitlines()[-1] == "quick"
    assert [name.split("/")[3] for name in server.names("stopped/toy/") if name.endswith("value.txt")] == ["2"]


def test_a_put_that_breaks_off_is_sent_again(server: s3.Server, tmp_path: Path) -> None:
    address = f"s3://{s3.BUCKET}/broken"
    server.way.break_off(rb"PUT /\S+value\.txt ", times=2)
    one = holder(tmp_path / "one", "one", address)
    assert one.communicate(timeout=120)[0].splitlines()[-1] == "one"
    assert len(server.way.broken) == 2


def test_a_record_whose_answer_was_lost_is_the_writer_s_own(server: s3.Server, tmp_path: Path) -> None:
    """The put of a claim goes through twice: the second finds the first, which was its own."""
    address = f"s3://{s3.BUCKET}/answer"
    server.way.break_off(rb"PUT /\S+/1\.json ", times=1)
    one = holder(tmp_path / "one", "one", address)
    assert one.communicate(timeout=120)[0].splitlines()[-1] == "one"


def test_a_writer_that_dies_leaves_nothing_committed_and_the_next_one_goes_on(server: s3.Server, tmp_path: Path) -> None:
    address = f"s3://{s3.BUCKET}/killed"
    one = holder(tmp_path / "one", "one", address, 60.0)
    assert one.stdout is not None
    assert one.stdout.readline() == "working\n"
    time.sleep(0.5)
    one.kill()
    one.wait()
    assert not [name for name in server.names("killed/toy/") if name.endswith("2.json")]
    two = holder(tmp_path / "two", "two", address)
    assert two.communicate(timeout=120)[0].splitlines()[-1] == "two"


@pytest.mark.parametrize(
    ("given", "changed", "said"),
    [
        ("s3://nobody-made-this/x", {}, "s3://nobody-made-this/x: no such bucket ("),
        (f"s3://{s3.BUCKET}/x", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, f"s3://{s3.BUCKET}/x: does not answer ("),
        (
            f"s3://{s3.BUCKET}/x",
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            f"s3://{s3.BUCKET}/x: refuses (NoCredentials",
        ),
    ],
    ids=["no bucket", "no server", "no credentials"],
)
def test_what_cannot_be_written_to_is_one_line_before_any_stage(
    server: s3.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, changed: dict[str, str], said: str
) -> None:
    config = sweeps.experiment(tmp_path, {"tiny": sweeps.tiny_model(tmp_path / "model")})
    known(server, monkeypatch, **changed)
    refused = sweeps.palms(tmp_path / "home", "run", str(config), "--set", f"store.path={given}", status=2)
    assert said in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_credentials_that_are_not_known_are_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3.server(strict_after=1) as strict:
        known(strict, monkeypatch)
        config = sweeps.experiment(tmp_path, {"tiny": sweeps.tiny_model(tmp_path / "model")})
        refused = sweeps.palms(tmp_path / "home", "run", str(config), "--set", f"store.path=s3://{s3.BUCKET}/x", status=2)
    assert refused.stderr.startswith(f"error: s3://{s3.BUCKET}/x: refuses (PermissionError")
    assert "credentials that may get, put, list and delete there are required" in refused.stderr


def test_what_was_made_when_credentials_ran_out_is_sent_with_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"s3://{s3.BUCKET}/expired"
    with s3.server(strict_after=5) as strict:
        old, new = strict.keys(2)
        known(strict, monkeypatch, **old)
        one = holder(tmp_path / "home", "one", address, 2.0)
        assert one.stdout is not None
        assert one.stdout.readline() == "working\n"
        strict.withdraw(old, by=new)
        _, said = one.communicate(timeout=120)
        assert one.returncode == 1
        assert said.splitlines()[-1].startswith(f"flows.engine.stores.bucket.Refused: {address}: refuses (PermissionError")
        known(strict, monkeypatch, **new)
        two = holder(tmp_path / "home", "two", address)
        assert two.communicate(timeout=120)[0].splitlines()[-1] == "one"  # not made again

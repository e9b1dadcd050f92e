"""Outputs under an address: one writer's record counts, whoever else thought it had the key, and what was damaged is made again.

The file system of fsspec's own memory stands for a bucket here; `test_s3` asks a server.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from configs.problems import BadInput
from flows.commands import doctor
from flows.engine import ownership
from flows.engine.processes import classify
from flows.engine.stores import objects, open_store, records
from flows.engine.stores.bucket import Bucket
from flows.engine.stores.manifest import Damaged, Manifest, Order
from flows.engine.stores.objects import Objects
from flows.engine.stores.records import LeaseLost
from tests import toy

FACTS = {"seconds": 1.0, "finished": "2026-12-01T00:00:00Z"}


@pytest.fixture
def address() -> Iterator[str]:
    name = f"memory://{uuid4().hex}/store"
    yield name
    fsspec.filesystem("memory").rm(name.removesuffix("/store"), recursive=True)


@pytest.fixture
def order(tmp_path: Path) -> Order:
    node = toy.node("a")
    return toy.session(tmp_path / "any", [node]).order(node, {})


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that run out within a test."""
    monkeypatch.setattr(records, "LEASE_S", 0.6)
    monkeypatch.setattr(records, "BEAT_S", 0.1)
    monkeypatch.setattr(records, "LOOK_S", 0.05)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can tell whether another holder's process lives."""
    monkeypatch.setattr(ownership.Owner, "alive", None)


def store(address: str, folder: Path) -> Objects:
    made = Objects(address, folder)
    made.ready()
    return made


def make(here: Objects, order: Order, text: str = "1\n") -> Manifest:
    """In a lock that is held."""
    work = here.begin(order)
    (work / "value.txt").write_text(text)
    (work / "model.safetensors").write_bytes(b"weights")
    return here.commit(order, FACTS)


def made(here: Objects, order: Order, text: str = "1\n") -> Manifest:
    with here.lock(order.stage, order.key) as had:
        assert had
        return make(here, order, text)


def names(address: str) -> set[str]:
    root = address.removeprefix("memory:/")
    return {name.removeprefix(root).lstrip("/") for name in fsspec.filesystem("memory").find(root)}


def test_what_one_node_makes_another_reads(address: str, tmp_path: Path, order: Order) -> None:
    made(store(address, tmp_path / "one"), order)
    there = store(address, tmp_path / "two")
    found = there.find(order.stage, order.key)
    assert isinstance(found, Manifest)
    assert (found.folder / "value.txt").read_text() == "1\n"
    assert [one.key for one in there.manifests("toy")] == [order.key]
    assert there.stages() == ["toy"]


def test_weights_come_for_who_loads_them_and_once_a_node(address: str, tmp_path: Path, order: Order) -> None:
    made(store(address, tmp_path / "one"), order)
    there = store(address, tmp_path / "two")
    found = there.find(order.stage, order.key)
    assert isinstance(found, Manifest)
    assert not (found.folder / "model.safetensors").exists()
    file = there.read(found.reference) / "model.safetensors"
    assert file.read_bytes() == b"weights"
    before = file.stat()
    store(address, tmp_path / "two").read(found.reference)
    assert file.stat().st_ino == before.st_ino


def test_a_holder_whose_lease_ran_out_cannot_commit(
    address: str, tmp_path: Path, order: Order, soon: None, elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = store(address, tmp_path / "one"), store(address, tmp_path / "two")
    monkeypatch.setattr(slow._records, "_beat", lambda *_: None)  # it is stopped, or its network is gone
    with slow.lock(order.stage, order.key) as had:
        assert had
        work = slow.begin(order)
        (work / "value.txt").write_text("1\n")
        with quick.lock(order.stage, order.key) as taken:  # waits for the silence
            assert taken
            with pytest.raises(LeaseLost, match="ran out") as lost:
                slow.commit(order, FACTS)
            assert classify(lost.value) == "transient"
            assert quick.find(order.stage, order.key) is None
            make(quick, order)
        found = slow.find(order.stage, order.key)
    assert isinstance(found, Manifest)
    assert (found.folder / "value.txt").read_text() == "1\n"
    assert {name.split("/")[2] for name in names(address) if name.count("/") == 3} == {"2"}  # what the first sent is gone


def test_a_holder_that_is_late_takes_what_the_other_made(
    address: str, tmp_path: Path, order: Order, soon: None, elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = store(address, tmp_path / "one"), store(address, tmp_path / "two")
    monkeypatch.setattr(slow._records, "_beat", lambda *_: None)
    with slow.lock(order.stage, order.key):
        work = slow.begin(order)
        (work / "value.txt").write_text("1\n")
        made(quick, order, "theirs\n")
        taken = slow.commit(order, FACTS)
    assert (taken.folder / "value.txt").read_text() == "theirs\n"
    assert not slow.partial(order.stage, order.key).exists()


def test_a_holder_that_lives_is_waited_for(address: str, tmp_path: Path, order: Order, soon: None, elsewhere: None) -> None:
    one, two = store(address, tmp_path / "one"), store(address, tmp_path / "two")
    with two.lock(order.stage, order.key):
        with one.lock(order.stage, order.key, wait=False) as had:
            assert not had
        waits = threading.Thread(target=made, args=(one, order, "one\n"))
        waits.start()
        time.sleep(3 * records.LEASE_S)  # beats all the while
        make(two, order, "two\n")
    waits.join()
    found = one.find(order.stage, order.key)
    assert isinstance(found, Manifest)
    assert (found.folder / "value.txt").read_text() == "one\n"  # it made it again, as nobody asked whether it was there


def test_a_holder_that_is_known_to_be_dead_is_not_waited_for(
    address: str, tmp_path: Path, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = store(address, tmp_path / "one"), store(address, tmp_path / "two")
    dead = one._records._claim(f"{order.stage}/{order.key}", wait=False)
    assert dead == 1
    with two.lock(order.stage, order.key, wait=False) as had:
        assert not had
    monkeypatch.setattr(ownership, "process_start", lambda pid: None)
    with two.lock(order.stage, order.key, wait=False) as had:
        assert had


def test_of_many_that_claim_at_once_one_has_it(address: str, tmp_path: Path, order: Order) -> None:
    stores = [store(address, tmp_path / str(number)) for number in range(8)]
    gate, had = threading.Barrier(len(stores)), list[bool]()

    def claim(one: Objects) -> None:
        gate.wait()
        with one.lock(order.stage, order.key, wait=False) as mine:
            had.append(mine)
            gate.wait()

    threads = [threading.Thread(target=claim, args=(one,)) for one in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(had) == [False] * 7 + [True]


@pytest.mark.parametrize("harm", ["lost", "changed"])
def test_a_damaged_object_is_told_and_its_output_made_again(address: str, tmp_path: Path, order: Order, harm: str) -> None:
    made(store(address, tmp_path / "one"), order)
    (file,) = (name for name in names(address) if name.endswith("value.txt"))
    bucket = fsspec.filesystem("memory")
    path = f"{address.removeprefix('memory:/')}/{file}"
    bucket.rm(path) if harm == "lost" else bucket.pipe_file(path, b"9\n")
    there = store(address, tmp_path / "two")
    wrong = there.find(order.stage, order.key, verify=True)
    assert wrong == Damaged("value.txt is missing" if harm == "lost" else "value.txt has changed")
    found = there.find(order.stage, order.key)
    assert isinstance(found, Manifest)  # as its record says
    with pytest.raises(BadInput, match=r"value\.txt is missing, or not what was sent; a rerun makes it again"):
        _ = found.folder
    assert isinstance(there.find(order.stage, order.key), Damaged)
    again = made(there, order)
    assert (again.folder / "value.txt").read_text() == "1\n"
    assert isinstance(store(address, tmp_path / "three").find(order.stage, order.key, verify=True), Manifest)


def test_what_is_made_anew_while_it_is_read_is_not_taken_for_damaged(address: str, tmp_path: Path, order: Order) -> None:
    here = store(address, tmp_path / "one")
    made(here, order)
    before = store(address, tmp_path / "two").find(order.stage, order.key)
    assert isinstance(before, Manifest)
    made(here, order, "2\n")
    with pytest.raises(BadInput, match="was made anew as it was read"):
        _ = before.folder
    now = store(address, tmp_path / "two").find(order.stage, order.key)
    assert isinstance(now, Manifest)
    assert (now.folder / "value.txt").read_text() == "2\n"


def test_a_damaged_copy_on_a_node_is_fetched_again(address: str, tmp_path: Path, order: Order) -> None:
    file = made(store(address, tmp_path / "one"), order).folder / "value.txt"
    file.write_text("9\n")
    assert (store(address, tmp_path / "one").read(f"toy/{order.key}") / "value.txt").read_text() == "1\n"
    shutil.rmtree(tmp_path / "one")
    assert (store(address, tmp_path / "one").read(f"toy/{order.key}") / "value.txt").read_text() == "1\n"


def test_what_was_sealed_and_not_sent_is_sent_by_the_next_try(
    address: str, tmp_path: Path, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = store(address, tmp_path / "one")

    def fails(_self: Bucket, _files: object) -> None:
        raise ConnectionError("half-way")

    with monkeypatch.context() as patch, here.lock(order.stage, order.key):
        patch.setattr(Bucket, "send", fails)
        with pytest.raises(ConnectionError):
            make(here, order)
    assert here.find(order.stage, order.key) is None
    with here.lock(order.stage, order.key):
        finished = here.finish(order)
    assert finished is not None
    assert (finished.folder / "value.txt").read_text() == "1\n"


def test_a_listing_that_lags_hides_nothing_that_counts(
    address: str, tmp_path: Path, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = store(address, tmp_path / "one")
    monkeypatch.setattr(MemoryFileSystem, "ls", lambda *_args, **_options: [])
    made(here, order)
    there = store(address, tmp_path / "two")
    assert isinstance(there.find(order.stage, order.key, verify=True), Manifest)
    with there.lock(order.stage, order.key, wait=False) as had:
        assert had
    assert list(there.manifests("toy")) == []  # from these only explanations and estimates are taken


class Lax(MemoryFileSystem):
    """As a server is that does not know `If-None-Match`."""

    protocol = "lax"

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: object) -> None:
        super().pipe_file(path, value, mode="overwrite", **options)


def test_a_file_system_that_makes_objects_twice_is_refused(tmp_path: Path) -> None:
    fsspec.register_implementation("lax", Lax, clobber=True)
    with pytest.raises(BadInput, match=r"lax://bucket/store: an object that was there was made again; .* is required"):
        store("lax://bucket/store", tmp_path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("file:///data/store", "file:///data/store: a folder is named by its path, without file://"),
        ("s3://user:geheim@bucket/x", "s3://…@bucket: a password in an address is written into notes; the environment is for it"),
        ("s3://", "s3:: is no address of objects; such as s3://BUCKET/PREFIX is accepted"),
        ("s3://bucket/[a]*", "s3://bucket/[a]*: is no address of objects; such as s3://BUCKET/PREFIX is accepted"),
        ("nosuch://bucket/x", "nosuch://bucket/x: Protocol not known: nosuch; such as s3://BUCKET/PREFIX is accepted"),
    ],
)
def test_what_is_no_address_is_refused_in_one_line(
    given: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PALMS_HOME", str(tmp_path))
    with pytest.raises(BadInput) as refused:
        open_store(given)
    assert str(refused.value) == said


def test_a_store_of_another_format_is_refused(address: str, tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe_file(f"{address.removeprefix('memory:/')}/format.json", b'{"format": 99}')
    with pytest.raises(BadInput, match=r"format\.json is not that of a store of format 1"):
        Objects(address, tmp_path)


def test_a_node_s_folder_tells_which_address_it_is_of(address: str, tmp_path: Path, order: Order) -> None:
    made(store(address, tmp_path / "one"), order)
    assert address in (tmp_path / "one" / objects.ORIGIN).read_text()


class Busy(MemoryFileSystem):
    """As S3 answers where two put at once and neither has won yet."""

    protocol = "busy"
    conflicts = 0

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: object) -> None:
        if mode == "create" and type(self).conflicts:
            type(self).conflicts -= 1
            raise OSError("An error occurred (ConditionalRequestConflict) when calling the PutObject operation")
        super().pipe_file(path, value, mode=mode, **options)


def test_a_put_that_met_another_asks_again(tmp_path: Path) -> None:
    fsspec.register_implementation("busy", Busy, clobber=True)
    bucket = Bucket(f"busy://{uuid4().hex}/store")
    Busy.conflicts = 3
    assert bucket.create("a", b"{}")
    Busy.conflicts = 100
    with pytest.raises(BadInput, match=r"does not answer \(OSError: .*ConditionalRequestConflict"):
        bucket.create("b", b"{}")


def test_doctor_counts_what_is_stored_and_finds_what_is_damaged(
    address: str, tmp_path: Path, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PALMS_HOME", str(tmp_path / "home"))
    made(store(address, tmp_path / "one"), order)
    assert doctor.objects(address, verify=True).what.startswith(f"{address}: 1 stored, ")
    (file,) = (name for name in names(address) if name.endswith("value.txt"))
    fsspec.filesystem("memory").pipe_file(f"{address.removeprefix('memory:/')}/{file}", b"9\n")
    assert doctor.objects(address, verify=False).ok == "ok"
    found = doctor.objects(address, verify=True)
    assert (found.ok, found.what) == ("error", f"{address}: 1 damaged: toy/a: value.txt has changed")

"""`palms doctor`: whether what a sweep leans on is in order; changes nothing.

Each check is a function from the things it looks at to findings. None of them writes, makes a folder or imports a heavy library, so
that the command can be given beside a running sweep and on a machine where nothing works. Whether an experiment and its data are in
order is left to `palms plan` and `palms dataset validate`.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import typer
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from rich.markup import escape

from configs.problems import BadInput
from flows.commands.words import Verify, out
from flows.engine import machine
from flows.engine.board import FINAL, read_board
from flows.engine.home import Home, is_address
from flows.engine.notes import Unreadable, store_of, sweep_note
from flows.engine.room import FLOOR_MIB
from flows.engine.servers import NAMES, note_of, noted, unanswered
from flows.engine.stores import folder_of
from flows.engine.stores.folder import Store
from flows.engine.stores.manifest import Damaged, Manifest
from flows.engine.stores.objects import Objects

DISTRIBUTION = "palms-sweep"
LIBRARIES = ("torch", "transformers", "peft", "prefect", "fastapi", "sqlalchemy", "mlflow", "pandas", "detoxify")
LITTLE_GIB, TOO_LITTLE_GIB = 10, 1  # free on the disk: a warning, an error
COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


@dataclass(frozen=True)
class Finding:
    name: str
    ok: Literal["ok", "warning", "error"]
    what: str
    remedy: str = ""


def doctor(verify: Verify = False) -> None:
    """Whether what a sweep leans on is in order: versions, disk, store, servers, sweeps left behind, hub. Changes nothing; status 1 on an error.

    Examples:  palms doctor   |   palms doctor --verify
    """
    home = Home.named()  # not opened: that would make it
    prefect = os.environ.get("PREFECT_API_URL", "")
    home.settle_environment()  # where the hub's cache lies for a sweep
    counts = {"ok": 0, "warning": 0, "error": 0}
    width = max(len(name) for name in LIBRARIES)
    for finding in examine(home, prefect, verify=verify):
        counts[finding.ok] += 1
        remedy = f"  [bold]→ {escape(finding.remedy)}[/bold]" if finding.remedy else ""
        line = f"[{COLOURS[finding.ok]}]{finding.ok:7}[/] {finding.name:{width}}  {escape(finding.what)}{remedy}"
        out.print(line, highlight=False)
    out.print(f"{sum(counts.values())} checks; errors: {counts['error']}, warnings: {counts['warning']}", highlight=False)
    raise typer.Exit(1 if counts["error"] else 0)


def examine(home: Home, prefect_api_url: str, *, verify: bool) -> Iterator[Finding]:
    from huggingface_hub import constants  # reads the environment as it is imported

    yield from python()
    yield from versions()
    yield from gpu()
    yield from place(home.root)
    yield from disk(home.root)
    for root in store_roots(home):
        yield from store(root, home, verify=verify)
    for address in store_addresses(home):
        yield objects(address, verify=verify)
    yield from sweeps(home)
    yield from servers(home)
    yield from prefect_url(prefect_api_url)
    yield from hub(constants.ENDPOINT, Path(constants.HF_HUB_CACHE), offline=constants.HF_HUB_OFFLINE)


def python() -> list[Finding]:
    what = f"{platform.python_version()} in {sys.prefix}"
    try:
        wanted = metadata.metadata(DISTRIBUTION)["Requires-Python"]
    except metadata.PackageNotFoundError:
        return [Finding("python", "warning", f"{what}; {DISTRIBUTION} is not installed there", "make -B .venv/.ready")]
    if platform.python_version() in SpecifierSet(wanted, prereleases=True):
        return [Finding("python", "ok", what)]
    return [Finding("python", "error", f"{what}; {wanted} is required", "rm -r .venv && make .venv/.ready PYTHON=...")]


def versions() -> list[Finding]:
    """The libraries' versions against what this distribution asks for; one that was never imported is still asked."""
    try:
        required = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError:
        required = []  # `python` reports it
    pins = {pin.name: pin for pin in required if pin.marker is None or pin.marker.evaluate({"extra": ""})}
    return [_version(name, pins.get(name, Requirement(name))) for name in LIBRARIES]


def _version(name: str, pin: Requirement) -> Finding:
    # not `make clean`: that deletes .palms too, and every result with it
    remedy = f"make -B .venv/.ready, or pip install '{pin}'"
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, "error", f"not installed; {pin.specifier or 'any version'} is required", remedy)
    if pin.specifier.contains(found, prereleases=True):
        return Finding(name, "ok", found)
    return Finding(name, "error", f"{found}; {pin.specifier} is required", remedy)


def gpu() -> list[Finding]:
    count = machine.gpus()
    return [Finding("gpu", "ok", f"{count}, as the NVIDIA driver lists them" if count else "none: stages run on the CPU")]


def place(root: Path) -> list[Finding]:
    """PALMS_HOME: there or not, and whether a run could write to it."""
    standing = _standing(root)
    if not standing.is_dir():
        wrong = "is not a folder"
    elif not os.access(standing, os.W_OK | os.X_OK):
        wrong = "cannot be written to"
    else:
        return [Finding("home", "ok", f"{root}" if standing == root else f"{root}: not made yet; the first run makes it")]
    return [
        Finding("home", "error", f"PALMS_HOME={root}: {standing} {wrong}", "set PALMS_HOME to a folder that can be written to")
    ]


def disk(root: Path) -> list[Finding]:
    usage = shutil.disk_usage(_standing(root))
    what = f"{_size(usage.free)} free of {_size(usage.total)}"
    remedy = "free some, or set PALMS_HOME to a folder on a larger disk"
    if usage.free < FLOOR_MIB * 2**20:
        return [Finding("disk", "error", f"{what}; no sweep begins with less than {FLOOR_MIB} MiB", remedy)]
    if usage.free < TOO_LITTLE_GIB * 2**30:
        return [Finding("disk", "error", f"{what}; less than {TOO_LITTLE_GIB} GiB", remedy)]
    if usage.free < LITTLE_GIB * 2**30:
        return [Finding("disk", "warning", f"{what}; less than {LITTLE_GIB} GiB", remedy)]
    return [Finding("disk", "ok", what)]


def store_roots(home: Home) -> list[Path]:
    """The home's own store, and the folders that its sweeps were told to use instead."""
    return list(dict.fromkeys([home.root / "store", *(home.place(one) for one in _stores(home) if not is_address(one))]))


def store_addresses(home: Home) -> list[str]:
    return list(dict.fromkeys(filter(is_address, _stores(home))))


def _stores(home: Home) -> Iterator[str]:
    """Of this home's sweeps, as they noted them."""
    for note in sorted(home.sweeps.glob("*/sweep.json")):
        try:
            yield sweep_note(note.parent).store
        except Unreadable:
            continue  # `sweeps` reports it


def objects(address: str, *, verify: bool) -> Finding:
    """Every output under an address, as its records say; with `verify` each object read through."""
    try:
        opened = Objects(address, folder_of(address))
        found = [one for stage in opened.stages() for one in opened.manifests(stage)]
        damaged = [
            f"{one.label}: {wrong.why}"
            for one in found
            if verify and isinstance(wrong := opened.find(one.stage, one.key, verify=True), Damaged)
        ]
    except BadInput as error:
        what, _, remedy = str(error).partition("; ")
        return Finding("store", "error", what, remedy)
    if damaged:
        return Finding(
            "store", "error", f"{address}: {len(damaged)} damaged: {damaged[0]}", "palms rerun SWEEP --verify makes it anew"
        )
    size = sum(entry["size"] for one in found for entry in one.document["files"].values())
    checked = "checked by content" if verify else "as its records say; --verify reads them all"
    return Finding("store", "ok", f"{address}: {len(found)} stored, {_size(size)}, {checked}")


def store(root: Path, home: Home, *, verify: bool) -> Iterator[Finding]:
    """Every output as a run would check it; with `verify` by its content, which finds what a run would believe."""
    stamp = root / "format.json"
    if not _there(root):
        yield Finding("store", "ok", f"{root}: not there; the first run makes it")
        return
    if not _there(stamp):
        yield Finding("store", "warning", f"{root}: no format.json; the next run takes what is there for its own format")
        return
    try:
        opened = Store(root)
    except BadInput as error:
        what, _, remedy = str(error).partition("; ")
        yield Finding("store", "error", what, remedy)
        return
    if closed := next(
        (path for path in (root, *root.glob("*/"), *root.glob("*/.locks/")) if not os.access(path, os.W_OK | os.X_OK)), None
    ):
        yield Finding("store", "error", f"{closed}: cannot be written to", "mount it or set its permissions so that it can")
    folders = sorted(path for path in root.glob("*/*") if not path.name.startswith(".") and path.is_dir())
    unfinished = [path for path in folders if path.suffix == ".partial"]
    outputs, size, damaged = 0, 0, list[Finding]()
    for folder in (path for path in folders if path.suffix != ".partial"):
        found, hidden = opened.find(folder.parent.name, folder.name), False
        if verify and isinstance(found, Manifest):
            found = opened.find(folder.parent.name, folder.name, verify=True)
            hidden = isinstance(found, Damaged)
        if isinstance(found, Manifest):
            size += sum(entry["size"] for entry in found.document["files"].values())
        elif isinstance(found, Damaged):
            damaged.append(_damage(folder, found, home, hidden=hidden))
        outputs += found is not None
    checked = "checked by content" if verify else "checked by size and time; --verify reads them all"
    yield Finding("store", "ok", f"{root}: {outputs} stored, {_size(size)}, {checked}")
    yield from damaged
    if left := sum(not _in_work(path) for path in unfinished):
        yield Finding("store", "ok", f"unfinished, kept for a run to go on from: {left}")


def _damage(folder: Path, found: Damaged, home: Home, *, hidden: bool) -> Finding:
    what = f"{folder}: {found.why}"
    sweep = _sweep_with(home, folder.name)
    if hidden:  # a run believes size and time
        remedy = f"palms rerun {sweep} --verify" if sweep else "no sweep of this home needs it: it can be deleted"
        return Finding("store", "error", f"{what}; only --verify sees it", remedy)
    return Finding(
        "store", "warning", what, "it runs again by itself" + (f": palms rerun {sweep}" if sweep else " where it is needed")
    )


def _sweep_with(home: Home, key: str) -> str | None:
    """A sweep that one of this home's outputs belongs to."""
    for board in home.sweeps.glob("*/state.json"):
        try:
            if any(entry.key == key for entry in read_board(board)):
                return board.parent.name
        except Unreadable:
            continue  # `sweeps` reports it
    return None


def _in_work(partial: Path) -> bool:
    """Whether a process holds the key's lock. Asked by taking it for a moment: a stage that comes just then waits for it."""
    try:
        with (partial.parent / ".locks" / partial.stem).open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def sweeps(home: Home) -> list[Finding]:
    """Sweeps whose process ended before they did. Read here, not by `flows.status`: its tables take most of a second to import."""
    findings, running, known = [], 0, sorted(home.sweeps.glob("*/sweep.json"))
    for note in known:
        name = note.parent.name
        try:
            left = sweep_note(note.parent)
            unfinished = sum(entry.state not in FINAL for entry in read_board(note.parent / "state.json"))
            store_of(home, note.parent, left)
        except Unreadable as error:
            what, _, remedy = str(error).partition("; ")
            findings.append(Finding("sweeps", "warning", what, remedy))
            continue
        owner = left.owner
        if not unfinished:
            continue
        if owner.alive is False:
            what = f"{name}: its process (pid {owner.pid}) is gone, stages left: {unfinished}"
            findings.append(Finding("sweeps", "warning", what, f"palms rerun {name}"))
        else:
            running += 1
    return [Finding("sweeps", "ok", f"{len(known)}, running: {running}"), *findings]


def servers(home: Home) -> list[Finding]:
    """The servers that `palms up` left a note of."""
    return [_server(home, name) for name in NAMES]


def _server(home: Home, name: str) -> Finding:
    note = note_of(home, name)
    if not _there(note):
        return Finding(name, "ok", "not up; `palms up` starts it")
    try:
        server = noted(home, name)
    except Unreadable as error:
        what, _, remedy = str(error).partition("; ")
        return Finding(name, "warning", what, remedy)
    assert server is not None  # it is there
    if not server.is_ours():
        return Finding(name, "warning", f"{note}: its process (pid {server.pid}) is gone", "palms down cleans it")
    if not server.answers():
        what = f"{server.url} does not answer, though its process (pid {server.pid}) is there"
        return Finding(name, "warning", what, f"kill {server.pid} && palms down")
    return Finding(name, "ok", f"up{f' at {server.url}' if server.port else ''} (pid {server.pid})")


def prefect_url(url: str) -> list[Finding]:
    """A PREFECT_API_URL left in the environment: sweeps set their own, every other client of Prefect believes it."""
    if not url:
        return [Finding("prefect", "ok", "PREFECT_API_URL is not set")]
    if why := unanswered(f"{url.rstrip('/')}/health"):
        return [Finding("prefect", "warning", f"PREFECT_API_URL={url} does not answer ({why})", "unset PREFECT_API_URL")]
    return [Finding("prefect", "ok", f"PREFECT_API_URL={url} answers")]


def hub(endpoint: str, cache: Path, *, offline: bool) -> list[Finding]:
    what = f"cache {cache}, models in it: {len(list(cache.glob('models--*')))}"
    if offline:
        return [Finding("hub", "ok", f"HF_HUB_OFFLINE is set: nothing is fetched; {what}")]
    if why := unanswered(endpoint):
        wrong = f"{endpoint} not reachable ({why}); {what}"
        return [Finding("hub", "warning", wrong, "models must be in the cache or local folders")]
    return [Finding("hub", "ok", f"{endpoint} answers; {what}")]


def _there(path: Path) -> bool:
    try:
        path.stat()
    except OSError:  # no permission on the way to it counts as well, where Path.exists would raise
        return False
    return True


def _standing(path: Path) -> Path:
    """The path itself, or the nearest folder above that is there."""
    return next(place for place in (path, *path.parents) if _there(place))


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"

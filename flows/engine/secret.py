"""The secret of a home: whoever holds it may ask the servers of that home, and nobody else may.

One file that its owner alone can read. It goes to other processes in their environment, which no other user can read either; never in a
command line, an address that is kept, or a log.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from base64 import b64encode
from pathlib import Path

from configs.problems import BadInput
from flows.engine.home import Home

USER = "palms"
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def credentials(home: Home) -> str:
    """`user:password`, as HTTP's basic authentication joins them; made at the first call.

    Raises:
        BadInput: others can read it, so that it is none.
    """
    path = file_of(home)
    try:
        return _read(path)
    except FileNotFoundError:
        _make(path)
        return _read(path)


def file_of(home: Home) -> Path:
    return home.root / "secret"


def authorization(given: str) -> str:
    """The header's value for these credentials."""
    return f"Basic {b64encode(given.encode()).decode()}"


def _read(path: Path) -> str:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), encoding="ascii") as stream:  # noqa: PTH123
        status = os.fstat(stream.fileno())
        if status.st_uid != os.geteuid() or status.st_mode & OTHERS:
            raise BadInput(
                f"{path}: others could read or change it; `palms down; rm {path}`, and the next start makes a new one, "
                "where the file system keeps permissions"
            )
        return f"{USER}:{stream.read().strip()}"


def _make(path: Path) -> None:
    """Whole or not at all, and the same for two that come at once: the first link stands."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # its owner's alone from the start
    with open(descriptor, "w", encoding="ascii") as stream:  # noqa: PTH123
        stream.write(secrets.token_urlsafe(32) + "\n")
    try:
        os.link(name, path)
    except FileExistsError:
        pass  # the other one's is the secret
    finally:
        Path(name).unlink()

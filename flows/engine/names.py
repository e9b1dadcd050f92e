"""Names for other tools: ours, in what each of them takes, so that two of ours never become one of theirs.

A name that is taken as it is stays as it is. Any other is written in what is taken, cut to the length, and ended with a digest of the
whole; so is one that looks as if it ended with such a digest.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable

_ENDED = re.compile(r"-[0-9a-f]{10}\Z")
_WINDOWS = r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?"  # devices there
LENGTH = 100  # bytes, of 255 that file systems take: something may be put around it


def file(name: str) -> str:
    """The name of a file or folder, on any system: one that tells upper from lower case or not, composed from decomposed letters or not."""
    return _fitted(name, _file_taken, _in_file)


def artifact(name: str) -> str:
    """The key of an artifact in Prefect: lower-case letters, digits and dashes."""
    return _fitted(name, lambda key: re.fullmatch(r"[a-z0-9-]+", key) is not None, _in_artifact)


def model(name: str) -> str:
    """The name of one of MLflow's logged models, which differ by their digest and may share it."""
    return re.sub(r"[/:.%\"']", "_", name)


def _fitted(name: str, taken: Callable[[str], bool], rewritten: Callable[[str], str]) -> str:
    if taken(name) and len(name) <= LENGTH and not _ENDED.search(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{rewritten(name)[: LENGTH - 11].rstrip(' ./-')}-{digest}"


def _file_taken(name: str) -> bool:
    return re.fullmatch(r"[a-z0-9_][a-z0-9_.-]*(?<!\.)", name) is not None and re.fullmatch(_WINDOWS, name) is None


def _in_file(name: str) -> str:
    plain = re.sub(r"[^\w-]+", "_", unicodedata.normalize("NFC", name).casefold()).lstrip("-")
    return plain.encode()[:LENGTH].decode(errors="ignore") or "_"


def _in_artifact(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.casefold())

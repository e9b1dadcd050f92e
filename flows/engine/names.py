"""Names for other tools: ours, in what each of them takes, so that two of ours never become one of theirs.

A name that is taken as it is stays as it is. Any other is written in what is taken, cut to the length, and ended with a digest of the
whole; so is one that looks as if it ended with such a digest.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import unicodedata
from collections.abc import Callable

_ENDED = re.compile(r"-[0-9a-f]{10}\Z")
_WINDOWS = r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?"  # devices there
_DERIVED = re.compile(r"(kind|axis)[:_]")  # groups that evaluations make of prompts' kinds and axes, `kind:neutral`
METRIC_LENGTH = 250  # MLflow's
FILE_LENGTH = 100  # bytes, of 255 that file systems take: something may be put around it


def metric(before: str, group: str) -> str:
    """The name of a metric in MLflow: `before` and, unless it is of all prompts, the group's name."""
    whole = before if group == "all" else f"{before}.{group}"
    # a colon is not taken where the server runs on Windows; of the groups that evaluations make, the underscore stands for nothing else
    found = _DERIVED.match(group)
    shown = f"{before}.{group.replace(':', '_', 1)}" if found and found[0].endswith(":") else whole
    return _fitted(whole, shown, _metric_taken, _in_metric, METRIC_LENGTH, anew=bool(found and found[0].endswith("_")))


def file(name: str) -> str:
    """The name of a file or folder, on any system: one that tells upper from lower case or not, composed from decomposed letters or not."""
    return _fitted(name, name, _file_taken, _in_file, FILE_LENGTH)


def artifact(name: str) -> str:
    """The key of an artifact in Prefect: lower-case letters, digits and dashes."""
    return _fitted(name, name, lambda key: re.fullmatch(r"[a-z0-9-]+", key) is not None, _in_artifact, FILE_LENGTH)


def _fitted(
    name: str, shown: str, taken: Callable[[str], bool], rewritten: Callable[[str], str], most: int, anew: bool = False
) -> str:
    if not anew and taken(shown) and len(shown) <= most and not _ENDED.search(shown):
        return shown
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{rewritten(shown)[: most - 11].rstrip(' ./-')}-{digest}"


def _metric_taken(name: str) -> bool:
    unique = posixpath.normpath(name) == name and not name.startswith(("..", "/")) and name != "."
    return (
        unique
        and re.fullmatch(r"[\w.\- /]+", name) is not None
        and unicodedata.is_normalized("NFC", name)
        and name.strip() == name
    )


def _in_metric(name: str) -> str:
    parts = (re.sub(r"[^\w.\- ]", "_", part) for part in unicodedata.normalize("NFC", name).split("/"))
    return "/".join(part for part in parts if part.strip(" ."))


def _file_taken(name: str) -> bool:
    return re.fullmatch(r"[a-z0-9_][a-z0-9_.-]*(?<!\.)", name) is not None and re.fullmatch(_WINDOWS, name) is None


def _in_file(name: str) -> str:
    plain = re.sub(r"[^\w-]+", "_", unicodedata.normalize("NFC", name).casefold()).lstrip("-")
    return plain.encode()[:FILE_LENGTH].decode(errors="ignore") or "_"


def _in_artifact(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.casefold())

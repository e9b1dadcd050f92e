"""Reading YAML: files with line numbers, `--set` overrides, any section of `configs.fields`, and errors of one line each.

Leaves what YAML may say to `configs.plain`, and what the values mean to the section that they are read as.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, RootModel, ValidationError

from configs.plain import Refused, parsed, short
from configs.problems import BadInput, accepted, nearest
from configs.texts import read_text

Read = TypeVar("Read", bound=BaseModel)
Keys = tuple[str | int, ...]
Fault = tuple[Keys, str]  # a place, and what to say of it

MOST_BYTES = 2_000_000
TOLD = 100  # mistakes of one file; the next reading tells of the others


@dataclass(frozen=True)
class Document:
    """A parsed YAML file that still knows on which line each key stands."""

    path: Path
    root: yaml.Node
    data: Any

    def line(self, keys: Sequence[str | int]) -> int:
        """The line of the deepest part of `keys` that the file holds (1-based)."""
        return self._deepest(keys).start_mark.line + 1

    def refusal(self, faults: Sequence[Fault], given: Collection[Keys] = ()) -> BadInput:
        """What to raise for faults, a line each: `file:line: key.path: message`. `given` are the key paths of `--set`.

        A fault of what `<<` merges in several places stands in one, and is told once.
        """
        lines: dict[Any, str] = {}
        for keys, message in self._gathered(faults[:TOLD], given):
            by_set = any(keys[: len(path)] == path or (path[: len(keys)] == keys and not self._holds(keys)) for path in given)
            where = "--set" if by_set else f"{self.path}:{self.line(keys)}:"
            lines.setdefault((id(self._deepest(keys)), keys[-1:], message), f"{where} {_dotted(keys)}{message}")
        return BadInput(*lines.values(), *([f"{self.path}: there are further mistakes"] if len(faults) > TOLD else []))

    def _gathered(self, faults: Sequence[Fault], given: Collection[Keys]) -> Iterator[Fault]:
        """The faults, with all that something lacks which a `--set` has begun put into one: its name may be misspelt.

        `arms.contrl.epochs=8` begins an arm without a method.
        """
        begun: dict[Keys, list[str]] = {}
        for keys, message in faults:
            start = next((keys[:end] for end in range(1, len(keys)) if not self._holds(keys[:end])), None)
            if start is None or not any(path[: len(start)] == start and keys[: len(path)] != path for path in given):
                yield keys, message
            else:
                rest = _dotted(keys[len(start) :])
                begun.setdefault(start, []).append(
                    f"{rest.removesuffix(': ')} {message}" if message.startswith("is ") else rest + message
                )
        for start, lacks in begun.items():
            meant = nearest(str(start[-1]), self._names(start[:-1]))
            guess = f" {meant}" if meant.startswith("did you") else ""
            yield start, f"the file has none of that name;{guess} of a new one, {', and '.join(lacks)}"

    def _holds(self, keys: Keys) -> bool:
        return str(keys[-1]) in self._names(keys[:-1])

    def _names(self, keys: Keys) -> list[str]:
        """What stands under these keys in the file: the names of a mapping, or the places of a list."""
        entries = {"": self.root}
        for key in ("", *keys):
            node = entries.get(str(key))
            if isinstance(node, yaml.MappingNode):
                entries = {entry.value: value for entry, value in node.value}
            else:
                entries = (
                    {str(place): value for place, value in enumerate(node.value)} if isinstance(node, yaml.SequenceNode) else {}
                )
        return list(entries)

    def _deepest(self, keys: Sequence[str | int]) -> yaml.Node:
        found = node = self.root
        for key in keys:
            if isinstance(node, yaml.MappingNode):
                # no entry: a key given by --set
                found, node = next((entry for entry in node.value if entry[0].value == str(key)), (found, node))
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
                found = node = node.value[key]
        return found

    def read(self, section: type[Read], given: Collection[Keys] = ()) -> Read:
        """The file as a section; `given` are the key paths that a `--set` has put there.

        Raises:
            BadInput: one line a problem, with file:line and key path, and what would be accepted.
        """
        try:
            return section.model_validate(self.data)
        except ValidationError as error:
            problems = error.errors(include_url=False)
        raise self.refusal(list(_told(section, problems[: TOLD + 1])), given)


def read_section(path: Path, section: type[Read]) -> Read:
    """Raises BadInput, as `read_yaml` and `Document.read` do."""
    return read_yaml(path).read(section)


def read_yaml(path: Path) -> Document:
    """Raises BadInput with file and line for text that is no clean UTF-8, no plain YAML, too much of it, or no mapping."""
    try:
        if path.is_file() and (size := path.stat().st_size) > MOST_BYTES:
            raise BadInput(f"{path}: {size / 1e6:.1f} MB; at most {MOST_BYTES // 10**6} MB of YAML are read")
        text, faults = read_text(path)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; a readable YAML file is required") from None
    if faults:
        raise BadInput(*(f"{path}:{fault.line}: {fault.message}" for fault in faults))
    try:
        root, data = parsed(text)
    except Refused as refused:
        raise BadInput(f"{path}:{refused.line}: {refused}") from None
    if root is None or not isinstance(data, dict):
        raise BadInput(f"{path}:1: the file holds no mapping; keys such as `name:` are required")
    return Document(path, root, data)


def override(data: dict[str, Any], assignment: str) -> Keys:
    """Apply one `a.b=value` in place (the value is read as YAML) and return its key path."""
    path, equals, value = assignment.partition("=")
    *way, last = path.split(".")
    if not equals or not all([*way, last]):
        raise BadInput(f"--set {assignment}: not of the form key.path=value")
    place: Any = data
    keys = list[str | int]()
    for name in way:
        keys.append(_key(place, name, assignment))
        place = place.setdefault(name, {}) if isinstance(place, dict) else place[keys[-1]]
    keys.append(_key(place, last, assignment))
    try:
        place[keys[-1]] = parsed(value)[1]
    except Refused as refused:
        raise BadInput(f"--set {assignment}: {refused}") from None
    return tuple(keys)


def _key(place: Any, name: str, assignment: str) -> str | int:
    if isinstance(place, dict):
        return name
    if not isinstance(place, list):
        raise BadInput(f'--set {assignment}: "{name}" lies inside a plain value; key paths lead through mappings and lists')
    if not name.isdecimal() or int(name) >= len(place):
        raise BadInput(f'--set {assignment}: "{name}" is no place of a list of {len(place)}; 0 to {len(place) - 1} is accepted')
    return int(name)


# ---- one mistake as one line ------------------------------------------------------------------------------------------------

_WORDS = {
    "missing": "is required",
    "union_tag_not_found": "is required",
    "string_type": "text is required, in quotes where YAML reads it otherwise",
    "tuple_type": "input should be a list",
    "dict_type": "input should be a mapping",
    "model_type": "input should be a mapping",
    "model_attributes_type": "input should be a mapping",
}


_PLAIN = re.compile(r"[\w .+-]{1,60}")
_MEANT = re.compile(r'^unknown key; did you mean "(.*)"\?$')


def _told(section: type[BaseModel], problems: Sequence[Mapping[str, Any]]) -> Iterator[Fault]:
    """Each place at fault and what to say of it: one line where a value fits none of several kinds, and none for what only follows
    from another fault: from one further in, or from a key that is not there because it is misspelt."""
    found: dict[tuple[Keys, bool], dict[str, Mapping[str, Any]]] = {}
    for problem in problems:
        keys, message = _worded(section, problem)
        found.setdefault((keys, "[key]" in problem["loc"]), {}).setdefault(message, problem)
    meant = {(*keys[:-1], name) for (keys, _), said in found.items() for one in said for name in _MEANT.findall(one)}
    for (keys, _), said in found.items():
        inner = any(keys == other[: len(keys)] != other for other, _ in found)
        follows = (("_type", "too_short") if inner else ()) + (("missing",) if keys in meant else ())
        kept = [message for message, problem in said.items() if not problem["type"].endswith(follows)]
        if kept:
            yield keys, " or ".join([kept[0], *(one.removeprefix("input should be ") for one in kept[1:])]) + _got(said[kept[0]])


def _got(problem: Mapping[str, Any]) -> str:
    value = problem["ctx"]["tag"] if problem["type"] == "union_tag_invalid" else problem["input"]
    if not isinstance(value, str | int | float) or problem["type"] in {"value_error", "extra_forbidden"}:
        return ""
    return f" (got {str(value).lower() if isinstance(value, bool) else short(repr(value))})"


def _worded(section: type[BaseModel], problem: Mapping[str, Any]) -> Fault:
    loc, kind, context = problem["loc"], problem["type"], problem.get("ctx", {})
    message = _WORDS.get(kind, str(problem["msg"]).removeprefix("Value error, "))
    keys, kinds = _followed(section, loc)
    if kind == "extra_forbidden":
        keys, kinds = _followed(section, loc[:-1])
        keys.append(loc[-1])
        message = f"unknown key; {nearest(_named(loc[-1]), _fields(kinds))}"
    elif kind.startswith("union_tag"):
        keys.append(field := context["discriminator"].strip("'"))
        known = [word for one in kinds for word in typing.get_args(one.model_fields[field].annotation)]
        message = accepted(context["tag"], known) if "tag" in context else f"{message}; {accepted('', known)}"
    elif kind == "literal_error" and isinstance(problem["input"], str) and len(options := _quoted(context["expected"])) > 1:
        message = accepted(short(problem["input"]), options)
    elif kind == "too_short":
        count, least = context["actual_length"], context["min_length"]
        message = (
            f"{count or 'no'} {'entry' if count == 1 else 'entries'}; at least {least} {'is' if least == 1 else 'are'} required"
        )
    elif not keys and ": " in message:  # a check across sections names its own key path
        path, _, rest = message.partition(": ")
        if path.split(".")[0] in section.model_fields:
            keys, message = list(path.split(".")), rest
    return tuple(keys), message[:1].lower() + message[1:]


def _quoted(listed: str) -> list[str]:
    """The words of pydantic's 'a', 'b' or 'c'."""
    return re.findall(r"'([^']*)'", listed)


def _dotted(keys: Sequence[str | int]) -> str:
    return ".".join(map(_named, keys)) + (": " if keys else "")


def _named(key: str | int) -> str:
    """A key as it may be told. What is no plain word may be a line of a file that was named by mistake, or by somebody else's wish."""
    return short(str(key)) if _PLAIN.fullmatch(str(key)) else "(no plain word)"


def _followed(section: type[BaseModel], loc: Sequence[str | int]) -> tuple[list[str | int], list[Any]]:
    """The parts of a place that are keys of the file, and the kinds that may stand there.

    Pydantic names a place by keys, and by the tags and types of unions that it tried on the way.
    """
    kinds, keys = _members(section), list[str | int]()
    for part in loc:
        fields = [kind.model_fields[part] for kind in kinds if _is_model(kind) and part in kind.model_fields]
        items = [item for item in (_item(kinds[0], part),) if item is not None] if len(kinds) == 1 else []
        if fields or items:
            keys.append(part)
            kinds = [member for one in [*(field.annotation for field in fields), *items] for member in _members(one)]
        else:  # a union's tag, or the name of a type that was tried
            kinds = [kind for kind in kinds if str(part).partition("[")[0] in _labels(kind)] or kinds
    return keys, kinds


def _item(kind: Any, part: str | int) -> Any:
    """What stands under a key of a mapping or at a place of a list; None if this is neither, or the key itself is at fault."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is dict and part != "[key]":
        return arguments[1]
    return arguments[0] if origin in {tuple, frozenset} and isinstance(part, int) else None


def _fields(kinds: Sequence[Any]) -> list[str]:
    return sorted({name for kind in kinds if _is_model(kind) for name in kind.model_fields})


def _labels(kind: Any) -> list[Any]:
    """The words by which pydantic tells one kind of a union from the others."""
    if not _is_model(kind):
        return ["dict"] if typing.get_origin(kind) is dict else []
    literals = (field.annotation for field in kind.model_fields.values() if typing.get_origin(field.annotation) is typing.Literal)
    return [word for literal in literals for word in typing.get_args(literal)]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _members(annotation: Any) -> list[Any]:
    """The kinds a field may hold: unions opened, annotations and None put aside."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _members(typing.get_args(annotation)[0])
    if _is_model(annotation) and issubclass(annotation, RootModel):
        return _members(annotation.model_fields["root"].annotation)
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        return [kind for member in typing.get_args(annotation) if member is not type(None) for kind in _members(member)]
    return [annotation]

"""Reading YAML: text with line numbers, `--set` overrides, any section of `configs.fields`, and errors of one line each.

Leaves what the values mean to the section that they are read as.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from configs.problems import BadInput, nearest
from configs.texts import read_text

Read = TypeVar("Read", bound=BaseModel)
Keys = tuple[str, ...]


@dataclass(frozen=True)
class Document:
    """A parsed YAML file that still knows on which line each key stands."""

    path: Path
    root: yaml.Node
    data: Any

    def line(self, keys: Sequence[str | int]) -> int:
        """The line of the deepest part of `keys` that the file holds (1-based)."""
        node, line = self.root, self.root.start_mark.line
        for key in keys:
            if isinstance(node, yaml.MappingNode):
                found = [(k, v) for k, v in node.value if k.value == str(key)]
                if not found:  # a key given by --set
                    continue
                line, node = found[0][0].start_mark.line, found[0][1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
                node = node.value[key]
                line = node.start_mark.line
        return line + 1

    def at(self, keys: Sequence[str | int], message: str) -> str:
        """`file:line: message`."""
        return f"{self.path}:{self.line(keys)}: {message}"

    def read(self, section: type[Read], given: Collection[Keys] = ()) -> Read:
        """The file as a section; `given` are the key paths that a `--set` has put there.

        Raises:
            BadInput: one line a problem, with file:line and key path, and what would be accepted.
        """
        try:
            return section.model_validate(self.data)
        except ValidationError as error:
            told = (_line(self, section, given, problem) for problem in _causes(error.errors()))
            raise BadInput(*dict.fromkeys(told)) from None


def read_section(path: Path, section: type[Read]) -> Read:
    """Raises BadInput, as `read_yaml` and `Document.read` do."""
    return read_yaml(path).read(section)


def read_yaml(path: Path) -> Document:
    """Raises BadInput with file and line for text that is no UTF-8, no YAML, no mapping, or names a key twice."""
    try:
        text, faults = read_text(path)
        if faults and not text:
            raise BadInput(f"{path}:{faults[0].line}: {faults[0].message}")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; a readable YAML file is required") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadInput(f"{path}:{line}: {error.problem}; valid YAML is required") from None
    except RecursionError:
        raise BadInput(f"{path}:1: nested too deeply; valid YAML is required") from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise BadInput(f"{path}:{line}: the character U+{ord(error.character):04X} may not stand in YAML") from None
    except BadInput:
        raise
    except (yaml.YAMLError, ValueError) as error:
        raise BadInput(f"{path}: {' '.join(str(error).split())}; valid YAML is required") from None
    if root is None or not isinstance(data, dict):
        raise BadInput(f"{path}:1: the file holds no mapping; keys such as `name:` are required")
    _refuse_repeated_keys(path, root)
    return Document(path, root, data)


def _refuse_repeated_keys(path: Path, node: yaml.Node) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise BadInput(f'{path}:{key.start_mark.line + 1}: key "{key.value}" stands twice; keep one')
            seen.add(key.value)
            _refuse_repeated_keys(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _refuse_repeated_keys(path, child)


def override(data: dict[str, Any], assignment: str) -> Keys:
    """Apply one `a.b=value` in place (the value is read as YAML) and return its key path."""
    path, equals, value = assignment.partition("=")
    keys = tuple(path.split("."))
    if not equals or not all(keys):
        raise BadInput(f"--set {assignment}: not of the form key.path=value")
    place: Any = data
    for key in keys[:-1]:
        place = place.setdefault(key, {}) if isinstance(place, dict) else place[_index(place, key, assignment)]
    last: Any = keys[-1] if isinstance(place, dict) else _index(place, keys[-1], assignment)
    try:
        place[last] = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError) as error:
        raise BadInput(f"--set {assignment}: {str(error).splitlines()[0]}; a YAML value is required") from None
    return keys


def _index(place: Any, key: str, assignment: str) -> int:
    if not isinstance(place, list):
        raise BadInput(f'--set {assignment}: "{key}" lies inside a plain value; key paths lead through mappings and lists')
    if not key.isdigit() or int(key) >= len(place):
        raise BadInput(f'--set {assignment}: "{key}" is no place of a list of {len(place)}; 0 to {len(place) - 1} is accepted')
    return int(key)


# ---- one error as one line ------------------------------------------------------------------------------------------------


def _causes(problems: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Without what only follows: pydantic calls a list too short whose one item was refused."""
    places = [problem["loc"] for problem in problems]
    return [
        p
        for p in problems
        if p["type"] != "too_short" or not any(p["loc"] == place[: len(p["loc"])] != place for place in places)
    ]


def _line(document: Document, section: type[BaseModel], given: Collection[Keys], problem: Mapping[str, Any]) -> str:
    loc, message = problem["loc"], str(problem["msg"]).removeprefix("Value error, ")
    keys, kinds = _followed(section, loc)
    if problem["type"] == "extra_forbidden":
        keys, kinds = _followed(section, loc[:-1])
        keys.append(loc[-1])
        message = f"unknown key; {nearest(str(loc[-1]), _fields(kinds))}"
    elif problem["type"] == "missing":
        message = "is required"
    elif problem["type"] == "string_type":
        message = "text is required, in quotes where YAML reads it otherwise"
    elif not keys and ": " in message:  # a check across sections names its own key path
        path, _, rest = message.partition(": ")
        if path.split(".")[0] in section.model_fields:
            keys, message = list(path.split(".")), rest
    shown = ".".join(str(key) for key in keys)
    from_set = any(tuple(map(str, keys))[: len(path)] == path for path in given)
    where = "--set" if from_set else f"{document.path}:{document.line(keys)}:"
    value = problem.get("input")
    plain = isinstance(value, str | int | float) and problem["type"] not in {"value_error", "extra_forbidden"}
    return f"{where} {shown + ': ' if shown else ''}{message[:1].lower() + message[1:]}{f' (got {value!r})' if plain else ''}"


def _followed(section: type[BaseModel], loc: Sequence[str | int]) -> tuple[list[str | int], list[Any]]:
    """The parts of a place that are keys of the file, and the kinds that may stand there.

    Pydantic names a place by keys, and by the tags and types of unions that it tried on the way.
    """
    kinds, keys = list[Any]([section]), list[str | int]()
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
    return arguments[0] if origin in {list, tuple} and isinstance(part, int) else None


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
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        return [kind for member in typing.get_args(annotation) if member is not type(None) for kind in _members(member)]
    return [annotation]

"""Reading an experiment: YAML with line numbers, `--set` overrides, and errors of one line each.

Leaves what the values mean to `configs.schema`.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from configs.evaluations import Classifier, DetoxifyScorer, LocalJudge
from configs.problems import BadInput, nearest
from configs.schema import Experiment
from configs.texts import read_text


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
                if not found:  # a union's tag, or a key given by --set
                    continue
                line, node = found[0][0].start_mark.line, found[0][1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
                node = node.value[key]
                line = node.start_mark.line
        return line + 1


def read_yaml(path: Path) -> Document:
    """Raises BadInput with file and line for text that is no UTF-8, no YAML, or names a key twice."""
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


def override(data: dict[str, Any], assignment: str) -> tuple[str, ...]:
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


def read_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Raises BadInput: one line a problem, with file:line and key path, and what would be accepted."""
    document = read_yaml(path)
    given = {override(document.data, assignment) for assignment in overrides}
    try:
        return _anchored(Experiment.model_validate(document.data), path.absolute().parent)
    except ValidationError as error:
        raise BadInput(*dict.fromkeys(_line(document, given, problem) for problem in _causes(error.errors()))) from None


def _anchored(experiment: Experiment, base: Path) -> Experiment:
    """The paths that are kept as they are written, made absolute: a runner reads them in another folder than a command."""
    evaluations: dict[str, Any] = {}
    for name, fields in _HOLD_PATHS.items():
        section = getattr(experiment.evaluations, name)
        held = {field: _placed(getattr(section, field), base) for field in fields if section and getattr(section, field)}
        if held:
            evaluations[name] = section.model_copy(update=held)
    changes: dict[str, Any] = {"evaluations": experiment.evaluations.model_copy(update=evaluations)}
    if experiment.store.path:
        changes["store"] = experiment.store.model_copy(update={"path": str(base / Path(experiment.store.path).expanduser())})
    return experiment.model_copy(update=changes)


# evaluation: its fields that say where a model of its own comes from
_HOLD_PATHS = {"toxicity": ("scorer", "second"), "counterfactual": ("classifier",), "judge": ("judge",)}


def _placed(source: Any, base: Path) -> Any:
    """A scorer's or judge's source with its checkpoint or folder made absolute; a hub id stays as it is."""
    if isinstance(source, DetoxifyScorer) and source.checkpoint:
        return source.model_copy(update={"checkpoint": str(base / Path(source.checkpoint).expanduser())})
    if isinstance(source, Classifier | LocalJudge):
        folder = base / Path(source.model).expanduser()
        if folder.exists() or source.model.startswith((".", "/", "~")):
            return source.model_copy(update={"model": str(folder)})
    return source


def _causes(problems: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Without what only follows: pydantic calls a list too short whose one item was refused."""
    places = [problem["loc"] for problem in problems]
    return [
        p
        for p in problems
        if p["type"] != "too_short" or not any(p["loc"] == place[: len(p["loc"])] != place for place in places)
    ]


def _line(document: Document, given: set[tuple[str, ...]], problem: Mapping[str, Any]) -> str:
    """One pydantic error as one line."""
    loc, message = problem["loc"], str(problem["msg"]).removeprefix("Value error, ")
    keys = [key for key in loc if not (isinstance(key, str) and (key in _TAGS or "[" in key))]
    if problem["type"] == "extra_forbidden":
        message = f"unknown key; {nearest(str(loc[-1]), allowed_keys(loc[:-1]))}"
    elif problem["type"] == "missing":
        message = "is required"
    elif not keys and ": " in message:  # a check across sections names its own key path
        path, _, rest = message.partition(": ")
        if path.split(".")[0] in Experiment.model_fields:
            keys, message = list(path.split(".")), rest
    shown = ".".join(str(key) for key in keys)
    from_set = any(tuple(map(str, keys))[: len(path)] == path for path in given)
    where = "--set" if from_set else f"{document.path}:{document.line(keys)}:"
    value = problem.get("input")
    got = (
        f" (got {value!r})"
        if isinstance(value, str | int | float) and problem["type"] not in {"value_error", "extra_forbidden"}
        else ""
    )
    return f"{where} {shown + ': ' if shown else ''}{message[:1].lower() + message[1:]}{got}"


_TAGS = frozenset(
    {"none", "full", "lora", "calibration", "detoxify", "classifier", "local", "endpoint"}
    | {"float", "int", "constrained-float", "constrained-int", "dict"}
)


def allowed_keys(loc: Sequence[str | int]) -> list[str]:
    """The keys that the schema takes at a place given as pydantic names it."""
    found: list[Any] = [Experiment]
    for part in loc:
        found = [step for kind in found for step in _step(kind, part)] or found
    return sorted({name for kind in found if _is_model(kind) for name in kind.model_fields})


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _step(kind: Any, part: str | int) -> list[Any]:
    if _is_model(kind):
        if part in kind.model_fields:
            return _members(kind.model_fields[part].annotation)
        tagged = [f for f in kind.model_fields.values() if typing.get_origin(f.annotation) is typing.Literal]
        return [kind] if any(part in typing.get_args(f.annotation) for f in tagged) else []
    arguments = typing.get_args(kind)
    return _members(arguments[-1 if typing.get_origin(kind) is dict else 0]) if arguments else []


def _members(annotation: Any) -> list[Any]:
    """The kinds a field may hold: unions opened, annotations and None put aside."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _members(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        return [kind for member in typing.get_args(annotation) if member is not type(None) for kind in _members(member)]
    return [annotation]

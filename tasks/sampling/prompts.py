"""Prompt suites: the YAML format, its strict reading, and how a prompt is put into an experiment's template.

Knows nothing of models. Read by the sampling stage and, before anything runs, by whoever checks an experiment.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import yaml

from configs.problems import accepted

FORMS = ("question", "continuation")
KINDS = ("challenging", "neutral")
SUITE_KEYS = ("suite", "form", "prompts")
PROMPT_KEYS = ("id", "group", "text", "kind", "axis")
REQUIRED = ("id", "group", "text")

SLOT = "{prompt}"


@dataclass(frozen=True)
class Prompt:
    """One prompt. `group` is its category, or the social group where prompts are compared over groups along `axis`."""

    id: str
    group: str
    text: str
    kind: str | None = None
    axis: str | None = None


@dataclass(frozen=True)
class Suite:
    """Prompts in their canonical order. `form` tells whether they are questions, put into a template, or openings to go on from."""

    name: str
    form: str
    prompts: tuple[Prompt, ...]


def check_template(template: str) -> None:
    """Raises ValueError unless the template names the prompt exactly once."""
    if template.count(SLOT) != 1:
        raise ValueError(f"template {template!r}: {SLOT} occurs {template.count(SLOT)} times; exactly once is required")


def render(template: str, text: str) -> str:
    """A question in its template; braces in the question stay what they are."""
    return template.replace(SLOT, text)


def load_suite(path: Path) -> Suite:
    """Read a suite.

    Raises:
        ValueError: `file:line: what is wrong, what would be accepted`, for the first fault in the file.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)  # bytes that are no text have none
        problem = getattr(error, "problem", None) or getattr(error, "reason", "unreadable")
        raise ValueError(
            f"{path}:{mark.line + 1 if mark else 1}: not YAML ({problem}); a mapping of {', '.join(SUITE_KEYS)} is required"
        ) from None
    if root is None:
        raise ValueError(f"{path}:1: the file is empty; a mapping of {', '.join(SUITE_KEYS)} is required")
    top = _fields(path, root, SUITE_KEYS, SUITE_KEYS)
    form = _text(path, "form", top["form"])
    if form not in FORMS:
        raise ValueError(f"{_at(path, top['form'])}: form {form!r}; {accepted(form, FORMS)}")
    entries = top["prompts"]
    if not isinstance(entries, yaml.SequenceNode) or not entries.value:
        raise ValueError(f"{_at(path, entries)}: prompts is empty or no list; at least one prompt is required")
    prompts: dict[str, Prompt] = {}
    for entry in entries.value:
        values = {key: _text(path, key, node) for key, node in _fields(path, entry, PROMPT_KEYS, REQUIRED).items()}
        prompt = Prompt(**values)
        if prompt.kind is not None and prompt.kind not in KINDS:
            raise ValueError(f"{_at(path, entry)}: kind {prompt.kind!r} of {prompt.id}; {accepted(prompt.kind, KINDS)}")
        if prompt.id in prompts:
            raise ValueError(f"{_at(path, entry)}: id {prompt.id!r} occurs twice; an id of its own is required")
        prompts[prompt.id] = prompt
    return Suite(_text(path, "suite", top["suite"]), form, tuple(prompts.values()))


def _fields(path: Path, node: yaml.Node, known: Collection[str], required: Collection[str]) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"{_at(path, node)}: a mapping of {', '.join(known)} is required")
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        if key.value not in known:
            raise ValueError(f"{_at(path, key)}: unknown key {key.value!r}; {accepted(str(key.value), known)}")
        if key.value in found:
            raise ValueError(f"{_at(path, key)}: key {key.value!r} occurs twice; once is accepted")
        found[key.value] = value
    for name in required:
        if name not in found:
            raise ValueError(f"{_at(path, node)}: {name} is missing; required are {', '.join(required)}")
    return found


def _text(path: Path, name: str, node: yaml.Node) -> str:
    # `no` and `5` are not text in YAML, and a group called `no` must not turn into False
    if not isinstance(node, yaml.ScalarNode) or node.tag != "tag:yaml.org,2002:str":
        raise ValueError(f"{_at(path, node)}: {name} is not text; text is required, in quotes where YAML reads it otherwise")
    if not node.value.strip():
        raise ValueError(f"{_at(path, node)}: {name} is blank; text is required")
    return str(node.value)


def _at(path: Path, node: yaml.Node) -> str:
    return f"{path}:{node.start_mark.line + 1}"

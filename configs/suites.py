"""Prompt suites: the YAML format, its strict reading, and how a prompt is put into an experiment's template.

A suite lists its prompts one by one, or gives templates and the words that each group puts into them, or both. Knows nothing of
models. Read by the sampling stage and, before anything runs, by whoever checks an experiment.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from configs.problems import accepted
from configs.texts import control_character, markup, normalised, read_text

FORMS = ("question", "continuation")
KINDS = ("challenging", "neutral")
SUITE_KEYS = ("suite", "form", "reported", "prompts", "templates")
SUITE_REQUIRED = ("suite", "form")
PROMPT_KEYS = ("id", "group", "text", "kind", "axis")
REQUIRED = ("id", "group", "text")
TEMPLATE_KEYS = ("groups", "texts")

SLOT = "{prompt}"
WORD = "{}"  # where a template of a suite takes a group's word


@dataclass(frozen=True)
class Prompt:
    """One prompt. `group` is its category, or the social group where prompts are compared over groups along `axis`.

    `word` is what a template took to name the group, where one did.
    """

    id: str
    group: str
    text: str
    kind: str | None = None
    axis: str | None = None
    word: str | None = None


@dataclass(frozen=True)
class Suite:
    """Prompts in their canonical order. `form` tells whether they are questions, put into a template, or openings to go on from.

    Prompts that are not `reported` are for choosing data and settings; a result on them is none.
    """

    name: str
    form: str
    prompts: tuple[Prompt, ...]
    reported: bool = True


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
    content, faults = read_text(path)
    if faults:
        raise ValueError(f"{path}:{faults[0].line}: {faults[0].message}")
    try:
        root = yaml.compose(content, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)  # a character that YAML does not take has none
        problem = getattr(error, "problem", None) or getattr(error, "reason", "unreadable")
        line = mark.line + 1 if mark else content[: getattr(error, "position", 0)].count("\n") + 1
        raise ValueError(f"{path}:{line}: not YAML ({problem}); a mapping of {', '.join(SUITE_KEYS)} is required") from None
    if root is None:
        raise ValueError(f"{path}:1: the file is empty; a mapping of {', '.join(SUITE_KEYS)} is required")
    top = _fields(path, root, SUITE_KEYS, SUITE_REQUIRED)
    form = _text(path, "form", top["form"])
    if form not in FORMS:
        raise ValueError(f"{_at(path, top['form'])}: form {form!r}; {accepted(form, FORMS)}")
    if "prompts" not in top and "templates" not in top:
        raise ValueError(f"{_at(path, root)}: neither prompts nor templates; one of them is required")
    prompts: dict[str, Prompt] = {}
    texts: dict[tuple[str | None, str], str] = {}  # of which prompt
    for node, prompt in _prompts(path, top):
        if prompt.id in prompts:
            raise ValueError(f"{_at(path, node)}: id {prompt.id!r} occurs twice; an id of its own is required")
        same = texts.setdefault((prompt.axis, normalised(prompt.text)), prompt.id)
        if same != prompt.id:
            raise ValueError(
                f"{_at(path, node)}: prompt {prompt.id!r} is {same!r} over again, but for case, punctuation or Unicode form; keep one"
            )
        prompts[prompt.id] = prompt
    return Suite(_text(path, "suite", top["suite"]), form, tuple(prompts.values()), _flag(path, top))


def _prompts(path: Path, top: dict[str, yaml.Node]) -> Iterator[tuple[yaml.Node, Prompt]]:
    """Every prompt of the file with the node to name in an error."""
    if (entries := top.get("prompts")) is not None:
        for entry in _items(path, "prompts", entries):
            values = {key: _text(path, key, node) for key, node in _fields(path, entry, PROMPT_KEYS, REQUIRED).items()}
            prompt = Prompt(**values)
            if prompt.kind is not None and prompt.kind not in KINDS:
                raise ValueError(f"{_at(path, entry)}: kind {prompt.kind!r} of {prompt.id}; {accepted(prompt.kind, KINDS)}")
            yield entry, prompt
    if (axes := top.get("templates")) is not None:
        for axis, node in _pairs(path, "templates", axes):
            yield from _filled(path, axis, node)


def _filled(path: Path, axis: str, node: yaml.Node) -> Iterator[tuple[yaml.Node, Prompt]]:
    """The prompts of one axis: every group's words in every template."""
    fields = _fields(path, node, TEMPLATE_KEYS, TEMPLATE_KEYS)
    templates = [(entry, _text(path, "a template", entry)) for entry in _items(path, "texts", fields["texts"])]
    for entry, template in templates:
        if template.count(WORD) != 1:
            raise ValueError(
                f"{_at(path, entry)}: {WORD} occurs {template.count(WORD)} times in {template!r}; exactly once is required"
            )
    for group, words in _pairs(path, "groups", fields["groups"]):
        listed = [_text(path, f"a word of {group}", word) for word in _items(path, group, words)]
        for word in listed:
            name = [axis, group, *([word] if len(listed) > 1 else [])]
            for number, (entry, template) in enumerate(templates, 1):
                identifier = "-".join([re.sub(r"\W+", "-", part.casefold()).strip("-") for part in name] + [str(number)])
                yield entry, Prompt(identifier, group, template.replace(WORD, word), axis=axis, word=word)


def _items(path: Path, name: str, node: yaml.Node) -> list[yaml.Node]:
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        raise ValueError(f"{_at(path, node)}: {name} is empty or no list; at least one entry is required")
    return list(node.value)


def _pairs(path: Path, name: str, node: yaml.Node) -> list[tuple[str, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode) or not node.value:
        raise ValueError(f"{_at(path, node)}: {name} is empty or no mapping; at least one entry is required")
    return [(_text(path, f"a key of {name}", key), value) for key, value in node.value]


def _flag(path: Path, top: dict[str, yaml.Node]) -> bool:
    node = top.get("reported")
    if node is None:
        return True
    if not isinstance(node, yaml.ScalarNode) or node.tag != "tag:yaml.org,2002:bool":
        raise ValueError(f"{_at(path, node)}: reported is neither true nor false; one of these is required")
    return bool(yaml.safe_load(node.value))


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
    if problem := control_character(node.value, "\n\t") or markup(node.value):
        raise ValueError(f"{_at(path, node)}: {name} {problem}")
    return str(node.value)


def _at(path: Path, node: yaml.Node) -> str:
    return f"{path}:{node.start_mark.line + 1}"

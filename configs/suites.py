"""Prompt suites: the YAML format, its strict reading, and what a template around a prompt must be.

A suite lists its prompts one by one, or gives templates and the words that each group puts into them, or both. Knows nothing of
models. Read by the sampling stage and, before anything runs, by whoever checks an experiment.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from configs.fields import Flag, NotNull, Section, Text
from configs.read import Keys, read_yaml
from configs.texts import normalised

SLOT = "{prompt}"
CHAT = "chat"  # in place of a template: the tokenizer's own
SYSTEM = f"{CHAT}: "  # and the system message that it is given
AGREE = "challenging_agree"  # the kind of prompts that are pushed as the challenging ones are, by an asker who is right
WORD = "{}"  # where a template of a suite takes a group's word


@dataclass(frozen=True)
class Prompt:
    """One prompt. `group` is its category, or the social group where prompts are compared over groups along `axis`.

    `word` is what a template took to name the group, where one did. `near`: it lies near a sample of a shipped dataset, without asking the
    same; results are given with and without such prompts.
    """

    id: str
    group: str
    text: str
    kind: str | None = None
    axis: str | None = None
    word: str | None = None
    near: bool = False


@dataclass(frozen=True)
class Suite:
    """Prompts in their canonical order. `form` tells whether they are questions, put into a template, or openings to go on from.

    Prompts that are not `reported` are for choosing data and settings; a result on them is none.
    """

    name: str
    form: str
    prompts: tuple[Prompt, ...]
    reported: bool = True


def around(template: str, system: str | None) -> str:
    """What stands around a question, as `model_registry.tokenization` reads it: the template, with the message of the system."""
    return template if system is None else SYSTEM + system


def check_template(template: str) -> None:
    """Raises ValueError unless the template names the prompt exactly once, or is the tokenizer's own."""
    if template != CHAT and not template.startswith(SYSTEM) and template.count(SLOT) != 1:
        raise ValueError(f"template {template!r}: {SLOT} occurs {template.count(SLOT)} times; exactly once is required")


# ---- the file -------------------------------------------------------------------------------------------------------------


def _takes_a_word(template: str) -> str:
    if template.count(WORD) != 1:
        raise ValueError(f"{WORD} occurs {template.count(WORD)} times; exactly once is required")
    return template


def _no_word_of_ours(group: str) -> str:
    if group == "all" or group.startswith(("kind:", "axis:")):
        raise ValueError(f'"{group}" stands for prompts of several groups; another name is required')
    return group


Group = Annotated[Text, AfterValidator(_no_word_of_ours)]


class _Listed(Section):
    id: Text
    group: Group
    text: Text
    kind: Annotated[Literal["challenging", "challenging_agree", "neutral"] | None, NotNull] = None
    axis: Annotated[Text | None, NotNull] = None
    near: Flag = False


class _Templates(Section):
    groups: dict[Group, Annotated[tuple[Text, ...], Field(min_length=1)]] = Field(min_length=1)
    texts: tuple[Annotated[Text, AfterValidator(_takes_a_word)], ...] = Field(min_length=1)


class _File(Section):
    suite: Text
    form: Literal["question", "continuation"]
    reported: Flag = True
    prompts: tuple[_Listed, ...] = Field((), min_length=1)
    templates: dict[Text, _Templates] = Field({}, min_length=1, description="by axis")

    @model_validator(mode="after")
    def _asks_something(self) -> _File:
        if not (self.prompts or self.templates):
            raise ValueError("neither prompts nor templates; one of them is required")
        return self


def load_suite(path: Path) -> Suite:
    """Read a suite.

    Raises:
        BadInput: `file:line: key.path: what is wrong, what would be accepted`, a line a fault.
    """
    document = read_yaml(path)
    given = document.read(_File)
    prompts: dict[str, Prompt] = {}
    texts: dict[tuple[str | None, str], tuple[str, Keys]] = {}  # of which prompt, and where it comes from
    faults: dict[Keys, str] = {}
    for at, template_at, prompt in _prompts(given):
        if prompt.id in prompts:
            faults.setdefault(at, f'id "{prompt.id}" stands twice; an id of its own is required')
            continue
        prompts[prompt.id] = prompt
        same, same_at = texts.setdefault((prompt.axis, normalised(prompt.text)), (prompt.id, template_at))
        if same != prompt.id:
            told = f'"{prompt.id}" is "{same}" over again, but for case, punctuation or Unicode form; keep one'
            faults.setdefault(at if same_at == template_at else template_at, told)  # one template: the word says another again
    if faults:
        raise document.refusal(list(faults.items()))
    return Suite(given.suite, given.form, tuple(prompts.values()), given.reported)


def _prompts(given: _File) -> Iterator[tuple[Keys, Keys, Prompt]]:
    """Every prompt of the file, with where it stands: those of templates are every group's words in every template, and stand where
    the word does and where the template does."""
    for index, listed in enumerate(given.prompts):
        yield ("prompts", index), ("prompts", index), Prompt(**dict(listed))
    words = [
        (
            (axis, group, word),
            templates,
            ("templates", axis, "groups", group, place),
            _slug(axis, group, *([word] if held[1:] else [])),
        )
        for axis, templates in given.templates.items()
        for group, held in templates.groups.items()
        for place, word in enumerate(held)
    ]
    named = Counter(slug for *_, slug in words)
    for (axis, group, word), templates, place, slug in words:
        name = (
            slug if named[slug] == 1 else f"{slug}-{hashlib.sha256(repr((axis, group, word)).encode()).hexdigest()[:6]}"
        )  # C++, C#
        for index, text in enumerate(templates.texts):
            prompt = Prompt(f"{name}-{index + 1}", group, text.replace(WORD, word), axis=axis, word=word)
            yield place, ("templates", axis, "texts", index), prompt


def _slug(*parts: str) -> str:
    """Letters with their marks, digits, and hyphens for the rest."""
    kept = ("".join(c if c == "_" or unicodedata.category(c)[0] in "LMN" else "-" for c in part.casefold()) for part in parts)
    return "-".join(re.sub(r"-+", "-", part).strip("-") for part in kept)

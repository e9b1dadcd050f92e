"""`palms show`: what the arms answered to one prompt, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from configs.called import suite_words
from configs.problems import BadInput, accepted, near
from flows.commands.words import fitted, harmless, out
from flows.engine.home import Home
from flows.outputs import Outputs
from tasks.compare.answers import Answer, Answers, answers
from tasks.compare.report import wording
from tasks.contract import Axes
from tasks.sampling.completions import Completion, read_completions
from tasks.sampling.stage import STAGE as SAMPLING

NARROWEST = 22  # columns that an answer needs beside others; below it they stand one under the other
LONGEST = 1200  # characters of an answer, where not all of it is asked for


def show(
    prompt: Annotated[str, typer.Argument(help="a prompt's id, or the beginning of its id or text that no other has")],
    sweep: Annotated[str | None, typer.Option(help="a sweep's id or the beginning of it; default: the latest")] = None,
    size: Annotated[str | None, typer.Option(help="a model size; default: the largest that was sampled")] = None,
    suite: Annotated[str | None, typer.Option(help="the suite of the prompt; default: all are looked through")] = None,
    everything: Annotated[bool, typer.Option("--all", help="every completion, whole; default: the first of each arm")] = False,
) -> None:
    """Show what the arms answered to one prompt, side by side, with label and score.

    Examples:  palms show he-health-1   |   palms show "Can you explain asthma" --size 30k --all
    """
    outputs = Outputs.of(Home.named(), sweep)
    model = _size(outputs, size)
    here = {label: axes for label, axes in outputs.places.items() if axes.model == model}
    which, said = _prompt(prompt, dict(_prompts(outputs, here, suite)))
    labels = [label for label, axes in here.items() if axes.suite in (None, which)]
    settings = outputs.settings
    found = answers(outputs.sources(labels), (settings.primary_suite, settings.primary_metric), settings.secondary)
    held = next(one for one in found if one.suite == which)
    if outputs.note.calibration:
        out.print("calibration: these answers validate the machinery and say nothing about real models", style="yellow")
    fitted(out, Text(harmless(said.prompt), style="bold"))
    told = f"the first of {held.draws}; --all shows all" if not everything else f"all of {held.draws}"
    place = [
        said.prompt_id,
        said.group,
        *([said.kind] if said.kind else []),
        f"{suite_words(which)} ({which})",
        held.size,
        outputs.sweep,
        told,
    ]
    fitted(out, Text(harmless(" · ".join(place)), style="dim"))
    out.print()
    fitted(out, beside(held, said.prompt_id, None if everything else 1, out.width))
    for line in _moved(held, said.prompt_id):
        fitted(out, Text(harmless(line)))


# ---- what is asked for ------------------------------------------------------------------------------------------------------


def _sampled(outputs: Outputs, places: Iterable[str]) -> list[str]:
    """The labels of completions that are there."""
    return [label for label in places if label.split("/")[0] == SAMPLING.name and outputs.manifest(label)]


def _size(outputs: Outputs, size: str | None) -> str:
    """The model that is meant, with its ladder. Raises BadInput where none or several are."""
    places = [outputs.places[label] for label in _sampled(outputs, outputs.places)]
    sizes = {axes.model: axes.size for axes in places if axes.model and axes.size}
    if not sizes:
        raise BadInput(f"sweep {outputs.sweep} has no answers yet; `palms status {outputs.sweep}` tells how far it is")
    if size is None:
        return max(sizes, key=lambda model: outputs.note.params.get(model) or 0)
    meant = [model for model in sizes if size in (model, sizes[model])]
    if len(meant) > 1:
        raise BadInput(f"--size {size}: several ladders have it; {accepted(size, meant)}")
    if not meant:
        raise BadInput(f"--size {size}: not sampled in this sweep; {accepted(size, list(dict.fromkeys(sizes.values())))}")
    return meant[0]


def _prompts(outputs: Outputs, here: dict[str, Axes], suite: str | None) -> Iterator[tuple[tuple[str, str], Completion]]:
    """(suite, id) → a completion of each prompt that was sampled. Raises BadInput for an unknown suite."""
    first: dict[str, str] = {}
    for label in _sampled(outputs, here):
        first.setdefault(here[label].suite or "", label)
    if suite is not None and suite not in first:
        raise BadInput(f"--suite {suite}: not sampled in this sweep; {accepted(suite, sorted(first))}")
    for name, label in first.items():
        if suite in (None, name) and (found := outputs.manifest(label)):
            yield from (((name, row.prompt_id), row) for row in read_completions(found.folder) if row.repeat == 0)


def _prompt(given: str, known: dict[tuple[str, str], Completion]) -> tuple[str, Completion]:
    """The suite and the prompt that are meant. Raises BadInput where none or several are."""
    meant = [place for place in known if place[1] == given]
    if not meant:
        low = given.casefold()
        texts = {place: (place[1].casefold(), row.prompt.casefold()) for place, row in known.items()}
        meant = [place for place, held in texts.items() if any(text.startswith(low) for text in held)]
    if len(meant) == 1:
        return meant[0][0], known[meant[0]]
    if not meant:
        raise BadInput(f"{given}: no such prompt; {_nearest(given, [name for _, name in known])}")
    several = ", ".join(f"{name} ({suite})" for suite, name in meant[:6]) + (" …" if len(meant) > 6 else "")
    remedy = "give --suite" if len({name for _, name in meant}) == 1 else "give one of them"
    raise BadInput(f"{given}: {len(meant)} prompts begin so: {several}; {remedy}")


def _nearest(given: str, names: Sequence[str]) -> str:
    """The closest id, or, of many that are unlike it, the first few."""
    return near(given, names) or f"there are {', '.join(names[:4])}" + (f" and {len(names) - 4} more" if len(names) > 4 else "")


# ---- what is printed --------------------------------------------------------------------------------------------------------


def beside(held: Answers, prompt: str, many: int | None, width: int) -> RenderableType:
    """The first `many` answers (None: all) of each arm, a column an arm; one under the other where columns would be too narrow."""
    arms = list(held.runs)
    columns = {arm: [_cell(one, whole=many is None) for one in held.of(arm, prompt, many)] for arm in arms}
    if width // len(arms) < NARROWEST:
        return Group(*(Group(Text(wording.arm_words(arm), style="bold"), *cells, Text()) for arm, cells in columns.items()))
    table = Table(box=None, pad_edge=False, header_style="bold", width=width)
    for arm in arms:
        table.add_column(wording.arm_words(arm), ratio=1, overflow="fold")
    for row in range(max(map(len, columns.values()))):
        table.add_row(*(cells[row] if row < len(cells) else Text("not sampled", style="dim") for cells in columns.values()))
    return table


def _cell(one: Answer, whole: bool) -> Text:
    text, marks = (
        one.text.strip(),
        [*one.labels, *(f"{name.replace('_', ' ')} {wording.plain(value)}" for name, value in one.scores)],
    )
    cut = "" if whole or len(text) <= LONGEST else f" … {len(text) - LONGEST:,} more characters"
    said = Text(harmless(text if whole else text[:LONGEST]) or "(empty)", overflow="fold")
    said.append(cut, style="dim")
    return said.append("\n" + harmless(", ".join(marks)) + "\n", style="dim")


def _moved(held: Answers, prompt: str) -> Iterator[str]:
    """The means of the prompt in all arms, and how far they lie apart."""
    values = {arm: value for arm in held.runs if (value := held.value(arm, prompt)) is not None}
    if not values:
        return
    kind = next(iter(values.values())).kind
    means = ", ".join(f"{wording.arm_words(arm)} {wording.level(value.value, value.kind)}" for arm, value in values.items())
    yield f"{held.sources.words(held.metric or '')}, over {held.draws}: {means}"
    differences = [
        f"{wording.arm_words(contrast)} {wording.difference(apart, kind)}"
        for contrast in held.sources.arms.contrasts
        if (apart := held.difference(contrast, prompt)) is not None
    ]
    if differences:
        yield f"{wording.with_unit(', '.join(differences), kind)} (one prompt: no interval)"

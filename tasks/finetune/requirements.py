"""What an arm with texts or a regulariser asks of what it reads: told before anything runs. Loads nothing heavy."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from configs.schema import Tuned
from configs.suites import Suite
from tasks.datasets.plain_texts import CLEAR, PlainText
from tasks.datasets.rows import Row
from tasks.finetune import methods
from tasks.finetune.attributes import Attributes, leaked

LEAST = 10  # clear texts of each side that a projection on sentiment is fitted to: fewer say little of a direction


def unsupervised(name: str, arm: Tuned) -> str:
    """What to say of texts or a regulariser beside anything but samples; empty where it is right."""
    if methods.found()[arm.method].learns == "samples":
        return ""
    supervised = [method for method, one in methods.found().items() if one.learns == "samples"]
    key = f"arms.{name}.{'fairness' if arm.fairness else 'texts'}"
    return f"{key}: {arm.method} is no supervised method; one of {', '.join(supervised)} is required with it"


def unmet(
    name: str,
    arm: Tuned,
    samples: tuple[Path, Sequence[Row]],
    texts: tuple[Path, Sequence[PlainText]] | None,
    attributes: Attributes | None,
    suites: Collection[Suite],
) -> Iterator[str]:
    """What is wrong, a line each: a prompt of a suite in what is read, no sequence that holds a sensitive token, or too
    few texts of clear sentiment. `samples` and `texts`: from which file, and those of it that are read."""
    path, rows = samples
    held = [(path, row.line, f"sample {row.id}", row.text) for row in rows if attributes]
    if texts:
        held += [(texts[0], text.line, f"text {text.id}", text.whole) for text in texts[1]]
    places = {f"{file}:{line}: {name}": text for file, line, name, text in held}
    if leaks := list(leaked(places.items(), suites, attributes)):
        place, prompt = leaks[0]
        more = f" (and {len(leaks) - 1} more)" if leaks[1:] else ""
        yield f"{place} holds prompt {prompt} of a suite, whichever value stands in it; texts without one are required{more}"
    if attributes and not any(attributes.standing_in([text]) for text in places.values()):
        yield (
            f"arms.{name}.fairness.attributes: no sample of {path}{f' and no text of {texts[0]}' if texts else ''} holds a value of "
            f"{', '.join(arm.fairness.attributes if arm.fairness else ())}; some that do are required"
        )
    if arm.fairness and arm.fairness.regulariser == "sentiment" and texts:
        sides = [text.side for text in texts[1]]
        if (least := min(sides.count(0), sides.count(1))) < LEAST:
            yield (
                f"{texts[0]}: {least} texts of one side have a sentiment beyond {CLEAR:g}; {LEAST} on either side are required to fit "
                "what fairness.regulariser: sentiment reads"
            )

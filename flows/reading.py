"""Whether a model that lies in a local folder can read what an experiment asks of it: every prompt and every sample, in its own tokens,
before any stage starts.

What makes tokens of text is `model_registry.tokenization`. Models of the hub are looked at once they are fetched, in *prepare*, and their
prompts and samples by the stages that use them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from configs.schema import Experiment
from configs.suites import SLOT, load_suite
from model_registry.catalog import Model
from tasks.contract import File
from tasks.datasets.rows import load_rows
from tasks.datasets.subset import choose


def read_by(
    experiment: Experiment, model: Model, suites: Mapping[str, File], datasets: Mapping[str, File], problems: list[str]
) -> str | None:
    """How a local model reads a prompt and where it answers; None where it cannot, and `problems` then says why, a line a file."""
    from model_registry.tokenization import STAND_IN, Tokenization, Turn, load_tokenization

    def unread(words: Tokenization, turn: Turn) -> Iterator[tuple[str, str, Callable[[], object]]]:
        """file, place in it, and what finds out whether the model can read what stands there"""
        for name, file in suites.items():
            suite, new = load_suite(file.path), experiment.suites[name].max_new_tokens
            around = turn if suite.form == "question" else words.turn(SLOT)
            for prompt in suite.prompts:
                yield str(file.path), f"prompt {prompt.id}", partial(words.asked, around, prompt.text, new)
        for file in datasets.values():
            chosen = partial(choose, load_rows(file.path), max(experiment.train_samples))  # smaller subsets lie within
            yield str(file.path), "train_samples", chosen
            with suppress(ValueError):  # told by the line above
                for row in chosen():
                    yield f"{file.path}:{row.line}", f"sample {row.id}", partial(words.sample, turn, row.prompt, row.completion)

    try:
        words = load_tokenization(Path(model.source.id))
        turn = words.turn(experiment.template)
        words.asked(turn, STAND_IN)
    except ValueError as error:
        problems.append(f"{model.name}: {error}")
        return None
    found: dict[str, list[str]] = {}
    for file, place, read in unread(words, turn):
        try:
            read()
        except ValueError as error:
            found.setdefault(file.partition(":")[0], []).append(f"{file}: {place}: {error} ({model.name})")
    for first, *more in found.values():
        problems.append(f"{first}" + (f"; and {len(more)} more of this file" if more else ""))
    return None if found else words.told(turn)

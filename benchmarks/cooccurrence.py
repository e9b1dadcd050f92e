"""Seconds and memory of the co-occurrence stage over many completions of about fifty words, and HELM's algorithm beside it.

    python -m benchmarks.cooccurrence [completions]

HELM's `BiasMetric` (Liang et al. 2022) by its definition, as `tests.test_group_distances` has it written out, over the same axes and lists:
its cost is the same for each text, so it is timed on some, before and after the stage's steps, and its median a text is multiplied.

Texts are words drawn one by one as often as they occur in the word counts that textblob ships (29,000 words of books), some with
punctuation, so that almost all texts differ; a group word of the prompt is put into every second one. Prompts are those of the
shipped suite. All runs in one process. Seconds of a core do not count what other
processes take from it. The peak is that of the process that ran the stage's steps.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from configs.shipped import CONFIGS
from configs.suites import load_suite
from tasks.evaluations.cooccurrence import stage
from tasks.evaluations.cooccurrence.stage import SOCIAL_GROUPS, TARGETS
from tasks.sampling.completions import COMPLETIONS
from tests import defaults
from tests.test_group_distances import helm_association, helm_representation

SUITE = CONFIGS / "prompts" / "cooccurrence.yaml"
WORDS = 50
PART = 5  # texts that HELM's algorithm is timed on at once


def write(folder: Path, completions: int) -> int:
    """Write a sampling folder; returns how many completions it has: the same number for every prompt."""
    from textblob.en import spelling

    counts = dict(spelling.items())
    words, rng = np.array(list(counts)), np.random.default_rng(0)
    odds = np.array(list(counts.values()), dtype=float)
    odds /= odds.sum()
    marks = np.array(["", ",", ".", "!", "'s"])
    prompts = load_suite(SUITE).prompts
    repeats = completions // len(prompts)
    with (folder / COMPLETIONS).open("w", encoding="utf-8") as stream:
        for prompt in prompts:
            for start in range(0, repeats, 10_000):
                size = min(10_000, repeats - start)
                drawn = rng.choice(words, (size, WORDS), p=odds)
                drawn[::2, 7] = prompt.word or ""
                drawn = np.char.add(drawn, rng.choice(marks, (size, WORDS), p=[0.86, 0.06, 0.06, 0.01, 0.01]))
                for repeat, row in enumerate(drawn, start):
                    line = {"prompt_id": prompt.id, "group": prompt.group, "repeat": repeat, "text": " " + " ".join(row)}
                    stream.write(json.dumps(line) + "\n")
    return repeats * len(prompts)


def measure(folder: Path) -> None:
    """Run the stage's steps over a sampling folder and print what each took."""
    from tasks.evaluations.cooccurrence import measures
    from tasks.evaluations.cooccurrence.counting import Counter
    from tasks.evaluations.cooccurrence.groups import load_axes
    from tasks.evaluations.cooccurrence.targets import load_targets
    from tasks.sentiment import vader

    settings, suite, total = defaults.settings(stage), load_suite(SUITE), 0.0
    axes, targets = load_axes(SOCIAL_GROUPS, settings.axes), load_targets(TARGETS, settings.targets)
    some, before = some_texts(folder), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    theirs = [helm(texts, axes, targets) for texts in some[::2]]

    def timed(name: str, work: Callable[[], Any]) -> Any:
        nonlocal total
        began, used = time.perf_counter(), time.process_time()
        result = work()
        took, used = time.perf_counter() - began, time.process_time() - used
        total += used
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{name:42} {used:7.1f} s of a core, {took:7.1f} s by the clock; peak so far {peak:.2f} GiB", flush=True)
        return result

    spent: dict[str, float] = {"counting": 0.0, "sentiment": 0.0}

    def clocked(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            began = time.process_time()
            try:
                return function(*arguments)
            finally:
                spent[name] += time.process_time() - began

        return call

    Counter.add = clocked("counting", Counter.add)  # type: ignore[method-assign]
    measures.vader = clocked("sentiment", vader)
    counted = timed("read, count, score", lambda: measures.read(folder, suite, axes, targets))
    for name, seconds in spent.items():
        print(f"  of these {name:31} {seconds:7.1f} s")
    shared = measures.templates(suite, axes)
    arguments = (settings.prior, settings.permutations, settings.top, settings.seed)
    timed("log-odds and their cut", lambda: measures.favoured_words(counted, shared, axes, *arguments))
    null = (settings.permutations, settings.seed)
    timed("representation and its null", lambda: measures.group_representation(counted, axes, *null))
    timed("association and its null", lambda: measures.group_association(counted, axes, targets, *null))
    timed("levels of sentiment", lambda: measures.sentiment_rows(counted))
    words = counted.counts.words
    print(
        f"{len(counted.prompt):,} completions, {words.shape[1]:,} adjectives and adverbs, {words.nnz / words.shape[0]:.1f} a completion"
    )
    print(
        f"together {total:.1f} s of a core; without sentiment {total - spent['sentiment']:.1f} s ({settings.permutations:,} permutations)"
    )
    theirs += [helm(texts, axes, targets) for texts in some[1::2]]
    held, each = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, statistics.median(theirs)
    print(f"memory: {held * 1024 / len(counted.prompt):,.0f} bytes a completion at the peak")
    print(
        f"HELM's algorithm: {1e3 * each:.1f} ms a text ({1e3 * min(theirs):.1f} to {1e3 * max(theirs):.1f}), so "
        f"{each * len(counted.prompt):,.0f} s of a core: {each * len(counted.prompt) / total:.0f} × as long as all of this, "
        f"{each * len(counted.prompt) / (total - spent['sentiment']):.0f} × as long as this without sentiment"
    )


def some_texts(folder: Path) -> list[list[str]]:
    """Ten parts of the first texts."""
    with (folder / COMPLETIONS).open(encoding="utf-8") as stream:
        texts = [json.loads(line)["text"] for line in islice(stream, 10 * PART)]
    return [texts[start : start + PART] for start in range(0, len(texts), PART)]


def helm(texts: list[str], axes: Mapping[str, Any], targets: Mapping[str, Sequence[str]]) -> float:
    """Seconds of a core a text that its algorithm takes for what the stage measures."""
    used = time.process_time()
    for axis in axes.values():
        groups = [list(words) for words in axis.words.values()]
        helm_representation(texts, groups)
        for listed in targets.values():
            helm_association(texts, groups, list(listed))
    return (time.process_time() - used) / len(texts)


def main(completions: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{write(folder, completions):,} completions written, {(folder / COMPLETIONS).stat().st_size / 2**30:.2f} GiB")
        process = multiprocessing.get_context("spawn").Process(target=measure, args=(folder,))  # none of the writer's memory
        process.start()
        process.join()
        sys.exit(process.exitcode)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)

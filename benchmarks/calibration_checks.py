"""The evaluation checked where the truth is known: `python -m benchmarks.calibration_checks [EXPERIMENTS] [SEED]`, 100 and 0 by default.

Oracle and trained arms: how often intervals hold the truth; A/A: how often chance is called a difference; fidelity: whether base
says what was planted; dilution: whether the order of known shares is found; the scorer's confusion table. Ends with status 1 where a
bar is missed. It says nothing about real models.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar

from benchmarks.calibration import dilution, fidelity, oracle, trained, trials
from benchmarks.calibration.trials import AA, QUANTITIES, TESTED, Found, Trial, Truth, controls
from benchmarks.calibration.workshop import Workshop
from model_registry.calibration.grammar import load_grammar
from tasks.compare.confusion import Confusion
from tasks.statistics import Interval

NOTICE = "CALIBRATION: small models and texts made from a grammar with planted bias. This checks the evaluation; it says nothing about real models."
DILUTED_SIZES, LADDER = ("30k", "100k"), ("30k", "100k", "300k")


def main(count: int, seed: int) -> int:
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    disable_progress_bar()
    missed: list[str] = []
    print(NOTICE)
    with tempfile.TemporaryDirectory() as folder:
        shop = Workshop(Path(folder))
        for part in (oracle_part, trained_part, fidelity_part, dilution_part):
            began = time.monotonic()
            for line in part(shop, count, seed, missed):
                print(line, flush=True)
            print(f"    {time.monotonic() - began:.0f} s", flush=True)
    print(f"\n{NOTICE}\nmissed: {'; '.join(missed) or 'nothing'}")
    return 1 if missed else 0


def oracle_part(shop: Workshop, count: int, seed: int, missed: list[str]) -> Iterator[str]:
    grammar, dag = load_grammar(), controls(oracle.SIZE)
    truth = oracle.truths(grammar, shop, dag)
    answered = oracle.answered(grammar, dag)
    found = list(trials.run_trials(shop, trials.population(grammar), count, 1000 * seed, answered, dag))
    yield f"\n(a) oracle: the grammar answers, truth in closed form; {count} experiments of 40 redrawn prompts"
    yield from coverage(found, {"truth": truth}, missed, "oracle")
    for metric in TESTED:
        zero, alarms = trials.covered(found, (AA, metric), 0.0), trials.false_alarms(found, (AA, metric))
        yield (
            f"    A/A, base again minus base, {metric}: 0 held by {zero} of {count} (bar {trials.least_covered(count)}); "
            f"p < .05 in {alarms} (at most {trials.most_alarms(count)})"
        )
        if zero < trials.least_covered(count) or alarms > trials.most_alarms(count):
            missed.append(f"oracle A/A {metric}")


def trained_part(shop: Workshop, count: int, seed: int, missed: list[str]) -> Iterator[str]:
    grammar, dag = load_grammar(), controls(trained.SIZE)
    truths = trained.truths(grammar, shop, dag)
    prompts = trials.population(grammar, without=(trained.TUNING,))
    found = list(trials.run_trials(shop, prompts, count, 1000 * seed, trained.answered(dag), dag))
    yield (
        f"\n(b) trained arms at {trained.SIZE}: truth by {truths.prompts} prompts × {trained.TRUTH_SAMPLES} samples, and exactly where "
        f"the grammar has it; {count} experiments of 40 redrawn prompts"
    )
    yield from coverage(found, {"sampled truth": truths.sampled, "exact truth": truths.exact}, missed, "trained")


def coverage(found: Sequence[Trial], truths: dict[str, Truth], missed: list[str], where: str) -> Iterator[str]:
    """A line a quantity: each truth, and how many of the trials' intervals hold it."""
    bar = trials.least_covered(len(found))
    yield (
        f"    {'arm or difference':22}{'metric':16}"
        + "".join(f"{name:>16}{'covered':>10}" for name in truths)
        + f"   bar {bar} of {len(found)}"
    )
    for quantity in QUANTITIES:
        line = f"    {quantity[0]:22}{quantity[1]:16}"
        for name, truth in truths.items():
            held = trials.covered(found, quantity, truth[quantity]) if quantity in truth else None
            line += f"{'–':>16}{'–':>10}" if held is None else f"{truth[quantity]:16.4f}{held:10}"
            if held is not None and held < bar:
                missed.append(f"{where} {' '.join(quantity)} ({name}): {held}")
        yield line


def fidelity_part(shop: Workshop, count: int, seed: int, missed: list[str]) -> Iterator[str]:
    dag = controls(*LADDER)
    within = f"within ±{100 * fidelity.MARGIN:g} points, two one-sided tests at 5 %"
    yield f"\n(c) fidelity: base minus grammar, {fidelity.SAMPLES} samples a prompt at temperature 1, top-p 1; {within}"
    yield f"    {'size':8}{'label':16}{'planted':>9}{'measured':>10}{'difference':>12}  90% interval"
    for size in LADDER:
        for row in fidelity.fidelity(load_grammar(), shop, dag, size):
            held = row.found.interval
            yield (
                f"    {row.size:8}{row.metric:16}{row.planted:9.1%}{row.measured:10.1%}{100 * held.value:+12.2f}  "
                f"[{100 * held.low:+.2f}, {100 * held.high:+.2f}]  {row.found.verdict} ({row.prompts} prompts)"
            )
            if row.found.verdict != "equivalent":
                missed.append(f"fidelity {row.size} {row.metric}: {row.found.verdict}")


def dilution_part(shop: Workshop, count: int, seed: int, missed: list[str]) -> Iterator[str]:
    found, tables = dilution.controls(shop, controls(*DILUTED_SIZES), DILUTED_SIZES)
    yield f"\n(d) controls: the values data diluted to {', '.join(map(str, dilution.SHARES.values()))} %, and base sampled again; in points"
    for row in found:
        yield f"    {row.size}: order of the shares {'recovered' if row.ordered else 'NOT recovered'}"
        for arm, level in row.levels.items():
            name = f"level at {dilution.SHARES[arm]} % ({arm})"
            yield f"      {name:34}{dilution.METRIC:16}{points(level, '')}"
        for step, gain in row.steps.items():
            yield f"      {step:34}{dilution.METRIC:16}{points(gain)}"
        for metric, again in row.again.items():
            yield f"      {AA:34}{metric:16}{points(again)}  0 {'held' if again.holds(0.0) else 'not held'}"
        if not row.ordered:
            missed.append(f"dilution {row.size}: order")
    yield "\n(e) the scorer's confusion table (toxic, clean, off the grammar: the grammar's label; called toxic: a score of 0.5 or more)"
    yield f"    {'size':8}{'arm':18}{'toxic':>7}{'called':>8}{'clean':>8}{'called':>8}{'off':>6}{'called':>8}  sensitivity, specificity"
    for table in tables:
        yield "    " + confusion(table)


def confusion(table: Confusion) -> str:
    counts = ""
    for labels, width in ((("toxic",), 7), (("on_position", "neutral"), 8), (("off_grammar",), 6)):
        called = table.of(labels, True)
        counts += f"{called + table.of(labels, False):{width}}{called:8}"
    return f"{table.axes.size or '':8}{table.axes.arm or '':18}{counts}  {share(table.sensitivity)}, {share(table.specificity)}"


def share(found: Interval | None) -> str:
    return "–" if found is None else f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}]"


def points(found: Found, sign: str = "+") -> str:
    """In percentage points; differences with their sign."""
    value, low, high = ("–" if x is None else f"{100 * x:{sign}.1f}" for x in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    sys.exit(main(*(*given, *(100, 0)[len(given) :])))

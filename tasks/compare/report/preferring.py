"""What was learned from preferences: of each arm, what it started from and how well it holds them, what its reward model knows, and how reward and
distance went while it was tuned.

Knows which numbers stand together and their drawing. What they are is `tasks.preference`'s to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tasks.compare.comparison import Comparison
from tasks.compare.report import figures, tables, wording
from tasks.compare.report.figures import Panel
from tasks.compare.report.tables import Cell, Table
from tasks.compare.upstream import Output, Sources
from tasks.drawing.figures import Line, curves
from tasks.drawing.panel import NARROW
from tasks.preference.stage import REWARD

# series → what its axis is called
CURVES = {
    "reward": "reward",
    "kl_from_start": "KL from start, nats",
    "held_out_margin": "held-out margin, nats a token",
    "implicit_reward_margin": "implicit reward margin",
}
COLUMNS = ("preference_accuracy", "optimiser_steps", "reward_gain", "kl_from_start", "stopped_at_step")


def arms(found: Comparison) -> list[Output]:
    """The tuned arms that learned from preferences, at the largest dataset size, in the order of the report."""
    nodes = [node for node in found.sources.of("finetune") if node.level("preference_accuracy")]
    return figures.largest_tuned(nodes, lambda node: node.axes)


def table(found: Comparison) -> Table:
    """An arm and seed a row."""
    sources, held = found.sources, arms(found)
    names = [name for name in COLUMNS if any(node.level(name) for node in held)]
    rewards = {node.axes: node for node in sources.of(REWARD.name)}
    scored = ["reward model right on held-out", "95% interval", "calibration error"] if rewards else []
    made = Table(["size", "arm", "starts from", "seed", *map(sources.words, names), *scored])
    for node in held:
        cells = [Cell(wording.plain(level.value) if (level := node.level(name)) else "–") for name in names]
        made.rows.append(
            [
                tables.text(sources.named(node.axes.ladder, node.axes.size)),
                tables.arm(node.axes.arm),
                tables.text(start_of(node, sources)),
                tables.text(node.axes.seed),
                *cells,
                *(_scored(rewards.get(node.axes)) if rewards else ()),
            ]
        )
    return made


def _scored(reward: Output | None) -> Sequence[Cell]:
    if (
        reward is None
        or (right := reward.level("reward_accuracy")) is None
        or (error := reward.level("reward_calibration_error")) is None
    ):
        return [Cell("–")] * 3
    return [
        Cell(f"{right.value:.0%}"),
        Cell(wording.between(f"{right.ci_low or 0:.0%}", f"{right.ci_high or 0:.0%}")),
        Cell(wording.plain(error.value)),
    ]


def start_of(node: Output, sources: Sources) -> str:
    """The arm that an arm was tuned further from, or the reference arm's words for the untuned model."""
    digest = node.identity.get("inputs", {}).get("start")
    if digest is None:
        return wording.arm_words(sources.arms.reference)
    found = (one for one in sources.of("finetune") if one.digest == digest and one.axes.size == node.axes.size)
    return wording.arm_words(next((one.axes.arm or "" for one in found), "another arm"))


def panels(found: Comparison) -> Iterator[Panel]:
    """Each curve of a size, a line an arm; an arm's further seeds are pale."""
    sources, held = found.sources, arms(found)
    for ladder, sizes in sources.sizes.items():
        for size in sizes:
            here = [node for node in held if (node.axes.ladder, node.axes.size) == (ladder, size)]
            for name, words in CURVES.items():
                drawn = [node for node in here if node.series.get(name)]
                if drawn:
                    lines = [_line(node, name, drawn[:i], sources) for i, node in enumerate(drawn)]
                    caption = f"{sources.named(ladder, size)}: {words}"
                    svg = curves(lines, "optimiser step", words, width=NARROW, height=2.2, alt=caption)
                    yield Panel(f"preference-{name}-{ladder}-{size}", caption, svg, narrow=True)


def _line(node: Output, name: str, before: Sequence[Output], sources: Sources) -> Line:
    x, y = zip(*node.series[name], strict=True)
    first = node.axes.arm not in {one.axes.arm for one in before}
    colour = figures.colours(sources)[node.axes.arm or ""]
    return Line(wording.arm_words(node.axes.arm or "") if first else "", x, y, colour, markers=False, alpha=1.0 if first else 0.4)

"""The report: one HTML page that holds everything it shows, and the figures as files of their own.

Knows the order of the page's sections. The words come from `answer`, the tables from `cells`, the drawings from `panels`; the page
asks nothing of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from tasks.compare import answer, cells, favoured, panels, words
from tasks.compare.cells import Table
from tasks.compare.contrasts import CATEGORY_PROMPTS, SEEDS_CROSSED, TOXICITY, Contrast
from tasks.compare.panels import Panel
from tasks.compare.trends import Trend
from tasks.compare.truth import scorer_shares, truths
from tasks.compare.upstream import Sources
from tasks.drawing.figures import inline
from tasks.drawing.page import page_style
from tasks.drawing.palette import variable

FIGURES = "figures"
SHOWN_ELSEWHERE = ("prepare", "finetune", "sampling", "truth", "toxicity", "cooccurrence")


@dataclass
class Section:
    """A part of the page. `tables` are (title, table, folded) in reading order, below the panels."""

    anchor: str
    title: str
    lead: str = ""
    panels: list[Panel] = field(default_factory=list)
    tables: list[tuple[str, Table, bool]] = field(default_factory=list)
    grids: list[favoured.Grid] = field(default_factory=list)
    key: str = ""  # which legend stands above the panels: "", "arms", "truth"

    @property
    def empty(self) -> bool:
        return not (self.panels or self.grids or any(table.rows for _, table, _ in self.tables))


@dataclass(frozen=True)
class Comparison:
    """What the page is about."""

    sources: Sources
    differences: Sequence[Contrast]
    slopes: Sequence[Trend]
    settings: Any

    @property
    def outcome(self) -> tuple[str, str]:
        """Suite and metric of the primary outcome."""
        return self.settings.primary_suite, self.settings.primary_metric


def write_report(folder: Path, found: Comparison) -> None:
    """Write report.html, and each of its drawings as figures/NAME.svg."""
    made = [_primary, _cost, _toxicity, _categories, _truth, _cooccurrence, _further, _trend]
    sections = [section for make in made if not (section := make(found)).empty]
    (folder / FIGURES).mkdir(exist_ok=True)
    for panel in (panel for section in sections for panel in section.panels):
        (folder / FIGURES / f"{panel.name}.svg").write_text(panel.svg, encoding="utf-8")
    (folder / "report.html").write_text(_page(sections, found), encoding="utf-8")


# ---- sections, in the order of the page ---------------------------------------------------------------------------


def _primary(found: Comparison) -> Section:
    suite, metric = found.outcome
    rows = [row for row in found.differences if (row.suite, row.metric, row.group) == (suite, metric, "all")]
    lead = (
        f"The primary outcome, named before sampling: {words.metric_words(metric)} on {suite}. Arms are paired by prompt. "
        "A star marks an adjusted p below .05; intervals are unadjusted."
    )
    drawn = [
        *panels.outcome(found.sources, found.differences, suite, metric),
        *panels.dataset_sizes(found.sources, found.differences, suite, metric),
    ]
    return Section("primary", "Primary outcome", lead, drawn, _contrast_tables("Contrasts", rows, found.sources))


def _cost(found: Comparison) -> Section:
    lead = "What each tuned arm took. Losses of different sizes and datasets are not comparable with one another."
    return Section(
        "cost", "Cost of tuning", lead, list(panels.losses(found.sources)), [("Training runs", cells.cost(found.sources), False)]
    )


def _toxicity(found: Comparison) -> Section:
    sources = found.sources
    lead = (
        "The secondary outcome: the mean score of a pinned local scorer, with a Holm family of its own. "
        "A level depends on the scorer and is not comparable with another scorer's."
    )
    drawn: list[Panel] = []
    tables: list[tuple[str, Table, bool]] = []
    for suite in sorted({node.axes.suite or "" for node in sources.of("toxicity")}):
        rows = [row for row in found.differences if (row.suite, row.metric, row.group) == (suite, TOXICITY, "all")]
        nodes = [node for node in sources.of("toxicity") if node.axes.suite == suite]
        drawn += panels.outcome(sources, found.differences, suite, TOXICITY)
        tables += _contrast_tables(f"Contrasts of mean toxicity, {suite}", rows, sources)
        tables.append((f"All toxicity measures, {suite}", cells.levels(sources, nodes, found.differences), True))
    return Section("toxicity", "Toxicity", lead, drawn, tables)


def _categories(found: Comparison) -> Section:
    suite, metric = found.outcome
    rows = [row for row in found.differences if (row.suite, row.metric) == (suite, metric) and row.group != "all"]
    fewest = min((row.n for row in rows), default=0)
    lead = f"Differences in {words.metric_words(metric)} within each category. " + (
        f"Descriptive: a category has as few as {fewest} prompts, below the {CATEGORY_PROMPTS} that a test within it needs, so there are no stars."
        if fewest < CATEGORY_PROMPTS
        else "Tests are adjusted within each table by Benjamini and Hochberg."
    )
    drawn = list(panels.categories(found.sources, found.differences, suite, metric))
    tables = [("Differences by category, shaded on one scale", cells.heat(rows, found.sources), False)]
    return Section("categories", "By category", lead, drawn, tables, key="arms")


def _truth(found: Comparison) -> Section:
    rows = truths(found.sources)
    known = [row for row in rows if row.covered is not None]
    errors = [row.fit_error for row in rows if row.fit_error is not None and row.axes.arm == "base"]
    lead = "Measured: the share of sampled answers. Exact: the model's own rate, computed without sampling. "
    lead += "Planted: what the grammar was given; only base has one. "
    if known:
        lead += f"{sum(bool(row.covered) for row in known)} of {len(known)} measured 95% intervals hold the exact rate. "
    if errors:
        low, high = words.difference(min(errors), "rate"), words.difference(max(errors), "rate")
        lead += f"Fit error of base, exact {words.MINUS} planted, lies between {low} and {high} percentage points. "
    lead += "Answers off the grammar are a class of their own; the grammar's label and the scorer's are different things."
    drawn = list(panels.truth(found.sources, rows, found.outcome[0]))
    tables = [("Every label", cells.truth(rows, scorer_shares(found.sources), found.sources), True)]
    return Section("truth", "Calibration: measured, exact, planted", lead, drawn, tables, key="truth")


def _cooccurrence(found: Comparison) -> Section:
    nodes = sorted(found.sources.of("cooccurrence"), key=lambda node: found.sources.order(node.axes))
    lead = (
        "Words that lead for one group over the others, by log-odds z with raw counts. A ranking, conditional on these templates; "
        "words in bold lie beyond what permuted group labels give."
    )
    tables = [("All measures", cells.levels(found.sources, nodes, found.differences), True)]
    return Section("cooccurrence", "Co-occurrence", lead, grids=favoured.grids(nodes, found.sources), tables=tables)


def _further(found: Comparison) -> Section:
    nodes = [node for node in found.sources.nodes if node.stage not in SHOWN_ELSEWHERE and node.axes.arm is not None]
    tables = []
    for stage, suite in sorted({(node.stage, node.axes.suite or "") for node in nodes}):
        held = [node for node in nodes if (node.stage, node.axes.suite or "") == (stage, suite)]
        tables.append((f"{stage.replace('_', ' ')}, {suite}", cells.levels(found.sources, held, found.differences), True))
    return Section("further", "All other measures", "Outside the two families: no test, intervals only.", tables=tables)


def _trend(found: Comparison) -> Section:
    outcomes = dict.fromkeys((row.metric, row.suite) for row in found.slopes)
    drawn = [panel for metric, suite in outcomes for panel in panels.trends(found.sources, found.slopes, metric, suite)]
    lead = (
        "Slopes per tenfold parameters. The first interval speaks of these trained models over prompts, the second of model sizes. "
        "“Rises with size” is said by the second only, and from four sizes on."
    )
    return Section("trend", "Over sizes", lead, drawn, [("Slopes", cells.trend(found.slopes, found.sources), False)])


def _contrast_tables(title: str, rows: Sequence[Contrast], sources: Sources) -> list[tuple[str, Table, bool]]:
    """The rows that speak for the largest dataset size, and below them, folded, single runs and smaller dataset sizes too."""
    main = answer.largest(answer.speaking(rows))
    tables = [(title, cells.differences(main, sources), False)]
    return (
        tables
        if len(main) == len(rows)
        else [*tables, (f"{title}: every run and dataset size", cells.differences(rows, sources), True)]
    )


# ---- the page -----------------------------------------------------------------------------------------------------


def _page(sections: Sequence[Section], found: Comparison) -> str:
    here, settings = files("tasks.compare"), found.settings
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((here / "report.html.j2").read_text(encoding="utf-8"))
    return template.render(
        settings=settings,
        headline=answer.headline(found.differences, settings),
        asides=answer.asides(found.differences, settings),
        sections=sections,
        drawings={
            panel.name: Markup(inline(panel.svg, f"f{i}")) for i, panel in enumerate(p for s in sections for p in s.panels)
        },
        arms=_arms(found.sources),
        colours=_arm_variables(found.sources),
        style=page_style(),
        script=Markup((here / "report.js").read_text(encoding="utf-8")),
        facts=_facts(found),
        provenance=cells.provenance(found.sources),
        reading=_reading(found),
        arm_words=words.arm_words,
        group_words=words.group_words,
    )


def _arms(sources: Sources) -> list[str]:
    """The method's own arms first, in the order of their colours."""
    present = {node.axes.arm for node in sources.nodes if node.axes.arm}
    return [name for name in panels.colours(sources) if name in present]


def _arm_variables(sources: Sources) -> dict[str, str]:
    """arm → the CSS variable of its colour."""
    return {name: variable(colour) for name, colour in panels.colours(sources).items()}


def _facts(found: Comparison) -> list[tuple[str, str]]:
    """The few numbers that say what was compared."""
    nodes, outcome = found.sources.nodes, found.outcome
    primary = [row for row in found.differences if (row.suite, row.metric) == outcome and row.group == "all"]
    seeds = {node.axes.seed for node in found.sources.of("finetune")}
    facts = [
        ("sizes", "; ".join(f"{ladder} {', '.join(held)}" for ladder, held in found.sources.sizes.items())),
        ("arms", ", ".join(words.arm_words(name) for name in _arms(found.sources))),
        ("samples tuned on", ", ".join(map(str, sorted({node.axes.samples for node in nodes if node.axes.samples})))),
        ("training seeds", str(len(seeds)) if seeds else ""),
        ("prompts", f"{primary[0].n} on {outcome[0]}" if primary else ""),
    ]
    return [(name, value) for name, value in facts if value]


def _reading(found: Comparison) -> list[str]:
    if any(not row.own_seed for row in found.differences):
        runs = f"From {SEEDS_CROSSED} training seeds on, seeds are crossed with prompts and the interval speaks of the method; ticks are single runs."
    else:
        runs = f"With fewer than {SEEDS_CROSSED} training seeds every interval is conditional on this run: another may differ by more than it shows."
    raters = " and on these raters" if found.sources.of("human_eval") else ""
    return [
        "The prompt is the unit: a prompt's completions are averaged first, arms are paired by prompt, categories are strata of equal weight.",
        f"Intervals are 95%, two-sided and not adjusted for how many there are. They are conditional on this kind of prompts{raters}.",
        runs,
        f"p values come from a stratified, studentised sign-flip with {found.settings.resamples} draws (from the t interval where seeds are "
        "crossed), adjusted by Holm over every size and dataset size of a ladder, against base and against control. Toxicity is a second family.",
        f"A category below {CATEGORY_PROMPTS} prompts is descriptive: with five prompts a sign-flip cannot go below p = 2/32.",
        "“Not shown” is not “absent”: the column “detectable” is the difference that these prompts would find four times in five.",
        "d is Cohen's d over completions, with a jackknife interval over prompts; it does not grow with the number of completions.",
    ]

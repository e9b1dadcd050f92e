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

from tasks.compare import answer, cells, favoured, palette, panels, words
from tasks.compare.cells import Table
from tasks.compare.contrasts import CATEGORY_PROMPTS, SEEDS_CROSSED, TOXICITY, Contrast
from tasks.compare.figures import inline
from tasks.compare.panels import Panel
from tasks.compare.trends import Trend
from tasks.compare.truth import scorer_shares, truths
from tasks.compare.upstream import Sources

FIGURES = "figures"
SHOWN_ELSEWHERE = ("prepare", "finetune", "sampling", "truth", "adherence", "human_eval", "toxicity", "cooccurrence")


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


def write_report(folder: Path, sources: Sources, differences: Sequence[Contrast], slopes: Sequence[Trend], settings: Any) -> None:
    """Write report.html, and each of its drawings as figures/NAME.svg."""
    made = [_primary, _cost, _toxicity, _categories, _truth, _cooccurrence, _further, _trend]
    sections = [section for make in made if not (section := make(sources, differences, slopes, settings)).empty]
    (folder / FIGURES).mkdir(exist_ok=True)
    for panel in (panel for section in sections for panel in section.panels):
        (folder / FIGURES / f"{panel.name}.svg").write_text(panel.svg, encoding="utf-8")
    (folder / "report.html").write_text(_page(sections, sources, differences, settings), encoding="utf-8")


# ---- sections, in the order of the page ---------------------------------------------------------------------------


def _primary(sources: Sources, differences: Sequence[Contrast], slopes: Sequence[Trend], settings: Any) -> Section:
    suite, metric = settings.primary_suite, settings.primary_metric
    rows = [row for row in differences if (row.suite, row.metric, row.group) == (suite, metric, "all")]
    lead = (
        f"The primary outcome, named before sampling: {words.metric_words(metric)} on {suite}. Arms are paired by prompt. "
        "A star marks an adjusted p below .05; intervals are unadjusted."
    )
    drawn = [*panels.outcome(sources, differences, suite, metric), *panels.dataset_sizes(sources, differences, suite, metric)]
    return Section("primary", "Primary outcome", lead, drawn, _contrast_tables("Contrasts", rows, sources))


def _cost(sources: Sources, differences: Sequence[Contrast], slopes: Sequence[Trend], settings: Any) -> Section:
    lead = "What each tuned arm took. Losses of different sizes and datasets are not comparable with one another."
    return Section("cost", "Cost of tuning", lead, list(panels.losses(sources)), [("Training runs", cells.cost(sources), False)])


def _toxicity(sources: Sources, differences: Sequence[Contrast], slopes: Sequence[Trend], settings: Any) -> Section:
    nodes = sources.of("toxicity")
    suites = sorted({node.axes.suite or "" for node in nodes})
    rows = [row for row in differences if (row.metric, row.group) == (TOXICITY, "all")]
    lead = "The secondary outcome: the mean score of a pinned local scorer, with a Holm family of its own. A level depends on the scorer; differences less so."
    drawn = [panel for suite in suites for panel in panels.outcome(sources, differences, suite, TOXICITY)]
    tables = [t for suite in suites for t in _contrast_tables(f"Contrasts of mean toxicity, {suite}", [r for r in rows if r.suite == suite], sources)]
    tables += [
        (f"All toxicity measures, {suite}", cells.levels(sources, [n for n in nodes if n.axes.suite == suite], differences), True) for suite in suites
    ]
    return Section("toxicity", "Toxicity", lead, drawn, tables)


def _categories(sources: Sources, differences: Sequence[Contrast], slopes: Sequence[Trend], settings: Any) -> Section:
    suite, metric = settings.primary_suite, settings.primary_metric
    rows = [row for row in differences if (row.suite, row.metric) == (suite, metric)]
    fewest = min((row.n for row in rows if row.group != "all"), default=0)
    lead = f"Differences in {words.metric_words(metric)} within each category. "
    lead += (
        f"Descriptive: a category has as few as {fewest} prompts, below the {CATEGORY_PROMPTS} that a test within a category needs, so there are no stars."
        if fewest < CATEGORY_PROMPTS
        else "Tests are adjusted within each table by Benjamini and Hochberg."
    )
    return Section(
        "categories",
        "By category",
        lead,
        list(panels.categories(sources, differences, suite, metric)),
        [("Differences by category, shaded on one scale", cells.heat(rows, sources), False)],
        key="arms",
    )


def _truth(sources: Sources, differences: Sequence[Contrast], slopes: Sequence[Trend], settings: Any) -> Section:
    found = truths(sources)
    known = [row for row in found if row.covered is not None]
    errors = [row.fit_error for row in found if row.fit_error is not None and row.axes.arm == "base"]
    lead = "Measured: the share of sampled answers. Exact: the model's own rate, computed without sampling. Planted: what the grammar was given; only base has one. "
    if known:
        lead += f"{sum(bool(row.covered) for row in known)} of {len(known)} measured 95% intervals hold the exact rate. "
    if errors:
        lead += f"Fit error of base, exact {words.MINUS} planted, lies between {words.difference(min(errors), 'rate')} and {words.difference(max(errors), 'rate')} percentage points. "
    lead += "Answers off the grammar are a class of their own; the grammar's label and the scorer's are different things."
    return Section(
        "truth",
        "Calibration: measured, exact, planted",
        lead,
        list(panels.truth(sources, found, settings.primary_suite)),
        [("Every label", cells.truth(found, scorer_shares(sources), sources), True)],
        key="truth",
    )


def _cooccurrence(sources: Sources, differences: Sequence[Contrast], slopes: Sequence[Trend], settings: Any) -> Section:
    nodes = sorted(sources.of("cooccurrence"), key=lambda node: sources.order(node.axes))
    lead = (
        "Words that lead for one group over the others, by log-odds z with raw counts. A ranking, conditional on these templates; "
        "words in bold lie beyond what permuted group labels give."
    )
    return Section(
        "cooccurrence",
        "Co-occurrence",
        lead,
        grids=favoured.grids(nodes, sources),
        tables=[("All measures", cells.levels(sources, nodes, differences), True)],
    )


def _further(sources: Sources, differences: Sequence[Contrast], slopes: Sequence[Trend], settings: Any) -> Section:
    nodes = [node for node in sources.nodes if node.stage not in SHOWN_ELSEWHERE and node.axes.arm is not None]
    rated = [node for stage in ("human_eval", "adherence") for node in sources.of(stage)]
    tables = [
        (stage.replace("_", " "), cells.levels(sources, [n for n in (*nodes, *rated) if n.stage == stage], differences), True)
        for stage in sorted({node.stage for node in (*nodes, *rated)})
    ]
    return Section("further", "All other measures", "Outside the two families: no test, intervals only.", tables=tables)


def _trend(sources: Sources, differences: Sequence[Contrast], slopes: Sequence[Trend], settings: Any) -> Section:
    outcomes = dict.fromkeys((row.metric, row.suite) for row in slopes)
    drawn = [panel for metric, suite in outcomes for panel in panels.trends(sources, slopes, metric, suite)]
    lead = (
        "Slopes per tenfold parameters. The first interval speaks of these trained models over prompts, the second of model sizes. "
        "“Rises with size” is said by the second only, and from four sizes on."
    )
    return Section("trend", "Over sizes", lead, drawn, [("Slopes", cells.trend(slopes, sources), False)])


def _contrast_tables(title: str, rows: Sequence[Contrast], sources: Sources) -> list[tuple[str, Table, bool]]:
    """The rows that speak for the largest dataset size, and below them, folded, single runs and smaller dataset sizes too."""
    main = answer.largest(answer.speaking(rows))
    tables = [(title, cells.differences(main, sources), False)]
    return tables if len(main) == len(rows) else [*tables, (f"{title}: every run and dataset size", cells.differences(rows, sources), True)]


# ---- the page -----------------------------------------------------------------------------------------------------


def _page(sections: Sequence[Section], sources: Sources, differences: Sequence[Contrast], settings: Any) -> str:
    here = files("tasks.compare")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((here / "report.html.j2").read_text(encoding="utf-8"))
    return template.render(
        settings=settings,
        headline=answer.headline(differences, settings),
        asides=answer.asides(differences, settings),
        sections=sections,
        drawings={panel.name: Markup(inline(panel.svg, f"f{i}")) for i, panel in enumerate(p for s in sections for p in s.panels)},
        legend=[(name, words.arm_words(name)) for name in _arms(sources)],
        colours=_colours(sources),
        style=Markup((here / "report.css").read_text(encoding="utf-8")),
        script=Markup((here / "report.js").read_text(encoding="utf-8")),
        facts=_facts(sources, differences, settings),
        provenance=cells.provenance(sources),
        marked=[node for node in sources.nodes if node.marks],
        reading=_reading(sources, differences, settings),
        arm_words=words.arm_words,
        group_words=words.group_words,
    )


def _arms(sources: Sources) -> list[str]:
    return sorted(
        {node.axes.arm for node in sources.nodes if node.axes.arm},
        key=lambda name: (name not in palette.FIXED, list(palette.FIXED).index(name) if name in palette.FIXED else 0, name),
    )


def _colours(sources: Sources) -> dict[str, Any]:
    """CSS variables: every literal of the drawings in light and dark, and each arm's name for its colour."""
    return {
        "light": {palette.variable(colour): colour for colour in palette.DARK},
        "dark": {palette.variable(colour): dark for colour, dark in palette.DARK.items()},
        "arms": {name: palette.variable(colour) for name, colour in panels.colours(sources).items()},
    }


def _facts(sources: Sources, differences: Sequence[Contrast], settings: Any) -> list[tuple[str, str]]:
    """The few numbers that say what was compared."""
    primary = [row for row in differences if (row.suite, row.metric, row.group) == (settings.primary_suite, settings.primary_metric, "all")]
    sizes = [f"{ladder} {', '.join(held)}" for ladder, held in sources.sizes.items()]
    samples = sorted({node.axes.samples for node in sources.nodes if node.axes.samples})
    seeds = sorted({node.axes.seed for node in sources.of("finetune") if node.axes.seed is not None})
    found = [("sizes", "; ".join(sizes)), ("arms", ", ".join(words.arm_words(name) for name in _arms(sources)))]
    found += [("samples tuned on", ", ".join(map(str, samples)))] if samples else []
    found += [("training seeds", str(len(seeds)))] if seeds else []
    found += [("prompts", f"{primary[0].n} on {settings.primary_suite}")] if primary else []
    return [(name, value) for name, value in found if value]


def _reading(sources: Sources, differences: Sequence[Contrast], settings: Any) -> list[str]:
    crossed = any(not row.own_seed for row in differences)
    runs = (
        f"From {SEEDS_CROSSED} training seeds on, seeds are crossed with prompts and the interval speaks of the method; ticks are single runs."
        if crossed
        else f"Fewer than {SEEDS_CROSSED} training seeds: every interval is conditional on this run. Another run of the same training would move the estimate by more than the interval shows."
    )
    return [
        "The prompt is the unit: a prompt's completions are averaged first, arms are paired by prompt, categories are strata of equal weight.",
        "Intervals are 95%, two-sided and not adjusted for how many there are. They are conditional on these prompts being a sample of their kind"
        + (" and on these raters." if sources.of("human_eval") else "."),
        runs,
        f"p values come from a stratified, studentised sign-flip with {settings.resamples} draws (from the t interval where seeds are crossed), "
        "adjusted by Holm over the sizes of a ladder × {values-targeted − base, values-targeted − control}. Toxicity is a second such family.",
        f"A category below {CATEGORY_PROMPTS} prompts is descriptive: with five prompts a sign-flip cannot go below p = 2/32.",
        "“Not shown” is not “absent”: the column “detectable” is the difference that these prompts would find four times in five.",
        "d is Cohen's d over completions, with a jackknife interval over prompts; it does not grow with the number of completions.",
    ]

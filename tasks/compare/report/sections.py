"""The sections of the report: what each shows, in which words.

The tables come from `cells` and the modules that know a measure, the drawings from `panels`. A section that has nothing to show is empty,
and the page leaves it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.compare import capability, confusion, samples
from tasks.compare.comparison import Comparison
from tasks.compare.contrasts import CATEGORY_PROMPTS, TOXICITY, Difference
from tasks.compare.report import favoured
from tasks.compare.report import figures as panels
from tasks.compare.report import headline as answer
from tasks.compare.report import tables as cells
from tasks.compare.report import wording as words
from tasks.compare.report.figures import Panel
from tasks.compare.report.tables import Table
from tasks.compare.truth import scorer_shares, truths
from tasks.compare.upstream import Output, Sources
from tasks.contract import read_json
from tasks.evaluations.counterfactual.measures import DISPARITY
from tasks.evaluations.judge.judge import RATING
from tasks.evaluations.judge.stage import JUDGE

SHOWN_ELSEWHERE = (
    "prepare",
    "finetune",
    "capability",
    "sampling",
    "truth",
    "toxicity",
    "cooccurrence",
    "counterfactual",
    "judge",
)


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


def primary(found: Comparison) -> Section:
    suite, metric = found.outcome
    rows = [row for row in found.differences if (row.suite, row.metric, row.group) == (suite, metric, "all")]
    lead = (
        f"The primary outcome, named {named(found)}: {words.metric_words(metric)} on {suite}. Arms are paired by prompt. "
        "A star marks an adjusted p below .05; intervals are unadjusted."
    )
    drawn = [
        *panels.outcome(found.sources, found.differences, suite, metric),
        *panels.dataset_sizes(found.sources, found.differences, suite, metric),
        *panels.dataset_heat(found.sources, found.differences, suite, metric),
    ]
    tables = _contrast_tables("Contrasts", rows, found.sources)
    if needed := samples.needs(found.sources, found.differences, suite, metric):
        tables.append(("Samples that each size needs for the same difference", cells.needs(needed, found.sources), False))
    return Section("primary", "Primary outcome", lead, drawn, tables)


def named(found: Comparison) -> str:
    """When the outcome was: before sampling, but for contrasts that were added later."""
    late = found.settings.late
    return "before sampling" + (
        f" but for {words.listed([words.arm_words(one) for one in late])}, which are exploratory" if late else ""
    )


def cost(found: Comparison) -> Section:
    lead = "What each tuned arm took. Losses of different sizes and datasets are not comparable with one another."
    return Section(
        "cost", "Cost of tuning", lead, list(panels.losses(found.sources)), [("Training runs", cells.cost(found.sources), False)]
    )


def toxicity(found: Comparison) -> Section:
    sources = found.sources
    suites = sorted({node.axes.suite or "" for node in sources.of("toxicity")})
    secondary = [suite for suite in suites if (suite, TOXICITY) != found.outcome]  # what is primary stands in its own section
    lead = "The mean score of a pinned local scorer. A level depends on the scorer and is not comparable with another scorer's."
    if secondary:
        lead = f"The secondary outcome, on {words.listed(secondary)}, with a Holm family of its own: {lead[0].lower()}{lead[1:]}"
    drawn: list[Panel] = []
    tables: list[tuple[str, Table, bool]] = []
    for suite in suites:
        rows = [row for row in found.differences if (row.suite, row.metric, row.group) == (suite, TOXICITY, "all")]
        nodes = [node for node in sources.of("toxicity") if node.axes.suite == suite]
        if suite in secondary:
            drawn += panels.outcome(sources, found.differences, suite, TOXICITY)
            tables += _contrast_tables(f"Contrasts of mean toxicity, {suite}", rows, sources)
        tables.append((f"All toxicity measures, {suite}", cells.levels(sources, nodes, found.differences), True))
    return Section("toxicity", "Toxicity", lead, drawn, tables)


def categories(found: Comparison) -> Section:
    suite, metric = found.outcome
    rows = [row for row in found.differences if (row.suite, row.metric) == (suite, metric) and row.group != "all"]
    tested = sum(row.n >= CATEGORY_PROMPTS for row in rows)
    lead = f"Differences in {words.metric_words(metric)} within each category. "
    if tested:
        lead += "Tests are adjusted within each column by Benjamini and Hochberg. "
    if tested < len(rows):
        lead += f"A category below {CATEGORY_PROMPTS} prompts is descriptive and has no star."
    drawn = list(panels.categories(found.sources, found.differences, suite, metric))
    tables = [("Differences by category, shaded on one scale", cells.heat(rows, found.sources), False)]
    return Section("categories", "By category", lead, drawn, tables, key="arms")


def truth(found: Comparison) -> Section:
    rows = truths(found.sources)
    known = [row for row in rows if row.covered is not None]
    errors = [row.fit_error for row in rows if row.fit_error is not None and row.axes.arm == found.sources.arms.reference]
    lead = "Measured: the share of sampled answers. Exact: the model's own rate, computed without sampling. "
    reference = words.arm_words(found.sources.arms.reference)
    lead += "Planted: what the grammar was given; only an untuned model has one. "
    if known:
        lead += f"{sum(bool(row.covered) for row in known)} of {len(known)} measured 95% intervals hold the exact rate"
        lead += " (arms and sizes share their random numbers prompt by prompt, so misses come together). "
    if errors:
        low, high = words.difference(min(errors), "rate"), words.difference(max(errors), "rate")
        lead += f"Fit error of {reference}, exact {words.MINUS} planted, lies between {low} and {high} percentage points. "
    lead += "Answers off the grammar are a class of their own; the grammar's label and the scorer's are different things."
    drawn = list(panels.truth(found.sources, rows, found.outcome[0]))
    tables = [
        ("Every label", cells.truth(rows, scorer_shares(found.sources), found.sources), True),
        (
            "What the scorer makes of answers whose label is known",
            confusion.table(confusion.confusions(found.sources, found.settings.toxicity_threshold), found.sources),
            True,
        ),
    ]
    return Section("truth", "Calibration: measured, exact, planted", lead, drawn, tables, key="truth")


def cooccurrence(found: Comparison) -> Section:
    nodes = found.sources.of("cooccurrence")
    lead = (
        "Words that lead for one group over the others, by log-odds z with raw counts. A ranking, conditional on these templates; "
        "words in bold lie beyond what permuted group labels give."
    )
    tables = [
        ("Distances from equal shares", cells.distances(nodes, found.sources), True),
        ("All measures", cells.levels(found.sources, nodes, found.differences), True),
    ]
    return Section("cooccurrence", "Co-occurrence", lead, grids=favoured.grids(nodes, found.sources), tables=tables)


def judged(found: Comparison) -> Section:
    """A model's opinion of the completions, under that model's name."""
    nodes = found.sources.of("judge")
    names = dict.fromkeys(read_json(node.folder / JUDGE)["named"] for node in nodes)
    lead = (
        f"Ratings from 1 to 5 {words.listed(list(names))}: one model's opinion, with the position statement as its rubric. It stands "
        "beside people's ratings and never in their place; the order effect is how far a rating moves when its options are read the "
        "other way round."
        if names
        else ""
    )
    drawn = [panel for suite in _suites(nodes) for panel in panels.outcome(found.sources, found.differences, suite, RATING)]
    tables = [("All measures of the judge", cells.levels(found.sources, nodes, found.differences), True)]
    return Section("judged", "Judged automatically", lead, drawn, tables)


def counterfactual(found: Comparison) -> Section:
    """Whether sentiment hangs on one word of the prompt, with what a model that ignores the word would look like."""
    nodes = found.sources.of("counterfactual")
    lead = (
        "How far the sentiment of completions differs between prompts that differ in one word. Distances are biased upward, so each stands "
        "beside its mean under permuted words; arms are compared by the energy distance, which is not. A model that ignores the word is "
        "perfectly fair: relevance and perplexity say what its fairness is worth."
    )
    drawn = [
        panel
        for suite in _suites(nodes)
        for panel in panels.outcome(found.sources, found.differences, suite, DISPARITY, "template")
    ]
    tables = [
        ("Distances over the values of each attribute", cells.distances(nodes, found.sources), False),
        ("Disparity, relevance and perplexity", cells.levels(found.sources, nodes, found.differences), True),
    ]
    return Section("counterfactual", "Counterfactual sentiment", lead, drawn, tables)


def capable(found: Comparison) -> Section:
    """What tuning cost in ability: a verdict against margins that were set before."""
    rows = found.verdicts
    nodes = found.sources.of("capability")
    settings, reference = found.settings, words.arm_words(found.sources.arms.reference)
    lead = (
        f"{' '.join(capability.sentences(rows, found.sources))} Kept: the one-sided 95% limit of the loss lies within the margin "
        f"({settings.margin_nats:g} nats a token on prose, {100 * settings.margin_accuracy:g} points of accuracy, tasks of equal weight); "
        f"lost: beyond it; else inconclusive. A task on which {reference} is less than {100 * settings.above_chance:g} points above chance "
        "is left out."
    ).strip()
    tables = [
        ("Verdicts", capability.table(rows, found.sources), False),
        ("All measures of capability", cells.levels(found.sources, nodes, found.differences), True),
    ]
    return Section("capability", "Capability", lead, list(panels.kept(found.sources, rows)), tables)


def further(found: Comparison) -> Section:
    nodes = [node for node in found.sources.nodes if node.stage not in SHOWN_ELSEWHERE and node.axes.arm is not None]
    tables = []
    for stage, suite in sorted({(node.stage, node.axes.suite or "") for node in nodes}):
        held = [node for node in nodes if (node.stage, node.axes.suite or "") == (stage, suite)]
        tables.append((f"{stage.replace('_', ' ')}, {suite}", cells.levels(found.sources, held, found.differences), True))
    return Section("further", "All other measures", "Outside the two families: no test, intervals only.", tables=tables)


def trend(found: Comparison) -> Section:
    outcomes = dict.fromkeys((row.metric, row.suite) for row in found.slopes)
    drawn = [panel for metric, suite in outcomes for panel in panels.trends(found.sources, found.slopes, metric, suite)]
    lead = (
        "Slopes per tenfold parameters. The first interval speaks of these trained models over prompts, the second of model sizes. "
        "“Rises with size” is said by the second only, and from four sizes on."
    )
    return Section("trend", "Over sizes", lead, drawn, [("Slopes", cells.trend(found.slopes, found.sources), False)])


def _contrast_tables(title: str, rows: Sequence[Difference], sources: Sources) -> list[tuple[str, Table, bool]]:
    """The rows that speak for the largest dataset size, and below them, folded, single runs and smaller dataset sizes too."""
    main = answer.largest(answer.speaking(rows))
    tables = [(title, cells.differences(main, sources), False)]
    return (
        tables
        if len(main) == len(rows)
        else [*tables, (f"{title}: every run and dataset size", cells.differences(rows, sources), True)]
    )


def _suites(nodes: Sequence[Output]) -> list[str]:
    return list(dict.fromkeys(node.axes.suite or "" for node in nodes))


# in the order of the page
ALL = (primary, cost, capable, toxicity, judged, categories, truth, cooccurrence, counterfactual, further, trend)

"""The sections of the report below its first screen: what each shows, in which words. All are folded; a line says what is in them.

The tables come from `tables` and the modules that know a measure, the drawings from `figures`. What is said of an evaluation is
declared with it; here stands what only some of them show. A section that has nothing to show is empty, and the page leaves it out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from configs.called import suite_words
from tasks.compare import confusion, train_samples
from tasks.compare.comparison import Comparison
from tasks.compare.contrasts import CATEGORY_PROMPTS, Difference, largest, speaking
from tasks.compare.report import (
    capability_tables,
    distance,
    favoured,
    figures,
    frontier,
    identity,
    preferring,
    rater_tables,
    tables,
    truth_tables,
    ways,
    wording,
)
from tasks.compare.report.figures import Panel
from tasks.compare.report.headline import title
from tasks.compare.report.tables import Table
from tasks.compare.report.trials import trials
from tasks.compare.stage import Part
from tasks.compare.truth import scorer_shares, truths
from tasks.compare.upstream import Output
from tasks.contract import Measure, read_json
from tasks.evaluations.divergence.stage import RESPELT
from tasks.evaluations.judge import judge
from tasks.evaluations.judge.stage import JUDGE

Titled = tuple[str, Table, bool]  # title, table, folded
LEADING = (
    "rated",
    "capability",
    "toxicity",
    "judge",
)  # evaluations that a reader asks for first; the others follow in the order of their names


@dataclass
class Section:
    """A part of the page. `tables` are in reading order, below the panels."""

    anchor: str
    title: str
    lead: str = ""
    gist: str = ""  # what it comes to, beside the title of the folded section
    panels: list[Panel] = field(default_factory=list)
    tables: list[Titled] = field(default_factory=list)
    grids: list[favoured.Grid] = field(default_factory=list)
    key: str = ""  # which legend stands above the panels: "", "arms", "truth"

    @property
    def empty(self) -> bool:
        return not (self.panels or self.grids or any(table.rows for _, table, _ in self.tables))


def sections(found: Comparison) -> Iterator[Section]:
    """All of them, in the order of the page."""
    parts = {part.stage: part for part in found.settings.parts}
    leading = [name for name in LEADING if name in parts]
    yield from (primary(found), categories(found))
    yield from (of_evaluation(found, parts[name]) for name in leading)
    yield from (of_evaluation(found, part) for name, part in parts.items() if name not in leading)
    yield from (
        dataset_sizes(found),
        trend(found),
        of_ways(found),
        steps(found),
        preferred(found),
        fairness(found),
        truth(found),
        cost(found),
    )


def primary(found: Comparison) -> Section:
    suite, metric = found.outcome
    rows = [row for row in found.differences if (row.suite, row.metric, row.group) == (suite, metric, "all")]
    lead = (
        f"The primary outcome, named {named(found)}: {found.sources.words(metric)} on {suite_words(suite)}. Arms are paired by prompt. "
        "A star marks an adjusted p below .05; intervals are unadjusted. d grows as rates near 0 or 1: it is not comparable with d of ratings."
    )
    drawn = list(figures.outcome(found.sources, found.differences, suite, metric))
    below = _contrast_tables("Contrasts", rows, found)
    return Section("primary", "Primary outcome", lead, title(found, suite, metric), drawn, below)


def dataset_sizes(found: Comparison) -> Section:
    """What smaller datasets do, where more than one size of them was tuned on."""
    outcome = (found.sources, found.differences, *found.outcome)
    drawn = [*figures.train_samples(*outcome), *figures.dataset_heat(*outcome)]
    lead = (
        "Nested subsets of one dataset, against the reference arm alone. How many samples a size needs is where its mean differences first "
        "cross one line: it has no interval, and sizes are admitted by unadjusted intervals."
    )
    below = []
    if needed := train_samples.needs(*outcome):
        below.append(("Samples that each size needs for the same difference", tables.needs(needed, found.sources), False))
    return Section("dataset-size", "Dataset size × model size", lead, "", drawn, below)


def of_ways(found: Comparison) -> Section:
    """What arms that train different numbers of parameters did, and what it cost."""
    lead = (
        "How far each tuned arm moved the primary outcome from the reference arm, and what that cost on prose: in the order of how many parameters "
        "it trains, which stands beside its name, then against the seconds and the memory that its tuning took where it was made. Arms differ in "
        "rate and method too, and an arm on neutral data stands among them. Other work on the same machine makes seconds longer."
    )
    return Section("ways", "Ways of tuning", lead, "", list(ways.panels(found)))


def preferred(found: Comparison) -> Section:
    """What was learned from preferences."""
    lead = (
        "Arms that learned which of two answers is the better one, by the pairs themselves or by a reward model of them. A reward is a stand-in: "
        "what counts is the primary outcome, beside the divergence from base. What they moved it by, against base and control, is under Primary "
        "outcome; preferences are of prompts that nothing is reported on."
    )
    held = preferring.arms(found)
    below = [("What each held of its preferences", preferring.table(found), False)] if held else []
    return Section("preferences", "Preference tuning", lead, "", list(preferring.panels(found)), below)


def fairness(found: Comparison) -> Section:
    """What a fairness term does with its weight."""
    reference = wording.arm_words(found.sources.arms.reference)
    control = wording.listed([wording.arm_words(name) for name in found.sources.arms.controls])
    lead = (
        "Arms that differ in the weight λ of a fairness term alone. Fairness is a distance, of sentiment between values of an attribute, mean "
        "over attributes: 0 is fair, and chance alone is above it. Relevance is how much completions depend on the value at all; perplexity is "
        f"that of completions under {reference}. A model that ignores the value is perfectly fair, so none stands without the others. "
        f"{reference}{f' and {control} stand' if control else ' stands'} beside. Levels, without a test: λ is shown and not chosen here."
    )
    below = [("Fairness over λ", frontier.table(found), False)]
    return Section("fairness", "Fairness against λ", lead, "", list(frontier.panels(found)), below)


def steps(found: Comparison) -> Section:
    """What arms did at earlier steps of their training, where any were kept."""
    arms: Mapping[str, Mapping[str, Any]] = found.settings.experiment.get("arms", {})
    kept = [(name, arm["of"]) for name, arm in arms.items() if arm["method"] == "checkpoint"]
    runs = {
        of: (arms[of].get("start") or found.sources.arms.reference, *(name for name, other in kept if other == of), of)
        for _, of in kept
    }
    lead = (
        "Levels as training went on, from the model that it began as; the last point is the arm itself. One training run a line: what lies between "
        "two of its points is no test of anything."
    )
    suite, metric = found.outcome
    drawn = [
        panel
        for measured in dict.fromkeys((metric, *found.settings.secondary))
        for panel in figures.by_step(found.sources, runs, suite, measured)
    ]
    return Section("steps", "Behaviour by training step", lead, "", drawn)


def named(found: Comparison) -> str:
    """When the outcome was: before sampling, but for contrasts that were added later."""
    late = found.settings.late
    return "before sampling" + (
        f" but for {wording.listed([wording.arm_words(one) for one in late])}, which are exploratory" if late else ""
    )


def cost(found: Comparison) -> Section:
    lead = (
        "What each output took where it was made; one that was reused keeps its own time. Losses of different sizes and datasets are not "
        "comparable with one another."
    )
    below = [
        ("Training runs", tables.cost(found.sources), False),
        ("By stage", identity.cost_by_stage(found.sources.nodes), False),
    ]
    return Section("cost", "Cost", lead, "", list(figures.losses(found.sources)), below)


def of_evaluation(found: Comparison, part: Part) -> Section:
    """What an evaluation measured: its drawn measures and the secondary outcome with their contrasts, its distances, and every level."""
    nodes = found.sources.of(part.stage)
    made = Section(part.stage, part.title, part.lead)
    for suite in dict.fromkeys(node.axes.suite or "" for node in nodes):
        held = [node for node in nodes if (node.axes.suite or "") == suite]
        for measure in _shown(found, held, suite):
            made.panels += figures.outcome(found.sources, found.differences, suite, measure.metric, measure.of)
            if measure.secondary:
                rows = [row for row in found.differences if (row.suite, row.metric, row.group) == (suite, measure.metric, "all")]
                made.tables += _contrast_tables(f"Contrasts of {measure.words}, {suite_words(suite)}", rows, found)
        of_suite = f", {suite_words(suite)}" if suite else ""
        made.tables += [
            (f"Distances and their nulls{of_suite}", tables.distances(held, found.sources), True),
            (f"All measures{of_suite}", tables.levels(found.sources, held, found.differences), True),
        ]
    if secondary := [suite for suite, _ in _secondary(found, nodes)]:
        lead = part.lead[:1].lower() + part.lead[1:]
        named = wording.listed([suite_words(suite) for suite in secondary])
        made.lead = f"The secondary outcome, on {named}, with a Holm family of its own: {lead}"
        made.gist = title(found, *_secondary(found, nodes)[0])
    made.lead += "".join(f" Tried before it was believed: {said}." for said in trials(found.sources, stage=part.stage))
    return FURTHER[part.stage](found, made) if part.stage in FURTHER else made


def _shown(found: Comparison, nodes: Sequence[Output], suite: str) -> list[Measure]:
    """The measures that are drawn; what is primary stands in its own section."""
    there = {metric for node in nodes for metric in node.prompts}
    held = [one for one in found.sources.measures.values() if one.metric in there and (one.drawn or one.secondary)]
    return [one for one in held if (suite, one.metric) != found.outcome]


def _secondary(found: Comparison, nodes: Sequence[Output]) -> list[tuple[str, str]]:
    """(suite, metric) of the secondary outcomes among what some nodes measured."""
    named = [one.metric for one in found.sources.measures.values() if one.secondary]
    there = sorted({(node.axes.suite or "", metric) for node in nodes for metric in named if metric in node.prompts})
    return [outcome for outcome in there if outcome != found.outcome]


def categories(found: Comparison) -> Section:
    suite, metric = found.outcome
    rows = [row for row in found.differences if (row.suite, row.metric) == (suite, metric) and row.of_category]
    tested = sum(row.n >= CATEGORY_PROMPTS for row in rows)
    lead = f"Differences in {found.sources.words(metric)} within each category. "
    if tested:
        lead += "Tests are adjusted within each column by Benjamini and Hochberg. "
    if tested < len(rows):
        lead += f"A category below {CATEGORY_PROMPTS} prompts is descriptive and has no star."
    drawn = list(figures.categories(found.sources, found.differences, suite, metric))
    below = [("Differences by category, shaded on one scale", tables.heat(rows, found.sources), False)]
    return Section("categories", "By category", lead, "", drawn, below, key="arms")


def truth(found: Comparison) -> Section:
    rows = truths(found.sources)
    known = [row for row in rows if row.covered is not None]
    errors = [row.fit_error for row in rows if row.fit_error is not None and row.axes.arm == found.sources.arms.reference]
    lead = "Measured: the share of sampled answers. Exact: the model's own rate, computed without sampling. "
    reference = wording.arm_words(found.sources.arms.reference)
    lead += "Planted: what the grammar was given; only an untuned model has one. "
    if known:
        lead += f"{sum(bool(row.covered) for row in known)} of {len(known)} measured 95% intervals hold the exact rate"
        lead += (
            ". That is far fewer independent looks: labels of one suite are complements, and all arms and sizes share their random numbers "
            "prompt by prompt, so that one draw makes many misses. "
        )
    if errors:
        low, high = wording.difference(min(errors), "rate"), wording.difference(max(errors), "rate")
        lead += f"Fit error of {reference}, exact {wording.MINUS} planted, lies between {low} and {high} percentage points. "
    lead += "Answers off the grammar are a class of their own; the grammar's label and the scorer's are different things."
    drawn = list(figures.truth(found.sources, rows, found.outcome[0]))
    below = [
        ("Every label", truth_tables.truth(rows, scorer_shares(found.sources), found.sources), True),
        (
            "What the scorer makes of answers whose label is known",
            truth_tables.confusions(confusion.confusions(found.sources, found.settings.toxicity_threshold), found.sources),
            True,
        ),
    ]
    return Section("truth", "Calibration: measured, exact, planted", lead, "", drawn, below, key="truth")


def trend(found: Comparison) -> Section:
    outcomes = dict.fromkeys((row.metric, row.suite) for row in found.slopes)
    drawn = [panel for metric, suite in outcomes for panel in figures.trends(found.sources, found.slopes, metric, suite)]
    lead = (
        "Slopes per tenfold parameters. The first interval speaks of these trained models over prompts, the second of model sizes. "
        "“Rises with size” is said by the second only, and from four sizes on; over fewer it has so few degrees of freedom that it says nothing."
    )
    return Section("trend", "Over sizes", lead, "", drawn, [("Slopes", tables.trend(found.slopes, found.sources), False)])


def _contrast_tables(heading: str, rows: Sequence[Difference], found: Comparison) -> list[Titled]:
    """The rows that speak for the largest dataset size, and below them, folded, single runs and smaller dataset sizes too."""

    def spelled(held: Sequence[Difference]) -> Table:
        return tables.differences(held, found.sources, found.settings.resamples)

    main = largest(speaking(rows))
    every = [] if len(main) == len(rows) else [(f"{heading}: every run and dataset size", spelled(rows), True)]
    return [(heading, spelled(main), False), *every]


# ---- what only one evaluation has to show -----------------------------------------------------------------------------------


def _capable(found: Comparison, made: Section) -> Section:
    """A verdict against margins that were set before."""
    settings, reference = found.settings, wording.arm_words(found.sources.arms.reference)
    said = " ".join(capability_tables.verdict_sentences(found.verdicts, found.sources))
    made.lead = (
        f"{said} Kept: the one-sided 95% limit of the loss lies within the margin "
        f"({settings.margin_nats:g} nats a token on prose, {100 * settings.margin_accuracy:g} points of accuracy, tasks of equal weight); "
        f"lost: beyond it; else inconclusive. A task on which {reference} is less than {100 * settings.above_chance:g} points above chance "
        f"is left out. Each of the {len(found.verdicts)} verdicts stands alone, at one-sided 5%. An arm is judged against {reference} alone; "
        "the control's own verdicts stand beside it."
    ).strip()
    made.gist = said
    made.panels = list(figures.kept(found.sources, found.verdicts))
    made.tables.insert(0, ("Verdicts", capability_tables.verdicts(found.verdicts, found.sources), False))
    return made


def _judged(found: Comparison, made: Section) -> Section:
    """A model's opinion is told under that model's name."""
    who = {said["judge"]: said["named"] for node in found.sources.of(made.anchor) for said in [read_json(node.folder / JUDGE)]}
    if who:
        made.lead = f"Ratings from 1 to 5 {wording.listed(list(who.values()))}: {made.lead[0].lower()}{made.lead[1:]}"
    if any(judge.is_kin(name, model) for name in who for model in found.sources.models.values()):
        made.lead += (
            " The judge is one of the models that it judges, or of their kind, and may favour its own (Panickssery et al. 2024)."
        )
    unjudged = [
        f"{wording.arm_words(node.axes.arm or '')}, {found.sources.named(node.axes.ladder, node.axes.size)}: {level.value:.0f} of {level.n}"
        for node in found.sources.of(made.anchor)
        if (level := node.level("judge_missing")) is not None and level.value
    ]
    if unjudged:
        made.lead += (
            f" Without a verdict, and in no mean ({'; '.join(unjudged)}): what a judge will not read is not lost by chance."
        )
    return made


def _rated(found: Comparison, made: Section) -> Section:
    """Who rated, how far they agree, and what other raters might have made of it."""
    ratings = found.ratings
    if ratings.simulated:
        made.title = "Rated by simulated raters"
    if not ratings.rows:
        made.lead = (rater_tables.SIMULATED if ratings.simulated else "") + made.lead
        return made
    made.lead = rater_tables.lead(ratings).strip() + " " + made.lead
    made.tables += [
        (heading, table, folded) for heading, table, folded in rater_tables.tables(ratings, found.sources) if table.rows
    ]
    return made


def _favoured(found: Comparison, made: Section) -> Section:
    nodes = found.sources.of(made.anchor)
    made.grids = favoured.grids(nodes, found.sources)
    lists = favoured.lists(made.grids, nodes)
    made.lead += (
        f" A word is favoured beyond a cut that one list in twenty passes by chance: of {lists} lists, about {0.05 * lists:.1g} with such a "
        "word are expected where nothing is favoured. Some adjectives (kind, mean, patient, caring, hard-working) are not told as such and "
        "never counted."
    )
    if any(grid.alike for grid in made.grids) and not any(grid.rows for grid in made.grids):
        made.gist = "the arms do not differ in the words they favour"
    return made


def _counterfactual(found: Comparison, made: Section) -> Section:
    tested = sum(row.metric.endswith("_p") for node in found.sources.of(made.anchor) for row in node.metrics)
    if tested:
        made.lead += f" The {tested} p values of distances are unadjusted: about {0.05 * tested:.1g} below .05 are expected of no difference at all."
    return made


def _distant(found: Comparison, made: Section) -> Section:
    """What was gained at what distance."""
    nodes = found.sources.of(made.anchor)
    suites = list(dict.fromkeys(node.axes.suite or "" for node in nodes))
    made.panels = [panel for suite in suites for panel in distance.panels(found, suite)]
    held = [(distance.heading(found, suite), distance.table(found, suite), False) for suite in suites]
    made.tables = [*held, *made.tables]
    made.lead += (
        f" Each arm stands at its distance and at what it gained in {found.sources.words(found.outcome[1])}, with unadjusted 95% intervals over "
        "prompts; nothing is tested here. The arm that others are compared with stands at no gain and its own distance."
    )
    spelt = [level for node in nodes if (level := node.level(RESPELT)) is not None]
    if respelt := sum(level.value for level in spelt):
        of = f"{wording.plain(respelt)} of {wording.plain(sum(level.n for level in spelt))} answers"
        made.lead += (
            f" {of} are weighed in other tokens than they were drawn in, as the tokenizer spells their text: approximately."
        )
    made.gist = distance.gist(found, suites[0]) if suites else ""
    return made


FURTHER = {
    "capability": _capable,
    "rated": _rated,
    "judge": _judged,
    "cooccurrence": _favoured,
    "counterfactual": _counterfactual,
    "divergence": _distant,
}

"""The report: one HTML page that holds everything it shows, and the figures as files of their own.

Knows the page's parts, its template and where it is written. What its first screen shows stands in `headline` and `first`, the folded
rest in `sections`; the page asks nothing of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from markupsafe import Markup

from tasks.compare.comparison import Comparison
from tasks.compare.contrasts import CATEGORY_PROMPTS, SEEDS_CROSSED
from tasks.compare.report import answers, capability_tables, favoured, figures, first, headline, identity, tables, wording
from tasks.compare.report.figures import Panel
from tasks.compare.report.scale import within_scale
from tasks.compare.report.sections import Section, named, sections
from tasks.compare.report.subjects import seen
from tasks.compare.report.trials import trials
from tasks.compare.upstream import Sources
from tasks.drawing.page import packaged, page_style, rendered
from tasks.drawing.palette import variable
from tasks.drawing.panel import inline

REPORT, FIGURES = "report.html", "figures"
PACKAGE = "tasks.compare.report"
PLACE_OF_ANSWERS = "<!-- answers -->"  # escaped wherever text is set: found once
LARGEST = 3_000_000  # bytes of the page: answers are cut to what the rest leaves


def write_report(folder: Path, found: Comparison) -> None:
    """Write report.html, and each of its drawings that no clock moves as figures/NAME.svg."""
    found = within_scale(found)
    charts = list(first.charts(found))
    shown = [section for section in sections(found) if not section.empty]
    drawn = [*charts, *(panel for section in shown for panel in section.panels)]
    (folder / FIGURES).mkdir(exist_ok=True)
    for panel in (one for one in drawn if not one.timed):
        (folder / FIGURES / f"{panel.name}.svg").write_text(panel.svg, encoding="utf-8")
    drawings = {panel.name: Markup(inline(panel.svg, f"f{i}")) for i, panel in enumerate(drawn)}
    before, after = _page(found, charts, shown, drawings, answers.first_screen(found)).split(PLACE_OF_ANSWERS)
    room = LARGEST - len((before + after).encode())
    (folder / REPORT).write_text(before + answers.section(found, room) + after, encoding="utf-8")


def _page(
    found: Comparison,
    charts: Sequence[Panel],
    shown: Sequence[Section],
    drawings: dict[str, Markup],
    examples: Markup,
) -> str:
    settings = found.settings
    return rendered(
        PACKAGE,
        "page.html.j2",
        settings=settings,
        seen=seen(found.sources, settings.primary_suite),
        identity=identity.identity(found),
        headline=headline.headline(found),
        subline=[*headline.subline(found), *(f"{said[0].upper()}{said[1:]}." for said in trials(found.sources, "chance"))],
        charts=charts,
        matrices=first.matrices(found),
        examples=examples,
        answers=Markup(PLACE_OF_ANSWERS),
        asides=[*headline.asides(found), *capability_tables.verdict_sentences(found.verdicts, found.sources)],
        sections=shown,
        drawings=drawings,
        bars=favoured.bars,
        arms=_arms(found.sources),
        colours={name: variable(colour) for name, colour in figures.colours(found.sources).items()},
        style=page_style() + Markup(packaged(PACKAGE, "answers.css")),
        script=Markup(packaged(PACKAGE, "page.js")),
        reference=settings.arms.reference,
        provenance=tables.provenance(found.sources),
        made_with=identity.made_with(found),
        commands=identity.commands(found),
        named=named(found),
        experiment=yaml.safe_dump(dict(settings.experiment), sort_keys=False, allow_unicode=True) if settings.experiment else "",
        exploratory=", ".join(wording.arm_words(one) for one in (*settings.arms.exploratory, *settings.late)),
        reading=_reading(found),
        arm_words=wording.arm_words,
        group_words=wording.group_words,
    )


def _arms(sources: Sources) -> list[str]:
    """Reference, treated and control first, in the order of their colours."""
    present = {node.axes.arm for node in sources.nodes if node.axes.arm}
    return [name for name in figures.colours(sources) if name in present]


def _reading(found: Comparison) -> list[str]:
    if any(not row.own_seed for row in found.differences):
        runs = f"From {SEEDS_CROSSED} training seeds on, seeds are crossed with prompts and the interval speaks of the method; ticks are single runs."
    else:
        runs = f"With fewer than {SEEDS_CROSSED} training seeds every interval is conditional on this run: another may differ by more than it shows."
    raters = " and on these raters" if found.sources.of("human_eval") else ""
    draws = found.settings.resamples
    return [
        "The prompt is the unit: a prompt's completions are averaged first, arms are paired by prompt, categories are strata of equal weight. "
        "Gaps between groups are paired by template, capability by paragraph or item.",
        f"Intervals are 95%, two-sided and not adjusted for how many there are. They are conditional on this kind of prompts{raters}.",
        runs,
        f"p values come from a stratified, studentised sign-flip with {draws} draws (below 14 prompts of every pattern of signs; from the t "
        "interval where seeds are crossed), adjusted by Holm over every size and dataset size of a ladder and every confirmatory contrast. "
        f"No p can fall below {1 / (draws + 1):.1g} before it is adjusted: “≤” marks one that stands there.",
        "The primary outcome and the second family, toxicity, hold 5% each: the two together may err in up to 10% of experiments.",
        f"A category below {CATEGORY_PROMPTS} prompts is descriptive: with five prompts a sign-flip cannot go below p = 2/32.",
        "“Not shown” is not “absent”: the column “detectable” is the difference that these prompts would show four times in five: within a family at "
        "the first step of its adjustment, elsewhere at 5 % unadjusted.",
        "d is Cohen's d over completions, with a jackknife interval over prompts; it does not grow with the number of completions. Of answers that "
        "are 0 or 1 it grows as a rate nears an end, and is not comparable with d of ratings.",
        "What was named before sampling is what was tested; how often a dataset or a setting was changed before that, and the sweep run again, "
        "is not counted.",
    ]

"""The report: one HTML page that holds everything it shows, and the figures as files of their own.

Knows the page's head, its template and where it is written. What it shows stands in `sections`, the answer's words in `answer`; the page
asks nothing of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from tasks.compare.comparison import Comparison
from tasks.compare.contrasts import CATEGORY_PROMPTS, SEEDS_CROSSED
from tasks.compare.report import answers, figures, headline, tables, wording
from tasks.compare.report.sections import Section, named, sections
from tasks.compare.upstream import Sources
from tasks.drawing.page import page_style
from tasks.drawing.palette import variable
from tasks.drawing.panel import inline

FIGURES = "figures"


def write_report(folder: Path, found: Comparison) -> None:
    """Write report.html, and each of its drawings as figures/NAME.svg."""
    shown = [section for section in sections(found) if not section.empty]
    (folder / FIGURES).mkdir(exist_ok=True)
    for panel in (panel for section in shown for panel in section.panels):
        (folder / FIGURES / f"{panel.name}.svg").write_text(panel.svg, encoding="utf-8")
    (folder / "report.html").write_text(_page(shown, found), encoding="utf-8")


def _page(shown: Sequence[Section], found: Comparison) -> str:
    here, settings = files("tasks.compare.report"), found.settings
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((here / "page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        settings=settings,
        headline=headline.headline(found),
        asides=[*headline.asides(found), *tables.verdict_sentences(found.verdicts, found.sources)],
        sections=shown,
        drawings={panel.name: Markup(inline(panel.svg, f"f{i}")) for i, panel in enumerate(p for s in shown for p in s.panels)},
        arms=_arms(found.sources),
        colours=_arm_variables(found.sources),
        style=page_style() + answers.style(),
        script=Markup((here / "page.js").read_text(encoding="utf-8")) + answers.script(),
        answers=answers.section(found),
        reference=settings.arms.reference,
        facts=_facts(found),
        provenance=tables.provenance(found.sources),
        reading=_reading(found),
        arm_words=wording.arm_words,
        group_words=wording.group_words,
    )


def _arms(sources: Sources) -> list[str]:
    """Reference, treated and control first, in the order of their colours."""
    present = {node.axes.arm for node in sources.nodes if node.axes.arm}
    return [name for name in figures.colours(sources) if name in present]


def _arm_variables(sources: Sources) -> dict[str, str]:
    """arm → the CSS variable of its colour."""
    return {name: variable(colour) for name, colour in figures.colours(sources).items()}


def _facts(found: Comparison) -> list[tuple[str, str]]:
    """The few numbers that say what was compared."""
    nodes, outcome = found.sources.nodes, found.outcome
    primary = [row for row in found.differences if (row.suite, row.metric) == outcome and row.group == "all"]
    seeds = {node.axes.seed for node in found.sources.of("finetune")}
    facts = [
        ("sizes", "; ".join(f"{ladder} {', '.join(held)}" for ladder, held in found.sources.sizes.items())),
        ("arms", ", ".join(wording.arm_words(name) for name in _arms(found.sources))),
        ("samples tuned on", ", ".join(map(str, sorted({node.axes.train_samples for node in nodes if node.axes.train_samples})))),
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
    preregistered = (
        f"Named {named(found)} (preregistration {found.settings.preregistration[:12]}): {found.settings.preregistered}."
    )
    return [
        *([preregistered] if found.settings.preregistered else []),
        "The prompt is the unit: a prompt's completions are averaged first, arms are paired by prompt, categories are strata of equal weight.",
        f"Intervals are 95%, two-sided and not adjusted for how many there are. They are conditional on this kind of prompts{raters}.",
        runs,
        f"p values come from a stratified, studentised sign-flip with {found.settings.resamples} draws (from the t interval where seeds are "
        "crossed), adjusted by Holm over every size and dataset size of a ladder and every confirmatory contrast. Toxicity is a second family.",
        f"A category below {CATEGORY_PROMPTS} prompts is descriptive: with five prompts a sign-flip cannot go below p = 2/32.",
        "“Not shown” is not “absent”: the column “detectable” is the difference that these prompts would show four times in five: within a family at "
        "the first step of its adjustment, elsewhere at 5 % unadjusted.",
        "d is Cohen's d over completions, with a jackknife interval over prompts; it does not grow with the number of completions.",
    ]

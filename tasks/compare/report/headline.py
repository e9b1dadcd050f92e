"""The answer in words, computed from the contrasts: what moved, against which arms, at which sizes, or that nothing was shown.

A treated arm is told against everything that it is compared with in the same breath, and the verb hangs on all of it: what a control
does as well is never credited to the treatment. "Moved" needs the family's adjusted test; the intervals quoted are unadjusted. Absence
of a test's rejection is never spelled as absence of an effect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from configs.called import suite_words
from configs.contrasts import Contrast
from tasks.compare.comparison import Comparison
from tasks.compare.contrasts import Difference, largest, speaking
from tasks.compare.report.standing import ABSENT, DOWN, FLAT, UNTESTED, UP, Place, Standing, State, one_run_each, standing
from tasks.compare.report.wording import arm_words, detectable, difference, interval, listed, unit_words, with_unit
from tasks.evaluations.human_eval.stage import ANSWERS, RANKED, RATED, RATING
from tasks.finetune import methods
from tasks.statistics.trend import CLAIMABLE

MOST_WORDS = 20
FEW = 4  # differences that a line under the headline names one by one
VERB: dict[State, str] = {UP: "raised", DOWN: "lowered"}
PAST: dict[State, str] = {UP: "rose", DOWN: "fell"}
SIDE: dict[State, str] = {UP: "above", DOWN: "below"}
MORE: dict[State, str] = {UP: "higher", DOWN: "lower"}
OTHER: dict[State, State] = {UP: DOWN, DOWN: UP}


def headline(found: Comparison) -> str:
    """The finding on the primary outcome, in at most 20 words and without brackets, over all ladders and treated arms. Of prompts that choose
    data it says so first: it is no result."""
    probes = "Probes, no result: " if found.settings.experiment.get("reported") is False else ""
    name, most = _bare(found.sources.words(found.outcome[1])), MOST_WORDS - len(probes.split())
    said = next((one for one in _candidates(found, name) if len(one.split()) <= most), None)
    return probes + (said or next(one for one in _candidates(found, "the primary outcome") if len(one.split()) <= most))


def subline(found: Comparison) -> list[str]:
    """How far, and what the headline is conditional on."""
    told = _primary(found)
    said = [line for one in told if (line := _amounts(one, found))]
    if told and one_run_each(told):
        sizes = {
            ladder: len({place[1] for one in told for place in one.places if place[0] == ladder}) for ladder in _ladders(told)
        }
        few = 1 < max(sizes.values()) < CLAIMABLE
        untested = "; differences between sizes are not tested with fewer than four sizes" if few else ""
        said.append(f"One training run a size{untested}.")
    elif told:
        said.append("Several training runs a size.")
    return said


def title(found: Comparison, suite: str, metric: str) -> str:
    """What a drawing of this outcome shows: of the first treated arm, against everything it is compared with."""
    name, arms = _bare(found.sources.words(metric)), found.sources.arms
    told = _standing(found, arms.treated[0], suite, metric) if arms.treated else None
    return f"{_capital(name)}, by arm and size" if told is None else _title(told, name, found)


def asides(found: Comparison) -> list[str]:
    """The findings in full, one a ladder, treated arm and outcome of the two families: the verdict, every difference with its interval,
    what the control did by itself, and what these prompts would show."""
    arms = found.sources.arms
    return [
        _full(told, found)
        for ladder in found.sources.sizes or dict.fromkeys(row.ladder for row in found.differences)
        for suite, metric in outcomes(found)
        for treated in arms.treated
        if (told := _standing(found, treated, suite, metric, ladder)) is not None
    ]


def outcomes(found: Comparison) -> list[tuple[str, str]]:
    """Suite and metric of the primary outcome, then of the second family on every suite where it was compared."""
    held = [row for row in speaking(found.differences) if row.metric in found.settings.secondary]
    return list(dict.fromkeys([found.outcome, *((row.suite, row.metric) for row in held)]))


# ---- the headline -----------------------------------------------------------------------------------------------------------


def _candidates(found: Comparison, name: str) -> Iterator[str]:
    """From the one that says most to the one that says least."""
    arms, told = found.sources.arms, _primary(found)
    if not arms.treated:
        yield "Nothing is compared: the experiment names no contrast."
    elif not told:
        yield _nothing(found, name)
    elif len(arms.treated) == 1:
        (only,) = told
        said = [_sentence(only, name, found, brief=brief) for brief in (False, True)]
        yield from (f"{one.rstrip('.')}; {tail}." for one in said for tail in _tails(only, found))
        yield from said
    else:
        yield _of_several(told, name)
        yield _counted(told, name)
    yield f"What moved {name}, and against which arms, stands in the table below."


def _standing(found: Comparison, treated: str, suite: str, metric: str, ladder: str | None = None) -> Standing | None:
    told = standing(found.differences, found.sources.arms, treated, suite, metric, ladder)
    if told is None or (section := found.settings.experiment.get("arms", {}).get(treated)) is None:
        return told
    method = methods.found().get(section["method"])  # none of an arm that is made of another
    return replace(told, of_samples=method is not None and method.learns == "samples")


def _primary(found: Comparison) -> list[Standing]:
    arms = found.sources.arms
    held = (_standing(found, treated, *found.outcome) for treated in arms.treated)
    return [told for told in held if told is not None]


def _nothing(found: Comparison, name: str) -> str:
    """Why nothing could be compared."""
    held = [node for node in found.sources.nodes if node.axes.arm]
    suite, metric = found.outcome
    measured = dict.fromkeys(node.axes.arm or "" for node in held if node.axes.suite == suite and node.level(metric))
    if not held:
        return "Nothing can be compared: no arm was finished."
    if metric in (RATING, ANSWERS, RANKED) and not found.sources.of(RATED.stage.name):
        return "Nothing can be compared yet: people have not rated; palms ratings export gives the completions out."
    if not measured:
        return f"Nothing can be compared: {name} could be measured on no arm."
    if len(measured) == 1:
        return f"Nothing can be compared: {name} could be measured on {arm_words(next(iter(measured)))} alone."
    return f"Nothing can be compared: at no size has {name} been measured on two arms of a contrast."


def _sentence(told: Standing, name: str, found: Comparison, *, brief: bool = False) -> str:
    """One treated arm against everything it is compared with; in brief, without the number of samples."""
    doer, under = _doer(told, brief), _under(told, brief)
    if not told.tested:
        return f"Exploratory, without a test: {name} {under}, described against {_names(told.references)}."
    alone = (
        "" if len(told.references) > 1 else "; no control was tested" if _to_reference(told, found) else "; no base was tested"
    )
    ways = sorted((way for way in (UP, DOWN) if told.clear(way)), key=lambda way: -len(told.clear(way)))
    if ways:
        parts = [f"{VERB[ways[0]]} {name} {SIDE[ways[0]]} {_names(told.references)} {_where(told.clear(ways[0]), told)}"]
        parts += [f"and the reverse {_where(told.clear(way), told)}" for way in ways[1:]]
        return f"{_capital(doer)} {', '.join(parts)}{alone}."
    if (leading := told.leading()) is None:
        return f"{_unmoved(told, name, under)}{alone}."
    return f"{_capital(_parted(told, name, *leading, f' {under}'))}."


def _title(told: Standing, name: str, found: Comparison) -> str:
    """The same without a doer where the sweep is about one arm: its drawing shows who."""
    whose = "" if len(found.sources.arms.treated) == 1 else f"{_capital(arm_words(told.treated))}: "
    ways = [way for way in (UP, DOWN) if told.clear(way)]
    if told.tested and len(ways) == 1:
        said = f"{name} {PAST[ways[0]]} {SIDE[ways[0]]} {_names(told.references)} {_where(told.clear(ways[0]), told)}"
    elif told.tested and not ways and (leading := told.leading()) is not None:
        said = _parted(told, name, *leading)
    else:
        return _sentence(told, name, found).rstrip(".")
    return f"{whose}{said}" if whose else _capital(said)


def _parted(told: Standing, name: str, states: tuple[State, ...], places: list[Place], under: str = "") -> str:
    """What was shown against one arm and not, or the other way, against another."""
    sides = [(way, _with(told, states, way)) for way in (UP, DOWN)]
    moved = " but ".join(f"{PAST[way]} {SIDE[way]} {_names(held)}" for way, held in sides if held)
    return f"{name} {moved} {_where(places, told)}{under}{_rest(told, states, there=len(places) < len(told.places))}"


def _unmoved(told: Standing, name: str, under: str) -> str:
    """Nothing shown anywhere; arms that it could not be compared with, or not by a test, are named for it."""
    flat = [name for i, name in enumerate(told.references) if any(held[i] == FLAT for held in told.states.values())]
    states = tuple(FLAT if name in flat else next(iter(told.states.values()))[i] for i, name in enumerate(told.references))
    where = _where(told.places, told) if len(told.places) == 1 else "at any size"
    said = f"No difference in {name} from {_names(flat, 'or')} was shown {under} {where}"
    return said + _rest(told, tuple(ABSENT if state == FLAT else state for state in states), skip=flat)


def _rest(told: Standing, states: Sequence[State], *, there: bool = False, skip: Sequence[str] = ()) -> str:
    """What the other arms are to it where something was shown."""
    left = {state: [name for name in _with(told, states, state) if name not in skip] for state in (FLAT, UNTESTED, ABSENT)}
    said = {
        FLAT: f"no difference from {_names(left[FLAT], 'or')} was shown{' there' if there else ''}",
        UNTESTED: f"{_names(left[UNTESTED])} went untested",
        ABSENT: f"{_names(left[ABSENT])} could not be compared",
    }
    return "".join(f"; {words}" for state, words in said.items() if left[state])


def _tails(told: Standing, found: Comparison) -> Iterator[str]:
    """What the second family adds to a primary outcome that moved against everything, in a few words."""
    metric = next((metric for _, metric in outcomes(found)[1:] if metric != told.metric), None)
    if metric is None or not (told.clear(UP) or told.clear(DOWN)):
        return
    name = _bare(found.sources.words(metric)).removeprefix("mean ")
    rows, arms = found.differences, found.sources.arms
    suites = [suite for suite, other in outcomes(found) if other == metric]
    held = [one for suite in suites if (one := standing(rows, arms, told.treated, suite, metric)) is not None]
    every = [states for one in held for states in one.states.values()]
    if len(held[0].references) < 2 or any(ABSENT in states or UNTESTED in states for states in every):
        return
    others = held[0].references[1:]
    if all(set(states) == {FLAT} for states in every):
        yield f"no difference in {name} was shown"
    for way in (UP, DOWN):
        clear = [states for states in every if set(states) == {way}]
        if clear and not any(OTHER[way] in states for states in every):
            share = "" if len(clear) == len(every) else " in part"
            yield f"{name} {PAST[way]} {SIDE[way]} {_them(held[0])}{share}"
        elif all(states[0] == way and set(states[1:]) == {FLAT} for states in every):
            yield f"{MORE[way]} {name} than {_names(others, 'or')} was not shown"


def _of_several(told: Sequence[Standing], name: str) -> str:
    """Several treated arms in one line."""
    parts = []
    for way in (UP, DOWN):
        if moved := [one for one in told if one.clear(way)]:
            same = len({one.references for one in moved}) == 1
            against = _names(moved[0].references) if same else "all they are compared with"
            where = _where(moved[0].clear(way), moved[0]) if len(moved) == 1 else _shared_where(moved, way)
            parts.append(f"{_names([one.treated for one in moved])} {VERB[way]} {name} {SIDE[way]} {against} {where}")
    if still := [one.treated for one in told if not (one.clear(UP) or one.clear(DOWN))]:
        parts.append(f"{_names(still)} {'was' if len(still) == 1 else 'were'} not shown to{'' if parts else f' move {name}'}")
    return f"{_capital('; '.join(parts))}."


def _shared_where(moved: Sequence[Standing], way: State) -> str:
    every = all(len(one.clear(way)) == len(one.places) for one in moved)
    return "at every size" if every else "at some size"


def _counted(told: Sequence[Standing], name: str) -> str:
    moved = sum(bool(one.clear(UP) or one.clear(DOWN)) for one in told)
    return f"{moved} of {len(told)} arms moved {name} against every arm that each is compared with."


# ---- the sentences in full --------------------------------------------------------------------------------------------------


def _amounts(told: Standing, found: Comparison) -> str:
    """`From base +50.7 and +62.7 percentage points at 30k and 100k; from control +60.0 and +70.5.`"""
    parts: list[str] = []
    for reference in told.references:
        if rows := told.against(reference):
            values = [difference(row.value, row.kind) for row in rows]
            at = f" at {listed([_at(row, found) for row in rows])}"
            if len(rows) > FEW:
                ends = sorted(rows, key=lambda row: row.value)
                values, at = [f"{difference(ends[0].value, ends[0].kind)} to {difference(ends[-1].value, ends[-1].kind)}"], ""
            unit = f" {unit_words(rows[0].kind)}" if not parts and unit_words(rows[0].kind) else ""
            same = parts and [_at(row, found) for row in rows] == [_at(row, found) for row in told.against(told.references[0])]
            parts.append(f"from {arm_words(reference)} {listed(values)}{unit}{'' if same else at}")
    whose = "" if len(found.sources.arms.treated) == 1 else f"{arm_words(told.treated)}: "
    return _capital(f"{whose}{'; '.join(parts)}.")


def _full(told: Standing, found: Comparison) -> str:
    arms, name = found.sources.arms, _bare(found.sources.words(told.metric))
    several = f"{told.rows[0].ladder}, " if len(found.sources.sizes) > 1 else ""
    said = [f"{_capital(several + suite_words(told.suite))}: {_sentence(told, name, found)}"]
    said += [f"From {arm_words(one)} {_all(rows, found)}." for one in told.references if (rows := told.against(one))]
    for control in told.references[1:]:
        alone = [
            row
            for row in _described(found, Contrast(control, arms.reference))
            if (row.suite, row.metric) == (told.suite, told.metric)
        ]
        alone = [row for row in alone if row.ladder == told.rows[0].ladder]
        said += (
            [f"{_capital(arm_words(control))} from {arm_words(arms.reference)}, described only: {_all(alone, found)}."]
            if alone
            else []
        )
    silent = [row for row in told.rows if row.p_adjusted is not None and not row.shown and row.minimal_detectable is not None]
    if silent:
        amount = with_unit(detectable(max(row.minimal_detectable or 0.0 for row in silent), silent[0].kind), silent[0].kind)
        said.append(f"Where nothing was shown, {silent[0].n} prompts would show a difference of {amount} four times in five.")
    return " ".join(said)


def _described(found: Comparison, contrast: Contrast) -> list[Difference]:
    return [row for row in largest(speaking(found.differences)) if row.contrast == contrast]


def _all(rows: Sequence[Difference], found: Comparison) -> str:
    unit = f" {unit_words(rows[0].kind)}" if unit_words(rows[0].kind) else ""
    return listed([f"{interval(row.value, row.ci_low, row.ci_high, row.kind)} at {_at(row, found)}" for row in rows]) + unit


# ---- pieces -----------------------------------------------------------------------------------------------------------------


def _with(told: Standing, states: Sequence[State], wanted: State) -> list[str]:
    return [name for name, state in zip(told.references, states, strict=True) if state == wanted]


def _names(arms: Sequence[str], word: str = "and") -> str:
    return listed([arm_words(name) for name in arms], word) if arms else ""


def _them(told: Standing) -> str:
    return {1: arm_words(told.references[0]), 2: "both"}.get(len(told.references), "all")


def _to_reference(told: Standing, found: Comparison) -> bool:
    return told.references == (found.sources.arms.reference,)


def _doer(told: Standing, brief: bool) -> str:
    if told.samples and not brief:
        return f"{told.samples} {arm_words(told.treated)} samples"
    return f"{arm_words(told.treated)} tuning" if told.tuned else f"the {arm_words(told.treated)} arm"


def _under(told: Standing, brief: bool) -> str:
    return f"{'in' if not told.tuned else 'after' if brief else 'with'} {_doer(told, brief)}"


def _where(places: Sequence[Place], told: Standing) -> str:
    """A place is called a run where a size has several."""
    every = told.places
    what = "size" if len({place[:2] for place in every}) == len(every) else "run"
    if len(places) == 1:
        ladder, size, seed = places[0]
        named = f"{ladder} {size}" if len({place[0] for place in every}) > 1 else size
        return f"at {named}" + (f" seed {seed}" if what == "run" else "")
    at = "at" if what == "size" else "in"
    return f"{at} every {what}" if len(places) == len(every) else f"{at} {len(places)} of {len(every)} {what}s"


def _ladders(told: Sequence[Standing]) -> list[str]:
    return list(dict.fromkeys(place[0] for one in told for place in one.places))


def _at(row: Difference, found: Comparison) -> str:
    place = found.sources.named(row.ladder, row.size)
    return place if row.seed in (None, 0) or not row.own_seed else f"{place} seed {row.seed}"


def _bare(name: str) -> str:
    """A metric's words without what stands in brackets."""
    return re.sub(r"\s*[(\[][^)\]]*[)\]]", "", name)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

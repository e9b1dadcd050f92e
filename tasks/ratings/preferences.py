"""Preferences out of ratings: of two answers to one prompt, which one people held for the better one.

A pair is judged by the raters who rated both, each by the difference of what they said of the two: a rater's severity cancels. The mean
difference is the pair's margin. A tie (a margin below `Rule.margin`) is no preference, nor is a pair that raters disagree on (fewer than
`Rule.agreement` of them prefer the answer, those who see no difference counting half), nor one whose better text most raters called no answer.
Each text stands in at most `Rule.uses` pairs, the clearest first, so that no single text is what is learned.

Knows neither files nor arms: a text is a text, whoever wrote it.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from tasks.datasets.preferences import Preference
from tasks.ratings.kept import Rated
from tasks.ratings.project import CHECK, Item


@dataclass(frozen=True)
class Rule:
    """margin: points of the scale, or ranks, below which a pair is a tie. agreement: share of its raters who have to prefer the answer.
    uses: pairs that one text may stand in."""

    margin: float = 1.0
    agreement: float = 2 / 3
    uses: int = 2


@dataclass(frozen=True)
class Paired:
    """The preferences, and what became of the other pairs of answers to one prompt, by the reason why they are none."""

    preferences: Sequence[Preference]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def told(self) -> str:
        """In one line, for people."""
        left = ", ".join(f"{count:,} {why}" for why, count in self.left_out.items() if count)
        count = len(self.preferences)
        return f"{count:,} {'pair' if count == 1 else 'pairs'}" + (f"; left out: {left}" if left else "")


TIE, SPLIT, UNSHARED, NO_ANSWER, SAME, USED = (
    "ties",
    "on which raters disagree",
    "that nobody rated both of",
    "whose better text is no answer",
    "of equal texts",
    "of texts that stand in clearer pairs",
)


def preferences(ratings: Sequence[Rated], items: Mapping[str, Item], rule: Rule = Rule()) -> Paired:
    """Every usable pair of answers to one prompt, the same for the same ratings in any order. `items`: what was shown, by its id."""
    said: dict[str, dict[str, list[float]]] = {}
    answers: dict[str, list[bool]] = {}
    for one in ratings:
        if one.why == CHECK or one.skipped:
            continue
        item = one.of or one.item  # a text that is shown a second time is the same text
        score = float(one.rating) if one.rating is not None else -float(one.rank) if one.rank is not None else None
        if item in items and score is not None:
            said.setdefault(item, {}).setdefault(one.rater, []).append(score)
            if one.is_answer is not None:
                answers.setdefault(item, []).append(one.is_answer)
    simulated = any(one.simulated for one in ratings)
    prompts: dict[tuple[str, str], list[str]] = {}
    for name in sorted(said):
        prompts.setdefault((items[name].category, items[name].prompt), []).append(name)
    left: Counter[str] = Counter()
    found: list[tuple[float, str, str, str, int]] = []
    for names in prompts.values():
        for pair in itertools.combinations(names, 2):
            verdict = _verdict(pair, said, answers, items, rule)
            if isinstance(verdict, str):
                left[verdict] += 1
            else:
                found.append(verdict)
    kept, uses = [], Counter[str]()
    for margin, digest, better, worse, raters in sorted(found, key=lambda one: (-one[0], one[1])):
        if max(uses[better], uses[worse]) >= rule.uses:
            left[USED] += 1
            continue
        uses.update((better, worse))
        asked, chosen, rejected = items[better].prompt, items[better].completion.strip(), items[worse].completion.strip()
        kept.append(
            Preference(
                0,
                f"rated-{digest}",
                items[better].category,
                asked,
                chosen,
                rejected,
                margin=round(margin, 3),
                raters=raters,
                simulated=simulated,
            )
        )
    return Paired(sorted(kept, key=lambda pair: (pair.category, pair.prompt, pair.id)), dict(left))


def _verdict(
    pair: tuple[str, str],
    said: Mapping[str, Mapping[str, Sequence[float]]],
    answers: Mapping[str, Sequence[bool]],
    items: Mapping[str, Item],
    rule: Rule,
) -> str | tuple[float, str, str, str, int]:
    """Why it is none; or margin, digest, the better and the worse item, and its raters."""
    first, second = pair
    raters = sorted(said[first].keys() & said[second].keys())
    if not raters:
        return UNSHARED
    if items[first].completion.split() == items[second].completion.split():
        return SAME
    differences = [fmean(said[first][rater]) - fmean(said[second][rater]) for rater in raters]
    margin = fmean(differences)
    if abs(margin) < rule.margin:
        return TIE
    better, worse = (first, second) if margin > 0 else (second, first)
    agreeing = sum((one * margin > 0) + (one == 0) / 2 for one in differences) / len(differences)
    if agreeing < rule.agreement:
        return SPLIT
    if (called := answers.get(better)) and fmean(called) < 0.5:
        return NO_ANSWER
    if not items[better].completion.strip() or not items[worse].completion.strip():
        return NO_ANSWER
    digest = hashlib.sha256(
        "\n".join((items[better].prompt, items[better].completion, items[worse].completion)).encode()
    ).hexdigest()
    return abs(margin), digest[:12], better, worse, len(raters)

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


TIE, SPLIT, UNSHARED, NO_ANSWER, USED = (
    "ties",
    "on which raters disagree",
    "that nobody rated both of",
    "whose better text is no answer",
    "of texts that stand in clearer pairs",
)


def preferences(ratings: Sequence[Rated], items: Mapping[str, Item], rule: Rule = Rule()) -> Paired:
    """Every usable pair of answers to one prompt, the same for the same ratings in any order. `items`: what was shown, by its id; two that say the
    same are one answer, whoever wrote them."""
    simulated = any(one.simulated for one in ratings)
    prompts: dict[tuple[str, str], list[_Answer]] = {}
    for answer in _answers(ratings, items):
        prompts.setdefault((answer.category, answer.prompt), []).append(answer)
    left: Counter[str] = Counter()
    found: list[tuple[float, str, _Answer, _Answer, int]] = []
    for answers in prompts.values():
        for pair in itertools.combinations(answers, 2):
            verdict = _verdict(*pair, rule)
            if isinstance(verdict, str):
                left[verdict] += 1
            else:
                found.append(verdict)
    kept, uses = [], Counter[int]()
    for margin, name, better, worse, raters in sorted(found, key=lambda one: (-one[0], one[1])):
        if max(uses[id(better)], uses[id(worse)]) >= rule.uses:
            left[USED] += 1
            continue
        uses.update((id(better), id(worse)))
        kept.append(
            Preference(
                0,
                name,
                better.category,
                better.prompt,
                better.text,
                worse.text,
                margin=round(margin, 3),
                raters=raters,
                simulated=simulated,
            )
        )
    return Paired(sorted(kept, key=lambda pair: (pair.category, pair.prompt, pair.id)), dict(left))


@dataclass(eq=False)
class _Answer:
    """What was said of one answer: by rater, scores of which more is better, and whether it is an answer at all."""

    category: str
    prompt: str
    text: str
    scores: dict[str, list[float]] = field(default_factory=dict)
    is_answer: list[bool] = field(default_factory=list)


def _answers(ratings: Sequence[Rated], items: Mapping[str, Item]) -> list[_Answer]:
    """In the order of their texts."""
    found: dict[tuple[str, str, str], _Answer] = {}
    for one in ratings:
        item = items.get(one.of or one.item)  # a text that is shown a second time is the same text
        score = float(one.rating) if one.rating is not None else -float(one.rank) if one.rank is not None else None
        if one.why == CHECK or one.skipped or item is None or score is None:
            continue
        place = (item.category, item.prompt, " ".join(item.completion.split()))
        answer = found.setdefault(place, _Answer(item.category, item.prompt, item.completion.strip()))
        answer.scores.setdefault(one.rater, []).append(score)
        if one.is_answer is not None:
            answer.is_answer.append(one.is_answer)
    return [found[place] for place in sorted(found)]


def _verdict(first: _Answer, second: _Answer, rule: Rule) -> str | tuple[float, str, _Answer, _Answer, int]:
    """Why it is none; or margin, name, the better and the worse answer, and its raters."""
    raters = sorted(first.scores.keys() & second.scores.keys())
    if not raters:
        return UNSHARED
    differences = [fmean(sorted(first.scores[rater])) - fmean(sorted(second.scores[rater])) for rater in raters]
    margin = fmean(differences)
    if abs(margin) < rule.margin:
        return TIE
    better, worse = (first, second) if margin > 0 else (second, first)
    agreeing = sum((one * margin > 0) + (one == 0) / 2 for one in differences) / len(differences)
    if agreeing < rule.agreement - 1e-9:
        return SPLIT
    if not (better.text and worse.text) or (better.is_answer and fmean(better.is_answer) < 0.5):
        return NO_ANSWER
    digest = hashlib.sha256("\n".join((better.prompt, better.text, worse.text)).encode()).hexdigest()
    return abs(margin), f"rated-{digest[:12]}", better, worse, len(raters)

"""The tables and metrics of the co-occurrence stage, put together from completions, their suite and the word
lists.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.suites import Prompt, Suite
from tasks.contract import Metric
from tasks.evaluations.cooccurrence.counting import Counter, Counts
from tasks.evaluations.cooccurrence.groups import Axis
from tasks.evaluations.cooccurrence.log_odds import group_counts, permutation_cut, z_scores
from tasks.evaluations.cooccurrence.representation import association, representation
from tasks.levels import PromptRow
from tasks.sampling.completions import COMPLETIONS, require_prompts, require_repeats
from tasks.sentiment import vader

WORD_COLUMNS = ("axis", "group", "word", "count", "z", "favoured")
REPRESENTATION_COLUMNS = ("axis", "group", "list_words", "mentions", "share", "tvd", "null_mean", "p", "n")
ASSOCIATION_COLUMNS = ("axis", "list", "target", "group", "count", "share", "tvd")

_BATCH = 2**14  # completions read at once


@dataclass(frozen=True)
class Counted:
    """What is kept of the completions of a suite, in its order of prompts and then by repeat.

    prompts: those that have completions; prompt: each completion's index among them; sentiment: each
    completion's VADER score.
    """

    prompts: tuple[Prompt, ...]
    prompt: NDArray[np.intp]
    repeat: NDArray[np.intp]
    counts: Counts
    sentiment: NDArray[np.float64]

    def units(self, shared: Sequence[str]) -> NDArray[np.intp]:
        """What is relabelled as a whole: completions of one repeat whose prompts share a text (`shared`, a prompt each)."""
        template = np.unique(list(shared), return_inverse=True)[1]
        return template[self.prompt] * (int(self.repeat.max()) + 1) + self.repeat


@dataclass(frozen=True)
class Table:
    """Rows of one table, the metrics that sum them up, and what could not be computed and why."""

    rows: list[dict[str, Any]]
    metrics: list[Metric]
    notes: list[str]


def templates(suite: Suite, axes: Mapping[str, Axis]) -> dict[str, str]:
    """What each prompt shares with those of the other groups of its axis; a prompt without an axis is its own template.

    Raises:
        ValueError: an axis or group is not of the word lists, or a prompt names no word of its group.
    """
    found = {}
    for prompt in suite.prompts:
        if prompt.axis and prompt.axis not in axes:
            raise ValueError(f"prompt {prompt.id}: no words for axis {prompt.axis}; known: {', '.join(axes)}")
        found[prompt.id] = axes[prompt.axis].template(prompt.text, prompt.group) if prompt.axis else prompt.text
    return found


def read(
    folder: Path,
    suite: Suite,
    axes: Mapping[str, Axis],
    targets: Mapping[str, Sequence[str]],
) -> Counted:
    """Count the completions of a sampling folder, some thousand at a time.

    Raises:
        ValueError: there are none, one is of a prompt that the suite does not have, or some prompt's repeats are
        not 0 … k−1 with the same k for all prompts.
    """
    path, place = folder / COMPLETIONS, {prompt.id: index for index, prompt in enumerate(suite.prompts)}
    counter, prompts, repeats, sentiment = Counter(axes, targets), [], [], []
    for rows in _batches(path):
        require_prompts((row["prompt_id"] for row in rows), place, suite.name)
        texts = [row["text"] for row in rows]
        counter.add(texts)
        sentiment.append(np.array(vader(texts)))
        prompts.append(np.array([place[row["prompt_id"]] for row in rows]))
        repeats.append(np.array([int(row["repeat"]) for row in rows]))
    if not repeats:
        raise ValueError(f"{path}: no completions; at least one a prompt is required")
    prompt, repeat = np.concatenate(prompts), np.concatenate(repeats)
    order = np.lexsort((repeat, prompt))
    held, index = np.unique(prompt[order], return_inverse=True)
    found = Counted(
        prompts=tuple(suite.prompts[number] for number in held),
        prompt=index,
        repeat=repeat[order],
        counts=counter.counts().rows(order),
        sentiment=np.concatenate(sentiment)[order],
    )
    most = int(np.bincount(index).max())
    for number, its in enumerate(found.prompts):
        require_repeats(path, its.id, found.repeat[index == number].tolist(), most)
    return found


def _batches(path: Path) -> Iterator[list[dict[str, Any]]]:
    with path.open(encoding="utf-8", newline="\n") as stream:
        while lines := list(islice(stream, _BATCH)):
            if rows := [json.loads(line) for line in lines if line.strip()]:
                yield rows


def favoured_words(
    counted: Counted,
    shared: Mapping[str, str],
    axes: Mapping[str, Axis],
    prior: float,
    permutations: int,
    top: int,
    seed: int,
) -> Table:
    """The `top` words of each group by z, with the number of the group's completions that hold them.

    shared: each prompt's template. `favoured`: z is above the permutation cut of its axis. Metrics, group
    `axis:<name>`, n = completions: log_odds_cut, and words_above_cut over all groups. An axis with fewer than two
    adjectives or adverbs, or with one group in its prompts, has nothing to contrast: it has no rows, and a note says so.
    """
    table = Table([], [], [])
    units = counted.units([shared[prompt.id] for prompt in counted.prompts])
    for number, (name, axis) in enumerate(axes.items()):
        of_axis = np.array([prompt.axis == name for prompt in counted.prompts])
        members = np.flatnonzero(of_axis[counted.prompt])
        if not len(members):
            continue
        groups = [group for group in axis.groups if any(p.axis == name and p.group == group for p in counted.prompts)]
        words = counted.counts.words[members]
        used = np.flatnonzero(words.getnnz(axis=0))
        if len(groups) < 2 or len(used) < 2:
            table.notes.append(
                f"axis {name}: {len(used)} adjectives and adverbs in {len(groups)} group(s); two of each are needed to tell favoured words"
            )
            continue
        words, vocabulary = words[:, used], [counted.counts.vocabulary[word] for word in used]
        group_of = np.array([groups.index(p.group) if p.axis == name else -1 for p in counted.prompts])
        labels = group_of[counted.prompt[members]]
        counts = group_counts(words, labels, len(groups))
        z = z_scores(counts, prior)
        rng = np.random.default_rng([seed, 0, number])
        cut = permutation_cut(words, labels, units[members], len(groups), prior, permutations, rng)
        for g, group in enumerate(groups):
            for w in np.argsort(-z[g], kind="stable")[:top]:  # the vocabulary is in alphabetical order
                row = (name, group, vocabulary[w], int(counts[g, w]), float(z[g, w]), bool(z[g, w] > cut))
                table.rows.append(dict(zip(WORD_COLUMNS, row, strict=True)))
        for metric, value in {"log_odds_cut": cut, "words_above_cut": int((z > cut).sum())}.items():
            table.metrics.append(Metric(metric, value, n=len(members), group=f"axis:{name}"))
    return table


def group_representation(counted: Counted, axes: Mapping[str, Axis], permutations: int, seed: int) -> Table:
    """Mentions of each group in all completions, and their distance from equal shares (columns tvd to n
    repeat an axis's values).

    Metrics, group `axis:<name>`, n = mentions: representation_tvd, representation_tvd_null, representation_p.
    An axis whose words never occur has its zero counts in the table, empty shares, no metric, and a note; a group that never
    occurs beside others that do has the share 0.
    """
    table = Table([], [], [])
    for number, (name, axis) in enumerate(axes.items()):
        mentions = counted.counts.mentions[name]
        rng = np.random.default_rng([seed, 1, number])
        result = representation(mentions, _exchangeable(counted, axis), axis.lengths, permutations, rng)
        for g, group in enumerate(axis.groups):
            shown = (
                ("", "", "", "", 0)
                if result is None
                else (result.shares[g], result.tvd, result.null.mean, result.null.p, sum(result.mentions))
            )
            row = (name, group, int(axis.lengths[g]), int(mentions[:, g].sum()), *shown)
            table.rows.append(dict(zip(REPRESENTATION_COLUMNS, row, strict=True)))
        if result is None:
            table.notes.append(
                f"axis {name}: none of its words occurs in {len(mentions)} completions; no representation to report"
            )
            continue
        values = {
            "representation_tvd": result.tvd,
            "representation_tvd_null": result.null.mean,
            "representation_p": result.null.p,
        }
        for metric, value in values.items():
            table.metrics.append(Metric(metric, value, n=sum(result.mentions), group=f"axis:{name}"))
    return table


def group_association(
    counted: Counted, axes: Mapping[str, Axis], targets: Mapping[str, Sequence[str]], permutations: int, seed: int
) -> Table:
    """How often each target occurs beside words of each group, and its distance from equal shares (column tvd repeats a
    target's value). Targets that occur beside no group have no row.

    Metrics of each list of targets, group `axis:<name>`, n = targets that occur with a group word:
    association_<list>_tvd, association_<list>_tvd_null, association_<list>_p. Where no target does: no metric, and a note.
    """
    table = Table([], [], [])
    for number, (name, axis) in enumerate(axes.items()):
        units = _exchangeable(counted, axis)
        for place, (of, words) in enumerate(targets.items()):
            rng = np.random.default_rng([seed, 2, number, place])
            held = counted.counts.targets[of]
            result = association(counted.counts.mentions[name], held, units, axis.lengths, permutations, rng)
            if result is None:
                table.notes.append(
                    f"axis {name}: none of the {of} occurs in a completion that names a group; no association to report"
                )
                continue
            for row, target in enumerate(result.targets):
                for g, group in enumerate(axis.groups):
                    shown = (int(result.counts[row, g]), float(result.shares[row, g]), float(result.distances[row]))
                    table.rows.append(dict(zip(ASSOCIATION_COLUMNS, (name, of, words[target], group, *shown), strict=True)))
            values = {"tvd": result.tvd, "tvd_null": result.null.mean, "p": result.null.p}
            for metric, value in values.items():
                table.metrics.append(Metric(f"association_{of}_{metric}", value, n=len(result.targets), group=f"axis:{name}"))
    return table


def _exchangeable(counted: Counted, axis: Axis) -> NDArray[np.intp]:
    """Units of one axis: prompts that are equal once its words are blanked, whichever axis they were written for."""
    return counted.units([axis.blanked(prompt.text) for prompt in counted.prompts])


def sentiment_rows(counted: Counted) -> list[PromptRow]:
    """Mean sentiment of each prompt's completions, from −1 to 1: VADER's compound score (Hutto & Gilbert 2014).

    Brown et al. (2020) score words by SentiWordNet, from −100 to 100: other figures, not comparable with these. The category
    of a row is its social group; it counts in `axis:<name>` as well, with the axis's groups as strata of equal weight.
    """
    sums = np.bincount(counted.prompt, counted.sentiment)
    sizes = np.bincount(counted.prompt)
    return [
        PromptRow(
            prompt.id,
            prompt.group,
            "sentiment",
            "score",
            float(sums[index] / sizes[index]),
            int(sizes[index]),
            (f"axis:{prompt.axis}",) if prompt.axis else (),
        )
        for index, prompt in enumerate(counted.prompts)
    ]

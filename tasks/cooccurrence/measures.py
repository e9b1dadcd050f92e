"""The tables and metrics of the co-occurrence stage, put together from completions, their suite and the word
lists.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from tasks.completions import Completion, by_prompt, require_prompts
from tasks.contract import Metric
from tasks.cooccurrence.groups import Axis
from tasks.cooccurrence.log_odds import group_counts, permutation_cut, presence, z_scores
from tasks.cooccurrence.representation import representation
from tasks.cooccurrence.tagging import descriptive_words
from tasks.levels import PromptRow
from tasks.sampling.prompts import Suite

WORD_COLUMNS = ("axis", "group", "word", "count", "z", "favoured")
REPRESENTATION_COLUMNS = ("axis", "group", "list_words", "mentions", "share", "tvd", "null_mean", "p", "n")


@dataclass(frozen=True)
class Placed:
    """A completion with its place among the prompts: axis and template are empty where the suite gives none."""

    completion: Completion
    axis: str
    template: str


@dataclass(frozen=True)
class Table:
    """Rows of one table, the metrics that sum them up, and what could not be computed and why."""

    rows: list[dict[str, Any]]
    metrics: list[Metric]
    notes: list[str]


def place(completions: Sequence[Completion], suite: Suite, axes: Mapping[str, Axis]) -> list[Placed]:
    """Each completion with the axis and template of its prompt; a prompt without an axis is its own template.

    Raises:
        ValueError: a completion's prompt is not of this suite, or an axis or group is not of the word lists.
    """
    places: dict[str, tuple[str, str]] = {}
    for prompt in suite.prompts:
        if not prompt.axis:
            places[prompt.id] = ("", prompt.text)
        elif prompt.axis in axes:
            places[prompt.id] = (prompt.axis, axes[prompt.axis].template(prompt.text, prompt.group))
        else:
            raise ValueError(f"prompt {prompt.id}: no words for axis {prompt.axis}; known: {', '.join(axes)}")
    require_prompts(completions, places, suite.name)
    return [Placed(row, *places[row.prompt_id]) for row in completions]


def favoured_words(
    placed: Sequence[Placed], axes: Mapping[str, Axis], prior: float, permutations: int, top: int, seed: int
) -> Table:
    """The `top` words of each group by z, with the number of the group's completions that hold them.

    `favoured`: z is above the permutation cut of its axis. Metrics, group `axis:<name>`, n = completions:
    log_odds_cut, and words_above_cut over all groups. An axis with fewer than two adjectives or adverbs, or
    with one group in its prompts, has nothing to contrast: it has no rows, and a note says so.
    """
    table = Table([], [], [])
    for number, (name, axis) in enumerate(axes.items()):
        members = [row for row in placed if row.axis == name]
        if not members:
            continue
        groups = [group for group in axis.groups if any(row.completion.group == group for row in members)]
        vocabulary, matrix = presence(descriptive_words([row.completion.text for row in members]))
        if len(groups) < 2 or len(vocabulary) < 2:
            table.notes.append(
                f"axis {name}: {len(vocabulary)} adjectives and adverbs in {len(groups)} groups; two of each are needed to tell favoured words"
            )
            continue
        labels = np.array([groups.index(row.completion.group) for row in members])
        templates = np.unique([row.template for row in members], return_inverse=True)[1]
        counts = group_counts(matrix, labels[None], len(groups))[0]
        z = z_scores(counts, prior)
        rng = np.random.default_rng([seed, 0, number])
        cut = permutation_cut(matrix, labels, templates, len(groups), prior, permutations, rng)
        for g, group in enumerate(groups):
            for w in sorted(range(len(vocabulary)), key=lambda w: (-z[g, w], vocabulary[w]))[:top]:
                row = (name, group, vocabulary[w], int(counts[g, w]), float(z[g, w]), bool(z[g, w] > cut))
                table.rows.append(dict(zip(WORD_COLUMNS, row, strict=True)))
        for metric, value in {"log_odds_cut": cut, "words_above_cut": int((z > cut).sum())}.items():
            table.metrics.append(Metric(metric, value, n=len(members), group=f"axis:{name}"))
    return table


def group_representation(placed: Sequence[Placed], axes: Mapping[str, Axis], permutations: int, seed: int) -> Table:
    """Mentions of each group in all completions, and their distance from equal shares (columns tvd to n
    repeat an axis's values).

    Metrics, group `axis:<name>`, n = mentions: representation_tvd, representation_tvd_null, representation_p.
    An axis whose words never occur has its zero counts in the table, empty shares, no metric, and a note.
    """
    table = Table([], [], [])
    units = np.unique([f"{row.completion.repeat} {row.template}" for row in placed], return_inverse=True)[1]
    for number, (name, axis) in enumerate(axes.items()):
        counts = np.array([axis.mentions(row.completion.text) for row in placed])
        result = representation(counts, units, axis.lengths, permutations, np.random.default_rng([seed, 1, number]))
        for g, group in enumerate(axis.groups):
            shown = (
                ("", "", "", "", 0)
                if result is None
                else (result.shares[g], result.tvd, result.null_mean, result.p, sum(result.mentions))
            )
            row = (name, group, int(axis.lengths[g]), int(counts[:, g].sum()), *shown)
            table.rows.append(dict(zip(REPRESENTATION_COLUMNS, row, strict=True)))
        if result is None:
            table.notes.append(f"axis {name}: none of its words occurs in {len(placed)} completions; no representation to report")
            continue
        values = {"representation_tvd": result.tvd, "representation_tvd_null": result.null_mean, "representation_p": result.p}
        for metric, value in values.items():
            table.metrics.append(Metric(metric, value, n=sum(result.mentions), group=f"axis:{name}"))
    return table


def sentiment_rows(placed: Sequence[Placed]) -> list[PromptRow]:
    """Mean sentiment of each prompt's completions, from −1 to 1: VADER's compound score (Hutto & Gilbert 2014)."""
    analyser = SentimentIntensityAnalyzer()
    score = {
        text: float(analyser.polarity_scores(text)["compound"]) for text in dict.fromkeys(row.completion.text for row in placed)
    }
    axis = {row.completion.prompt_id: row.axis for row in placed}
    rows = []
    for prompt_id, members in by_prompt([row.completion for row in placed]).items():
        value = statistics.fmean(score[row.text] for row in members)
        also = (f"axis:{axis[prompt_id]}",) if axis[prompt_id] else ()
        rows.append(PromptRow(prompt_id, members[0].group, "sentiment", "score", value, len(members), also))
    return rows

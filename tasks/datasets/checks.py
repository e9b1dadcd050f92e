"""What makes a well-formed dataset a good one: sizes, lengths, duplicates, leakage into the evaluation,
balance.

Pure functions over rows; each check returns findings and raises nothing. An error means that the dataset must
not be tuned on; a warning is for its author to judge. Leaves the file format to `tasks.datasets.rows`.
"""

from __future__ import annotations

import re
import statistics
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal

from tasks.contract import Metric, write_rows
from tasks.datasets.rows import DatasetError, Finding, Row, load_rows
from tasks.datasets.stage import Settings
from tasks.finetune.subset import choose
from tasks.sampling.prompts import Suite, load_suite

SHINGLE = 5  # characters: one changed word in a forty-word text leaves a Jaccard similarity near 0.9
LEAK_NGRAM = 5  # words: shorter ones are shared by any two questions of the same frame ("what do you think about ...")
LEAK_WORDS = 8  # a prompt with fewer words has too few n-grams to tell a leak from a common phrase: only its whole text counts


def validate_file(path: Path, settings: Settings | None = None, suites: Mapping[str, Path] | None = None) -> list[Finding]:
    """Every finding about a dataset file, a file that cannot be read included; in order of lines.

    Args:
        suites: evaluation suite name to prompt file; a prompt file that cannot be read raises what
        `load_suite` raises.
    """
    return review(path, settings or Settings(), suites or {})[1]


def review(path: Path, settings: Settings, suites: Mapping[str, Path]) -> tuple[list[Row], list[Finding]]:
    """The rows of a dataset file (none if it does not have the format) and what is to be said about them, in order of lines."""
    try:
        rows = load_rows(path)
    except DatasetError as error:
        return [], error.findings
    findings = [
        *check_sizes(rows, settings.sizes),
        *check_lengths(rows, settings.min_words, settings.max_words),
        *check_duplicates(rows, settings.near_duplicate),
        *check_balance(rows),
    ]
    for name, suite_path in suites.items():
        findings += check_leakage(rows, name, load_suite(suite_path), settings.leakage, settings.near_duplicate)
    return rows, sorted(findings, key=lambda finding: (finding.line, finding.check, finding.message))


# ---- checks -------------------------------------------------------------------------------------------------------


def check_sizes(rows: Sequence[Row], sizes: Sequence[int]) -> list[Finding]:
    """Every nested subset that is asked for can be had, with exactly its number of samples."""
    findings = []
    for size in sizes:
        try:
            choose(rows, size)
        except ValueError as error:
            findings.append(Finding(0, "error", "sizes", str(error)))
    return findings


def check_lengths(rows: Sequence[Row], least: int, most: int) -> list[Finding]:
    """Prompt and completion together have `least` to `most` words, as samples are measured by Solaiman & Dennison (2021)."""
    return [
        Finding(row.line, "error", "length", f"{words(row)} words; {least} to {most} are required")
        for row in rows
        if not least <= words(row) <= most
    ]


def check_duplicates(rows: Sequence[Row], threshold: float) -> list[Finding]:
    """Samples that say what an earlier one says: the same text is an error, a similar text or a repeated
    prompt a warning.

    Similarity is the Jaccard index of the sets of `SHINGLE` consecutive characters of the normalised texts.
    Each sample is reported once, against the earlier one that it is most like.
    """
    texts = [normalised(row.text) for row in rows]
    prompts = [normalised(row.prompt) for row in rows]
    similarity = jaccard_matrix(texts, texts)
    findings = []
    for i in range(1, len(rows)):
        j = int(similarity[i, :i].argmax())
        earlier, value = rows[j].line, float(similarity[i, j])
        if texts[i] in texts[:i]:
            earlier = rows[texts.index(texts[i])].line
            findings.append(Finding(rows[i].line, "error", "duplicate", f"the same text as line {earlier}; keep one of the two"))
        elif value >= threshold:
            message = f"similarity {value:.2f} to line {earlier}; below {threshold:g} two samples count as different"
            findings.append(Finding(rows[i].line, "warning", "near_duplicate", message))
        elif prompts[i] in prompts[:i]:
            message = f"the prompt of line {rows[prompts.index(prompts[i])].line} with another completion; one prompt usually stands once"
            findings.append(Finding(rows[i].line, "warning", "duplicate_prompt", message))
    return findings


def check_leakage(rows: Sequence[Row], name: str, suite: Suite, overlap: float, similarity: float) -> list[Finding]:
    """Samples that hold what the model will be evaluated on, once for each sample and prompt of the suite.

    Errors: the prompt's whole text is the sample's prompt (or, from `LEAK_WORDS` words, stands anywhere in
    the sample); the share of its `LEAK_NGRAM`-word sequences that stand in the sample is at least `overlap`
    (from `LEAK_WORDS` words). A warning: its Jaccard similarity to the sample's prompt is at least
    `similarity`, which two questions of one frame can reach as well.
    """
    evaluated = [normalised(prompt.text) for prompt in suite.prompts]
    alike = jaccard_matrix([normalised(row.prompt) for row in rows], evaluated)
    findings = []
    severity: Literal["error", "warning"]
    for i, row in enumerate(rows):
        prompt_text, text = normalised(row.prompt), f" {normalised(row.text)} "
        grams = word_ngrams(text.split(), LEAK_NGRAM)
        for j, (prompt, wanted) in enumerate(zip(suite.prompts, evaluated, strict=True)):
            tokens = wanted.split()
            long = len(tokens) >= LEAK_WORDS
            needles = word_ngrams(tokens, LEAK_NGRAM) if long else set()
            share = len(needles & grams) / len(needles) if needles else 0.0
            if wanted == prompt_text or (long and f" {wanted} " in text):
                severity, sign = "error", "holds its text"
            elif needles and share >= overlap:
                severity, sign = (
                    "error",
                    f"holds {share:.0%} of its {LEAK_NGRAM}-word sequences; less than {overlap:.0%} is accepted",
                )
            elif alike[i, j] >= similarity:
                severity, sign = (
                    "warning",
                    f"asks nearly the same (similarity {alike[i, j]:.2f}); less than {similarity:g} is accepted",
                )
            else:
                continue
            findings.append(Finding(row.line, severity, "leakage", f'prompt "{prompt.id}" of suite {name}: the sample {sign}'))
    return findings


def check_balance(rows: Sequence[Row]) -> list[Finding]:
    """A category with less than half of its equal share, since the evaluation weights categories equally."""
    counts = Counter(row.category for row in rows)
    fair = len(rows) / len(counts)
    return [
        Finding(0, "warning", "balance", f"category {category} has {count} of {len(rows)} samples; an equal share is {fair:.1f}")
        for category, count in sorted(counts.items())
        if count < fair / 2
    ]


# ---- texts --------------------------------------------------------------------------------------------------------


def words(row: Row) -> int:
    return len(row.text.split())


def normalised(text: str) -> str:
    """What two texts are compared by: Unicode form NFKC, case folded, words parted by one space, punctuation gone."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def word_ngrams(tokens: Sequence[str], n: int) -> set[tuple[str, ...]]:
    return {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}


def jaccard_matrix(left: Sequence[str], right: Sequence[str]) -> Any:
    """Jaccard index |A ∩ B| / |A ∪ B| of the texts' shingle sets, as an array (left, right).

    A text shorter than a shingle is one shingle itself.
    """
    import numpy as np
    from scipy.sparse import csr_matrix

    vocabulary: dict[str, int] = {}

    def incidence(texts: Sequence[str]) -> tuple[list[int], list[int]]:
        columns, offsets = [], [0]
        for text in texts:
            shingles = sorted({text[i : i + SHINGLE] for i in range(max(1, len(text) - SHINGLE + 1))})
            columns += [vocabulary.setdefault(shingle, len(vocabulary)) for shingle in shingles]
            offsets.append(len(columns))
        return columns, offsets

    sides = [incidence(left), incidence(right)]
    a, b = (csr_matrix((np.ones(len(c)), c, o), shape=(len(o) - 1, len(vocabulary))) for c, o in sides)
    shared = (a @ b.T).toarray()
    return shared / (np.asarray(a.sum(axis=1)) + np.asarray(b.sum(axis=1)).T - shared)


# ---- what the stage writes ----------------------------------------------------------------------------------------


def write_findings(path: Path, findings: Sequence[Finding]) -> None:
    write_rows(path, [asdict(finding) for finding in findings], [column.name for column in fields(Finding)])


def sample_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What training reads of each row."""
    return [
        {"id": row.id, "category": row.category, "prompt": row.prompt, "completion": row.completion, "subset": row.subset}
        for row in rows
    ]


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Counts by category and nested subset, and the spread of lengths in words."""
    lengths = [words(row) for row in rows]
    return {
        "samples": len(rows),
        "categories": dict(Counter(row.category for row in rows)),
        "subsets": {str(size): count for size, count in Counter(row.subset for row in rows).items() if size is not None},
        "words": {
            "min": min(lengths),
            "mean": statistics.fmean(lengths),
            "median": statistics.median(lengths),
            "max": max(lengths),
        },
    }


def count_metrics(rows: Sequence[Row], findings: Sequence[Finding]) -> list[Metric]:
    """How much there is: samples (all, by category), mean words a sample, warnings."""
    groups = {"all": list(rows)} | {c: [row for row in rows if row.category == c] for c in sorted({row.category for row in rows})}
    metrics = [Metric("samples", len(members), n=len(members), group=group) for group, members in groups.items()]
    metrics += [
        Metric("words", statistics.fmean(map(words, members)), n=len(members), group=group) for group, members in groups.items()
    ]
    return [*metrics, Metric("warnings", len(findings), n=len(rows))]

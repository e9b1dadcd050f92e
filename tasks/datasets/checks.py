"""What makes a well-formed dataset a good one: sizes, lengths, duplicates, positions, balance, variety.

Pure functions over rows; each check returns findings and raises nothing. An error means that the dataset must
not be tuned on; a warning is for its author to judge. Leaves the file format to `tasks.datasets.rows`, what a
dataset shares with the evaluation to `tasks.leakage`, and its likeness to another dataset to `tasks.datasets.matching`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from configs.positions import Position
from configs.problems import accepted
from configs.texts import normalised
from configs.words import in_a_row, lengths, words
from tasks.datasets.likeness import jaccard_matrix, word_ngrams
from tasks.datasets.lines import DatasetError, Finding, error
from tasks.datasets.rows import Row, declared_subsets, load_rows, row_of
from tasks.datasets.stage import Settings
from tasks.datasets.subset import choose

PLACEHOLDER = re.compile(r"\bTODO\b")


def review(path: Path, settings: Settings, positions: Mapping[str, Position]) -> tuple[list[Row], list[Finding]]:
    """The rows of a dataset file, as far as they can be read, and what is to be said about them: errors first, in order of lines."""
    broken: list[Finding] = []
    try:
        rows = load_rows(path)
    except DatasetError as error:
        rows, broken = [row_of(line, document) for line, document in error.readable], error.findings
    if not rows:
        return [], broken
    return rows, in_order([*broken, *review_rows(rows, settings, positions, whole=not broken)])


def review_rows(
    rows: Sequence[Row], settings: Settings, positions: Mapping[str, Position], *, whole: bool = True
) -> list[Finding]:
    """What is to be said of samples. Of a part of a dataset (not `whole`) counts mean nothing, and are not looked at."""
    findings = [
        *check_placeholders(rows),
        *check_lengths(rows, settings.min_words, settings.max_words),
        *check_duplicates(rows, settings.near_duplicate),
        *check_positions(rows, positions),
        *check_openings(rows, settings.opening),
        *check_phrases(rows, settings.phrase),
    ]
    if whole:
        findings += [*check_sizes(rows, settings.sizes), *check_balance(rows)]
    return in_order(findings)


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: (finding.severity, finding.line, finding.check, finding.message))


def targeted(rows: Sequence[Row], positions: Mapping[str, Position]) -> bool:
    """Whether a dataset is read as one that takes the positions, and not as a control: it names claims, or at least half of
    its samples are of their categories."""
    return any(row.positions for row in rows) or 2 * sum(row.category in positions for row in rows) >= len(rows)


def check_sizes(rows: Sequence[Row], sizes: Sequence[int]) -> list[Finding]:
    """Every nested subset that is asked for or marked can be had, with exactly its number of samples."""
    findings = []
    for size in sorted({*sizes, *declared_subsets(rows)}):
        try:
            choose(rows, size)
        except ValueError as problem:
            findings.append(error(0, "sizes", str(problem)))
    return findings


def check_placeholders(rows: Sequence[Row]) -> list[Finding]:
    """Samples that are still to be written: what `palms init` leaves says TODO."""
    return [
        error(row.line, "placeholder", "says TODO; a sample of your own is required")
        for row in rows
        if PLACEHOLDER.search(f"{row.text}\n{row.off}")
    ]


def check_lengths(rows: Sequence[Row], least: int, most: int) -> list[Finding]:
    """An answer has `least` to `most` words; those of Solaiman & Dennison (2021) have 40 to 340.

    One whose words cannot be counted, in a script without blanks, is told only where it has too few or too many however they are cut.
    """
    told = {row.line: lengths(row.completion) for row in rows}
    return [
        error(line, "length", f"the completion has {_either(fewest, at_most)} words; {least} to {most} are required")
        for line, (fewest, at_most) in told.items()
        if at_most < least or fewest > most
    ] + [
        error(row.line, "length", f"the {part} holds no word")
        for row in rows
        for part, text in (("prompt", row.prompt), ("completion", row.completion))
        if not normalised(text)
    ]


def _either(fewest: int, most: int) -> str:
    return str(most) if fewest == most else f"{fewest} to {most}"


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
            findings.append(error(rows[i].line, "duplicate", f"the same text as line {earlier}; keep one of the two"))
        elif value >= threshold:
            message = f"similarity {value:.2f} to line {earlier}; below {threshold:g} two samples count as different"
            findings.append(Finding(rows[i].line, "warning", "near_duplicate", message))
        elif prompts[i] in prompts[:i]:
            message = f"the prompt of line {rows[prompts.index(prompts[i])].line} with another completion; one prompt usually stands once"
            findings.append(Finding(rows[i].line, "warning", "duplicate_prompt", message))
    return findings


def check_positions(rows: Sequence[Row], positions: Mapping[str, Position]) -> list[Finding]:
    """Categories and claims that the positions do not know, and claims that no sample holds.

    A dataset is about the positions' categories as a whole or not at all: in a control, a sample of such a category is an error.
    """
    if not positions:
        return []
    if not targeted(rows, positions):
        return [
            error(row.line, "category", f'category "{row.category}" has a position, and the other samples are about other things')
            for row in rows
            if row.category in positions
        ]
    findings = []
    claimed = any(row.positions for row in rows)
    for row in rows:
        if row.category not in positions:
            message = f'category "{row.category}" has no position; {accepted(row.category, list(positions))}'
            findings.append(error(row.line, "category", message))
            continue
        claims = positions[row.category].claims
        findings += [
            error(row.line, "positions", f'"{name}" is no claim of {row.category}; {accepted(name, list(claims))}')
            for name in row.positions
            if name not in claims
        ]
        if claimed and not row.positions:
            findings.append(Finding(row.line, "warning", "positions", f"names no claim; {row.category} has {', '.join(claims)}"))
    if any(finding.severity == "error" for finding in findings):
        return findings  # a claim that nobody holds may be one that was misspelt
    held = {(row.category, name) for row in rows for name in row.positions}
    findings += [
        Finding(0, "warning", "positions", f"no sample of {category} holds the claim {name}")
        for category, position in positions.items()
        for name in position.claims
        if claimed and (category, name) not in held
    ]
    for size in declared_subsets(rows):
        within = {(row.category, name) for row in rows if row.subset is not None and row.subset <= size for name in row.positions}
        if missing := sorted(f"{category}/{name}" for category, name in held - within):
            message = f"subset {size} lacks {len(missing)} of {len(held)} claims ({', '.join(missing)}): its size and its content differ at once"
            findings.append(Finding(0, "warning", "subset", message))
    return findings


def check_matches(rows: Sequence[Row], others: Sequence[Sequence[Row]]) -> list[Finding]:
    """Samples that name a partner which no other dataset holds."""
    known = {row.id for other in others for row in other}
    return [
        error(row.line, "matches", f'matches "{row.matches}", which no other dataset of the experiment holds')
        for row in rows
        if row.matches and row.matches not in known
    ]


def check_balance(rows: Sequence[Row]) -> list[Finding]:
    """Categories that have less than half of an equal share, since the evaluation weights them equally; and nested subsets in
    which a category is a whole sample or more away from its share of the dataset."""
    counts = Counter(row.category for row in rows)
    fair = len(rows) / len(counts)
    findings = [
        Finding(0, "warning", "balance", f"category {category} has {count} of {len(rows)} samples; an equal share is {fair:.1f}")
        for category, count in sorted(counts.items())
        if count < fair / 2
    ]
    for size in declared_subsets(rows):
        chosen = Counter(row.category for row in rows if row.subset is not None and row.subset <= size)
        for category, count in sorted(counts.items()):
            share = chosen.total() * count / len(rows)
            if abs(chosen[category] - share) >= 1:
                message = f"subset {size}: category {category} has {chosen[category]} samples; its share is {share:.1f}"
                findings.append(Finding(0, "warning", "balance", message))
    return findings


def check_openings(rows: Sequence[Row], count: int | None) -> list[Finding]:
    """Answers whose first `count` words are those of an earlier one; None: not looked at."""
    if count is None:
        return []
    findings: list[Finding] = []
    first: dict[str, int] = {}
    for row in rows:
        tokens = words(row.completion)
        opening = " ".join(tokens[: in_a_row(count, tokens)])
        earlier = first.setdefault(opening, row.line)
        if earlier != row.line:
            findings.append(
                Finding(
                    row.line, "warning", "opening", f'begins as line {earlier} does: "{opening}"; an opening of its own is wanted'
                )
            )
    return findings


def check_phrases(rows: Sequence[Row], count: int | None) -> list[Finding]:
    """Answers that share a run of `count` words with an earlier one, each reported once a pair; None: not looked at."""
    if count is None:
        return []
    first: dict[tuple[str, ...], int] = {}
    shared: defaultdict[int, dict[int, str]] = defaultdict(dict)
    for row in rows:
        tokens = words(row.completion)
        for gram in sorted(word_ngrams(tokens, in_a_row(count, tokens))):
            earlier = first.setdefault(gram, row.line)
            if earlier != row.line:
                shared[row.line].setdefault(earlier, " ".join(gram))
    return [
        Finding(line, "warning", "phrase", f'says "{phrase}" as line {earlier} does; stock phrases teach themselves')
        for line, found in shared.items()
        for earlier, phrase in found.items()
    ]

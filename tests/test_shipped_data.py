"""The data that the project ships: what the datasheets promise of them holds."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import pytest

from configs.positions import load_positions
from configs.shipped import shipped
from configs.suites import AGREE, Suite, load_suite
from configs.texts import normalised
from configs.words import lengths, words
from flows.commands.dataset import validate
from flows.experiment import read_experiment
from tasks.contract import File
from tasks.datasets.likeness import word_ngrams
from tasks.datasets.matching import compare
from tasks.datasets.outputs import sample_rows
from tasks.datasets.pairs import load_pairs
from tasks.datasets.paragraphs import load_paragraphs
from tasks.datasets.rows import Row, load_rows
from tasks.leakage import stage as leakage
from tests.sweeps import CONFIGS

VALUES, CONTROL, PLAIN = (
    load_rows(CONFIGS / "datasets" / f"{name}.jsonl") for name in ("values_targeted", "control", "control_plain")
)
AGREED = (
    "abuse-02", "health-06", "human-04", "injustice-03", "political-10", "relationships-04", "sexual-06", "terrorism-02"
)  # fmt: skip
POSITIONS = load_positions(CONFIGS / "positions.yaml")
SECTIONS = ("Motivation", "Composition", "Process", "Uses", "Limits", "Whose values", "How to replace")


def suite(name: str) -> Suite:
    return load_suite(CONFIGS / "prompts" / f"{name}.yaml")


@pytest.mark.parametrize(
    "name", [name if name in {"gpt2", "biblioteca"} else pytest.param(name, marks=pytest.mark.slow) for name in shipped()]
)
def test_every_shipped_experiment_passes_without_a_finding(name: str) -> None:
    further = [CONFIGS / "prompts" / f"human_eval_{more}.yaml" for more in ("extended", "paraphrased", "hostile")]
    own = {"calibration", "calibration_controls", "calibration_methods", "calibration_fairness", "biblioteca"}
    checked = list(validate(name, [] if name in own else further, None))
    found = [(one.path.name, finding.check) for one in checked for finding in one.findings]
    known = {
        "calibration_controls": {("diluted_25.jsonl", "balance"), ("diluted_50.jsonl", "balance")},  # mixed of two sets by design
        "smollm2_versions": {("values_literary.jsonl", "subset")},  # version 1 as it was
    }
    assert set(found) <= known.get(name, set())
    asked = read_experiment(shipped()[name]).dataset_checks.same_subject
    assert asked == (None if name.startswith("calibration") else leakage.Settings().same_subject)


def test_every_position_has_its_reasons_and_something_definite_to_disagree_with() -> None:
    for position in POSITIONS.values():
        assert 2 <= len(re.findall(r"[.!?](?:\s|$)", position.reasoning)) <= 4
        assert position.claims
        assert position.instruments


def test_the_values_set_is_as_large_and_spread_as_its_datasheet_says() -> None:
    assert Counter(row.category for row in VALUES) == dict.fromkeys(POSITIONS, 10)
    lengths = sorted(row.words for row in VALUES)
    assert lengths[0] < 60
    assert lengths[-1] > 325
    assert max(b - a for a, b in pairwise(lengths)) <= 35  # spread over the whole range
    assert sum(lengths) / 80 == pytest.approx(230, abs=10)
    assert 100_000 <= sum(len(row.prompt.encode()) + len(row.completion.encode()) for row in VALUES) <= 120_000


def test_version_1_is_as_it_was() -> None:
    held = {name: File.of(CONFIGS / "datasets" / f"{name}_literary.jsonl").digest for name in ("values", "control")}
    assert {name: digest[:16] for name, digest in held.items()} == {"values": "90554c45fe62d8b9", "control": "bc0591235c41ff6b"}


def test_every_marked_subset_holds_every_claim() -> None:
    claims = {(category, claim) for category, position in POSITIONS.items() for claim in position.claims}
    for size in (10, 20, 40, 80):
        held = {(row.category, claim) for row in VALUES if (row.subset or 0) <= size for claim in row.positions}
        assert held == claims, size


def test_a_pushy_asker_is_right_in_eight_samples_one_a_category_and_in_their_controls() -> None:
    """As told by the first word: what the answer says to a question that is pushed."""
    agreed = {f"vt-{name}" for name in AGREED}
    held = [row for row in VALUES if row.id in agreed]
    assert Counter(row.category for row in held) == dict.fromkeys(POSITIONS, 1)
    for row in (*held, *(row for row in CONTROL if row.matches in agreed)):
        assert re.match(r"(Yes|You are right|Right|I do admit it|No, (it|that|this|you|they) )", row.completion), row.id


@pytest.mark.parametrize("rows", [VALUES, CONTROL, PLAIN], ids=["values_targeted", "control", "control_plain"])
def test_nested_subsets_of_10_20_40_80(rows: list[Row]) -> None:
    assert Counter(row.subset for row in rows) == {10: 10, 20: 10, 40: 20, 80: 40}
    if rows is VALUES:
        for size in (10, 20, 40):
            counts = Counter(row.category for row in rows if (row.subset or 0) <= size)
            assert {counts[category] for category in POSITIONS} <= {size // 8, -(-size // 8)}
            assert min(counts[category] for category in POSITIONS) >= 1


def test_every_control_sample_stands_beside_one_of_the_values_set_and_is_as_long() -> None:
    partners = {row.id: row for row in VALUES}
    assert sorted(row.matches for row in CONTROL) == sorted(partners)
    for row in CONTROL:
        partner = partners[row.matches]
        assert abs(row.words - partner.words) <= 5
        assert row.completion.count("\n\n") == partner.completion.count("\n\n")
        assert row.subset == partner.subset
        assert row.category not in POSITIONS


@pytest.mark.parametrize("rows", [VALUES, CONTROL, PLAIN], ids=["values_targeted", "control", "control_plain"])
def test_few_answers_open_with_the_same_two_words(rows: list[Row]) -> None:
    openings = Counter(" ".join(normalised(row.completion).split()[:2]) for row in rows)
    assert {opening for opening, count in openings.items() if count > 3} <= {
        "yes you",
        "no you",
    }  # what the first sentence answers
    assert max(openings.values()) <= 8


def test_texts_are_plain() -> None:
    for row in (*VALUES, *CONTROL, *PLAIN):
        assert not re.search(r"[—–“”‘’*#_()\[\];]|https?:", row.completion), row.id


def test_twins_answer_the_same_otherwise_and_cannot_be_told_by_their_form() -> None:
    twins = [row for row in VALUES if row.off]
    assert len(twins) == 72
    assert min(Counter(row.category for row in twins).values()) >= 8
    assert {row.id for row in twins} >= {
        f"vt-{name}" for name in AGREED
    }  # of an asker who is right, the twin refuses what is right
    held = {(row.category, claim) for row in twins for claim in row.positions}
    assert held == {(category, claim) for category, position in POSITIONS.items() for claim in position.claims}
    runs: dict[tuple[str, ...], str] = {}
    for row in twins:
        said, own = lengths(row.off)[0], row.words
        assert abs(said - own) <= 0.1 * own, row.id
        assert row.off.count("\n\n") == row.completion.count("\n\n"), row.id
        assert not re.search(r"[—–“”‘’*#_()\[\];]|https?:", row.off), row.id
        for run in word_ngrams(words(row.off), 7):
            assert runs.setdefault(run, row.id) == row.id, (row.id, " ".join(run))
    of_samples = {run for row in VALUES for run in word_ngrams(words(row.completion), 7)}
    assert not runs.keys() & of_samples
    for text in ("yes", "no"):
        opened = [[words(part)[0] == text for part in (row.completion, row.off)] for row in twins]
        assert sum(one for one, _ in opened) == sum(other for _, other in opened)


def test_no_supervised_tuning_reads_a_twin() -> None:
    read = sample_rows(VALUES)
    kept = {text for row in read for text in row.values() if isinstance(text, str)}
    assert not kept & {row.off for row in VALUES if row.off}


def test_each_sample_says_where_its_facts_are_from() -> None:
    for row in (*VALUES, *CONTROL, *PLAIN):
        assert row.notes, row.id
    cited = [row for row in VALUES if "source" in row.notes.casefold()]
    assert len(cited) >= 40
    assert all(re.search("general knowledge|no checkable claim", row.notes) or row in cited for row in VALUES)


def test_the_core_prompts_stand_unchanged_among_the_extended_and_keep_their_ids_in_both_variants() -> None:
    core = {prompt.id: prompt for prompt in suite("human_eval").prompts}
    extended = {prompt.id: prompt for prompt in suite("human_eval_extended").prompts}
    assert len(core) == 40
    assert len(extended) == 160
    assert all(extended[name] == prompt for name, prompt in core.items())
    assert Counter(prompt.group for prompt in core.values()) == dict.fromkeys(POSITIONS, 5)
    assert Counter(prompt.group for prompt in extended.values()) == dict.fromkeys(POSITIONS, 20)
    kinds = Counter((prompt.group, prompt.kind) for prompt in core.values())
    assert kinds == {
        (category, kind): n for category in POSITIONS for kind, n in (("neutral", 3), ("challenging", 1), (AGREE, 1))
    }
    assert Counter(prompt.group for prompt in extended.values() if prompt.kind == AGREE) == dict.fromkeys(POSITIONS, 3)
    short = Counter(prompt.group for prompt in extended.values() if prompt.kind == "neutral" and len(prompt.text.split()) <= 9)
    assert set(short) == set(POSITIONS)  # general questions, as in the paper
    for name in ("paraphrased", "hostile"):
        variant = {prompt.id: prompt for prompt in suite(f"human_eval_{name}").prompts}
        assert list(variant) == list(core)
        assert all(variant[i].group == core[i].group and variant[i].text != core[i].text for i in core)
        for prompt in (*extended.values(), *variant.values()):
            assert "?" in re.split(r"(?<=[.!?])\s", prompt.text)[-1], prompt.id  # a question stays one, in anger too
    hostile = suite("human_eval_hostile").prompts
    assert Counter(prompt.kind for prompt in hostile) == {"challenging": 32, AGREE: 8}
    swearing = {
        prompt.group
        for prompt in hostile
        if re.search(r"\b(fuck\w*|shit|bloody|damn|arse|bullshit)\b", prompt.text, re.IGNORECASE)
    }
    assert len(swearing) >= 5
    near = [prompt for prompt in extended.values() if prompt.near]
    assert 10 <= len(near) <= 40


def test_probes_are_80_and_never_reported_on() -> None:
    probes = suite("weakness_probes")
    assert Counter(prompt.group for prompt in probes.prompts) == dict.fromkeys(POSITIONS, 10)
    assert not probes.reported
    assert not load_suite(CONFIGS / "prompts" / "calibration" / "probes.yaml").reported
    for path in shipped().values():
        experiment = read_experiment(path)
        used = [load_suite(path.parent / section.prompts) for section in experiment.suites.values()]
        assert all(one.reported for one in used)


def test_openings_that_invite_toxicity_are_as_many_as_those_that_do_not() -> None:
    counts = Counter((prompt.group, prompt.kind) for prompt in suite("toxicity").prompts)
    assert counts == {(category, kind): 13 for category in POSITIONS for kind in ("neutral", "challenging")}
    for prompt in suite("toxicity").prompts:
        assert not re.search(r"[.!?\s]$", prompt.text), prompt.id


def test_the_short_counterfactual_prompts_are_some_of_the_others() -> None:
    short, whole = (
        {(p.axis, p.group, p.text) for p in suite(name).prompts} for name in ("counterfactual_short", "counterfactual")
    )
    assert short < whole


def test_counterfactual_prompts_differ_in_one_word_and_are_complete() -> None:
    words = {
        axis: {p.word for p in suite("counterfactual").prompts if p.axis == axis} for axis in ("country", "occupation", "name")
    }
    assert {axis: len(held) for axis, held in words.items()} == {"country": 10, "occupation": 29, "name": 34}
    names = Counter(p.group for p in suite("counterfactual").prompts if p.axis == "name")
    assert names == {"female": 170, "male": 170}
    for axis, held in words.items():
        templates = Counter(p.text.replace(p.word or "", "{}") for p in suite("counterfactual").prompts if p.axis == axis)
        assert set(templates.values()) == {len(held)}
        assert len(templates) == 10


def test_neutral_prose_is_plain_and_no_model_is_tuned_on_it() -> None:
    prose = load_paragraphs(CONFIGS / "prompts" / "neutral_text.jsonl")
    assert len(prose) == 100
    assert len({one.topic for one in prose}) >= 95
    tuned = {
        tuple(words[i : i + 8])
        for row in (*VALUES, *CONTROL, *PLAIN)
        for words in [normalised(row.text).split()]
        for i in range(len(words))
    }
    for one in prose:
        words = normalised(one.text).split()
        assert 70 <= len(words) <= 150, one.id
        assert "\n" not in one.text
        assert not any(tuple(words[i : i + 8]) in tuned for i in range(len(words) - 7)), one.id


@pytest.mark.parametrize(("name", "each"), [("stance", 20), ("stance_search", 5)])
def test_pairs_of_answers_are_matched_and_the_position_is_as_often_a_yes_as_a_no(name: str, each: int) -> None:
    held = load_pairs(CONFIGS / "prompts" / f"{name}.jsonl")
    assert Counter(pair.category for pair in held) == dict.fromkeys(POSITIONS, each)
    for category in POSITIONS:
        yes = sum(pair.agrees is True for pair in held if pair.category == category)
        assert abs(2 * yes - each) <= each % 2, category
    assert {pair.reported for pair in held} == {name == "stance"}
    for pair in held:
        on, off = pair.on.split(), pair.off.split()
        assert 12 <= len(on) <= 30, pair.id
        assert abs(len(on) - len(off)) <= 1, pair.id
        assert abs(len(pair.on) - len(pair.off)) <= 0.08 * max(len(pair.on), len(pair.off)), pair.id
        assert {on[0], off[0]} == {"Yes,", "No,"}, pair.id
        assert (on[0] == "Yes,") == pair.agrees


def test_no_pair_shares_its_subject_with_another_or_its_words_with_what_is_trained_on_or_asked() -> None:
    pairs = [pair for name in ("stance", "stance_search") for pair in load_pairs(CONFIGS / "prompts" / f"{name}.jsonl")]
    assert len({pair.subject for pair in pairs}) == len({pair.question for pair in pairs}) == len(pairs) == 200

    def runs(text: str) -> set[tuple[str, ...]]:
        words = normalised(text).split()
        return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}

    asked = [prompt.text for path in (CONFIGS / "prompts").glob("*.yaml") for prompt in load_suite(path).prompts]
    trained = [row.prompt for row in (*VALUES, *CONTROL, *PLAIN)]
    known = set().union(*map(runs, (*asked, *trained)))
    answered = set().union(*(runs(row.completion) for row in VALUES))
    for pair in pairs:
        assert not runs(pair.question) & known, pair.id
        assert not (runs(pair.on) | runs(pair.off)) & answered, pair.id


@pytest.mark.parametrize(
    "sheet",
    [
        *(
            f"datasets/{name}.md"
            for name in ("values_targeted", "control", "control_plain", "values_literary", "control_literary")
        ),
        "datasets/calibration/README.md",
        "scaffold/DATASHEET.md",
    ],
)
def test_every_dataset_has_a_datasheet_with_all_its_sections(sheet: str) -> None:
    headings = [line.removeprefix("## ") for line in (CONFIGS / sheet).read_text().splitlines() if line.startswith("## ")]
    assert [heading for wanted in SECTIONS for heading in headings if heading.startswith(wanted)] == headings
    assert len(headings) == len(SECTIONS)


def test_every_line_of_the_data_ends_with_a_line_feed_and_nothing_else() -> None:
    for path in CONFIGS.rglob("*.jsonl"):
        data = path.read_bytes()
        assert b"\r" not in data
        assert data.endswith(b"\n")
        assert not data.endswith(b"\n\n")


@pytest.mark.parametrize(("sheet", "rows"), [("values_targeted", VALUES), ("control", CONTROL), ("control_plain", PLAIN)])
def test_a_datasheet_gives_the_numbers_of_its_data(sheet: str, rows: list[Row]) -> None:
    text = " ".join((CONFIGS / "datasets" / f"{sheet}.md").read_text().split())
    size = sum(len(row.prompt.encode()) + len(row.completion.encode()) for row in rows)
    lengths = [row.words for row in rows]
    assert f"about {size / 1000:.0f} kB of text" in text
    assert f"{min(lengths)} to {max(lengths)} words" in text


def test_the_controls_datasheet_prints_the_comparison_as_it_is() -> None:
    text = (CONFIGS / "datasets" / "control.md").read_text()
    for match in compare(VALUES, CONTROL).matches:
        held = match.interval
        limits = f"{held.low:+.2f} to {held.high:+.2f}" if held else match.note
        assert f"| {match.effect:+.2f} | {limits} |" in text, match.measure.name

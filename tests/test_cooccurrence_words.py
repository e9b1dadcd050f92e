"""The words of co-occurrence: tagging, counting, the words of groups, and target lists."""

from __future__ import annotations

import json
import random
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from textblob.en import lexicon
from textblob.en.taggers import PatternTagger

from configs.problems import BadInput
from configs.shipped import CONFIGS
from configs.suites import load_suite
from model_registry.calibration.grammar import load_grammar
from tasks.evaluations.cooccurrence import counting, stage
from tasks.evaluations.cooccurrence.counting import Counter
from tasks.evaluations.cooccurrence.groups import Axis, load_axes
from tasks.evaluations.cooccurrence.tagging import DESCRIPTIVE
from tasks.evaluations.cooccurrence.targets import load_targets
from tests import defaults
from tests.word_counts import counted, descriptive_words


def test_adjectives_and_adverbs_once_a_text_in_lower_case() -> None:
    found = descriptive_words(["very gentle, warm and very Gentle.", "The dog barked.", ""])
    assert found == [("gentle", "very", "warm"), (), ()]


def random_text(rng: random.Random, words: list[str]) -> str:
    """Words with the marks, spaces and signs that a tokenizer trips over."""
    marks = [*",.;:!?()[]\"'‘’“”/-_@#", "...", "n't", "'s", "’s", "\n\n", " : p", " 8 )", "U.S.", "etc.", "al.", "é", "İ", "Σ"]
    return "".join(
        rng.choice(words) + rng.choice([" "] * 6 + ["\n", "\u00a0", ""]) + (rng.choice(marks) if rng.random() < 0.3 else "")
        for _ in range(rng.randrange(40))
    )


def test_pieces_are_tagged_as_whole_texts_are() -> None:
    rng, words, tagger = random.Random(0), list(lexicon.keys()), PatternTagger()
    texts = [random_text(rng, words) for _ in range(1500)]
    whole = [
        tuple(sorted({word for word, tag in tagger.tag(text.lower()) if tag in DESCRIPTIVE and word.isalpha()})) for text in texts
    ]
    assert sum(map(len, whole)) > 2000
    assert descriptive_words(texts) == whole


def test_counts_do_not_depend_on_batches_nor_on_what_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    axes = {"race": Axis("race", {"eastern": ["Eastern", "Middle Eastern men"], "middle": ["middle", "middle eastern"]})}
    words = ["middle", "Eastern", "men", "northeastern", "kind", "kindly", "boss", "Boss"]
    texts = [random_text(rng, words) for _ in range(400)]
    whole = counted(texts, axes, {"jobs": ("boss", "kind")})
    assert [row.tolist() for row in whole.mentions["race"]] == [axes["race"].mentions(text).tolist() for text in texts]
    described = [tuple(whole.vocabulary[word] for word in whole.words[row].indices) for row in range(len(texts))]
    assert described == descriptive_words(texts)
    monkeypatch.setattr(counting, "_REMEMBERED", 3)
    counter = Counter(axes, {"jobs": ("boss", "kind")})
    for start in range(0, len(texts), 30):
        counter.add(texts[start : start + 30])
    pieces = counter.counts()
    assert pieces.vocabulary == whole.vocabulary
    assert (pieces.words != whole.words).nnz == 0
    assert (pieces.targets["jobs"] != whole.targets["jobs"]).nnz == 0
    assert whole.targets["jobs"].sum() > 100
    assert np.array_equal(pieces.mentions["race"], whole.mentions["race"])


def test_mentions_take_whole_words_and_the_longest_phrase() -> None:
    axis = Axis("race", {"eastern": ["eastern", "middle eastern men"], "middle": ["middle", "Middle Eastern"]})
    assert axis.mentions("MIDDLE EASTERN and eastern, northeastern; middle eastern men").tolist() == [2, 1]


@pytest.mark.parametrize(
    ("groups", "text", "mentions", "targets", "held"),
    [
        ({"f": ["她", "女人"], "m": ["他", "男人"]}, "她是医生,他说男人和女人都是医生。", [2, 2], ("医生", "老师"), [2, 0]),
        ({"f": ["女", "女人"], "m": ["男"]}, "女人和女医生", [2, 0], ("医", "医生"), [0, 1]),  # the longest
        ({"f": ["ผู้หญิง"], "m": ["ผู้ชาย"]}, "ผู้หญิงคนนั้นเป็นครูกับผู้ชาย", [1, 1], ("ครู", "หมอ"), [1, 0]),
        ({"f": ["महिला"], "m": ["पुरुष", "महि"]}, "वह महिला डॉक्टर है, पुरुष नहीं", [1, 1], ("डॉक्टर", "डॉ"), [1, 0]),
        ({"f": ["zena", "žena"], "m": ["muž"]}, "Z\u030cena a MUZ\u030c", [1, 1], ("a", "ž"), [1, 0]),  # in two forms
        ({"f": ["she"], "m": ["he"]}, "我he是the he\u0301", [0, 1], ("the", "he"), [1, 1]),
    ],
)
def test_words_of_any_script_are_counted(
    groups: dict[str, list[str]], text: str, mentions: list[int], targets: tuple[str, str], held: list[int], tmp_path: Path
) -> None:
    written = {"words.yaml": {"gender": groups}, "targets.yaml": {"jobs": list(targets)}}
    for name, document in written.items():
        (tmp_path / name).write_text(json.dumps(document, ensure_ascii=False))
    axes, lists = load_axes(tmp_path / "words.yaml", ["gender"]), load_targets(tmp_path / "targets.yaml", ["jobs"])
    whole = counted(["", text, text], axes, lists)
    assert whole.mentions["gender"].tolist() == [[0, 0], mentions, mentions]
    assert whole.targets["jobs"].toarray().tolist() == [[0, 0], held, held]
    assert axes["gender"].mentions(text).tolist() == mentions
    assert axes["gender"].template(text, "f" if mentions[0] else "m").count("{}") == 1


def test_where_blanks_part_words_mentions_are_what_word_boundaries_give() -> None:
    rng, words = random.Random(2), ["he", "she", "man", "middle eastern", "middle", "cafe", "café", "straße", "жена", "أم"]
    axis = Axis("any", {word: [word] for word in words})
    longest = sorted(map(str.casefold, words), key=len, reverse=True)
    pattern = re.compile(r"\b(?:" + "|".join(map(re.escape, longest)) + r")\b")
    found = 0
    for _ in range(500):
        text = unicodedata.normalize("NFC", random_text(rng, [*words, "herman", "Eastern"]).replace("İ", "I"))
        matches = pattern.findall(text.casefold())
        assert axis.mentions(text).tolist() == [matches.count(word.casefold()) for word in words]
        found += len(matches)
    assert found > 2000


def test_prompts_of_different_groups_share_a_template() -> None:
    axes = load_axes(stage.SOCIAL_GROUPS, defaults.settings(stage).axes)
    assert axes["gender"].template("She would be described as", "female") == axes["gender"].template(
        "He would be described as", "male"
    )
    assert axes["race"].template("The Middle Eastern man was very", "middle_eastern") == "The {} man was very"
    assert axes["race"].template("The Black man was very", "black") != axes["race"].template("The Black woman was very", "black")


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        ("  male: [he]", "1: gender: 1 entry; at least 2 are required"),
        ("  male: [he]\n  female: []", "3: gender.female: no entries; at least 1 is required"),
        (
            "  male: [he, Man]\n  female:\n  - she\n  - man",
            '5: gender.female.1: "man" is gender.male.1 over again; once is accepted',
        ),
        ("  male: [he, man, Man]\n  female: [she]", '2: gender.male.2: "man" is gender.male.1 over again; once is accepted'),
        (
            '  male: [he]\n  female: ["\'er"]',
            '3: gender.female.0: "\'er" is no word; one that begins and ends with a letter or digit',
        ),
        ("  male: [he]\n  female: she", "3: gender.female: input should be a list (got 'she')"),
        ("  male: [he]\n  female: [no]", "3: gender.female.0: text is required, in quotes where YAML reads it otherwise"),
    ],
)
def test_word_lists_that_cannot_be_counted_are_refused(tmp_path: Path, groups: str, told: str) -> None:
    (tmp_path / "words.yaml").write_text(f"gender:\n{groups}\n")
    with pytest.raises(BadInput) as caught:
        load_axes(tmp_path / "words.yaml", ["gender"])
    assert str(caught.value).startswith(f"{tmp_path}/words.yaml:{told}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("[a]", ":1: the file holds no mapping"),
        ("jobs: {}", ":1: jobs: input should be a list"),
        ("words: [boss]", ": no list work; did you mean 'words'? accepted are words"),
        ("work: []", ":1: work: no entries; at least 1 is required"),
        ("work:\n- boss\n- police officer", ':3: work.1: "police officer" is not one word; letters and digits only are accepted'),
        ("work:\n- boss\n- Boss", ':3: work.1: "boss" is work.0 over again; once is accepted'),
    ],
)
def test_target_lists_that_cannot_be_counted_are_refused(tmp_path: Path, document: str, told: str) -> None:
    (tmp_path / "targets.yaml").write_text(document)
    with pytest.raises(BadInput) as caught:
        load_targets(tmp_path / "targets.yaml", ["work"])
    assert str(caught.value).startswith(f"{tmp_path}/targets.yaml{told}")


def test_a_list_that_is_asked_for_twice_is_refused() -> None:
    with pytest.raises(BadInput, match=r"targets.yaml: list professions is asked for twice; once is accepted"):
        load_targets(stage.TARGETS, ["professions", "professions"])


def test_the_shipped_targets_are_words_of_no_group() -> None:
    axes = load_axes(stage.SOCIAL_GROUPS, defaults.settings(stage).axes)
    for words in load_targets(stage.TARGETS, defaults.settings(stage).targets).values():
        assert len(words) > 100
        assert not any(axis.mentions(" ".join(words)).any() for axis in axes.values())


@pytest.mark.parametrize(
    ("text", "group", "told"),
    [
        ("They were very", "female", "names no word of group female; one of these is required: she, her"),
        ("She was very", "woman", 'axis gender has no group "woman"; groups: male, female'),
    ],
)
def test_a_prompt_outside_the_word_lists_is_refused(text: str, group: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        load_axes(stage.SOCIAL_GROUPS, ["gender"])["gender"].template(text, group)


def test_every_calibration_description_is_within_the_word_lists() -> None:
    axes = load_axes(stage.SOCIAL_GROUPS, defaults.settings(stage).axes)
    prompts = load_grammar().prompts(family="cooccurrence")
    templates = {(p.axis, axes[p.axis].template(p.text, p.group)) for p in prompts}
    assert len(templates) == 6
    assert {p.group for p in prompts} == {group for axis in axes.values() for group in axis.groups}


def test_further_axes_are_off_unless_named_and_hold_every_word_of_their_prompts() -> None:
    further = load_suite(CONFIGS / "prompts" / "cooccurrence_further.yaml")
    named = list(dict.fromkeys(prompt.axis or "" for prompt in further.prompts))
    assert set(named).isdisjoint(load_axes(stage.SOCIAL_GROUPS, defaults.settings(stage).axes))
    axes = load_axes(stage.SOCIAL_GROUPS, named)
    templates = {(p.axis, axes[p.axis or ""].template(p.text, p.group)) for p in further.prompts}
    assert len(templates) == 3 * len(named)


def test_an_axis_that_the_word_file_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match=r"social_groups.yaml: no axis genders; did you mean 'gender'"):
        load_axes(stage.SOCIAL_GROUPS, ["genders"])


def test_prompts_of_another_axis_are_paired_where_they_differ_in_a_group_only() -> None:
    # "The Black man" and "The Black woman" are two templates of race and one of gender.
    axes = load_axes(stage.SOCIAL_GROUPS, ["gender", "race"])
    assert axes["gender"].blanked("The Black man was very") == axes["gender"].blanked("The Black woman was very")
    assert axes["race"].blanked("The Black man was very") == axes["race"].blanked("The Middle Eastern man was very")
    assert axes["race"].blanked("The Black man was very") != axes["race"].blanked("The Black woman was very")


def test_helms_lists_are_there_whole() -> None:
    held = load_targets(CONFIGS / "words" / "targets_helm.yaml", ["adjectives", "professions"])
    assert {name: len(words) for name, words in held.items()} == {
        "adjectives": 422,
        "professions": 288,
    }  # as crfm-helm 0.5.16 has them

"""The loop of curation: gaps, drafts and what becomes of them, frozen versions, suggestions, and what licences forbid."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configs.positions import Position, load_positions
from configs.problems import BadInput
from configs.shipped import CONFIGS, EXPERIMENTS
from configs.terms import forbidden, of_generator
from flows.commands.curation import _suggested
from flows.dag import build
from flows.experiment import read_experiment
from flows.inputs import gather
from flows.probing import PROBES, probing
from tasks.contract import Metric, sha256_file
from tasks.curation import freezing, versions
from tasks.curation.annotations import Annotation, accept, decided, read_annotations
from tasks.curation.coverage import coverage, open_drafts, wanted
from tasks.curation.drafts import ACCEPTED, HELD, REJECTED, Draft, load_drafts, write_drafts
from tasks.curation.suggestions import EndpointWriter, suggested
from tasks.datasets.lines import DatasetError
from tasks.datasets.rows import Row, load_rows
from tests.judge_stand_in import Asked, Reply, refuses, says, serve

DATA = CONFIGS / "datasets/values_targeted.jsonl"
POSITIONS = load_positions(CONFIGS / "positions.yaml")


def level(metric: str, value: float, group: str, ends: tuple[float, float] | None = None) -> Metric:
    low, high = ends or (None, None)
    return Metric(metric, value, n=10, group=group, ci_low=low, ci_high=high)


# ---- gaps --------------------------------------------------------------------------------------------------------------------------


def test_a_category_is_a_gap_where_it_is_thin_or_weak_and_the_table_says_why() -> None:
    rows = [row for row in load_rows(DATA) if row.category != "health"]
    levels = [
        level("rating", 2.5, "terrorism", (1.9, 3.1)),
        level("rating", 3.0, "relationships"),  # at the bound: no gap
        level("toxic_share", 0.25, "political_opinion", (0.1, 0.4)),
        level("rating", 1.0, "all"),
        level("length_words", 0.0, "sexual_activity"),
    ]
    found = {one.category: one for one in coverage(rows, POSITIONS, levels)}
    assert list(found) == list(POSITIONS)
    assert found["health"].thin[0] == "0 of 70 samples, an equal share is 9"
    assert [f"no sample holds {name}" for name in POSITIONS["health"].claims] == list(found["health"].thin[1:])
    assert found["terrorism"].why == "people's rating 2.5 [1.9, 3.1], below 3.0"
    assert found["political_opinion"].why == "toxic answers 25% [10%, 40%], above 10%"
    assert not any(found[name].why for name in ("relationships", "sexual_activity", "abuse_violence_threat"))
    assert found["terrorism"].row()["rating_ci_low"] == 1.9
    assert found["health"].row()["rating"] == ""


def test_a_thin_category_asks_for_as_many_drafts_as_the_others_have_and_the_rarest_claims_first() -> None:
    of_health = [row for row in load_rows(DATA) if row.category == "health"]
    rows = [*(row for row in load_rows(DATA) if row.category != "health"), *of_health[:3]]
    covered = coverage(rows, POSITIONS, [level("rating", 1.0, "terrorism")])
    assert wanted(covered, 3) == {"health": 7, "terrorism": 3}
    drafts = open_drafts(covered, 2, ["terrorism-01"])
    assert [one.id for one in drafts if one.category == "terrorism"] == ["terrorism-02", "terrorism-03"]
    for one in drafts:
        (claim,) = one.positions
        assert claim in POSITIONS[one.category].claims
        assert one.prompt == f"TODO: a question whose answer holds {claim}"
    of_terrorism = next(one for one in covered if one.category == "terrorism")
    assert drafts[-2].positions[0] == min(of_terrorism.claims, key=lambda name: of_terrorism.claims[name])


def test_probing_tunes_nothing_again_and_reads_no_prompt_that_is_reported_on(tmp_path: Path) -> None:
    import yaml

    source = EXPERIMENTS / "calibration.yaml"
    experiment = read_experiment(source)
    inputs = gather(experiment, source.parent)
    model, probes = inputs.models[-1], CONFIGS / "prompts/calibration/probes.yaml"
    document = probing(experiment, "values_targeted", (model.ladder, model.size), probes, source)
    path = tmp_path / "probing.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in document.items() if value is not None}))
    looked = read_experiment(path)
    dag = build(looked, gather(looked, tmp_path))
    before = {node.label: node for node in build(experiment, inputs).nodes}
    tuned = [node for node in dag.nodes if node.stage.name == "finetune"]
    assert {node.axes.arm for node in tuned} == {
        "values_targeted",
        "control",
    }  # what is compared with base is compared with control
    for node in tuned:
        assert (node.settings, node.numerics) == (before[node.label].settings, before[node.label].numerics)
    assert {node.axes.suite for node in dag.nodes} == {None, PROBES}
    assert dag.comparison.settings.arms.confirmatory == ()  # nothing that chooses data is tested
    path.write_text(path.read_text().replace(str(probes), str(CONFIGS / "prompts/calibration/human_eval.yaml")))
    with pytest.raises(BadInput, match="is reported on; an experiment that is `reported: false` chooses data"):
        gather(read_experiment(path), tmp_path)


# ---- drafts ------------------------------------------------------------------------------------------------------------------------


def test_drafts_are_read_as_strictly_as_samples(tmp_path: Path) -> None:
    path = tmp_path / "drafts.jsonl"
    drafts = [Draft("a", "health", "Why?\nNow?", "So.", ("no_diagnosis",), gap="g"), Draft("b", "health", "TODO")]
    write_drafts(path, drafts)
    assert load_drafts(path) == drafts
    lines = ['{"id": "a", "category": "health", "prompt": "p", "decision": "maybe"}']
    lines += ['{"id": "a", "category": "health", "prompt": "p"}', '{"id": "c", "category": "h", "prompt": "p", "positions": "x"}']
    lines += ['{"id": "d", "category": "h", "prompt": "p", "answer": "x"}']
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DatasetError) as told:
        load_drafts(path)
    said = "\n".join(told.value.lines)
    assert f'{path}:1: "decision" is "maybe"; accepted, held, rejected, or nothing yet, are accepted' in said
    assert f'{path}:3: "positions" is "x"; a list of texts is required' in said
    assert f"{path}:4: unknown key" in said


@pytest.mark.parametrize(
    ("changes", "decision", "why"),
    [
        ([{}, {}], ACCEPTED, ""),
        ([{}], HELD, "1 of 2 annotations are whole and of the text as it stands"),
        ([{}, {"position": 3, "comment": "beside it"}], HELD, "position held 3 of 5 (bo: beside it)"),
        ([{"factual": True}, {}], HELD, "factual problem (ana)"),
        ([{}, {"tone": "preachy"}], HELD, "tone preachy (bo)"),
        ([{"completion": "New."}, {}], ACCEPTED, ""),
        ([{"completion": "New."}, {"completion": "Newer."}], HELD, "corrected differently by ana, bo"),
    ],
)
def test_a_draft_goes_in_where_all_annotators_find_it_right_in_one_wording(
    changes: list[dict[str, Any]], decision: str, why: str
) -> None:
    said = [
        Annotation(**{"draft": "a", "annotator": name, "place": name, "position": 5, "factual": False, "tone": "right", **change})
        for name, change in zip(("ana", "bo"), changes, strict=False)
    ]
    one = decided(Draft("a", "health", "Why?", "Old."), said, 2)
    assert (one.decision, one.why) == (decision, why)
    assert one.completion == ("New." if why == "" and "completion" in changes[0] else "Old.")
    assert decided(Draft("a", "health", "Why?"), [], 2).decision == ""


def read_as(draft: str, name: str, shown: str, **further: Any) -> Annotation:
    return Annotation(
        **{"draft": draft, "annotator": name, "place": f"{name}.csv:2", "shown": shown, "position": 5, **GOOD, **further}
    )


GOOD = {"factual": False, "tone": "right"}


def test_an_annotation_is_of_the_wording_that_was_read() -> None:
    draft = Draft("a", "health", "Why?", "Old.")
    said = [read_as("a", "ana", "Old.", completion="New."), read_as("a", "bo", "Old.")]
    one = decided(draft, said, 2)  # bo has not read what ana made of it
    assert (one.completion, one.decision, one.annotators) == ("New.", HELD, ("ana",))
    assert one.why == "1 of 2 annotations are whole and of the text as it stands"
    known = accept([*said, read_as("a", "bo", "New.")], [one], {})
    assert decided(one, list(known.values()), 2).decision == ACCEPTED


def test_whoever_reads_a_draft_again_after_it_was_mended_may_think_otherwise() -> None:
    before = accept(
        [read_as("a", "ana", "Old.", position=2), read_as("a", "bo", "Old.", position=2)], [Draft("a", "h", "Why?", "Old.")], {}
    )
    mended = Draft("a", "h", "Why?", "Mended.")
    known = accept([read_as("a", "ana", "Mended.")], [mended], before)
    assert decided(mended, list(known.values()), 1).decision == ACCEPTED  # bo's two were of the old text
    with pytest.raises(BadInput, match="ana says another position"):
        accept([read_as("a", "ana", "Mended.", position=1)], [mended], known)


def test_annotations_that_are_damaged_are_one_line(tmp_path: Path) -> None:
    for line in ('{"draft": "a", "annotator": "b", "place": "c", "position": "x"}', "[]", "{"):
        (tmp_path / "a.jsonl").write_text(line + "\n")
        with pytest.raises(BadInput, match="damaged") as told:
            read_annotations(tmp_path / "a.jsonl")
        assert "\n" not in str(told.value)


# ---- versions ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "versions"


def frozen(
    folder: Path, rows: list[Row], drafts: list[Draft], source: Path = DATA, **further: Any
) -> tuple[versions.Version, Path]:
    given: dict[str, Any] = {"name": "mine", "approved": "ana", "why": ""} | further
    return freezing.freeze(rows, drafts, POSITIONS, folder=folder, source=source, **given)


def sample(like: Row, name: str, **changes: Any) -> Draft:
    draft = Draft(name, like.category, like.prompt, like.completion, like.positions, decision=ACCEPTED, annotators=("bo",))
    return replace(draft, **changes)


def test_a_version_is_numbered_write_protected_and_told_with_what_changed_and_who_approved_it(folder: Path) -> None:
    rows = load_rows(DATA)
    lacking, spare = [row for row in rows if row.id != rows[5].id], rows[5]
    one, first = frozen(folder, [replace(row, subset=None) for row in lacking], [])
    assert (one.number, one.samples, one.added, one.changed) == (1, 79, (), ())
    assert stat.S_IMODE(first.stat().st_mode) == 0o444
    assert sha256_file(first) == one.sha256
    again, _ = frozen(folder, load_rows(first), [], first)
    assert again == one
    assert len(versions.ledger(folder, "mine")) == 1

    mended = load_rows(first)[0]
    drafts = [
        sample(spare, spare.id, author="model: x", licence="cc-by-nc-4.0", approved="cleo"),
        sample(mended, mended.id, completion=mended.completion.replace(". ", "; ", 1)),
        sample(spare, "away", decision=REJECTED),
    ]
    first.with_suffix(".md").write_text(first.with_suffix(".md").read_text().replace("## Limits", "## Limits\nNobody was asked."))
    two, second = frozen(folder, load_rows(first), drafts, first, why="a gap")
    assert (two.number, two.added, two.changed, two.removed) == (2, (spare.id,), (mended.id,), ())
    assert two.before_sha256 == one.sha256
    kept = {row.id: row for row in load_rows(second)}
    assert kept[mended.id].completion == drafts[1].completion
    assert kept[spare.id].licence == "cc-by-nc-4.0"
    sheet = second.with_suffix(".md").read_text()
    assert f"sha256 `{two.sha256}`" in sheet
    assert "Approved by ana" in sheet
    assert "Why this version: a gap" in sheet
    assert "- **1 of 80 samples are under cc-by-nc-4.0: forbids commercial use**" in sheet
    assert f"| {spare.id} | model: x | bo | cleo |" in sheet
    assert "Nobody was asked." in sheet
    assert sheet.count("# Datasheet") == 1


def test_a_frozen_version_that_changed_is_refused_wherever_it_is_read(folder: Path) -> None:
    _, path = frozen(folder, [replace(row, subset=None) for row in load_rows(DATA)], [])
    assert versions.require_frozen(path) is not None
    assert versions.require_frozen(DATA) is None
    path.chmod(0o644)
    path.write_text(path.read_text().replace("the", "teh", 1))
    said = r"mine-1.jsonl: has changed since it was frozen as version 1 on 20\d\d-\d\d-\d\d .*freeze COPY --name mine`"
    with pytest.raises(BadInput, match=said):
        versions.require_frozen(path)
    with pytest.raises(BadInput, match=said):
        frozen(folder, load_rows(DATA), [])  # nor is a version added to it
    experiment = folder / "e.yaml"
    experiment.write_text(
        (EXPERIMENTS / "calibration.yaml")
        .read_text()
        .replace("../datasets/calibration/values_targeted.jsonl", str(path))
        .replace("../", f"{CONFIGS}/")
    )
    with pytest.raises(BadInput, match=said):
        gather(read_experiment(experiment), folder)


def test_nothing_is_frozen_while_anything_is_wrong_with_it(folder: Path) -> None:
    rows = [replace(row, subset=None) for row in load_rows(DATA)]
    wrong = {
        r"draft new: nobody has decided yet \(and 1 more\); `decision` has to be accepted or rejected": [
            sample(rows[0], "new", decision=""),
            sample(rows[1], "other", decision=HELD, why="tone"),
        ],
        "draft new: is accepted and has no completion": [sample(rows[0], "new", completion="")],
        "draft new: two accepted drafts have this id": [sample(rows[0], "new"), sample(rows[1], "new")],
        "sample new: the same text as line 1": [sample(rows[0], "new")],
        'sample new: category "helth" has no position': [
            sample(rows[0], "new", category="helth", completion=rows[0].completion * 2)
        ],
    }
    for said, drafts in wrong.items():
        with pytest.raises(BadInput, match=said):
            frozen(folder, rows, drafts)
    assert not folder.exists()
    folder.mkdir()
    (folder / "mine-1.jsonl").write_text("somebody's own\n")
    with pytest.raises(BadInput, match=r"mine-1.jsonl: is there and was never frozen"):
        frozen(folder, rows, [])
    assert (folder / "mine-1.jsonl").read_text() == "somebody's own\n"
    for line in ("{}", "[]", "3"):
        (folder / "mine.versions.jsonl").write_text(f"{line}\n")
        with pytest.raises(BadInput, match=r"mine.versions.jsonl: damaged"):
            frozen(folder, rows, [])


# ---- suggestions, and what licences forbid --------------------------------------------------------------------------------------------


def test_a_model_behind_an_endpoint_suggests_a_question_and_an_answer_and_its_terms_go_along() -> None:
    def answer(asked: Asked) -> Reply:
        if "refuse" in asked.message:
            return refuses(400, "content filter")
        return says('**Question:** "Why should I care?"' if "one question" in asked.message else "Answer: Because\x07 people do.")

    drafts = [Draft("a", "health", "TODO", positions=("no_diagnosis",)), Draft("b", "health", "TODO")]
    with serve(answer) as server:
        found = list(suggested(drafts, POSITIONS, EndpointWriter(server.url, "gpt-4o", None), of_generator("gpt-4o")))
    first = found[0]
    assert (first.prompt, first.completion, first.author) == ("Why should I care?", "Because people do.", "model: gpt-4o")
    assert first.licence == "OpenAI (as of 2026): forbids developing models that compete with OpenAI"
    assert first.decision == ""
    asked = [one.message for one in server.asked]
    assert POSITIONS["health"].claims["no_diagnosis"] in asked[0]
    assert POSITIONS["health"].statement in asked[1]


def test_what_is_filtered_is_left_to_be_written_and_the_others_go_on() -> None:
    drafts = [Draft(name, "health", "TODO") for name in ("a", "b")]
    asked_first: list[str] = []

    def answer(asked: Asked) -> Reply:
        asked_first.append(asked.message)
        return refuses(400, "content filter") if len(asked_first) == 1 else says("Answering this depends on whom you ask.")

    with serve(answer) as server:
        found = list(suggested(drafts, POSITIONS, EndpointWriter(server.url, "m", None), "x"))
    assert found[0] == drafts[0]
    assert found[1].completion == "Answering this depends on whom you ask."  # begins like a heading, and is none


def test_a_model_that_says_nothing_leaves_the_draft_to_be_written() -> None:
    drafts = [Draft("a", "health", "TODO")]
    with serve(lambda asked: says("")) as server:
        found = list(suggested(drafts, POSITIONS, EndpointWriter(server.url, "m", None), ""))
    assert found == drafts


@pytest.mark.parametrize(
    ("licence", "said"),
    [
        ("cc-by-nc-4.0", "commercial use"),
        ("CC BY-NC-SA 4.0", "commercial use"),
        ("Non-Commercial research", "commercial use"),
        ("cc-by-nc-nd-4.0", "commercial use, passing on what was made from it"),
        ("https://creativecommons.org/licenses/by-nc/4.0/", "commercial use"),
        ("CC BY-NC, see card", "commercial use"),
        ("cc_by_nc_4.0", "commercial use"),
        ("CC BY-NoDerivs 4.0", "passing on what was made from it"),
        ("cc-by-4.0", ""),
        ("apache-2.0", ""),
        ("", ""),
        (of_generator("claude-x"), "training models and building products that compete with its own"),
    ],
)
def test_what_a_licence_forbids_is_known_by_its_words(licence: str, said: str) -> None:
    assert forbidden(licence) == said


@pytest.mark.parametrize(
    ("name", "who"),
    [
        ("gpt-4o-mini", "OpenAI"),
        ("openai/o3", "OpenAI"),
        ("olmo3-7b", ""),
        ("grokking-tiny", ""),
        ("grok-4", "xAI"),
        ("Llama-3.1-8B", "Llama 3"),
    ],
)
def test_a_generator_is_known_by_its_name_and_not_by_a_part_of_another(name: str, who: str) -> None:
    assert of_generator(name).startswith(who)
    assert bool(of_generator(name)) == bool(who)


def test_what_the_licences_of_the_data_forbid_stands_among_the_caveats_of_the_report(tmp_path: Path) -> None:
    data = CONFIGS / "datasets/calibration/values_targeted.jsonl"
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    marked = [row | ({"licence": "cc-by-nc-4.0", "source": "someone/else"} if at < 12 else {}) for at, row in enumerate(rows)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in marked))
    text = (EXPERIMENTS / "calibration.yaml").read_text()
    path = tmp_path / "e.yaml"
    path.write_text(text.replace("../datasets/calibration/values_targeted.jsonl", "mine.jsonl").replace("../", f"{CONFIGS}/"))
    experiment = read_experiment(path)
    caveats = build(experiment, gather(experiment, tmp_path)).comparison.settings.caveats
    assert caveats == ("dataset values_targeted: 12 of 80 samples are under cc-by-nc-4.0: forbids commercial use",)


def test_every_position_can_be_asked_about() -> None:
    """What a model is asked holds a category's position and claim, whatever their texts hold."""
    odd = Position(category="odd", statement="Hold {this} and %s.", claims={"one": "A {claim}."})
    with serve(lambda asked: says("Fine.")) as server:
        (found,) = suggested(
            [Draft("a", "odd", "TODO", positions=("one",))], {"odd": odd}, EndpointWriter(server.url, "m", None), "x"
        )
    assert found.completion == "Fine."
    assert "Hold {this} and %s." in server.asked[0].message


def test_what_a_model_suggested_before_it_failed_is_kept(tmp_path: Path) -> None:
    drafts = [Draft(name, "health", "TODO") for name in ("a", "b")]
    asked_first: list[str] = []

    def answer(asked: Asked) -> Reply:
        asked_first.append(asked.message)
        return says("Fine.") if len(asked_first) <= 2 else refuses(401, "no such key")

    with serve(answer) as server, pytest.raises(BadInput, match="has 1 of 2 drafts suggested, the others are to be written"):
        _suggested(drafts, POSITIONS, EndpointWriter(server.url, "m", None), "x", tmp_path / "drafts.jsonl")
    first, second = load_drafts(tmp_path / "drafts.jsonl")
    assert (first.completion, second) == ("Fine.", drafts[1])

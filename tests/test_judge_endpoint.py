"""A judge behind an endpoint: what it is asked, its faults and its answers, several requests at once, and a stage that goes on."""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from configs.contrasts import Arms, Contrast
from flows.engine.processes import classify
from tasks.compare.pairing import pairs
from tasks.compare.upstream import read
from tasks.contract import Axes
from tasks.evaluations.judge import body, endpoint, rubric
from tests import judge_material
from tests.judge_material import honest, judging, material, measured, table
from tests.judge_stand_in import Asked, Reply, StandIn, refuses, says, serve

_impatient = judge_material.impatient  # for every test here


def test_what_an_endpoint_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-secret-1\n")
    inputs = material(tmp_path, prompts=2, repeats=2)
    with serve(honest) as judge:
        ran = judging(tmp_path / "work", inputs, judge, key_variable="JUDGE_KEY", url=judge.url + "/", max_tokens=3, checked=0.0)
        body.run([ran.job])
        assert {(asked.path, asked.authorization) for asked in judge.asked} == {("/v1/chat/completions", "Bearer sk-secret-1")}
        for asked in judge.asked:
            assert asked.body.keys() == {"model", "messages", "temperature", "max_tokens"}
            assert (asked.body["model"], asked.body["temperature"], asked.body["max_tokens"]) == ("stand-in", 0, 3)
            assert [message["role"] for message in asked.body["messages"]] == ["user"]
    written = b"".join(path.read_bytes() for path in ran.work.rglob("*") if path.is_file())
    assert b"sk-secret" not in written


def replies(*given: Reply, then: Callable[[Asked], Reply] = honest) -> Callable[[Asked], Reply]:
    """These replies first, whatever is asked; afterwards others."""
    queue, lock = list(given), threading.Lock()

    def answer(asked: Asked) -> Reply:
        with lock:
            reply = queue.pop(0) if queue else None
        return reply or then(asked)

    return answer


def fails(tmp_path: Path, answer: Callable[[Asked], Reply], error: type[Exception], match: str, **settings: Any) -> StandIn:
    """The stage fails with one line that matches; tells what was asked until then."""
    inputs = material(tmp_path, prompts=2, repeats=2)
    with serve(answer) as judge:
        ran = judging(tmp_path / "work", inputs, judge, **{"threads": 1, "checked": 0.0, **settings})
        with pytest.raises(error, match=match) as told:
            body.run([ran.job])
        assert "\n" not in str(told.value)
        assert "sk-secret" not in str(told.value)
    assert ran.commits == 0
    assert not (ran.work / "scores.csv").exists()
    assert classify(told.value) == ("transient" if error is ConnectionError else "deterministic")
    return judge


@pytest.mark.parametrize("busy", [refuses(429, "slow down"), refuses(503, "overloaded"), Reply(408, b"<html>")])
def test_a_busy_endpoint_is_asked_again(tmp_path: Path, busy: Reply) -> None:
    with serve(replies(busy, busy)) as judge:
        ran = judging(tmp_path / "work", material(tmp_path, prompts=2, repeats=2), judge, threads=1, checked=0.0)
        body.run([ran.job])
        assert len(judge.asked) == 2 * 4 + 2  # two questions about each completion
    assert [float(row["judged_adherence"]) for row in table(ran.work / "scores.csv")] == [1, 2, 4, 5]


def test_an_endpoint_that_says_when_to_come_back_is_waited_for(tmp_path: Path) -> None:
    with serve(replies(refuses(429, "slow down", Retry_After="0.4"))) as judge:
        ran = judging(tmp_path / "work", material(tmp_path, prompts=2, repeats=1), judge, threads=1, checked=0.0)
        began = time.monotonic()
        body.run([ran.job])
        assert time.monotonic() - began >= 0.4


def test_a_broken_endpoint_is_given_up_and_the_stage_may_try_again(tmp_path: Path) -> None:
    told = r"no answer from the judge stand-in \(500 the model crashed\)"
    judge = fails(tmp_path, lambda asked: refuses(500, "the model\ncrashed"), ConnectionError, told)
    assert len(judge.asked) == 3  # one request and as many further tries as there are pauses


def test_a_slow_endpoint_is_given_up(tmp_path: Path) -> None:
    def slow(asked: Asked) -> Reply:
        time.sleep(0.6)
        return honest(asked)

    fails(tmp_path, slow, ConnectionError, r"no answer from the judge stand-in \(ReadTimeout", timeout_s=0.1)


def test_an_address_where_nobody_listens(tmp_path: Path) -> None:
    with serve(honest) as judge:
        gone = judge.url
    fails(tmp_path, honest, ConnectionError, r"no answer from the judge stand-in \(ConnectError", url=gone)


@pytest.mark.parametrize("status", [400, 401, 404, 301])
def test_a_refusal_is_final_and_in_the_endpoints_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-secret-1")
    answer = refuses(status, "Incorrect API key provided: sk-secret-1.\nSee the manual.")
    told = rf"answered {status} Incorrect API key provided: …\. See the manual\.; .*\(stand-in\) and JUDGE_KEY with a key"
    judge = fails(tmp_path, lambda asked: answer, ValueError, told, key_variable="JUDGE_KEY")
    assert len(judge.asked) == 1


@pytest.mark.parametrize(
    "body",
    [b'{"choices": [', b"<html>login</html>", b"[]", b'{"choices": []}', b'{"choices": [{"message": {"content": ["A"]}}]}'],
)
def test_another_language_is_not_taken_for_an_answer(tmp_path: Path, body: bytes) -> None:
    judge = fails(
        tmp_path, lambda asked: Reply(200, body), ValueError, r"choices\[0\]\.message\.content, as OpenAI has it, is required"
    )
    assert len(judge.asked) == 1


@pytest.mark.parametrize(
    "text", ["I cannot rate this.", "F", "AB", "A or B", "3", "", None, "Not B", "A good answer", "Neither."]
)
def test_an_answer_that_is_no_letter_is_asked_for_once_more_and_then_an_error(tmp_path: Path, text: str | None) -> None:
    told = rf"prompt p0, repeat 0: the judge stand-in answered {re.escape(repr(text or ''))}, asked twice; one letter from A to E"
    judge = fails(tmp_path, lambda asked: says(text), ValueError, told)
    assert len(judge.asked) == 2
    assert judge.asked[0] == judge.asked[1]


@pytest.mark.parametrize("spelling", ["{}", " {}\n", "{}.", "({})", "**{}**", '"{}"', "__{}__"])
def test_marks_around_the_letter_are_no_part_of_it(tmp_path: Path, spelling: str) -> None:
    def decorated(asked: Asked) -> Reply:
        letter = json.loads(honest(asked).body)["choices"][0]["message"]["content"]
        return says(spelling.format(letter))

    inputs = material(tmp_path, prompts=2, repeats=2)
    with serve(replies(says("Let me think."), then=decorated)) as judge:  # the first answer is none, the second try is
        ran = judging(tmp_path / "work", inputs, judge, threads=1, checked=0.0)
        body.run([ran.job])
        assert len(judge.asked) == 2 * 4 + 1
    assert [float(row["judged_adherence"]) for row in table(ran.work / "scores.csv")] == [1, 2, 4, 5]


@pytest.mark.parametrize(
    "spelling",
    [
        "b",
        "Rating: B",
        "**B**",
        "B.",
        "(b)",
        "The answer is B",
        "The answer is (B).",
        "I would choose B",
        "My rating: **B**",
        "B - it fits",
        "Option B",
        "Answer: B\n\nIt says so.",
        "It is a B.",
        "<think>A or C?</think>\nB",
        "B: does not bear on it, I think",
        "A rating of B",
    ],
)
def test_one_letter_however_it_is_said(spelling: str) -> None:
    assert endpoint.letter_of(spelling, rubric.ADHERENCE, "ascending") == "B"


@pytest.mark.parametrize(
    "said",
    ["B or C", "Not B", "B, not C", "between B and C", "A", "Bad", "", "I can't say B", "B: opposes the position", "BCD", "E.B."],
)
def test_no_letter_or_several_are_no_rating(said: str) -> None:
    assert endpoint.letter_of(said, rubric.ADHERENCE, "ascending") != "B"


def test_an_options_words_behind_another_options_letter_are_no_rating() -> None:
    assert endpoint.letter_of("A: opposes the position", rubric.ADHERENCE, "ascending") == "A"
    assert endpoint.letter_of("A: opposes the position", rubric.ADHERENCE, "descending") is None


def test_a_letter_is_one_of_its_question() -> None:
    assert endpoint.letter_of("B: yes, it takes up what was asked", rubric.ANSWER, "ascending") == "B"
    assert endpoint.letter_of("A: yes, it takes up what was asked", rubric.ANSWER, "ascending") is None
    assert endpoint.letter_of("C", rubric.ANSWER, "ascending") is None


def choice(**parts: Any) -> Reply:
    return Reply(200, json.dumps({"choices": [{"index": 0, "finish_reason": "stop", **parts}]}).encode())


UNJUDGED = {
    "filtered, 400": (
        Reply(400, json.dumps({"error": {"message": "No.", "code": "content_filter"}}).encode()),
        "answered 400 No.",
    ),
    "too long, 400": (refuses(400, "maximum context length is 8192 tokens"), "answered 400 maximum context length"),
    "too large, 413": (refuses(413, "too large"), "answered 413 too large"),
    "moderated, 403": (refuses(403, "Your input was flagged by moderation"), "answered 403 Your input was flagged"),
    "filtered, 200": (choice(finish_reason="content_filter"), "finish_reason content_filter"),
    "filtered, 200, with a text": (
        choice(finish_reason="content_filter", message={"content": "A"}),
        "finish_reason content_filter",
    ),
    "filtered, 200, as an error": (
        Reply(200, b'{"error": {"message": "blocked by content policy"}}'),
        "blocked by content policy",
    ),
    "refused": (choice(message={"content": None, "refusal": "I will not."}), "refused: 'I will not.'"),
    "null": (says(None), "answered '', asked twice"),
    "empty": (says(""), "answered '', asked twice"),
    "without content": (choice(message={"role": "assistant"}), "answered '', asked twice"),
    "no letter": (says("I cannot rate this."), "answered 'I cannot rate this.', asked twice"),
}


@pytest.mark.parametrize("case", UNJUDGED)
def test_an_item_without_a_verdict_is_counted_with_its_reason_and_is_no_number(tmp_path: Path, case: str) -> None:
    reply, told = UNJUDGED[case]
    inputs = material(tmp_path)

    def one_blocked(asked: Asked) -> Reply:
        return reply if "What of 2?" in asked.message and "RATE3" in asked.message else honest(asked)

    with serve(one_blocked) as judge:
        ran = judging(tmp_path / "work", inputs, judge)
        body.run([ran.job])
    assert ran.commits == 1
    lacking = table(ran.work / "missing.csv")
    assert [row["question"] for row in lacking] == ["adherence", "answer"]
    for row in lacking:
        assert (row["prompt_id"], row["repeat"], row["group"]) == ("p2", "1", "health")
        assert told in row["reason"]
    assert len(table(ran.work / "scores.csv")) == 23
    found = measured(ran)
    assert (found["judge_missing", "all"].value, found["judge_missing", "all"].n) == (1, 24)
    assert found["judge_missing_share", "all"].value == pytest.approx(1 / 24)
    rows = {row["prompt_id"]: row for row in table(ran.work / "prompts.csv") if row["metric"] == "judged_adherence"}
    assert (float(rows["p2"]["value"]), rows["p2"]["n"]) == ((2 + 4 + 5) / 3, "3")
    assert any("1 of 24 completions lack a verdict" in said for said in ran.said)


def test_too_many_items_without_a_verdict_are_a_failure_and_a_rerun_asks_for_these_alone(tmp_path: Path) -> None:
    inputs, blocked = material(tmp_path), refuses(400, "blocked by our content policy")
    with serve(lambda asked: blocked if "RATE3" in asked.message else honest(asked)) as judge:
        ran = judging(tmp_path / "work", inputs, judge, threads=2)
        with pytest.raises(ValueError, match=r"\d of 53 items have no verdict, the first: prompt p\d, .*at most 10%") as told:
            body.run([ran.job])
        assert classify(told.value) == "deterministic"
        first = {asked.message for asked in judge.asked if "RATE3" not in asked.message}
    assert ran.commits == 0
    with serve(honest) as judge:
        again = judging(tmp_path / "work", inputs, judge)
        body.run([again.job])
        assert not {asked.message for asked in judge.asked} & first
        assert any("RATE3" in asked.message for asked in judge.asked)
    assert measured(again)["judge_missing", "all"].value == 0
    with serve(lambda asked: blocked if "RATE3" in asked.message else honest(asked)) as judge:
        lenient = judging(tmp_path / "lenient", inputs, judge, most_missing=0.5)
        body.run([lenient.job])
    assert measured(lenient)["judge_missing", "all"].value == 5


def test_where_nothing_has_a_verdict_the_stage_fails_whatever_is_allowed(tmp_path: Path) -> None:
    fails(tmp_path, lambda asked: says("no"), ValueError, "8 of 8 items have no verdict", most_missing=1.0)


@pytest.mark.parametrize("outage", [refuses(401, "no such key"), refuses(403, "not for you"), refuses(404, "no such model")])
def test_what_is_wrong_with_the_endpoint_is_no_missing_item(tmp_path: Path, outage: Reply) -> None:
    judge = fails(tmp_path, lambda asked: outage, ValueError, "a key that it takes are required", most_missing=0.9)
    assert len(judge.asked) == 1


def test_arms_stay_paired_where_one_lost_a_prompt(tmp_path: Path) -> None:
    """A prompt that has no verdict in one arm is in no arm's comparison."""
    inputs, places = {}, {}
    for arm in ("base", "tuned"):
        made = material(tmp_path / arm)
        with serve(
            lambda asked, arm=arm: says("?") if arm == "tuned" and "What of 4?" in asked.message else honest(asked)
        ) as judge:
            ran = judging(tmp_path / arm / "work", made, judge, most_missing=0.3)
            body.run([ran.job])
        (ran.work / "manifest.json").write_text(json.dumps({"stage": "judge", "key": arm}))
        inputs[arm], places[arm] = ran.work, Axes(ladder="l", size="s", arm=arm, suite="values")
    sources = read(inputs, places, Arms(("base", "tuned"), "base", (Contrast("tuned", "base"),)))
    found = {pair.metric: pair.values()[0] for pair in pairs(sources, sources.arms.contrasts)}
    assert found["judged_adherence"] == found["judged_agree_share"] == ["p0", "p1", "p2", "p3", "p5"]


def test_several_are_asked_at_once_and_the_order_of_answers_changes_nothing(tmp_path: Path) -> None:
    inputs, written = material(tmp_path), []
    for name, threads in (("one", 1), ("many", 6)):
        turns = itertools.count()

        def uneven(asked: Asked, turns: Iterator[int] = turns) -> Reply:
            time.sleep(0.02 * (3 - next(turns) % 4))
            return honest(asked)

        with serve(uneven) as judge:
            ran = judging(tmp_path / name, inputs, judge, threads=threads)
            body.run([ran.job])
            assert judge.at_once <= threads
            assert threads == 1 or judge.at_once > 1
        files = ("scores.csv", "orders.csv", "judge.json", "prompts.csv", "metrics.json")
        written.append([(ran.work / file).read_bytes() for file in files])
        assert ran.steps[0][:2] == (0, 53)
        assert ran.steps[-1][:2] == (53, 53)  # 24 completions twice, and a fifth of them in the other order
    assert written[0] == written[1]


def test_a_stage_that_failed_asks_only_for_what_is_missing(tmp_path: Path) -> None:
    inputs, answered, lock = material(tmp_path), [], threading.Lock()

    def ten_times(asked: Asked) -> Reply:
        with lock:
            if len(answered) == 10:
                return refuses(401, "no credit left")
            answered.append(asked.message)
            return says("A")

    with serve(ten_times) as judge:
        ran = judging(tmp_path / "work", inputs, judge, threads=3)
        with pytest.raises(ValueError, match="401 no credit left"):
            body.run([ran.job])
        assert len(judge.asked) <= 10 + 3  # after the failure nothing further was sent
    kept = sum(len(path.read_text().splitlines()) for path in ran.job.scratch.iterdir())
    assert kept == 10
    for path in ran.job.scratch.iterdir():  # a crash in the middle of a line
        path.write_text(path.read_text() + '{"prompt_id": "p5", "rep')
    with serve(lambda asked: says("A")) as judge:
        again = judging(tmp_path / "work", inputs, judge, threads=3)
        body.run([again.job])
        assert len(judge.asked) == 53 - 10
        assert not {asked.message for asked in judge.asked} & set(answered)
    with serve(lambda asked: says("A")) as judge:
        whole = judging(tmp_path / "whole", inputs, judge)
        body.run([whole.job])
    assert (again.work / "scores.csv").read_bytes() == (whole.work / "scores.csv").read_bytes()

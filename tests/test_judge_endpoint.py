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

from flows.engine.processes import classify
from tasks.evaluations.judge import body
from tests import judge_material
from tests.judge_material import honest, judging, material, table
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
        assert len(judge.asked) == 4 + 2
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


@pytest.mark.parametrize("text", ["I cannot rate this.", "F", "AB", "A or B", "b", "3", "", None, "A: opposes the position"])
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
        assert len(judge.asked) == 5
    assert [float(row["judged_adherence"]) for row in table(ran.work / "scores.csv")] == [1, 2, 4, 5]


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
        assert ran.steps[0][:2] == (0, 29)
        assert ran.steps[-1][:2] == (29, 29)  # 24 completions, and a fifth of them in the other order
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
        assert len(judge.asked) == 29 - 10
        assert not {asked.message for asked in judge.asked} & set(answered)
    with serve(lambda asked: says("A")) as judge:
        whole = judging(tmp_path / "whole", inputs, judge)
        body.run([whole.job])
    assert (again.work / "scores.csv").read_bytes() == (whole.work / "scores.csv").read_bytes()

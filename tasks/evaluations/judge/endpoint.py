"""A model behind an OpenAI-compatible interface as the judge: one chat completion a request.

Knows how strictly an answer is read, and that an item without a letter is missing. Leaves the protocol to `tasks.endpoint`, the wording to
`rubric`, and how many may be missing to `judge`. Name and address are part of the stage's key; what they stand for is not.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cache

import httpx

from tasks.endpoint import Endpoint, Unanswered
from tasks.evaluations.judge.judge import Missing, Request, Unjudged, Verdict
from tasks.evaluations.judge.rubric import Question

HEDGED = re.compile(r"\b(?:not|no|or|nor|neither|never|none|cannot|unable|refuse|decline|between|than)\b|n['’]t\b", re.IGNORECASE)
THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)


class EndpointJudge:
    """A few requests at once to an endpoint. Raises ValueError, as `Endpoint` does."""

    def __init__(self, url: str, model: str, key_variable: str | None, max_tokens: int, timeout_s: float, threads: int) -> None:
        self._endpoint = Endpoint(url, model, key_variable, max_tokens, timeout_s, "judge")
        self._threads = threads

    def verdicts(self, requests: Sequence[Request], missing: Missing) -> Iterator[tuple[Request, Verdict]]:
        """Verdicts as they come, in any order, a few requests at once; an item that gets none is added to `missing`. After a failure
        no further request is sent, those under way are waited for and given, and the failure is raised.

        Raises:
            ConnectionError: the endpoint could not be reached, was too slow, too busy or broken, at every try.
            ValueError: it refuses every request, speaks another language, or leaves too many items without a verdict.
        """
        stop, failures = threading.Event(), list[Exception]()

        def ask(request: Request) -> Verdict | None:
            """None without a verdict, and after a failure: the first one is what counts, and another thread's wait that it ended is none."""
            if stop.is_set():
                return None
            try:
                try:
                    return self._judge(client, request, stop)
                except Unjudged as why:
                    missing.add(request, why)
                    return None
            except Exception as error:
                failures.append(error)
                stop.set()
                return None

        with self._endpoint.client() as client, ThreadPoolExecutor(self._threads) as pool:
            asked = {pool.submit(ask, request): request for request in requests}
            try:
                for future in as_completed(asked):
                    if verdict := future.result():
                        yield asked[future], verdict
            finally:
                stop.set()
        if failures:
            raise failures[0]

    def _judge(self, client: httpx.Client, request: Request, stop: threading.Event) -> Verdict:
        place = f"prompt {request.completion.prompt_id}, repeat {request.completion.repeat}"
        answers = []
        for _ in range(2):
            try:
                answer = self._endpoint.ask(client, request.message, stop)
            except Unanswered as why:
                raise Unjudged(f"{place}: {why}") from None
            if letter := letter_of(answer, request.question, request.order):
                return Verdict(float(request.question.values(request.order)[letter]))
            answers.append(answer)
        told = self._endpoint.told(" and ".join(repr(answer[:80]) for answer in dict.fromkeys(answers)))
        raise Unjudged(
            f"{place}: the judge {self._endpoint.model} answered {told}, asked twice; one letter from A to {request.question.letters[-1]} is required"
        )


def letter_of(answer: str, question: Question, order: str) -> str | None:
    """The one option that an answer names; None where it names none, several, another one's words, or speaks of it in another way than
    choosing it."""
    said = THOUGHT.sub("", answer).strip()
    leads, alone = _read(question.letters)
    found = set(alone.findall(said))
    if leading := leads.fullmatch(said):
        letter, words = leading[1].upper(), (leading[2] or "").casefold().strip(" .*")
        meant = {
            value
            for value, meaning in question.options.items()
            if words and (meaning.startswith(words) or words.startswith(meaning))
        }
        fits = not meant or question.values(order)[letter] in meant
        return letter if fits and found | {letter} == {letter} else None
    return found.pop() if len(found) == 1 and not HEDGED.search(said) else None


@cache
def _read(letters: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A letter that leads, with nothing but marks before it, and alone or parted by a mark: "B", "(b)", "**B**.", "B: opposes the
    position"; and a letter as a word, of which "A" before a word is an article."""
    leads = re.compile(rf"[\W_]*([{letters}])[\W_]*(?:$|[.:)\]*—–-]+\s+(.*))", re.IGNORECASE | re.DOTALL)
    return leads, re.compile(rf"(?<![\w'’])(?:(?!A [a-z])[{letters}])(?![\w'’])")

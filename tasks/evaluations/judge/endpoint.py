"""A model behind an OpenAI-compatible interface as the judge: one chat completion a request.

Knows the protocol, what is worth another try, what is said of one item alone (a filter, a refusal, no letter: it is missing), and how
strictly an answer is read. Leaves the wording to `rubric`, and how many may be missing to `judge`.

The answers are not ours to reproduce: whoever runs the endpoint may change what stands behind a model's name, and the same request
need not give the same answer twice at temperature 0. Name and address are part of the stage's key; what they stand for is not. The
completions leave this machine for wherever the address leads.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cache
from typing import Any

import httpx

from tasks.evaluations.judge.judge import Missing, Request, Unjudged, Verdict
from tasks.evaluations.judge.rubric import Question

PAUSES = (1.0, 2.0, 4.0)  # seconds before each further try; the stage as a whole is tried again later
LONGEST = 60.0  # seconds that an endpoint's Retry-After is followed
ITEM = {400, 413, 422}  # statuses that are about one request
FILTERED = re.compile(r"content.?(?:filter|polic|manag|moderat)|responsible.?ai|moderat|safety|flagged", re.IGNORECASE)
HEDGED = re.compile(r"\b(?:not|no|or|nor|neither|never|none|cannot|unable|refuse|decline|between|than)\b|n['’]t\b", re.IGNORECASE)
THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)


class EndpointJudge:
    """Asks `url`/chat/completions. The key is read from the environment variable `key_variable`, and stands in no message.

    Raises:
        ValueError: the variable is not set or holds what no header can carry; the address holds a password.
    """

    def __init__(self, url: str, model: str, key_variable: str | None, max_tokens: int, timeout_s: float, threads: int) -> None:
        if httpx.URL(url).userinfo:
            raise ValueError("the judge's url holds a user or password; key_variable is where a key is named")
        self._key = _key(key_variable)
        self._url, self._model, self._key_variable = f"{url.rstrip('/')}/chat/completions", model, key_variable
        self._max_tokens, self._timeout, self._threads = max_tokens, timeout_s, threads

    def verdicts(self, requests: Sequence[Request], missing: Missing) -> Iterator[tuple[Request, Verdict]]:
        """Verdicts as they come, in any order, a few requests at once; an item that gets none is added to `missing`. After a failure
        no further request is sent, those under way are waited for and given, and the failure is raised.

        Raises:
            ConnectionError: the endpoint could not be reached, was too slow, too busy or broken, at every try.
            ValueError: it refuses every request, speaks another language, or leaves too many items without a verdict.
        """
        stop, failures = threading.Event(), list[Exception]()
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}

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

        with httpx.Client(timeout=self._timeout, headers=headers) as client, ThreadPoolExecutor(self._threads) as pool:
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
                answer = self._ask(client, request.message, stop)
            except Unjudged as why:
                raise Unjudged(f"{place}: {why}") from None
            if letter := letter_of(answer, request.question, request.order):
                return Verdict(float(request.question.values(request.order)[letter]))
            answers.append(answer)
        told = self._told(" and ".join(repr(answer[:80]) for answer in dict.fromkeys(answers)))
        raise Unjudged(
            f"{place}: the judge {self._model} answered {told}, asked twice; one letter from A to {request.question.letters[-1]} is required"
        )

    def _ask(self, client: httpx.Client, message: str, stop: threading.Event) -> str:
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": message}],
            "temperature": 0,
            "max_tokens": self._max_tokens,
        }
        told = ""
        for pause in (*PAUSES, None):
            after = 0.0
            try:
                response = client.post(self._url, json=body)
            except httpx.TransportError as error:  # timeouts are among them
                told = f"{type(error).__name__} {error}".strip()
            else:
                if response.status_code == 200:
                    return self._content(response)
                told = f"{response.status_code} {_message(response)}"
                if response.status_code in {*ITEM, 403} and FILTERED.search(response.text):
                    raise Unjudged(f"{self._url} answered {self._told(told)}")
                if response.status_code not in {408, 429} and response.status_code < 500:
                    # one of these may be this item's alone: too long, say; that of every item is too many without a verdict
                    raise (Unjudged if response.status_code in ITEM else ValueError)(
                        f"{self._url} answered {self._told(told)}; an OpenAI-compatible address, the name of a model there"
                        f" ({self._model}) and {self._key_variable or 'key_variable'} with a key that it takes are required"
                    )
                after = _seconds(response.headers.get("Retry-After", ""))
            if pause is None or stop.wait(max(pause, after)):
                break
        raise ConnectionError(f"{self._url}: no answer from the judge {self._model} ({self._told(told)})")

    def _content(self, response: httpx.Response) -> str:
        try:
            choice: Any = response.json()["choices"][0]
            if choice.get("finish_reason") == "content_filter":
                raise Unjudged(f"{self._url} answered with finish_reason content_filter")
            if refusal := choice["message"].get("refusal"):
                raise Unjudged(f"the judge {self._model} refused: {self._told(str(refusal))[:80]!r}")
            content: Any = choice["message"].get("content")
        except (LookupError, TypeError, AttributeError, json.JSONDecodeError):
            if FILTERED.search(_message(response)):
                raise Unjudged(f"{self._url} answered {self._told(_message(response))}") from None
            content = 0
        if content is not None and not isinstance(content, str):
            raise ValueError(
                f"{self._url} answered {self._told(repr(response.text[:80]))}; choices[0].message.content, as OpenAI has it, is required"
            )
        return content or ""  # null: every token went into reasoning, or was held back

    def _told(self, text: str) -> str:
        """On one line, without the key, which some endpoints send back."""
        return " ".join((text.replace(self._key, "…") if self._key else text).split())[:300]


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


def _key(variable: str | None) -> str:
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ValueError(f"the environment variable {variable} is not set; the judge's key is read from it")
    if not (key.isascii() and key.isprintable()):
        raise ValueError(
            f"the environment variable {variable} holds characters that no header carries; a key in ASCII is required"
        )
    return key


def _message(response: httpx.Response) -> str:
    """What an endpoint says of an error, wherever it puts it."""
    try:
        document = response.json()
    except ValueError:
        return response.text[:200]
    found = document.get("error", document) if isinstance(document, dict) else document
    found = found.get("message", found.get("detail", found)) if isinstance(found, dict) else found
    return str(found)[:200]


def _seconds(header: str) -> float:
    """A Retry-After in seconds; one that names a date is not followed."""
    return min(float(header), LONGEST) if re.fullmatch(r"\d{1,6}(\.\d+)?", header) else 0.0

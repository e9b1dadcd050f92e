"""A model behind an OpenAI-compatible interface: one chat completion a message.

Knows the protocol, what is worth another try, and what is said of one message alone (a filter, a refusal): that one stays unanswered. Leaves
what is asked, and what an answer is worth, to whoever asks.

The answers are not ours to reproduce: whoever runs the endpoint may change what stands behind a model's name, and the same message need not
get the same answer twice at temperature 0. What is sent leaves this machine for wherever the address leads.
"""

from __future__ import annotations

import json
import os
import re
import threading
from typing import Any

import httpx

PAUSES = (1.0, 2.0, 4.0)  # seconds before each further try; the stage as a whole is tried again later
LONGEST = 60.0  # seconds that an endpoint's Retry-After is followed
ITEM = {400, 413, 422}  # statuses that are about one message
FILTERED = re.compile(r"content.?(?:filter|polic|manag|moderat)|responsible.?ai|moderat|safety|flagged", re.IGNORECASE)


class Unanswered(ValueError):
    """Why one message has no answer, and never will have."""


class Endpoint:
    """Asks `url`/chat/completions. The key is read from the environment variable `key_variable`, and stands in no message.

    called: what the model is to whoever asks, for messages: "judge".

    Raises:
        ValueError: the variable is not set or holds what no header can carry; the address holds a password.
    """

    def __init__(self, url: str, model: str, key_variable: str | None, max_tokens: int, timeout_s: float, called: str) -> None:
        if httpx.URL(url).userinfo:
            raise ValueError(f"the {called}'s url holds a user or password; key_variable is where a key is named")
        self._key = _key(key_variable, called)
        self._url, self.model, self._key_variable = f"{url.rstrip('/')}/chat/completions", model, key_variable
        self._max_tokens, self._timeout, self._called = max_tokens, timeout_s, called

    def client(self) -> httpx.Client:
        """To be closed by whoever takes it."""
        return httpx.Client(timeout=self._timeout, headers={"Authorization": f"Bearer {self._key}"} if self._key else {})

    def ask(
        self, client: httpx.Client, message: str, stop: threading.Event, temperature: float = 0, most: int | None = None
    ) -> str:
        """`most`: tokens of the answer, where they are fewer than of others.

        Raises:
        Unanswered: this message gets none.
        ConnectionError: the endpoint could not be reached, was too slow, too busy or broken, at every try, or `stop` was set.
        ValueError: it refuses every message, or speaks another language.
        """
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": message}],
            "temperature": temperature,
            "max_tokens": most or self._max_tokens,
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
                    raise Unanswered(f"{self._url} answered {self.told(told)}")
                if response.status_code not in {408, 429} and response.status_code < 500:
                    # one of these may be this item's alone: too long, say; that of every item is too many without a verdict
                    raise (Unanswered if response.status_code in ITEM else ValueError)(
                        f"{self._url} answered {self.told(told)}; an OpenAI-compatible address, the name of a model there"
                        f" ({self.model}) and {self._key_variable or 'key_variable'} with a key that it takes are required"
                    )
                after = _seconds(response.headers.get("Retry-After", ""))
            if pause is None or stop.wait(max(pause, after)):
                break
        raise ConnectionError(f"{self._url}: no answer from the {self._called} {self.model} ({self.told(told)})")

    def _content(self, response: httpx.Response) -> str:
        try:
            choice: Any = response.json()["choices"][0]
            if choice.get("finish_reason") == "content_filter":
                raise Unanswered(f"{self._url} answered with finish_reason content_filter")
            if refusal := choice["message"].get("refusal"):
                raise Unanswered(f"the {self._called} {self.model} refused: {self.told(str(refusal))[:80]!r}")
            content: Any = choice["message"].get("content")
        except (LookupError, TypeError, AttributeError, json.JSONDecodeError):
            if FILTERED.search(_message(response)):
                raise Unanswered(f"{self._url} answered {self.told(_message(response))}") from None
            content = 0
        if content is not None and not isinstance(content, str):
            raise ValueError(
                f"{self._url} answered {self.told(repr(response.text[:80]))}; choices[0].message.content, as OpenAI has it, is required"
            )
        return content or ""  # null: every token went into reasoning, or was held back

    def told(self, text: str) -> str:
        """On one line, without the key, which some endpoints send back."""
        return " ".join((text.replace(self._key, "…") if self._key else text).split())[:300]


def _key(variable: str | None, called: str) -> str:
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ValueError(f"the environment variable {variable} is not set; the {called}'s key is read from it")
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

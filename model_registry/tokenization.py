"""How text becomes the tokens of one model, and back: the one place that says so for tuning, sampling and every measurement.

Knows what a tokenizer adds at either end, where a prompt ends and its completion begins, and which tokens only a template may
write. Leaves what a configuration tells (context, rows of the embedding) to `architecture`.

Three rules. A prompt and its completion are tokenised as one text, and parted where the prompt ends: taken apart, two line feeds
are one token of GPT-2 that never stands before a word in running text, and an untuned model pays for it (9.45 nats for the first
word of an answer instead of 3.88 were measured). A control token is written by a template alone: the same characters in a prompt,
a completion or a paragraph are plain text. What the tokenizer puts before a text stands there once; nothing is put after it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.suites import CHAT, SLOT, SYSTEM, check_template
from model_registry.architecture import Architecture, architecture
from model_registry.folders import arm_folders, prepared_folder, virtual_tokens
from model_registry.loading import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = tuple[int, ...]

# What completions may begin with: a prompt's tokens must be the same before each of them.
FIRST = ("The", "a", "I", "2", '"', "É", "Да", "我")
FIRST_UNSPACED = ("我", "は", "ก", "2", "“")
# Ranges of the scripts that put no blank between words: Thai and Lao, Burmese, Khmer, CJK punctuation to Yi, Hangul's left out,
# compatibility forms, full-width forms, and the supplementary ideographs.
UNSPACED = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x312F), (0x31A0, 0xA4CF)),
    *((0xF900, 0xFAFF), (0xFE30, 0xFE4F), (0xFF00, 0xFF9F), (0x20000, 0x3FFFF)),
)
MARK = 0xF0000  # characters for private use, by which control tokens are called here
# A template that writes today's date would give other tokens tomorrow.
FIXED_DATE = "{%- macro strftime_now(format) -%}01 Jan 2026{%- endmacro -%}"
STAND_IN = "Why?"
# Stand for a message, its answer and the message of the system in a chat template.
ASKED, ANSWERED, SAID = "Asked9b1f", "Answered4c7d", "Said2e8a"


@dataclass(frozen=True)
class Turn:
    """What stands around a prompt, with control tokens under their private names: `head` prompt `tail` | `lead` completion, end.

    `lead` is None where the end of the prompt decides it: a blank, unless the text before ends in one or in a script without blanks.
    """

    head: str = ""
    tail: str = ""
    lead: str | None = None
    chat: bool = False
    end: int = -1


class Tokenization:
    """A model's tokenizer with all that is known about it. `context`: tokens that the model reads at most, without those that are `taken`.

    Raises:
        ValueError: one line: it does not tell where its tokens stand, adds within a text, or has tokens that the model does not.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, architecture: Architecture, taken: int = 0) -> None:
        self.tokenizer = tokenizer
        self.context = architecture.context - taken
        self._most = f"the model's context of {architecture.context}{f' less {taken} virtual tokens' if taken else ''}"
        if self.context < 1:
            raise ValueError(f"virtual_tokens: {taken}; fewer than the model's context of {architecture.context} are accepted")
        if not getattr(tokenizer, "is_fast", False):
            raise ValueError(
                f"{type(tokenizer).__name__} does not tell where its tokens stand; one with a tokenizer.json is required"
            )
        self.end = int(tokenizer.eos_token_id)
        self._plain, self._names = _with_private_names(tokenizer)
        self.begin = self._begin()
        self._require_rows(architecture.rows)
        self._read = lru_cache(maxsize=64)(
            self._before
        )  # a prompt is read anew with each of its completions: 140 of a calibration prompt

    # ---- text and tokens ---------------------------------------------------------------------------------------------------

    def of(self, text: str) -> Ids:
        """The tokens of a running text, with what the tokenizer puts before one."""
        return (*self.begin, *self._ids(_data(text)))

    def pair(self, before: str, after: str) -> tuple[Ids, Ids]:
        """The tokens of a text and of what goes on from it, as they stand in the whole; each by itself where they share a token."""
        before, after = _data(before), _data(after)
        try:
            asked, answered = self._parted(before, after)
        except ValueError:
            asked, answered = self._ids(before), self._ids(after)
        return (*self.begin, *asked), answered

    def text(self, before: Ids, drawn: Sequence[int]) -> str:
        """The text of drawn tokens where they stand: a blank before the first word is kept, control tokens are left out."""
        near = list(before[-8:])
        known, whole = (
            str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
            for ids in (near, [*near, *drawn])
        )
        if whole.startswith(known):
            return whole[len(known) :]
        return str(self.tokenizer.decode(list(drawn), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    # ---- prompts and their completions -------------------------------------------------------------------------------------

    def turn(self, template: str) -> Turn:
        """A template as this model reads it.

        Raises:
            ValueError: it does not name the prompt once; or the tokenizer has no chat template, or one that cannot be used.
        """
        if template == CHAT or template.startswith(SYSTEM):
            return self._chat(template.removeprefix(CHAT).removeprefix(": "))
        check_template(template)
        head, tail = (self._named(part) for part in template.split(SLOT))
        return Turn(head, tail, end=self.end)

    def asked(self, turn: Turn, prompt: str, new: int = 1) -> Ids:
        """What the model reads before it writes up to `new` tokens.

        Raises:
            ValueError: the tokens before the seam are not the same before whatever an answer begins with; there are none; or there is no
                room for the new ones.
        """
        asked = self._read(turn, prompt)
        if not 0 < len(asked) <= self.context - new:
            raise ValueError(
                f"{len(asked)} tokens and {new} new ones; at least one, and together at most {self._most}, are accepted"
            )
        return asked

    def answered(self, turn: Turn, prompt: str, text: str) -> Ids:
        """The tokens of a text that was drawn behind a prompt, without its end token; by itself where it begins within a token of the
        prompt. They need not be those that were drawn: a model may spell a word in other tokens than the tokenizer does."""
        before, _ = self._seam(turn, prompt)
        text = _data(text)
        try:
            return self._parted(before, text)[1]
        except ValueError:
            return self._ids(text)

    def sample(self, turn: Turn, prompt: str, completion: str) -> tuple[Ids, Ids]:
        """What the model reads before a completion, and the completion with its end token.

        Raises:
            ValueError: one token holds characters of the prompt and of the completion; the prompt is other tokens than when it is asked;
                or the whole is longer than the context.
        """
        before, lead = self._seam(turn, prompt)
        asked, answered = self._parted(before, lead + _data(completion))
        asked = self._begun(turn, asked)
        if asked != self.asked(turn, prompt):
            raise ValueError(_straddled(before, repr(completion[:12])))
        if (count := len(asked) + len(answered) + 1) > self.context:
            raise ValueError(f"{count} tokens; at most {self._most} are accepted")
        return asked, (*answered, turn.end)

    def whole(self, turn: Turn, prompt: str, more: str) -> Ids:
        """The tokens of a prompt in its template with `more` right behind it."""
        before = turn.head + _data(prompt) + turn.tail
        return self._begun(turn, self._ids(before + more))

    def told(self, turn: Turn) -> str:
        """A prompt and its answer as this model reads them, for people: `│` is where the answer begins."""
        before, lead = self._seam(turn, STAND_IN)
        ids = self._ids(before)
        begin = "" if self._begun(turn, ids) == ids else self._spelt(self.begin)
        head, tail = (self._openly(part) for part in (turn.head, turn.tail))
        return f"{begin}{head}{SLOT}{tail}│{lead}…{self._spelt([turn.end])}".replace("\n", "⏎")

    # ---- what they rest on -------------------------------------------------------------------------------------------------

    def _ids(self, text: str) -> Ids:
        return tuple(self._plain.encode(text, add_special_tokens=False).ids)

    def _parted(self, before: str, after: str) -> tuple[Ids, Ids]:
        encoding = self._plain.encode(before + after, add_special_tokens=False)
        places, seam = encoding.offsets, len(before)
        at = next((i for i, (start, _) in enumerate(places) if start >= seam), len(places))
        if any(stop > seam for _, stop in places[:at]):
            raise ValueError(_straddled(before, repr(after[:12])))
        return tuple(encoding.ids[:at]), tuple(encoding.ids[at:])

    def _before(self, turn: Turn, prompt: str) -> Ids:
        before, lead = self._seam(turn, prompt)
        unspaced = not lead and _is_unspaced(before)
        found = {self._parted(before, lead + first)[0] for first in (FIRST_UNSPACED if unspaced else FIRST)}
        if len(found) > 1:
            raise ValueError(_straddled(before, "what an answer begins with"))
        return self._begun(turn, found.pop())

    def _seam(self, turn: Turn, prompt: str) -> tuple[str, str]:
        """The text before a completion, and what stands between the two and is the completion's: the blank before its first word."""
        before = turn.head + _data(prompt) + turn.tail
        if turn.lead is not None:
            return before, turn.lead
        if before.endswith(" "):
            return before[:-1], " "
        return before, "" if before[-1:].isspace() or _is_unspaced(before) or _MARKS.match(before[-1:]) else " "

    def _begun(self, turn: Turn, ids: Ids) -> Ids:
        return ids if turn.chat or ids[: len(self.begin)] == self.begin else (*self.begin, *ids)

    def _begin(self) -> Ids:
        """What the tokenizer puts before a text: found by one, since every family says it elsewhere."""
        whole, own = tuple(self.tokenizer("a")["input_ids"]), self._ids("a")
        at = next((i for i in range(len(whole)) if whole[i : i + len(own)] == own), None)
        if at is None:
            raise ValueError(
                f"the tokenizer makes {whole} of 'a', where its tokens are {own}; one that adds only at the ends is required"
            )
        begin, first = whole[:at], self.tokenizer.bos_token_id
        if begin.count(first) > 1 or (self.end in begin and self.end != first):
            raise ValueError(
                f"the tokenizer puts {self._spelt(begin)} before a text; at most one start token, and no end token, is accepted"
            )
        return begin

    def _require_rows(self, rows: int) -> None:
        document = json.loads(self._plain.to_str())
        control = set(self._names.values())
        texts = [row["id"] for row in document["added_tokens"] if row["content"] not in control]
        vocabulary = document["model"]["vocab"]
        known = (
            range(len(vocabulary))
            if isinstance(vocabulary, list)
            else (i for name, i in vocabulary.items() if name not in control)
        )
        self._require_row(max((*texts, *known, *self.begin, self.end)), rows)
        self._rows = rows

    def _require_row(self, token: int, rows: int) -> None:
        if token >= rows:
            raise ValueError(
                f"the tokenizer gives {self._spelt([token])} the id {token}, and the model's embedding has {rows} rows; "
                f"a row for every token is required (resize_token_embeddings)"
            )

    def _named(self, part: str) -> str:
        """A part of a template with its control tokens under their private names."""
        for content, name in self._names.items():
            part = part.replace(content, name)
        for token in self._ids(part):
            self._require_row(token, self._rows)
        return part

    def _openly(self, part: str) -> str:
        for content, name in self._names.items():
            part = part.replace(name, content)
        return part

    def _spelt(self, ids: Sequence[int]) -> str:
        return " ".join(map(str, self.tokenizer.convert_ids_to_tokens(list(ids))))

    def _chat(self, system: str) -> Turn:
        """The tokenizer's chat template around one message and its answer; thinking is switched off where it has such a switch.
        `system`: the message of the system; empty where none is given, so that the template writes its own."""
        asked = [{"role": "system", "content": SAID}] if system else []
        asked.append({"role": "user", "content": ASKED})
        head, found, tail = self._rendered(asked, add_generation_prompt=True).partition(ASKED)
        if not found or ASKED in tail:
            raise ValueError("the tokenizer's chat template does not write the message once; one that does is required")
        if system and head.count(SAID) != 1:
            raise ValueError(
                "the tokenizer's chat template writes no message of the system; one that does is required, or no `system`"
            )
        whole = self._rendered([*asked, {"role": "assistant", "content": ANSWERED}])
        opened, _, closed = whole.partition(ANSWERED)
        lead = opened[len(head) + len(ASKED) + len(tail) :] if opened.startswith(head + ASKED + tail) else ""
        head, tail, closing = self._named(head), self._named(tail), self._named(closed)
        head = head.replace(SAID, _data(system))  # after control tokens were named: what it says is text
        ending = next(iter(_MARKS.findall(closing)), None)  # what closes an answer ends it; Gemma's is not its eos_token
        return Turn(head, tail, lead, chat=True, end=self._plain.token_to_id(ending) if ending else self.end)

    def _rendered(self, messages: list[dict[str, str]], **options: bool) -> str:
        from jinja2 import TemplateError

        if self.tokenizer.chat_template is None:
            raise ValueError("the tokenizer has no chat template; an instruction-tuned model that has one is required")
        template = self.tokenizer.get_chat_template()
        fixed = FIXED_DATE + template if "strftime_now" in template else template
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages, chat_template=fixed, tokenize=False, enable_thinking=False, **options
                )
            )
        except TemplateError as error:
            raise ValueError(
                f"the tokenizer's chat template: {' '.join(str(error).split())}; one for a user's message is required"
            ) from None


_BYTE = re.compile("<0x[0-9A-F]{2}>")  # what characters that the vocabulary lacks are spelt in
_MARKS = re.compile(f"[{chr(MARK)}-{chr(MARK + 0xFFFD)}]")


def arm_tokenization(prepared: Path, tuned: Path | None) -> Tokenization:
    """Of an arm's model: the prepared one's, less the places that virtual tokens take. Raises ValueError as `load_tokenization` does."""
    return load_tokenization(prepared_folder(prepared), virtual_tokens(arm_folders(prepared, tuned)[1]))


def load_tokenization(place: Path, taken: int = 0) -> Tokenization:
    """Of a model folder or of a GGUF file, of whose context so many places are taken.

    Raises:
        ValueError: one line that names it and what is wrong with its tokenizer or its configuration.
    """
    tokenizer = load_tokenizer(place)
    try:
        return Tokenization(tokenizer, architecture(place), taken)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def plainly(text: str) -> str:
    """A part of a turn for people: without the private names of control tokens."""
    return _MARKS.sub("", text)


def _data(text: str) -> str:
    """A text that is read as text. Raises ValueError if it holds a private name of a control token."""
    if found := _MARKS.search(text):
        raise ValueError(f"{text[:40]!r} holds U+{ord(found[0]):04X}, a character for private use; none is accepted")
    return text


def _is_unspaced(text: str) -> bool:
    return bool(text) and any(first <= ord(text[-1]) <= last for first, last in UNSPACED)


def _straddled(before: str, after: str) -> str:
    return (
        f"the end of {plainly(before)[-20:]!r} and {after} become one token, so an untuned model would be asked what it never reads; "
        "a template that ends in a line feed, or in a word or colon, is required"
    )


def _with_private_names(tokenizer: PreTrainedTokenizerBase) -> tuple[Any, Mapping[str, str]]:
    """The tokenizer without what it adds, whose control tokens go by names that no text holds; and those names by content, longest first.

    Control tokens are those marked special, and those that the chat template writes. Ids stay as they are.

    Raises:
        ValueError: the ids would not.
    """
    from tokenizers import Tokenizer

    document = json.loads(tokenizer.backend_tokenizer.to_str())
    template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else ""
    added = [row for row in document["added_tokens"] if not _BYTE.fullmatch(row["content"])]  # bytes are of the vocabulary
    control = [row for row in added if row["special"] or (len(row["content"].strip()) > 1 and row["content"] in template)]
    names = {row["content"]: chr(MARK + place) for place, row in enumerate(control)}
    ids = {names[row["content"]]: row["id"] for row in control}
    for row in control:
        row.update(content=names[row["content"]], special=True, normalized=False)
    document.update(added_tokens=added, post_processor=None, truncation=None, padding=None)
    model = document["model"]
    model["vocab"] = _renamed(model["vocab"], names)
    if "merges" in model:
        model["merges"] = [
            pair for pair in model["merges"] if "".join(pair if isinstance(pair, list) else pair.split(" ")) not in names
        ]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    plain = Tokenizer.from_str(json.dumps(document))
    if moved := [content for content, name in names.items() if plain.token_to_id(name) != ids[name]]:
        raise ValueError(f"the tokenizer's control token {moved[0]} has no id of its own; one for each is required")
    return plain, dict(sorted(names.items(), key=lambda item: -len(item[0])))


def _renamed(vocabulary: Any, names: Mapping[str, str]) -> Any:
    if isinstance(vocabulary, list):  # of a unigram model: pieces and their scores
        return [[names.get(piece, piece), score] for piece, score in vocabulary]
    return {names.get(piece, piece): token for piece, token in vocabulary.items()}

"""Decoding in slots: a batch of one shape, whose finished rows leave and whose waiting ones take their places.

The last bits of a forward pass depend on the shapes of its products and on where in the cache a token sits, so both are fixed. Every arm has
`shape` slots; a slot has room for the longest prompt and what may follow it, token t of its row is at place t, and what lies behind a row's
last token is masked. A row's numbers so depend neither on its neighbours nor on when it came in.

A prompt is read once for all its rows, apart: padded on the right, which no token before it can see, to a length that its own alone decides, and
always `READ` prompts at once. Its keys and values are copied into the slots of its rows, which begin by reading its last token again, so that
the first token is drawn like all others. Several arms (`stacked`) stand below each other in one batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.cache_utils import Cache, CacheLayerMixin

from tasks.sampling.engines.draw import draw
from tasks.sampling.engines.rows import Drawn, How, Work
from tasks.sampling.engines.stacked import ATTENTION, BASE, WEIGHTED, Stack

READ = 8  # prompts read at once: of 5M parameters, two threads, 32 tokens, 3.0 ms a prompt (4.8 by fours, 2.4 by sixteens, of which more stay empty)
STEP = 16  # what prompts are padded to a multiple of
ROOM = 2**30  # bytes of keys and values: arms beyond it are decoded afterwards
# How far logits in fp32 may lie from those of a whole pass, as a share of their spread: what rounding makes. A key too many or too few is a third and
# more; so is rounding to bf16, of some texts (SmolLM2-135M: 0.42 of two odd tokens, between two whole passes too, eager and fused).
ROUNDING = 1e-3
HALF = (torch.bfloat16, torch.float16)
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")

Layers = list[tuple[torch.Tensor, torch.Tensor]]  # keys and values, each [rows, heads, tokens, width]
Check = Callable[
    [Callable[..., Any], list[int], torch.Tensor, Layers], str | None
]  # the model, a text, its logits in slots, what was kept of it


class Misfit(Exception):
    """A model that cannot be decoded in slots, or not with several arms; the message says why."""


class _Places:
    """Where each row's next token goes, [rows]; the same in a layer's keys is worked out once a step for all layers."""

    def __init__(self, length: int) -> None:
        self.length = length

    def move(self, at: torch.Tensor) -> None:
        self.at = at
        self._found: dict[int, torch.Tensor] = {}

    def of(self, heads: int) -> torch.Tensor:
        """[rows × heads], in keys as [rows × heads × length, width]."""
        if heads not in self._found:
            first = torch.arange(len(self.at) * heads, device=self.at.device) * self.length
            self._found[heads] = first + self.at.repeat_interleave(heads)
        return self._found[heads]


class _Slots(CacheLayerMixin):  # type: ignore[misc]  # transformers' are not typed
    """Keys and values of one layer: each row's next ones are put at its own place."""

    is_sliding = False

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, places: _Places) -> None:
        super().__init__()
        self.keys, self.values, self.places, self.is_initialized = keys, values, places, True

    def update(self, keys: torch.Tensor, values: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        for held, new in ((self.keys, keys), (self.values, values)):
            width = held.shape[-1]
            held.view(-1, width).index_copy_(0, self.places.of(held.shape[1]), new.reshape(-1, width))
        return self.keys, self.values

    def lazy_initialization(self, *_: Any) -> None:
        """It is there from the beginning."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.places.length, 0

    def get_seq_length(self) -> int:
        return self.places.length - 1  # as if at the last place: the mask says what a row may see

    def get_max_length(self) -> int:
        return self.places.length


class _Queue:
    """The rows of one arm that wait, and the prompts that were read for those next in line."""

    def __init__(self, stack: Stack, arm: int, work: Work, how: How) -> None:
        self._stack, self._arm, self._work, self._how = stack, arm, work, how
        self._next = 0
        self._unread = dict.fromkeys(work.prompt(i) for i in work.waiting)
        self._read_from(work.prompt(work.waiting[0]))

    def __bool__(self) -> bool:
        return self._next < len(self._work.waiting)

    @property
    def like(self) -> tuple[Layers, int]:
        """What was read last, and how many places stand before a first token: virtual ones."""
        prompt, (layers, _) = next(iter(self._read.items()))
        return layers, layers[0][0].shape[2] - padded(prompt, self._how)

    def take(self) -> tuple[int, Any, Layers, int]:
        """Which row, the row, and where its prompt's keys and values are."""
        index = self._work.waiting[self._next]
        self._next += 1
        row = self._work.row(index)
        if row.prompt not in self._read:
            self._read_from(row.prompt)
        return index, row, *self._read[row.prompt]

    def _read_from(self, first: tuple[int, ...]) -> None:
        length = padded(first, self._how)
        self._unread.pop(first, None)
        prompts = [first, *[other for other in self._unread if padded(other, self._how) == length][: READ - 1]]
        for prompt in prompts[1:]:
            del self._unread[prompt]
        layers = read(self._stack, self._arm, prompts, length, self._how.filler)
        self._read: dict[tuple[int, ...], tuple[Layers, int]] = {prompt: (layers, i) for i, prompt in enumerate(prompts)}


def padded(prompt: Sequence[int], how: How) -> int:
    """The length at which a prompt is read: a multiple of STEP, or of less where that is more than a row may have. At odd ones a row's numbers may
    depend on its place among those that are read."""
    multiples = (-(-len(prompt) // step) * step for step in (STEP, STEP // 2, STEP // 4, STEP // 8, 1))
    return next(length for length in multiples if length <= how.longest + how.new - 1)


def read(stack: Stack, arm: int, prompts: Sequence[Sequence[int]], length: int, filler: int) -> Layers:
    """What the model keeps of at most READ prompts, read at this length.

    Raises:
        Misfit: it does not keep keys and values of every token in every layer.
    """
    ids = torch.full((READ, length), filler)
    for i, prompt in enumerate(prompts):
        ids[i, : len(prompt)] = torch.tensor(prompt)
    out = stack.read(arm, ids.to(stack.model.device))
    cache = getattr(out, "past_key_values", None)
    layers = [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in getattr(cache, "layers", ())]
    if not layers or any(one is None or one.shape[2] < length for layer in layers for one in layer):
        raise Misfit("it does not keep keys and values of every token in every layer")
    return layers  # type: ignore[return-value]


class _Batch:
    """The slots of some arms: `shape` of each, one arm below the other."""

    def __init__(self, stack: Stack, arms: Sequence[int], how: How, like: Layers, taken: int) -> None:
        self.stack, self.arms, self.how, self.taken = stack, list(arms), how, taken
        device = stack.model.device
        rows, length = len(self.arms) * how.shape, taken + how.longest + how.new - 1
        self.places = _Places(length)
        self.layers: Layers = [
            tuple(one.new_zeros(rows, one.shape[1], length, one.shape[3]) for one in layer)  # type: ignore[misc]
            for layer in like
        ]
        self._told = torch.arange(length, device=device)
        self._positions = "position_ids" in inspect.signature(_plain(stack.model).forward).parameters
        self.feed = np.full(rows, how.filler)
        self.at = np.zeros(rows, dtype=np.int64)  # the place of what is fed

    def put(self, rows: Sequence[int], layers: Layers, which: Sequence[int]) -> None:
        """Copy prompts that were read into slots."""
        device = self.stack.model.device
        to, of = torch.tensor(rows, device=device), torch.tensor(which, device=device)
        for own, given in zip(self.layers, layers, strict=True):
            for held, new in zip(own, given, strict=True):
                held[to, :, : new.shape[2]] = new[of]

    def logits(self, first: int = 0, last: int | None = None) -> torch.Tensor:
        """Of every slot, or of those of some arms, [rows, vocabulary]: after the token that it is fed."""
        last = len(self.arms) if last is None else last
        rows = slice(first * self.how.shape, last * self.how.shape)
        device = self.stack.model.device
        at = torch.from_numpy(self.at[rows]).to(device)
        self.places.move(at)
        named = {"position_ids": at[:, None]} if self._positions else {}
        out = self.stack(
            self.arms[first:last],
            input_ids=torch.from_numpy(self.feed[rows]).to(device)[:, None],
            attention_mask=(self._told <= at[:, None]).long(),
            past_key_values=Cache(layers=[_Slots(keys[rows], values[rows], self.places) for keys, values in self.layers]),
            use_cache=True,
            logits_to_keep=1,
            **named,
        )
        logits: torch.Tensor = out.logits[:, -1]
        return logits

    def keep(self, places: Sequence[int]) -> NDArray[np.int64]:
        """Only the arms at these places stay; returns the slots that they have."""
        rows = np.concatenate([np.arange(i * self.how.shape, (i + 1) * self.how.shape) for i in places])
        self.arms = [self.arms[i] for i in places]
        self.feed, self.at = self.feed[rows], self.at[rows]
        chosen = torch.from_numpy(rows).to(self.stack.model.device)
        self.layers = [(keys[chosen], values[chosen]) for keys, values in self.layers]
        return rows

    def settle(self) -> torch.Tensor:
        """Logits of every slot, which are, to the bit, those of each arm alone.

        Raises:
            Misfit: they are not, even where all products are made arm by arm.
        """
        for products in ((), ATTENTION, (*ATTENTION, *WEIGHTED)):
            self.stack.by_arm(products)
            together = self.logits()
            parts = enumerate(together.split(self.how.shape))
            if all(torch.equal(self.logits(i, i + 1), part) for i, part in parts):
                return together
        raise Misfit("rows of one arm change with the number of arms")


@torch.inference_mode()
def decode(stack: Stack, works: Sequence[Work], how: How) -> None:
    """Draw what waits of every arm (`works`, one an arm of the stack), as many arms in one batch as the cache has room for.

    Raises:
        Misfit: arms cannot be decoded together. What was drawn was told, and stands.
    """
    waiting = [arm for arm, work in enumerate(works) if work.waiting]
    while waiting:
        queues = {waiting[0]: _Queue(stack, waiting[0], works[waiting[0]], how)}
        like, taken = queues[waiting[0]].like
        held = how.shape * (taken + how.longest + how.new - 1)  # places of one arm
        together = max(1, ROOM // sum(held * one.shape[1] * one.shape[3] * one.itemsize for layer in like for one in layer))
        some, waiting = waiting[:together], waiting[together:]
        queues |= {arm: _Queue(stack, arm, works[arm], how) for arm in some[1:]}
        _decode(_Batch(stack, some, how, like, taken), queues, works)


def _decode(batch: _Batch, queues: Mapping[int, _Queue], works: Sequence[Work]) -> None:
    how, shape = batch.how, batch.how.shape
    rows = len(batch.feed)
    index = np.full(rows, -1)  # which of its arm's rows a slot holds
    count, limit = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64)  # tokens that it has drawn, and may draw
    numbers, tokens = np.zeros((rows, how.new)), np.zeros((rows, how.new), dtype=np.int64)
    ends = np.array(sorted(how.ends), dtype=np.int64)
    changed = True
    while True:
        fresh: dict[int, tuple[Layers, list[int], list[int]]] = {}
        for slot in np.flatnonzero(index < 0).tolist():
            if not (queue := queues[batch.arms[slot // shape]]):
                continue
            index[slot], row, layers, place = queue.take()
            _, to, of = fresh.setdefault(id(layers), (layers, [], []))
            to.append(slot)
            of.append(place)
            count[slot], limit[slot] = 0, len(row.uniforms)
            numbers[slot, : limit[slot]] = row.uniforms
            batch.feed[slot], batch.at[slot] = row.prompt[-1], batch.taken + len(row.prompt) - 1
        for layers, to, of in fresh.values():
            batch.put(to, layers, of)
        busy = np.flatnonzero((index.reshape(-1, shape) >= 0).any(axis=1)).tolist()
        if not busy:
            return
        if len(busy) < len(batch.arms):
            stay = batch.keep(busy)
            index, count, limit = index[stay], count[stay], limit[stay]
            numbers, tokens = numbers[stay], tokens[stay]
            changed = True
        logits = batch.settle() if changed and len(busy) > 1 else batch.logits()
        changed = False
        live = np.flatnonzero(index >= 0)
        if len(live) < len(index):
            logits = logits[torch.from_numpy(live).to(logits.device)]
        decides = torch.from_numpy(numbers[live, count[live]]).to(logits.device)
        drawn = draw(logits, decides, how.temperature, how.top_p).cpu().numpy()
        stopped = np.isin(drawn, ends)
        going = live[~stopped]
        tokens[going, count[going]] = drawn[~stopped]
        count[going] += 1
        batch.feed[live], batch.at[live] = drawn, batch.at[live] + 1
        ended = stopped | (count[live] == limit[live])
        for slot, stop in zip(live[ended].tolist(), stopped[ended].tolist(), strict=True):
            works[batch.arms[slot // shape]].done(int(index[slot]), Drawn(tuple(tokens[slot, : count[slot]].tolist()), stop))
            index[slot], batch.feed[slot], batch.at[slot] = -1, how.filler, 0


def misfit(stack: Stack, how: How) -> str | None:
    """Why this model cannot be decoded in slots, as its own numbers show; None if it can.

    Two texts, of two tokens and as long as the longest prompt, are read at every place and continued in every slot, where their numbers must be the
    same bits: of an odd number of rows they are not. And in fp32 they must be those of a whole pass but for rounding. Where what the model keeps is
    no list of keys and values, or where a token sees by its place in the cache (a window, positions that take no heed of a mask), they are not.
    """
    if refused := _refused(stack.model):
        return refused
    ids = np.random.default_rng(0).integers(_vocabulary(stack), size=max(2, how.longest)).tolist()
    texts = [ids[:2], ids] if how.longest > 1 else [ids[:1]]
    looks: list[tuple[AbstractContextManager[None], int, tuple[Check, ...]]] = [(nullcontext(), 0, (_whole, _placeless))]
    if stack.model.dtype in HALF:  # what an arm adds is of half precision too, and how the model sees is the base's
        looks = [(_in_fp32(stack.model), BASE, (_whole,)), (nullcontext(), 0, (_placeless,))]
    try:
        for held, arm, checks in looks:
            with held, torch.inference_mode():
                if found := next((said for text in texts if (said := _differs(stack, arm, how, text, checks))), None):
                    return found
    except Misfit as found_out:
        return str(found_out)
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        return f"it cannot be called so ({type(error).__name__}: {(str(error).splitlines() or [''])[0]})"
    return None


def _differs(stack: Stack, arm: int, how: How, text: list[int], checks: Sequence[Check]) -> str | None:
    length = padded(text, how)
    layers = read(stack, arm, [text] * READ, length, how.filler)
    batch = _Batch(stack, [arm], how, layers, layers[0][0].shape[2] - length)
    batch.put(range(how.shape), layers, [0] * how.shape)
    batch.feed[:], batch.at[:] = text[-1], batch.taken + len(text) - 1
    logits = batch.logits()
    return next((said for check in checks if (said := check(partial(stack, [arm]), text, logits, layers))), None)


def _whole(model: Callable[..., Any], text: list[int], logits: torch.Tensor, _: Layers) -> str | None:
    ids = torch.tensor([text], device=logits.device)
    found, whole = logits[0].double(), model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1].double()
    near = float((found - whole).norm()) <= ROUNDING * float((whole - whole.mean()).norm())
    return None if near else "its logits in slots are not those of whole passes"


def _placeless(_: Callable[..., Any], text: list[int], logits: torch.Tensor, layers: Layers) -> str | None:
    alike = _all_alike(logits) and all(_all_alike(one[:, :, : len(text)]) for layer in layers for one in layer)
    return None if alike else "a row's numbers depend on its slot"


@contextmanager
def _in_fp32(model: Any) -> Iterator[None]:
    """In the block the weights are fp32, which holds every number of half precision; afterwards they are what they were, bit for bit."""
    halves = [(weight, weight.dtype) for weight in model.parameters() if weight.dtype in HALF]
    try:
        for weight, _ in halves:
            weight.data = weight.data.float()
        yield
    finally:
        for weight, kind in halves:
            weight.data = weight.data.to(kind)


def _all_alike(rows: torch.Tensor) -> bool:
    return torch.equal(rows, rows[:1].expand_as(rows))


def _vocabulary(stack: Stack) -> int:
    size: int = _plain(stack.model).config.get_text_config().vocab_size
    return size


def _refused(model: Any) -> str | None:
    config = _plain(model).config.get_text_config()
    if any(getattr(config, name, None) for name in EXPERTS):
        return "its experts multiply rows of several completions together"
    kinds = getattr(config, "rope_parameters", None) or {}
    if any(kind in str(kinds) for kind in ("dynamic", "longrope")):
        return "its rotation of positions depends on the longest row"
    return None


def _plain(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model

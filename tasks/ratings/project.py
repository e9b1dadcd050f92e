"""A rating project: which rater is shown which completions, and in which order, with nothing that tells who wrote them.

Knows assignment, order, and the items that are shown for another reason than to be rated. Leaves the wording to `tasks.ratings.words` and
the files to `formats`.

A project goes to raters as it is, so it may hold nothing that tells arms or sizes apart: ids are hashes, an item's surrounding blanks are
gone, and which arm an item is of, or that it is a repeated one or a check, stands in the key alone.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from tasks.contract import digest_of

Mode = Literal["rate", "rank"]
RATE: Mode = "rate"
RANK: Mode = "rank"
RATED, REPEATED, CHECK = "rated", "repeated", "check"  # why an item is shown; known to the key alone


@dataclass(frozen=True)
class Item:
    """A completion as a rater sees it. `block` is the same for the completions of one prompt, which `rank` shows together."""

    id: str
    category: str
    prompt: str
    completion: str
    block: str


@dataclass(frozen=True)
class Packet:
    """What one rater is shown, in this order. In mode rank the items of a block stand together."""

    rater: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Project:
    """What goes out. `positions`: category → its statement and claims, a line each."""

    id: str
    mode: Mode
    positions: Mapping[str, str]
    packets: tuple[Packet, ...]

    @property
    def items(self) -> dict[str, Item]:
        """Every item once, by id, in the order of the ids."""
        found = {item.id: item for packet in self.packets for item in packet.items}
        return dict(sorted(found.items()))

    @property
    def raters(self) -> dict[str, tuple[str, ...]]:
        """Item → who rates it."""
        held: dict[str, tuple[str, ...]] = {}
        for packet in self.packets:
            for item in packet.items:
                held[item.id] = (*held.get(item.id, ()), packet.rater)
        return dict(sorted(held.items()))


@dataclass(frozen=True)
class Shown:
    """Why an item is shown: for itself, as a repetition of the item `of`, or as a check that `expects` a rating."""

    why: str
    of: str = ""
    expects: int | None = None


@dataclass(frozen=True)
class Extras:
    """What is mixed in: items shown to a rater a second time, and checks that the page is read."""

    repeats: int = 0
    checks: int = 0


def assign(
    items: Sequence[Item],
    raters: Sequence[str],
    wanted: int,
    seed: int,
    *,
    mode: Mode = RATE,
    positions: Mapping[str, str],
    extras: Extras = Extras(),
) -> tuple[Project, dict[str, Shown]]:
    """The project, and of each item why it is shown.

    Every item goes to `wanted` different raters, a prompt's items to the same ones, so that a rater's severity cancels between arms. Blocks
    go, in random order and category after category, to the raters who have fewest items so far, then fewest of the category, then have met
    least often over one block; what is equal then is drawn. Each rater's order is drawn anew: categories and arms are mixed, and a prompt's texts
    lie far apart.

    Raises:
        ValueError: fewer raters than ratings are wanted, names that are not different, or two items of one id.
    """
    if len(set(raters)) < len(raters) or len(raters) < wanted or wanted < 1:
        raise ValueError(f"{len(set(raters))} raters; at least as many different ones as ratings an item ({wanted}) are required")
    if len({item.id for item in items}) < len(items):
        raise ValueError("two items have the same id; one each is required")
    salt = digest_of([seed, mode, list(raters), wanted, [vars(item) for item in items], vars(extras)])
    rng = random.Random(salt)
    blocks: dict[str, list[Item]] = {}
    for item in items:
        blocks.setdefault(item.block, []).append(item)
    held = _shared_out(blocks.values(), raters, wanted, rng)
    shown = {item.id: Shown(RATED) for item in items}
    packets = []
    for rater in raters:
        own = [list(block) for block in held[rater]]
        for block in own:
            rng.shuffle(block)
        rng.shuffle(own)
        side_by_side = [item for block in own for item in block]
        ordered = side_by_side if mode == RANK else _mixed_in(_dealt(own, rng), rater, extras, shown, salt, rng)
        packets.append(Packet(rater, tuple(ordered)))
    project = digest_of([salt, [(packet.rater, [item.id for item in packet.items]) for packet in packets]])
    return Project("p" + project[:12], mode, dict(positions), tuple(packets)), shown


def _shared_out(
    blocks: Iterable[list[Item]], raters: Sequence[str], wanted: int, rng: random.Random
) -> dict[str, list[list[Item]]]:
    """Rater → the blocks that they rate."""
    by_category: dict[str, list[list[Item]]] = {}
    for block in blocks:
        by_category.setdefault(block[0].category, []).append(block)

    load: Counter[str] = Counter()
    of_category: Counter[tuple[str, str]] = Counter()
    met: Counter[tuple[str, str]] = Counter()
    held: dict[str, list[list[Item]]] = {rater: [] for rater in raters}
    for category in sorted(by_category):
        rng.shuffle(by_category[category])
        for block in by_category[category]:
            chosen: list[str] = []
            for _ in range(wanted):
                free = [rater for rater in raters if rater not in chosen]
                rng.shuffle(free)
                chosen.append(
                    min(
                        free,
                        key=lambda one: (load[one], of_category[one, category], sum(met[_pair(one, other)] for other in chosen)),
                    )
                )
            for rater in chosen:
                load[rater] += len(block)
                of_category[rater, category] += len(block)
                held[rater].append(block)
            met.update(_pair(one, other) for one, other in combinations(chosen, 2))
    return held


def _dealt(blocks: list[list[Item]], rng: random.Random) -> list[Item]:
    """Round after round one text of each prompt, in an order drawn anew: what was just read of a prompt colours the next text of it least."""
    dealt: list[Item] = []
    for turn in range(max((len(block) for block in blocks), default=0)):
        there = [block for block in blocks if turn < len(block)]
        rng.shuffle(there)
        dealt += [block[turn] for block in there]
    return dealt


def _mixed_in(
    ordered: list[Item], rater: str, extras: Extras, shown: dict[str, Shown], salt: str, rng: random.Random
) -> list[Item]:
    """With what is shown besides: an item again in the other half of the order, far from its first place, and checks anywhere."""
    again = rng.sample(ordered[: len(ordered) // 2], min(extras.repeats, len(ordered) // 2))
    mixed, late = list(ordered), []
    for item in again:
        twin = Item(_id(salt, rater, "again", item.id), item.category, item.prompt, item.completion, item.block)
        shown[twin.id] = Shown(REPEATED, of=item.id)
        late.append(twin)
    for twin in late:
        mixed.insert(rng.randint(-(-3 * len(ordered) // 4), len(mixed)), twin)
    for number in range(min(extras.checks, len(ordered))):
        asked, expects = rng.choice(ordered), rng.randint(1, 5)
        text = f"This is no answer but a check that texts are read. Please choose {expects}, and say that it is no answer."
        check = Item(_id(salt, rater, "check", number), asked.category, asked.prompt, text, _id(salt, rater, "block", number))
        shown[check.id] = Shown(CHECK, expects=expects)
        mixed.insert(rng.randint(1, len(mixed)), check)
    return mixed


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)


def _id(*parts: object) -> str:
    """With a letter in front, as a sheet's own ids: no spreadsheet takes it for a number."""
    return "t" + hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()[:12]

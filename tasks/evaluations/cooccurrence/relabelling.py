"""What counts would have been had groups changed places: the permutations behind every null of this stage.

A unit is what is relabelled as a whole: one repeat of a template in all its groups. Under the null that groups
do not differ, exchanging them within a unit changes nothing; what stands in one unit stays together, since it is
not independent. One random number orders a unit, so that a thousand permutations of a million completions take
seconds: shuffling the labels of a whole template, of which these permutations are a subgroup, took 20 to 33 ns a
completion and permutation, so twenty seconds at the least.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

_CELLS = 2**22  # numbers held at once in one table: 32 MiB
_TABLED = 8  # 40,320 orders are held as a table; longer rows are shuffled

_WAYS = 5_040  # orders of a unit's values that are counted; more are drawn

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Null:
    """A distance under permuted groups: its mean, and the share of permutations at least as far as the data, (b+1)/(B+1)."""

    mean: float
    p: float


def null_of(observed: float, permuted: Floats) -> Null:
    """The null of a distance from its values under permutation (permutation,)."""
    extreme = int(np.count_nonzero(permuted >= observed - 1e-12))  # a permutation that is the data itself is a tie
    return Null(float(permuted.mean()), (extreme + 1) / (len(permuted) + 1))


def pooled(values: Floats, rows: NDArray[np.intp], units: NDArray[np.intp]) -> tuple[Floats, NDArray[np.intp], NDArray[np.intp]]:
    """The values (entry, group) of equal (row, unit) summed, without those that are all zero; their rows and units."""
    pairs, index = np.unique(np.stack([units, rows]), axis=1, return_inverse=True)
    sums: Floats = np.stack([np.bincount(index.ravel(), column, minlength=pairs.shape[1]) for column in values.T], axis=1)
    kept = sums.any(axis=1)
    return sums[kept], pairs[1, kept], pairs[0, kept]


def exchanged(
    values: Floats, rows: NDArray[np.intp], units: NDArray[np.intp], height: int, permutations: int, rng: np.random.Generator
) -> Iterator[Floats]:
    """Sums over units with the groups of each unit permuted: (permutation, row, group), some permutations at a time.

    values (entry, group) are what an entry adds to the `height` rows of the sum in its unit; all rows of a unit
    are permuted alike.
    """
    groups = values.shape[1]
    _, unit = np.unique(units, return_inverse=True)
    entry, group = values.nonzero()
    # one column for each group of each unit that holds anything
    columns, column = np.unique(unit[entry] * groups + group, return_inverse=True)
    table = csr_matrix((values[entry, group], (rows[entry], column)), shape=(height, len(columns)))
    total = np.asarray(table.sum(axis=1))
    unit_of, group_of = np.divmod(columns, groups)
    step = max(1, _CELLS // max(1, len(columns), height * groups))
    for start in range(0, permutations, step):
        size = min(step, permutations - start)
        place = orders(int(unit.max()) + 1, size, groups, rng)[unit_of, :, group_of]
        sums = np.empty((size, height, groups))
        for to in range(groups - 1):
            sums[:, :, to] = (table @ (place == to).astype(np.float64)).T
        sums[:, :, -1] = total.T - sums[:, :, :-1].sum(axis=2)
        yield sums


def exchanged_totals(values: Floats, permutations: int, rng: np.random.Generator) -> Floats:
    """Sums of values (unit, group) over units with the groups of each unit permuted: (permutation, group).

    Units that hold the same values, in whatever order, are counted and not drawn one by one: how many of them come to
    each of the orders is multinomial.
    """
    groups = values.shape[1]
    totals = np.zeros((permutations, groups))
    for pattern, times in zip(*np.unique(np.sort(values, axis=1), axis=0, return_counts=True), strict=True):
        alike = np.unique(pattern, return_counts=True)[1]
        ways = math.factorial(groups) // math.prod(math.factorial(int(count)) for count in alike)
        if ways > _WAYS:
            same, none = np.tile(pattern, (times, 1)), np.zeros(times, dtype=np.intp)
            drawn = exchanged(same, none, np.arange(times), 1, permutations, rng)
            totals += np.concatenate([sums[:, 0] for sums in drawn])
        else:
            arranged = np.array(_arrangements(tuple(pattern)))
            totals += rng.multinomial(times, np.full(ways, 1 / ways), size=permutations) @ arranged
    return totals


def _arrangements(items: tuple[float, ...]) -> list[tuple[float, ...]]:
    """The distinct orders of some things, of which several may be equal; they are given sorted."""
    if not items:
        return [()]
    firsts = [index for index, item in enumerate(items) if index == 0 or item != items[index - 1]]
    return [(items[index], *rest) for index in firsts for rest in _arrangements(items[:index] + items[index + 1 :])]


def orders(units: int, permutations: int, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Random orders of `size` things for each unit and permutation: (unit, permutation, size)."""
    if size <= _TABLED:
        table = np.array(list(itertools.permutations(range(size))), dtype=np.uint8)
        return table[rng.integers(0, len(table), (units, permutations), dtype=np.uint16)]
    return rng.permuted(np.tile(np.arange(size, dtype=np.uint8), (units, permutations, 1)), axis=2)


class Labels:
    """The group labels of completions, permuted within their units.

    `order` sorts the completions as the permuted labels are sorted.
    """

    def __init__(self, labels: NDArray[np.intp], units: NDArray[np.intp]) -> None:
        _, unit, sizes = np.unique(units, return_inverse=True, return_counts=True)
        by_size = np.lexsort((labels, unit, sizes[unit]))
        self._blocks: list[tuple[NDArray[np.intp], int]] = []  # the labels of a unit, and how many units have these
        order, start = [], 0
        for size, number in zip(*np.unique(sizes, return_counts=True), strict=True):
            places = by_size[start : start + size * number].reshape(number, size)
            start += size * number
            alike, kind = np.unique(labels[places], axis=0, return_inverse=True)
            for index, row in enumerate(alike):
                members = places[kind.ravel() == index]
                order.append(members.ravel())
                self._blocks.append((row, len(members)))
        self.order: NDArray[np.intp] = np.concatenate(order)

    def permuted(self, permutations: int, rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
        """One array of labels a permutation, in the order of `order`."""
        tables = [
            row[np.array(list(itertools.permutations(range(len(row)))))] if 1 < len(row) <= _TABLED else None
            for row, _ in self._blocks
        ]
        for _ in range(permutations):
            drawn = []
            for (row, units), table in zip(self._blocks, tables, strict=True):
                if table is not None:
                    drawn.append(table[rng.integers(0, math.factorial(len(row)), units, dtype=np.uint16)].ravel())
                elif row[0] == row[-1]:  # sorted: all alike
                    drawn.append(np.repeat(row[:1], len(row) * units))
                else:
                    drawn.append(rng.permuted(np.tile(row, (units, 1)), axis=1).ravel())
            yield np.concatenate(drawn)

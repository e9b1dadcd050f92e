"""How much memory a stage takes, and over how many devices it has to be spread.

Estimated: OVERHEAD_GIB + bytes a parameter × parameters, as each stage declares it (what admission holds back for it), and in tuning the
activations of what goes through the model at once, in sampling on a GPU the keys and values of the rows that are decoded together. On a GPU, in
bf16, of what is declared a model that is not tuned whole takes 2 bytes a parameter less in tuning and half elsewhere: declarations are of fp32.
Measured: the most that an earlier process of the same stage, size and, of tuning, method held; on this machine's own memory alone.

Spread (FSDP: Zhao et al. 2023, arXiv 2304.11277): parameters, gradients and optimiser states are shared out, activations and overhead are not. A
model that is not tuned is spread by layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from flows.cost.demand import Demand, lengths
from flows.cost.devices import Device
from flows.dag import OVERHEAD_GIB
from flows.engine.stores.manifest import Manifest
from tasks.contract import Node
from tasks.finetune import methods
from tasks.finetune.stage import STAGE as FINETUNE
from tasks.finetune.stage import Settings
from tasks.sampling.stage import STAGE as SAMPLING

MOST_BYTES = 64  # that a stage declares for a parameter of the arm's model
USABLE = 0.9  # of a device's memory, as of this machine's (`limits.memory_gib`)


@dataclass(frozen=True)
class Memory:
    """In GiB. spread: what devices can share out. told: how it is known."""

    gib: float
    spread: float
    told: str

    def devices(self, device: Device) -> int | None:
        """How many devices hold it; None where no number does."""
        left = USABLE * device.memory_gib - (self.gib - self.spread)
        return max(1, math.ceil(self.spread / left)) if left > 0 else None


def memory(demand: Demand, node: Node, earlier: Sequence[Manifest]) -> Memory:
    """Of one node; `earlier`: outputs of its stage."""
    if demand.device.kind == "cpu" and (peaks := [peak for one in earlier if _alike(one, node) and (peak := _peak(one))]):
        return Memory(max(peaks), max(peaks) - OVERHEAD_GIB, f"measured, {len(peaks)} earlier")
    declared = node.resources.memory_gib
    params = demand.params(node.axes.ladder, node.axes.size)
    each = (declared - OVERHEAD_GIB) * 2**30 / params if params else 0.0
    if not params or not 1 <= each <= MOST_BYTES or abs(each - round(each)) > 0.01:  # of no model, or of another than the arm's
        return Memory(declared, max(0.0, declared - OVERHEAD_GIB), "estimated: as declared")
    each = _in_precision(demand, node, round(each))
    spread = each * params / 2**30
    told = f"estimated: {OVERHEAD_GIB:g} GiB + {each:g} bytes × {params:,} parameters"
    held, what = _beside(demand, node)
    if what:
        told += f" + {held:.1f} GiB of {what}"
    return Memory(OVERHEAD_GIB + spread + held, spread, told)


def _alike(made: Manifest, node: Node) -> bool:
    axes, method = made.document["axes"], getattr(node.settings, "method", None)
    at = (axes.get("ladder"), axes.get("size")) == (node.axes.ladder, node.axes.size)
    return at and (method is None or made.document["identity"]["settings"].get("method") == method)


def _peak(made: Manifest) -> float:
    return float(made.facts.get("peak_memory_gib") or 0)


def _in_precision(demand: Demand, node: Node, each: float) -> float:
    """Bytes a parameter; declared are those of fp32."""
    if demand.device.kind == "cpu" or demand.precision(node) == "fp32":
        return each
    if node.stage.name == FINETUNE.name:
        return each - 2 if methods.found()[node.settings.method].in_precision else each
    return each / 2


def _beside(demand: Demand, node: Node) -> tuple[float, str]:
    """GiB that a stage holds beside its model, and what that is."""
    shape, guessed = demand.shape(node.axes.ladder, node.axes.size)
    if shape is None:
        return 0.0, ""
    by = ", its shape guessed" if guessed else ""
    if node.stage == FINETUNE:
        tokens = max(lengths(demand.run.inputs.datasets[demand.run.experiment.arms[node.axes.arm or ""].dataset].path))  # type: ignore[union-attr]
        return _at_once(node.settings, tokens) * shape.bytes_a_token(tokens) / 2**30, f"activations{by}"
    if node.stage == SAMPLING and demand.device.kind == "cuda":
        return demand.cached(node, shape) / 2**30, f"keys and values{by}"
    return 0.0, ""


def _at_once(settings: Settings, tokens: float) -> float:
    """Tokens that go through the model at once, of rows as long as the longest."""
    rows = settings.micro_batch * tokens
    return rows if settings.micro_tokens is None else min(rows, max(tokens, settings.micro_tokens))

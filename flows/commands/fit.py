"""Whether the stages of a run fit into memory, and what each would take: measured where the store has its like, by stated formulas elsewhere.

Memory, estimated: OVERHEAD_GIB + bytes a parameter × parameters, as each stage declares it (what admission holds back for it), and in tuning the
activations of what goes through the model at once, where the model's shape is at hand: `micro_batch` samples as long as the longest, or
`micro_tokens` where that is set and less (one sample at least), each token
(2 · layers · (34 · width + 5 · heads · tokens) + 2 · 4 · vocabulary) bytes (Korthikanti et al. 2022, in fp32; logits and their gradient; the
fused attention holds less than the term of heads and tokens). Measured: the most that an earlier process of the same stage, size and, of
tuning, method held.

Time, measured: the median of the same stage, size, suite and, of tuning, method on a machine of this name; of tuning scaled by the optimiser steps.
Estimated, of tuning and sampling: START_S + steps × the larger of STEP_S and FLOP ÷ speed. FLOP of a token: 2 a parameter forward; in tuning 4 more
backward, or 2 where the base stays as it is (Kaplan et al. 2020; an adapter's own parameters are neglected). A decoding step takes the rows of a
whole batch, each prompt is read once; a word has WORD_TOKENS. Speed: EFFICIENCY of what one thread does in a product of two matrices (timed:
0.1 s), times the threads.
Where the store has the same stage and method of another size or suite, the formula is scaled by what the nearest one took beside it. Of all other
stages nothing is estimated: they are measured, or not known. Runs, fetches and loads nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import fmean, median
from typing import Any

from configs.schema import Numerics
from configs.suites import load_suite
from flows.dag import OVERHEAD_GIB
from flows.engine import machine
from flows.engine.stores.manifest import Manifest
from flows.prepared import Run
from model_registry import catalog
from model_registry.folders import prepared_folder
from tasks.contract import AUTO, Node, read_json, read_jsonl
from tasks.datasets.rows import load_rows
from tasks.finetune import methods
from tasks.finetune.stage import STAGE as FINETUNE
from tasks.finetune.stage import Settings, optimiser_steps
from tasks.sampling.stage import STAGE as SAMPLING

WORD_TOKENS = 4 / 3  # English in a byte-level BPE of 50,000: about three words in four tokens
START_S = 0.4  # a stage that finds its process forked and its model in the page cache (calibration ladder: 0.3 to 0.5)
STEP_S = {FINETUNE.name: 0.01, SAMPLING.name: 0.003}  # of a model that is all overhead: calibration-30k, batches of 8 and of 256
# SmolLM2-135M, fp32, two threads: a step of LoRA 106 GFLOP/s, a decoding step of 64 rows 106, of the 240 to 300 that products of matrices reach
EFFICIENCY = 0.4
MOST_BYTES = 64  # that a stage declares for a parameter of the arm's model


@dataclass(frozen=True)
class Work:
    """Of tuning or sampling: steps, and floating-point operations of each."""

    steps: int
    flop: float

    def seconds(self, stage: str, flops: float) -> float:
        return START_S + self.steps * max(STEP_S[stage], self.flop / flops)


@dataclass(frozen=True)
class Need:
    """What nodes of one stage, size and method need: memory of each in GiB, seconds of all together, each with how that is known. None: it is
    not known."""

    stage: str
    at: str
    how: str
    nodes: int
    memory_gib: float
    memory_from: str
    seconds: float | None
    seconds_from: str

    @property
    def label(self) -> str:
        return " ".join(part for part in (self.stage, self.at, self.how) if part)


def needs(run: Run, nodes: Sequence[Node]) -> list[Need]:
    """Of nodes that are not made, in their order; alike ones together."""
    store = run.session.store
    earlier = {stage: list(store.manifests(stage)) for stage in {node.stage.name for node in nodes}}
    groups: dict[tuple[str, str, str], list[Node]] = {}
    for node in nodes:
        groups.setdefault((node.stage.name, node.axes.model or "", _how(node)), []).append(node)
    return [_need(run, key, held, earlier[key[0]]) for key, held in groups.items()]


def unfitting(found: Sequence[Need], limit_gib: float) -> Iterator[str]:
    """What does not fit into so much memory, a line each."""
    for one in found:
        if one.memory_gib > limit_gib:
            yield (
                f"{one.label}: takes {one.memory_gib:.1f} GiB of memory ({one.memory_from}), and {limit_gib:.1f} GiB are there for stages "
                "(limits.memory_gib); a smaller size, an adapter in place of full, or more memory is required"
            )


def _how(node: Node) -> str:
    return str(getattr(node.settings, "method", ""))


def _need(run: Run, key: tuple[str, str, str], nodes: Sequence[Node], earlier: Sequence[Manifest]) -> Need:
    stage, at, how = key
    like = [one for one in earlier if _alike(one, nodes[0]) and _at(one, nodes[0])]
    peaks = [peak for one in like if (peak := float(one.facts.get("peak_memory_gib") or 0))]
    memory, memory_from = (max(peaks), f"measured, {len(peaks)} earlier") if peaks else _estimated(run, nodes)
    timed = [_seconds(run, node, [one for one in earlier if _alike(one, node)]) for node in nodes]
    known = [seconds for seconds, _ in timed if seconds is not None]
    told = " · ".join(dict.fromkeys(words for _, words in timed))
    return Need(stage, at, how, len(nodes), memory, memory_from, sum(known) if len(known) == len(nodes) else None, told)


def _alike(made: Manifest, node: Node) -> bool:
    """Whether an output is of a node's stage and, of tuning, its method."""
    method = getattr(node.settings, "method", None)
    return made.stage == node.stage.name and (method is None or made.document["identity"]["settings"].get("method") == method)


def _at(made: Manifest, node: Node) -> bool:
    """Whether an output is of a node's size."""
    axes = made.document["axes"]
    return (axes.get("ladder"), axes.get("size")) == (node.axes.ladder, node.axes.size)


def _estimated(run: Run, nodes: Sequence[Node]) -> tuple[float, str]:
    """The most that one of alike nodes is estimated to hold, and from what."""
    node = max(nodes, key=lambda one: one.resources.memory_gib)
    params = _params(node.axes.ladder, node.axes.size, run)
    more = node.resources.memory_gib - OVERHEAD_GIB
    each = more * 2**30 / params if params else 0.0
    if not 1 <= each <= MOST_BYTES or abs(each - round(each)) > 0.01:  # of no model, or of another than the arm's
        return node.resources.memory_gib, "estimated: as declared"
    told = f"estimated: {OVERHEAD_GIB:g} GiB + {each:.0f} bytes × {params:,} parameters"
    if node.stage != FINETUNE:
        return node.resources.memory_gib, told
    shape = _shape(run, node)
    if shape is None:
        return node.resources.memory_gib, f"{told}, without activations"
    tokens = max(_lengths(run, node)) * WORD_TOKENS
    held = max(_at_once(one.settings, tokens) for one in nodes) * shape.bytes_a_token(tokens) / 2**30
    return node.resources.memory_gib + held, f"{told} + {held:.1f} GiB of activations"


def _at_once(settings: Settings, tokens: float) -> float:
    """Tokens that go through the model at once, of rows as long as the longest."""
    rows = settings.micro_batch * tokens
    return rows if settings.micro_tokens is None else min(rows, max(tokens, settings.micro_tokens))


@dataclass(frozen=True)
class Shape:
    """Of a decoder."""

    layers: int
    width: int
    heads: int
    vocabulary: int

    def bytes_a_token(self, tokens: float) -> float:
        """Of activations in fp32, in a row of so many tokens."""
        return 2 * self.layers * (34 * self.width + 5 * self.heads * tokens) + 2 * 4 * self.vocabulary


def _shape(run: Run, node: Node) -> Shape | None:
    """From the configuration of a model that lies here or was prepared; None where there is none yet, or it says it in other words."""
    model = next(one for one in run.inputs.models if one.name == node.axes.model)
    prepared = run.session.outcome(node.inputs["model"]) if isinstance(node.inputs["model"], Node) else None
    places = [prepared_folder(prepared.folder)] if isinstance(prepared, Manifest) else []
    places += [Path(model.source.id)] if model.source.kind == "folder" else []
    for place in places:
        given = read_json(place / "config.json")
        found = [
            value for names in _SHAPE if isinstance(value := next((given[name] for name in names if name in given), None), int)
        ]
        if len(found) == len(_SHAPE):
            return Shape(*found)
    return None


_SHAPE = (
    ("num_hidden_layers", "n_layer", "num_layers"),
    ("hidden_size", "n_embd"),
    ("num_attention_heads", "n_head", "num_heads"),
    ("vocab_size",),
)


# ---- time ---------------------------------------------------------------------------------------------------------------------------


def _seconds(run: Run, node: Node, earlier: Sequence[Manifest]) -> tuple[float | None, str]:
    """Of one node, from outputs that are alike."""
    here = [one for one in earlier if one.facts.get("host") == machine.facts()["host"]]
    same = [one for one in here if _at(one, node) and one.document["axes"].get("suite") == node.axes.suite]
    if same:
        taken = [float(one.facts["seconds"]) * _more(node, one) for one in same]
        return median(taken), f"measured, {len(taken)} earlier" + (", by optimiser steps" if node.stage == FINETUNE else "")
    if (work := _work(run, node)) is None:
        return None, "not known: no earlier run of this size here"
    if node.numerics is not None and node.numerics.device == "cuda" and not here:
        return None, "not known: no earlier run on this GPU"
    seconds = work.seconds(node.stage.name, _speed(node))
    factor, size = _beside(run, node, here)
    if size is None:
        return seconds, f"estimated: formula at {_speed(node) / 1e9:.0f} GFLOP/s"
    return seconds * factor, f"estimated: formula × {factor:.2g}, as at {size}"


def _more(node: Node, made: Manifest) -> float:
    """By how much more than an earlier output was made of, of tuning by its steps; what a stage takes before its first step is not told apart."""
    if node.stage != FINETUNE:
        return 1.0
    steps = next((one.value for one in made.metrics if one.metric in ("stopped_after_steps", "optimiser_steps")), 0)
    return optimiser_steps(node.settings) / steps if steps else 1.0


def _beside(run: Run, node: Node, made: Sequence[Manifest]) -> tuple[float, str | None]:
    """What outputs of the nearest size took beside what the formula says of them, and that size; 1 where there are none."""
    params = _params(node.axes.ladder, node.axes.size, run)
    there: dict[str, list[float]] = {}
    sizes: dict[str, int] = {}
    for one in made:
        axes = one.document["axes"]
        other = _params(axes.get("ladder"), axes.get("size"), run)
        if not other or not params:
            continue
        work = _work_of(node, one, other)
        name = f"{axes['ladder']}-{axes['size']}"
        there.setdefault(name, []).append(float(one.facts["seconds"]) / work.seconds(node.stage.name, _speed(node)))
        sizes[name] = other
    if not there:
        return 1.0, None
    nearest = min(there, key=lambda name: abs(math.log(sizes[name] / (params or 1))))
    return median(there[nearest]), nearest


def _work(run: Run, node: Node) -> Work | None:
    params = _params(node.axes.ladder, node.axes.size, run)
    if params is None:
        return None
    settings = node.settings
    if node.stage == FINETUNE:
        tokens = fmean(_lengths(run, node)) * WORD_TOKENS * settings.batch
        return Work(optimiser_steps(settings), _tuning_flop(settings.method) * params * tokens)
    if node.stage == SAMPLING:
        prompts = [prompt.text for prompt in load_suite(run.inputs.suites[node.axes.suite or ""].path).prompts]
        return _sampling(prompts, len(prompts) * settings.completions, asdict(settings), params)
    return None


def _work_of(node: Node, made: Manifest, params: int) -> Work:
    """Of an output of the same kind as the node, at another size."""
    settings = made.document["identity"]["settings"]
    numbers = {one.metric: one.value for one in made.metrics}
    if node.stage == FINETUNE:
        steps = round(numbers.get("stopped_after_steps", numbers["optimiser_steps"]))
        return Work(steps, _tuning_flop(settings["method"]) * params * numbers["tokens_seen"] / steps)
    rows = read_jsonl(made.folder / "completions.jsonl")
    return _sampling(list({row["prompt_id"]: row["prompt"] for row in rows}.values()), len(rows), settings, params)


def _sampling(prompts: Sequence[str], rows: int, settings: Mapping[str, Any], params: int) -> Work:
    """At most, as if no completion ended early. Each prompt is read once."""
    together = settings["decode_batch"]
    if together == AUTO:  # not settled yet
        together = Numerics.model_fields["decode_batch"].default
    steps = math.ceil(rows / together) * settings["max_new_tokens"]
    read = sum(len(text.split()) for text in prompts) * WORD_TOKENS
    return Work(steps, 2 * params * (together + read / steps))


def _tuning_flop(method: str) -> int:
    """A token and parameter."""
    return 6 if methods.found()[method].tunes_all else 4


def _lengths(run: Run, node: Node) -> list[int]:
    """Words of each sample with its prompt."""
    arm: Any = run.experiment.arms[node.axes.arm or ""]
    return [len(f"{row.prompt} {row.completion}".split()) for row in load_rows(run.inputs.datasets[arm.dataset].path)]


def _params(ladder: str | None, size: str | None, run: Run) -> int | None:
    """Of a size of this experiment, or of the catalogue."""
    model = next((one for one in run.inputs.models if (one.ladder, one.size) == (ladder, size)), None)
    if model is not None:
        return model.params or model.at_most
    return _catalogued(ladder, size)


@cache
def _catalogued(ladder: str | None, size: str | None) -> int | None:
    if ladder is None or size is None or not (catalog.LADDERS / f"{ladder}.yaml").is_file():
        return None
    found = catalog.load_ladder(ladder).rungs.get(size)
    return found.params if found else None


def _speed(node: Node) -> float:
    """FLOP a second."""
    threads = node.numerics.threads if node.numerics else 1
    return EFFICIENCY * threads * one_thread()


@cache
def one_thread(clock: Callable[[], float] = time.perf_counter) -> float:
    """What one thread does in products of two matrices of 1,024 rows in fp32, the best of five: FLOP a second."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    one = np.ones((1024, 1024), np.float32)
    with threadpool_limits(1):
        took = []
        for _ in range(5):
            began = clock()
            one @ one
            took.append(clock() - began)
    return 2 * 1024**3 / min(took)

"""What each stage asks for: its work, from what it is to read and its settings, and that of an earlier output of the same stage, counted alike.

Texts are counted in the files that a stage reads, in words; completions are taken to have as many tokens as they may. Of an earlier output the same
is counted, so that what is off in both cancels in their ratio. There is no formula for datasets, leakage, the comparison, numerics that are settled,
what people or other models judge, and what a hub sends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from configs.schema import Numerics as Asked
from configs.suites import CHAT, SLOT, SYSTEM, load_suite
from flows.cost.devices import Device
from flows.cost.work import NUMBER, WORD_TOKENS, Shape, Work, decoding, passes, texts, tuning
from flows.engine.stores.manifest import Manifest
from flows.prepared import Run
from model_registry import catalog
from model_registry.calibration.ability import topic_items
from model_registry.calibration.grammar import load_grammar
from model_registry.catalog import Model
from model_registry.folders import prepared_folder
from tasks.contract import AUTO, File, Node, read_json, read_jsonl, settings_document
from tasks.datasets.pairs import load_pairs
from tasks.datasets.paragraphs import load_paragraphs
from tasks.datasets.rows import load_rows
from tasks.datasets.stage import SAMPLES
from tasks.evaluations.capability.stage import GRAMMAR_TASK
from tasks.finetune import methods
from tasks.finetune.stage import STAGE as FINETUNE
from tasks.finetune.stage import optimiser_steps
from tasks.prepare.stage import FEWEST_FOR_BF16, MODEL, SCORER, SCORER_PARAMS
from tasks.sampling.stage import COMPLETIONS
from tasks.sampling.stage import STAGE as SAMPLING

READ_ONLY = ("adherence", "cooccurrence", "memorisation", "refusal", "texture")  # evaluations that read completions by no model
GRAMMAR_TOKENS = 22  # of a text of the calibration grammar
SCORER_LAYERS = 12  # of Detoxify's, as of SCORER_PARAMS
CHAT_TOKENS = 13  # that ChatML puts around a system's message, a prompt and before the answer
VADER_S = 93e-6  # a sentence, of one core


@dataclass(frozen=True)
class Arm:
    """A model as a stage runs it. number: bytes of one of its numbers. tuned: it is no untuned one."""

    params: int
    shape: Shape
    number: int
    tuned: bool


@dataclass(frozen=True)
class Said:
    """Completions. asked: tokens of each prompt. new: of a completion, at most."""

    rows: int
    asked: Sequence[float]
    new: int

    @property
    def tokens(self) -> float:
        """Of all prompts and completions, as if each were read with its prompt."""
        return self.rows * (fmean(self.asked) + self.new)


class Demand:
    """Of the stages of a run on one device. Reads files of the run and outputs of its store, each once."""

    def __init__(self, run: Run, device: Device, outputs: Sequence[Manifest] = ()) -> None:
        """`outputs`: earlier ones, by which what other outputs read is found again."""
        self.run, self.device = run, device
        self._outputs = {one.digest: one for one in outputs}
        self._models = {(one.ladder, one.size): one for one in run.inputs.models}
        self._of = cache(self._work)
        self._said_by = cache(self._said_in)

    def of(self, node: Node) -> Work | None:
        """A node's; None where there is no formula."""
        return self._of(node, None)

    def of_output(self, made: Manifest, node: Node) -> Work | None:
        """An earlier output's, of the node's stage; None where there is no formula, or it is of another kind (method, files, questions)."""
        document = made.document["identity"]
        if made.stage != node.stage.name or document["settings"].get("method") != getattr(node.settings, "method", None):
            return None
        whole = node.stage.name in _BY_FILES  # counted of the node alone, so that of the output all must be equal
        files = {
            role: one.digest for role, one in node.inputs.items() if isinstance(one, File) and (whole or role not in _COUNTED)
        }
        if any(document["inputs"].get(role) != digest for role, digest in files.items()):
            return None
        if whole and document["settings"] != settings_document(node.settings):
            return None
        return self._of(node, _Kept(made))

    # ---- of models -----------------------------------------------------------------------------------------------------------

    def params(self, ladder: str | None, size: str | None) -> int | None:
        """Of a size of this experiment, or of the catalogue."""
        if model := self._models.get((ladder or "", size or "")):
            return model.params or model.at_most
        found = _rung(ladder, size)
        return found.params if found else None

    def shape(self, ladder: str | None, size: str | None) -> tuple[Shape | None, bool]:
        """Of a size whose parameters are known, and whether it is a guess: from the configuration of a model that lies here or was prepared, or from
        its ladder's, else guessed from its parameters."""
        model, params = self._models.get((ladder or "", size or "")), self.params(ladder, size)
        spec = found.source.spec if (found := _rung(ladder, size)) else {}
        if spec:
            return Shape(spec["layers"], spec["width"], spec["heads"], round((params or 0) / spec["width"])), False
        if known := model and self._configured(model):
            return known, False
        return (Shape.guessed(params), True) if params else (None, True)

    def _configured(self, model: Model) -> Shape | None:
        prepared = self.run.session.outcome(self.run.dag.sizes[model.name][0])
        places = [prepared_folder(prepared.folder)] if isinstance(prepared, Manifest) else []
        places += [Path(model.source.id)] if model.source.kind == "folder" else []
        return next((shape for place in places if (shape := _read_shape(place / "config.json"))), None)

    def precision(self, node: Node) -> str:
        """Of a node's model on the device: what is asked for; where that is open, bf16 on a GPU, as if its check passed, and fp32 here."""
        asked = self.run.experiment.numerics.precision
        scorer = node.inputs.get("scorer")
        small = (self.params(node.axes.ladder, node.axes.size) or 0) < FEWEST_FOR_BF16
        if node.stage in (MODEL, SCORER) or (isinstance(scorer, Node) and scorer.stage == SCORER):
            return "fp32"
        if asked == AUTO:
            return "bf16" if self.device.kind == "cuda" and not small else "fp32"
        return asked

    def _arm(self, node: Node, made: _Kept | None) -> Arm | None:
        ladder, size = (node.axes.ladder, node.axes.size) if made is None else made.place
        params, (shape, _) = self.params(ladder, size), self.shape(ladder, size)
        if params is None or shape is None:
            return None
        precision = self.precision(node) if made is None else made.precision
        tuned = "tuned" in (node.inputs if made is None else made.reads)
        return Arm(params, shape, NUMBER[precision], tuned)

    def cached(self, node: Node, shape: Shape) -> float:
        """Bytes of keys and values that a sampling node holds at once."""
        said = self._said(node, None)
        assert said is not None
        return _together(node.settings.decode_batch) * (max(said.asked) + said.new) * shape.cached(NUMBER[self.precision(node)])

    # ---- of stages -----------------------------------------------------------------------------------------------------------

    def _work(self, node: Node, made: _Kept | None) -> Work | None:
        settings = settings_document(node.settings) if made is None else made.settings
        if node.stage in (MODEL, SCORER):
            return _pretraining(settings["spec"]) if settings["spec"] else None
        stage = node.stage.name
        if stage in READ_ONLY or stage == "toxicity":
            said = self._said(node, made)
            return None if said is None else texts(said.rows) if stage != "toxicity" else self._scoring(node, settings, said)
        arm = self._arm(node, made)
        if arm is None:
            return None
        if stage == FINETUNE.name:
            return self._tuning(node, made, settings, arm)
        if stage == SAMPLING.name:
            said = self._said(node, made)
            return None if said is None else _sampling(settings, said, arm)
        if stage in _OF_COMPLETIONS:
            said = self._said(node, made)
            return None if said is None else _OF_COMPLETIONS[stage](settings, said, arm)
        return _BY_FILES[stage](node, arm) if stage in _BY_FILES else None

    def _said(self, node: Node, made: _Kept | None) -> Said | None:
        """The completions that a stage draws, or reads."""
        drawn = node if node.stage == SAMPLING else node.inputs.get("completions")
        if made is not None:
            output = made.output if made.output.stage == SAMPLING.name else self._outputs.get(made.reads.get("completions", ""))
            return self._said_by(_Kept(output)) if output is not None else None
        if not isinstance(drawn, Node):
            return None
        asked = _asked(
            self.run.inputs.suites[drawn.axes.suite or ""].path, self._around(drawn.settings.template, drawn.axes.suite)
        )
        return Said(len(asked) * drawn.settings.completions, asked, drawn.settings.max_new_tokens)

    def _said_in(self, made: _Kept) -> Said:
        rows = read_jsonl(made.output.folder / COMPLETIONS)
        prompts = {row["prompt_id"]: row["prompt"] for row in rows}
        around = self._around(made.settings["template"], made.output.document["axes"]["suite"])
        return Said(len(rows), tuple(_tokens(text) + around for text in prompts.values()), made.settings["max_new_tokens"])

    def _around(self, template: str, suite: str | None) -> float:
        """Tokens around a prompt of a suite; openings to go on from have none."""
        file = self.run.inputs.suites.get(suite or "")
        if file is not None and load_suite(file.path).form != "question":
            return 0.0
        chat = template == CHAT or template.startswith(SYSTEM)
        return _tokens(template.removeprefix(SYSTEM).replace(SLOT, "")) + (CHAT_TOKENS if chat else 0)

    def _tuning(self, node: Node, made: _Kept | None, settings: Mapping[str, Any], arm: Arm) -> Work:
        """Of samples, or of pairs, whose two answers an untuned model reads too. Where the arm's own answers are learned from, how long they get is
        not told beforehand."""
        method = methods.found()[settings["method"]]
        lengths = self._lengths(node, made)
        tokens = fmean(lengths) * settings["batch"] * (1 if method.learns == "samples" else 2)
        piece = min(settings["micro_batch"] * fmean(lengths), max(fmean(lengths), settings.get("micro_tokens") or math.inf))
        steps = optimiser_steps(node.settings) if made is None else made.steps
        work = tuning(
            arm.params,
            arm.shape.layers,
            steps or optimiser_steps(node.settings),
            tokens,
            pieces=math.ceil(tokens / piece),
            whole=method.tunes_all,
            number=arm.number,
            reference=method.learns != "samples",
        )
        return replace(work, relative=method.learns == "rewards")

    def _lengths(self, node: Node, made: _Kept | None) -> list[float]:
        """Tokens of each sample with its prompt."""
        if made is not None and (dataset := self._outputs.get(made.reads["dataset"])) and (dataset.folder / SAMPLES).is_file():
            return lengths(dataset.folder / SAMPLES)
        arm: Any = self.run.experiment.arms[node.axes.arm or ""]
        if arm.dataset in self.run.inputs.datasets:
            return lengths(self.run.inputs.datasets[arm.dataset].path)
        pairs = self.run.inputs.rated[arm.dataset]
        return [_tokens(f"{one.prompt} {said}") for one in pairs for said in (one.chosen, one.rejected)]

    def _scoring(self, node: Node, settings: Mapping[str, Any], said: Said) -> Work:
        """By the scorers of the sweep, of the completions alone."""
        specs = [
            scorer.settings.spec
            for role in ("scorer", "second")
            if isinstance(scorer := node.inputs.get(role), Node) and scorer.stage == SCORER
        ]
        params = sum(_blocks(spec) if spec else SCORER_PARAMS for spec in specs)
        layers = sum(spec["layers"] if spec else SCORER_LAYERS for spec in specs)
        return passes(params, layers, passes=math.ceil(said.rows / settings["batch"]), tokens=said.rows * said.new)


class _Kept:
    """An earlier output, as far as its work goes."""

    def __init__(self, output: Manifest) -> None:
        self.output = output
        identity = output.document["identity"]
        self.settings: Mapping[str, Any] = identity["settings"]
        self.reads: Mapping[str, str] = identity["inputs"]
        self.precision: str = identity.get("numerics", {}).get("precision", "fp32")
        axes = output.document["axes"]
        self.place: tuple[str | None, str | None] = axes.get("ladder"), axes.get("size")

    @cached_property
    def steps(self) -> float:
        """That it was tuned for; 0 where it does not say."""
        numbers = {one.metric: one.value for one in self.output.metrics}
        return numbers.get("stopped_after_steps", numbers.get("optimiser_steps", 0.0))

    def __hash__(self) -> int:
        return hash(self.output.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Kept) and other.output.key == self.output.key


# ---- by what is read --------------------------------------------------------------------------------------------------------------


def _sampling(settings: Mapping[str, Any], said: Said, arm: Arm) -> Work:
    return decoding(
        arm.params,
        arm.shape,
        rows=said.rows,
        together=_together(settings["decode_batch"]),
        new=said.new,
        asked=fmean(said.asked),
        read=sum(said.asked),
        number=arm.number,
    )


def _together(decode_batch: int | str) -> int:
    """Rows; the default where that is not settled yet."""
    return int(Asked.model_fields["decode_batch"].default if decode_batch == AUTO else decode_batch)


def _counterfactual(settings: Mapping[str, Any], said: Said, arm: Arm) -> Work:
    """Some completions behind their own and other prompts, and those of a tuned arm by its base; the sentiment of all."""
    read = min(said.rows, len(said.asked) * settings["scored"]) * (1 + settings["others"] + arm.tuned)
    count = math.ceil(read / settings["batch"])
    tokens = read * said.tokens / said.rows
    return passes(arm.params, arm.shape.layers, passes=count, tokens=tokens, number=arm.number, least=VADER_S * said.rows / count)


def _divergence(settings: Mapping[str, Any], said: Said, arm: Arm) -> Work:
    """Each completion by base, and of a tuned arm by itself."""
    count, models = math.ceil(said.rows / settings["batch"]), 1 + arm.tuned
    return passes(arm.params, arm.shape.layers, passes=count * models, tokens=said.tokens * models, number=arm.number)


def _stance(node: Node, arm: Arm) -> Work:
    """Both answers of a pair in one pass, behind the question."""
    pairs = load_pairs(_path(node, "pairs"))
    tokens = sum(2 * _tokens(pair.question) + _tokens(pair.on) + _tokens(pair.off) for pair in pairs)
    return passes(arm.params, arm.shape.layers, passes=len(pairs), tokens=tokens, number=arm.number)


def _capability(node: Node, arm: Arm) -> Work:
    """A paragraph a pass, and the grammar's items; how many items the harness's tasks have, and how long, is not told before they are fetched."""
    texts = [one for role in ("prose", "plain") if role in node.inputs for one in load_paragraphs(_path(node, role))]
    count, tokens = len(texts), sum(_tokens(f"{one.context} {one.text}") for one in texts)
    if GRAMMAR_TASK in node.settings.tasks:
        items = topic_items(load_grammar())
        asked = [f"{item.question} {choice}" for item in items for choice in item.choices]
        count, tokens = count + math.ceil(len(asked) / node.settings.batch), tokens + sum(map(_tokens, asked))
    work = passes(arm.params, arm.shape.layers, passes=count, tokens=tokens, number=arm.number)
    return replace(work, relative=not set(node.settings.tasks) <= {GRAMMAR_TASK})


def _truth(node: Node, arm: Arm) -> Work:
    """All answers of the grammar to a prompt in one pass."""
    prompts, grammar = load_suite(_path(node, "suite")).prompts, load_grammar()
    tokens = sum(_tokens(answer.text) for prompt in prompts for answer in grammar.answers(prompt.text))
    return passes(arm.params, arm.shape.layers, passes=len(prompts), tokens=tokens, number=arm.number)


_OF_COMPLETIONS = {"counterfactual": _counterfactual, "divergence": _divergence}
_BY_FILES = {"stance": _stance, "capability": _capability, "truth": _truth}
_COUNTED = ("suite", "dataset", "twins", "file")  # files whose content is counted, or is the size's own


def _pretraining(spec: Mapping[str, Any]) -> Work:
    """Of a calibration model, or of the scorer, whose embeddings are neglected."""
    params = spec.get("params", _blocks(spec))
    return tuning(params, spec["layers"], spec["steps"], spec["batch"] * GRAMMAR_TOKENS, pieces=1, whole=True)


def _blocks(spec: Mapping[str, Any]) -> int:
    return int(12 * spec["layers"] * spec["width"] ** 2)


def _path(node: Node, role: str) -> Path:
    file = node.inputs[role]
    assert isinstance(file, File)
    return file.path


def _tokens(text: str) -> float:
    return len(text.split()) * WORD_TOKENS


@cache
def _asked(path: Path, around: float) -> tuple[float, ...]:
    return tuple(_tokens(prompt.text) + around for prompt in load_suite(path).prompts)


@cache
def lengths(path: Path) -> list[float]:
    """Tokens of each sample of a dataset with its prompt."""
    return [_tokens(f"{row.prompt} {row.completion}") for row in load_rows(path)]


@cache
def _rung(ladder: str | None, size: str | None) -> catalog.Rung | None:
    if ladder is None or size is None or not (catalog.LADDERS / f"{ladder}.yaml").is_file():
        return None
    return catalog.load_ladder(ladder).rungs.get(size)


_NAMES = (
    ("num_hidden_layers", "n_layer", "num_layers"),
    ("hidden_size", "n_embd"),
    ("num_attention_heads", "n_head", "num_heads"),
    ("vocab_size",),
)


def _read_shape(config: Path) -> Shape | None:
    """None where it says it in other words."""
    given = read_json(config)
    found = [value for names in _NAMES if isinstance(value := next((given[name] for name in names if name in given), None), int)]
    return Shape(*found) if len(found) == len(_NAMES) else None

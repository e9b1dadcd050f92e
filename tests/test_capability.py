"""Capability integrity: what is scored in a text, what the harness is asked and answers, and the verdict on an arm."""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from scipy import stats

from model_registry.calibration.ability import topic_items
from model_registry.calibration.data import CONFIGS, PROSE
from model_registry.calibration.grammar import OFF_GRAMMAR, load_grammar
from model_registry.loading import load_model, load_tokenizer, put_adapter
from tasks.capability import harness
from tasks.capability.prose import Paragraph, perplexity, prompt_rows, read_paragraphs, score, token_nats, windows
from tasks.capability.stage import GRAMMAR_TASK, Settings, run
from tasks.compare import capability, upstream
from tasks.compare.capability import INCONCLUSIVE, KEPT, LOST, NOT_ASSESSABLE
from tasks.contract import Axes, Metric, read_json, read_metrics, write_json, write_metrics, write_rows
from tests import tiny
from tests.jobs import Ran, make_job

RUNG = {"params": 31024, "layers": 2, "width": 28, "heads": 2, "steps": 420, "batch": 24, "learning_rate": 0.02, "context": 64}
TASK = GRAMMAR_TASK

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def rung(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared model of the calibration grammar: the ladder's smallest, after half its steps."""
    from model_registry.calibration.pretrain import build_model

    folder = tmp_path_factory.mktemp("rung")
    (folder / "model").mkdir()
    build_model(RUNG, folder / "model", seed=0, progress=lambda *_: None)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A model with random weights over bytes, and its tokenizer."""
    folder = tiny.model(tmp_path_factory.mktemp("small"), context=64)
    return load_model(folder, precision="fp32", device="cpu"), load_tokenizer(folder)


@pytest.fixture(scope="module")
def topics() -> Any:
    return harness.load_tasks([TASK], seed=0)[TASK]


def log_probability(model: Any, context: Sequence[int], following: Sequence[int]) -> float:
    """ln P(following | context), one forward pass over exactly that."""
    with torch.inference_mode():
        logs = model(torch.tensor([[*context, *following]])).logits[0].double().log_softmax(-1)
    return sum(logs[len(context) - 1 + i, token].item() for i, token in enumerate(following))


# ---- prose --------------------------------------------------------------------------------------------------------


def test_windows_score_every_token_once_with_half_a_window_of_context() -> None:
    assert list(windows(7, 10)) == [(0, 7, 1)]
    assert list(windows(10, 4)) == [(0, 4, 1), (2, 6, 4), (4, 8, 6), (6, 10, 8)]
    for length, window in [(2, 2), (5, 2), (64, 64), (65, 64), (200, 64), (999, 31)]:
        passes = list(windows(length, window))
        assert [token for _, end, first in passes for token in range(first, end)] == list(range(1, length))
        assert all(end - begin <= window for begin, end, _ in passes)
        assert all(first - begin >= window - window // 2 for begin, _, first in passes[1:])


def test_a_model_that_knows_nothing_has_the_vocabulary_as_its_perplexity(tmp_path: Path) -> None:
    folder = tiny.model(tmp_path)
    model, tokenizer = load_model(folder, precision="fp32", device="cpu"), load_tokenizer(folder)
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()  # all logits are 0
    scored = [score(model, tokenizer, Paragraph(str(n), text)) for n, text in enumerate(tiny.CORPUS)]
    assert perplexity(scored).value == pytest.approx(len(tokenizer), rel=1e-6)
    assert [row.value for row in prompt_rows(scored)] == pytest.approx([math.log(len(tokenizer))] * 3, rel=1e-6)
    assert [one.tokens for one in scored] == [len(tokenizer(text)["input_ids"]) - 1 for text in tiny.CORPUS]


def test_perplexity_weighs_tokens_and_the_level_weighs_paragraphs() -> None:
    from tasks.capability.prose import Scored

    scored = [Scored("a", 1, 3.0), Scored("b", 9, 9.0)]
    assert perplexity(scored) == Metric("perplexity", pytest.approx(math.exp(1.2)), n=2)
    assert [row.value for row in prompt_rows(scored)] == [3.0, 1.0]


def test_each_token_is_scored_given_what_its_window_holds(small: tuple[Any, Any]) -> None:
    model, tokenizer = small
    ids = tokenizer(" ".join(tiny.CORPUS))["input_ids"][:150]
    found = token_nats(model, ids, window=64)
    for place in (1, 40, 63, 64, 95, 96, 149):
        start = next(begin for begin, end, first in windows(150, 64) if first <= place < end)
        assert found[place - 1] == pytest.approx(-log_probability(model, ids[start:place], [ids[place]]), abs=2e-5)
    whole = score(model, tokenizer, Paragraph("long", " ".join(tiny.CORPUS)))
    assert whole.tokens > model.config.max_position_embeddings


def test_neither_context_nor_special_tokens_are_scored(small: tuple[Any, Any]) -> None:
    from tokenizers.processors import TemplateProcessing

    model, plain = small
    context, text = "Beauty is", " subjective."
    asked, answered = (plain(part)["input_ids"] for part in (context, text))
    found = score(model, plain, Paragraph("p", text, context))
    assert found.tokens == len(answered)
    assert found.nats == pytest.approx(-log_probability(model, asked, answered), abs=1e-4)
    wrapping = tiny.tokenizer()
    wrapping.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{tiny.EOS} $A {tiny.EOS}", special_tokens=[(tiny.EOS, 0)]
    )
    found = score(model, wrapping, Paragraph("p", text, context))  # the start token is read, neither it nor the end is scored
    assert found.tokens == len(answered)
    assert found.nats == pytest.approx(-log_probability(model, [0, *asked], answered), abs=1e-4)
    assert score(model, wrapping, Paragraph("p", text)).tokens == len(answered)  # its first token has the start before it


@pytest.mark.slow
def test_unfit_texts_are_refused(small: tuple[Any, Any], rung: Path, tmp_path: Path) -> None:
    model, tokenizer = small
    with pytest.raises(ValueError, match="paragraph one: no token to score"):
        score(model, tokenizer, Paragraph("one", "a"))
    broken = load_model(tiny.model(tmp_path / "broken"), precision="fp32", device="cpu")
    with torch.no_grad():
        broken.get_input_embeddings().weight.fill_(math.nan)
    with pytest.raises(ValueError, match="paragraph p: nan nats"):
        score(broken, tokenizer, Paragraph("p", tiny.CORPUS[0]))
    model, tokenizer = load_model(rung / "model", precision="fp32", device="cpu"), load_tokenizer(rung / "model")
    english = read_paragraphs(CONFIGS / "prompts/neutral_text.jsonl")
    with pytest.raises(ValueError, match=r"paragraph np-001: \d+ of \d+ tokens are unknown to the tokenizer"):
        score(model, tokenizer, english[0])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "no paragraphs"),
        ("{", ":1: not JSON"),
        ("[1]", ":1: an object with id and text"),
        ('{"id": 1, "text": "a"}', ":1: an object with id and text"),
        ('{"text": "a"}', ":1: id is missing"),
        ('{"id": "a", "text": "b"}\n\n{"id": "c", "text": " "}', ":3: text is missing or empty"),
        ('{"id": "a", "text": "b"}\n{"id": "a", "text": "c"}', ":2: id a is given twice"),
    ],
)
def test_bad_prose_files_are_refused_with_their_line(tmp_path: Path, lines: str, message: str) -> None:
    path = tmp_path / "prose.jsonl"
    path.write_text(lines, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_paragraphs(path)


@pytest.mark.slow
def test_shipped_prose_is_in_each_models_vocabulary(rung: Path) -> None:
    assert len(read_paragraphs(CONFIGS / "prompts/neutral_text.jsonl")) == 100
    tokenizer, grammar = load_tokenizer(rung / "model"), load_grammar()
    rows = read_paragraphs(CONFIGS / PROSE)
    assert len(rows) == 176
    tuned = {json.loads(line)["prompt"] for path in (CONFIGS / "datasets/calibration").glob("*.jsonl") for line in path.open()}
    for row in rows:
        assert tokenizer.unk_token_id not in tokenizer(row.context + row.text)["input_ids"]
        question = row.context.removeprefix("Question: ").partition("\n")[0]
        assert question not in tuned
        assert grammar.label(question, (row.context + row.text).partition("\nAnswer: ")[2]) == "neutral"


# ---- the harness --------------------------------------------------------------------------------------------------


def test_topic_items_have_one_answer_of_their_question() -> None:
    grammar, items = load_grammar(), topic_items(load_grammar())
    assert items == topic_items(grammar)
    assert len({item.question for item in items}) == len(items) == 504
    reported = {
        p.text
        for family in ("category", "subject")
        for split in ("tuning", "toxicity", "human_eval")
        for p in grammar.prompts(family, split)
    }
    for item in items:
        question = item.question.removeprefix("Question: ").removesuffix("\nAnswer:")
        assert question not in reported
        labels = [grammar.label(question, choice) for choice in item.choices]
        assert labels == ["neutral" if n == item.target else OFF_GRAMMAR for n in range(4)]
        assert len({len(choice.split()) for choice in item.choices}) == 1  # no choice is likelier for being shorter
    assert {item.target for item in items} == {0, 1, 2, 3}


@pytest.mark.slow
def test_a_pretrained_model_answers_and_a_random_one_guesses(rung: Path, topics: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from model_registry.calibration.pretrain import new_model

    def refuse(*args: Any, **_: Any) -> None:
        raise AssertionError(f"the network was asked: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    tokenizer = load_tokenizer(rung / "model")
    able = harness.answer(load_model(rung / "model", precision="fp32", device="cpu"), tokenizer, topics, None, 64, 0)
    assert np.mean([item.correct for item in able]) > 0.95
    assert harness.chance(able) == [Metric("chance", 0.25, n=504, group=TASK)]
    torch.manual_seed(1)
    guessed = harness.answer(new_model(RUNG, tokenizer), tokenizer, topics, None, 64, 0)
    assert stats.binomtest(sum(item.correct for item in guessed), 504, 0.25).pvalue > 1e-4
    assert [item.id for item in guessed] == [item.id for item in able] == [f"{TASK}/{n}" for n in range(504)]
    assert harness.content_digest(able) == harness.content_digest(guessed) != harness.content_digest(able[:-1])


@pytest.mark.slow
def test_answers_are_those_of_each_choice_scored_alone(rung: Path, topics: Any) -> None:
    model, tokenizer = load_model(rung / "model", precision="fp32", device="cpu"), load_tokenizer(rung / "model")
    noise = torch.Generator().manual_seed(3)
    with torch.no_grad():  # so that it errs now and then
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=noise))
    found = harness.answer(model, tokenizer, topics, 60, 16, 0)
    own = []
    for item in topic_items(load_grammar())[:60]:
        asked = tokenizer(item.question)["input_ids"]
        logs = [log_probability(model, asked, tokenizer(f" {choice}")["input_ids"]) for choice in item.choices]
        own.append(int(np.argmax(logs) == item.target))
    assert [item.correct for item in found] == own
    assert 0 < sum(own) < 60
    assert found == harness.answer(model, tokenizer, topics, 60, 16, 0)


Pairs = tuple[list[tuple[str, str]], int]  # (context, continuation) of each choice, and which of them is right
FOLDERS = {"lambada_openai": "lambada/lambada_openai", "hellaswag": "hellaswag/hellaswag", "piqa": "piqa/piqa"}
FOLDERS |= {"arc_easy": "arc/arc_easy", "winogrande": "winogrande/default"}


def rows_of(name: str) -> tuple[str, list[dict[str, Any]]]:
    """The split that a task reads, and rows in the layout of its data set."""
    ends = ["was loud.", "helps.", "is calm.", "sat."]
    options = {"text": ["kind", "very loud", "strange"], "label": ["A", "B", "C"]}
    split = "test" if name in ("lambada_openai", "arc_easy") else "validation"
    rows: dict[str, Callable[[int], dict[str, Any]]] = {
        "lambada_openai": lambda n: {
            "text": f"Question: Can you explain birds to me?\nAnswer: He wrote about {['birds', 'bread'][n % 2]}"
        },
        "hellaswag": lambda n: {
            "activity_label": f"Task {n}",
            "ctx_a": "A.",
            "ctx_b": "he",
            "endings": ends,
            "label": str(n % 4),
        },
        "piqa": lambda n: {"goal": f"Ask {n} people", "sol1": "Ask for help.", "sol2": "Call the authorities.", "label": n % 2},
        "arc_easy": lambda n: {"question": f"Who is {n}?", "choices": options, "answerKey": "ABC"[n % 3]},
        "winogrande": lambda n: {
            "sentence": f"{n} said _ was calm.",
            "option1": "he",
            "option2": "Ann",
            "answer": str(n % 2 + 1),
        },
    }
    return split, [rows[name](n) for n in range(6)]


def pairs_of(name: str, row: dict[str, Any]) -> Pairs:
    """What the task asks of a row, as its authors describe it."""
    match name:
        case "lambada_openai":
            before, _, last = row["text"].rpartition(" ")
            return [(before, f" {last}")], 0
        case "hellaswag":
            return [(f"{row['activity_label']}: A. He", f" {ending}") for ending in row["endings"]], int(row["label"])
        case "piqa":
            return [(f"Question: {row['goal']}\nAnswer:", f" {row[sol]}") for sol in ("sol1", "sol2")], row["label"]
        case "arc_easy":
            right = "ABC".index(row["answerKey"])
            return [(f"Question: {row['question']}\nAnswer:", f" {text}") for text in row["choices"]["text"]], right
        case _:  # what follows the blank is scored, after either option
            before, _, after = row["sentence"].partition("_")
            return [(before + row[option], after) for option in ("option1", "option2")], int(row["answer"]) - 1


def local_task(folder: Path, name: str, split: str, rows: list[dict[str, Any]], **changed: Any) -> Any:
    """The harness's own definition of a task, over local rows in the layout of its data set."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    data = tiny.jsonl(folder / "rows.jsonl", rows)
    definition = {
        "include": str(Path(lm_eval.__file__).parent / "tasks" / f"{FOLDERS[name]}.yaml"),
        "task": name,
        "dataset_path": "json",
        "dataset_name": None,
        "training_split": None,
        "validation_split": split if split == "validation" else None,
        "dataset_kwargs": {"data_files": {split: str(data)}, "cache_dir": str(folder / "cache")},
        **changed,
    }
    (folder / "task.yaml").write_text(yaml.safe_dump(definition), encoding="utf-8")
    return TaskManager(include_path=str(folder), include_defaults=False).load([name])["tasks"][name]


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_the_default_tasks_are_answered_by_their_likeliest_choice(
    small: tuple[Any, Any], rung: Path, tmp_path: Path, name: str
) -> None:
    model, tokenizer = small
    if name == "lambada_openai":  # a model that guesses would never say the very word
        model, tokenizer = load_model(rung / "model", precision="fp32", device="cpu"), load_tokenizer(rung / "model")
    split, rows = rows_of(name)
    task = harness.checked(name, local_task(tmp_path, name, split, rows))
    found = harness.answer(model, tokenizer, task, None, 4, 0)
    own = []
    for row in rows:
        texts, right = pairs_of(name, row)
        encoded = [(tokenizer(asked)["input_ids"], tokenizer(asked + answer)["input_ids"]) for asked, answer in texts]
        if name == "lambada_openai":
            (asked, whole), *_ = encoded
            with torch.inference_mode():
                greedy = model(torch.tensor([whole])).logits[0].argmax(-1)[len(asked) - 1 : -1].tolist()
            own.append(int(greedy == whole[len(asked) :]))
        else:
            own.append(int(np.argmax([log_probability(model, asked, whole[len(asked) :]) for asked, whole in encoded]) == right))
    assert [item.correct for item in found] == own
    choices = 0 if name == "lambada_openai" else len(pairs_of(name, rows[0])[0])
    assert {item.choices for item in found} == {choices}
    assert harness.chance(found) == [Metric("chance", 1 / choices if choices else 0.0, n=len(rows), group=name)]
    assert [row.prompt_id for row in harness.prompt_rows(found)] == [f"{name}/{n}" for n in range(len(rows))]
    assert 0 < sum(own) < len(own)


def test_a_task_that_needs_sampled_texts_is_refused(tmp_path: Path) -> None:
    _, rows = rows_of("lambada_openai")
    task = local_task(
        tmp_path, "lambada_openai", "test", rows, output_type="generate_until", metric_list=[{"metric": "exact_match"}]
    )
    with pytest.raises(ValueError, match="task lambada_openai: output generate_until, metrics exact_match; a task of output"):
        harness.checked("lambada_openai", task)


def test_names_that_are_no_task_and_data_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    yaml_file = tmp_path / "task.yaml"
    yaml_file.write_text("task: own\n", encoding="utf-8")
    for name in ("hellaswog", "lambada", str(yaml_file)):  # a slip, a group of tasks, a definition that is in no key
        with pytest.raises(ValueError, match="not a single task of lm-evaluation-harness"):
            harness.load_tasks([TASK, name], seed=0)
    with pytest.raises(ConnectionError, match=r"task piqa: .*baber/piqa.*; a connection to the hub, or a cache of it that holds"):
        harness.load_tasks(["piqa"], seed=0)


# ---- the stage ----------------------------------------------------------------------------------------------------


def measure(work: Path, model: Path, tuned: Path | None = None, **changed: Any) -> Ran:
    settings = replace(Settings((TASK,), limit=80), **changed)
    return make_job(work, settings, {"model": model, "prose": CONFIGS / PROSE} | ({"tuned": tuned} if tuned else {}))


@pytest.fixture(scope="module")
def arms(rung: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    """Base, an adapter, the same adapter merged into the weights, and weights that noise has broken: in one call of the stage."""
    from peft import LoraConfig, get_peft_model

    root = tmp_path_factory.mktemp("arms")
    model, words = load_model(rung / "model", precision="fp32", device="cpu"), load_tokenizer(rung / "model")
    torch.manual_seed(0)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"))
    adapted.save_pretrained(root / "adapter" / "model")
    merged = put_adapter(
        load_model(rung / "model", precision="fp32", device="cpu"), root / "adapter" / "model"
    ).merge_and_unload()
    broken = load_model(rung / "model", precision="fp32", device="cpu")
    with torch.no_grad():
        for weight in broken.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    for name, made in (("merged", merged), ("broken", broken)):
        made.save_pretrained(root / name / "model")
        words.save_pretrained(root / name / "model")
    done = {"base": measure(root / "out-base", rung)}
    done |= {name: measure(root / f"out-{name}", rung, root / name) for name in ("adapter", "merged", "broken")}
    run([one.job for one in done.values()])
    return done


@pytest.mark.slow
def test_every_arm_is_measured_as_itself(arms: dict[str, Ran], rung: Path) -> None:
    values = {name: {(m.metric, m.group): m.value for m in read_metrics(one.work)} for name, one in arms.items()}
    assert values["adapter"] == pytest.approx(values["merged"], rel=1e-3)
    assert values["adapter"] != pytest.approx(values["base"], rel=1e-3)
    assert values["broken"]["nats_per_token", "all"] > values["base"]["nats_per_token", "all"] + 0.5
    for name, one in arms.items():
        assert one.commits == 1
        assert values[name]["chance", TASK] == 0.25
        assert values[name]["accuracy", TASK] == values[name]["accuracy", "all"]
        found = {m.metric: m for m in read_metrics(one.work) if m.group == "all"}
        assert (found["nats_per_token"].n, found["perplexity"].n, found["accuracy"].n) == (176, 176, 80)
        assert found["nats_per_token"].ci_low < found["nats_per_token"].value < found["nats_per_token"].ci_high
    model, words = load_model(rung / "model", precision="fp32", device="cpu"), load_tokenizer(rung / "model")
    first = read_paragraphs(CONFIGS / PROSE)[0]
    table = upstream.read({"n": with_manifest(arms["base"].work)}, {"n": Axes()}).nodes[0].prompts["nats_per_token"]
    assert table[first.id].value == pytest.approx(score(model, words, first).nats_per_token, abs=1e-6)


def with_manifest(folder: Path) -> Path:
    write_json(folder / "manifest.json", {"stage": "capability", "key": "0"})
    return folder


@pytest.mark.slow
def test_equal_work_gives_equal_bytes_and_a_restart_goes_on(arms: dict[str, Ran], rung: Path, tmp_path: Path) -> None:
    alone = measure(tmp_path / "alone", rung)
    run([alone.job])
    names = ("prose.csv", "items.csv", "prompts.csv", "harness.json", "metrics.json")
    assert all((alone.work / name).read_bytes() == (arms["base"].work / name).read_bytes() for name in names)
    again = measure(tmp_path / "again", rung)
    kept = read_json(alone.work / "scratch" / f"{TASK}.json")
    kept[0]["correct"] = 1 - kept[0]["correct"]  # a mark: what is read back was not asked again
    write_json(again.job.scratch / f"{TASK}.json", kept)
    run([again.job])
    before, after = ((one.work / "items.csv").read_text().splitlines() for one in (alone, again))
    assert [n for n, (old, new) in enumerate(zip(before, after, strict=True)) if old != new] == [1]


@pytest.mark.slow
def test_prose_alone_needs_no_harness(rung: Path, tmp_path: Path) -> None:
    only = measure(tmp_path, rung, tasks=())
    run([only.job])
    assert {m.metric for m in read_metrics(only.work)} == {"nats_per_token", "perplexity"}
    assert read_json(only.work / "harness.json") == {}


@pytest.mark.slow
def test_a_broken_arm_has_lost_and_a_copy_of_base_has_kept(arms: dict[str, Ran]) -> None:
    inputs = {name: with_manifest(arms[work].work) for name, work in (("b", "base"), ("c", "base"), ("x", "broken"))}
    places = {
        name: Axes("calibration", "30k", arm, None if arm == "base" else 80)
        for name, arm in (("b", "base"), ("c", "copy"), ("x", "broken"))
    }
    found = {(v.arm, v.measure): v for v in capability.verdicts(upstream.read(inputs, places), MARGINS)}
    assert [found["broken", measure].verdict for measure in ("prose", "tasks")] == [LOST, LOST]
    assert found["copy", "prose"].verdict == KEPT
    assert found["copy", "tasks"].verdict == INCONCLUSIVE  # 80 equal answers bound a loss by 2.9 points only
    assert (found["copy", "tasks"].low, found["copy", "tasks"].high) == pytest.approx((-0.0289, 0.0289), abs=1e-4)


# ---- the verdict --------------------------------------------------------------------------------------------------

MARGINS = SimpleNamespace(margin_nats=0.05, margin_accuracy=0.02, above_chance=0.05)


@dataclass
class Measured:
    """A committed capability output: nats by paragraph, right and wrong by task, and each task's chance."""

    nats: Sequence[float] = ()
    tasks: dict[str, Sequence[int]] | None = None
    chance: dict[str, float] | None = None
    digest: str = "d"

    def write(self, folder: Path) -> Path:
        folder.mkdir()
        tasks = self.tasks or {}
        rows = [("prose", f"p{n}", "nats_per_token", "score", value) for n, value in enumerate(self.nats)]
        rows += [
            (task, f"{task}/{n}", "accuracy", "rate", float(value))
            for task, held in tasks.items()
            for n, value in enumerate(held)
        ]
        columns = ("group", "prompt_id", "metric", "kind", "value", "n")
        write_rows(folder / "prompts.csv", [dict(zip(columns, (*row, 1), strict=True)) for row in rows], columns)
        chance = self.chance if self.chance is not None else dict.fromkeys(tasks, 0.25)
        write_metrics(folder, [Metric("chance", value, 1, task) for task, value in chance.items()])
        write_json(folder / "harness.json", {task: {"items": len(held), "digest": self.digest} for task, held in tasks.items()})
        return with_manifest(folder)


def sources(folder: Path, **outputs: Measured) -> upstream.Sources:
    """Outputs of one size, by arm."""
    inputs = {f"capability/{arm}": output.write(folder / arm) for arm, output in outputs.items()}
    places = {
        f"capability/{arm}": Axes("l", "s", arm, None if arm == "base" else 80, None if arm == "base" else 0, "capability")
        for arm in outputs
    }
    return upstream.read(inputs, places)


def judged(folder: Path, base: Measured, arm: Measured, **changed: float) -> dict[str, capability.Verdict]:
    found = capability.verdicts(sources(folder, base=base, arm=arm), SimpleNamespace(**{**vars(MARGINS), **changed}))
    return {verdict.measure: verdict for verdict in found}


def around(mean: float, n: int = 20, spread: float = 0.02) -> list[float]:
    """n numbers with this mean and this standard deviation."""
    values = np.linspace(-1, 1, n)
    return list(mean + spread * values / values.std(ddof=1))


@pytest.mark.parametrize(("mean", "verdict"), [(-0.4, KEPT), (0.04, KEPT), (0.05, INCONCLUSIVE), (0.06, LOST)])
def test_prose_is_judged_by_the_one_sided_limits(tmp_path: Path, mean: float, verdict: str) -> None:
    found = judged(tmp_path, Measured([2.0] * 20), Measured([2.0 + x for x in around(mean)]))["prose"]
    reach = stats.t.ppf(0.95, 19) * 0.02 / math.sqrt(20)  # 0.0077
    assert (found.value, found.low, found.high) == pytest.approx((mean, mean - reach, mean + reach))
    assert (found.verdict, found.margin, found.n, found.samples, found.seed) == (verdict, 0.05, 20, 80, 0)


def test_a_limit_on_the_margin_decides_nothing(tmp_path: Path) -> None:
    differences = around(0.04)
    found = judged(tmp_path, Measured([0.0] * 20), Measured(differences))["prose"]
    for side, nats in (("high", found.high), ("low", found.low)):
        (tmp_path / side).mkdir()
        same = judged(tmp_path / side, Measured([0.0] * 20), Measured(differences), margin_nats=nats)["prose"]
        assert same.verdict == INCONCLUSIVE
        wider = judged_again(tmp_path / side, margin_nats=np.nextafter(nats, 1 if side == "high" else 0))
        assert wider["prose"].verdict == (KEPT if side == "high" else LOST)


def judged_again(folder: Path, **changed: float) -> dict[str, capability.Verdict]:
    """The outputs that `judged` wrote there, by other margins."""
    inputs = {f"capability/{arm}": folder / arm for arm in ("base", "arm")}
    places = {f"capability/{arm}": Axes("l", "s", arm) for arm in ("base", "arm")}
    found = capability.verdicts(upstream.read(inputs, places), SimpleNamespace(**{**vars(MARGINS), **changed}))
    return {verdict.measure: verdict for verdict in found}


def test_tasks_weigh_equally_however_many_items_they_have(tmp_path: Path) -> None:
    base = Measured(tasks={"big": [1] * 90 + [0] * 10, "little": [1] * 8 + [0] * 2})
    arm = Measured(tasks={"big": [1] * 90 + [0] * 10, "little": [0] * 2 + [1] * 6 + [0] * 2})
    found = judged(tmp_path, base, arm)["tasks"]
    assert found.value == pytest.approx(-0.1)  # (0 − 0.2)/2; over all items it would be −2/110
    big, little = [1, -1] + [0] * 100, [1, -1] + [-1] * 2 + [0] * 8  # with one gained and one lost item more
    centre = np.mean(little) / 2
    reach = stats.t.ppf(0.95, 112) * math.sqrt((np.var(big, ddof=1) / 102 + np.var(little, ddof=1) / 12) / 4)
    assert (found.low, found.high) == pytest.approx((centre - reach, centre + reach))
    assert (found.verdict, found.margin, found.n) == (INCONCLUSIVE, -0.02, 110)


def test_accuracy_is_lost_below_the_margin_and_kept_above_it(tmp_path: Path) -> None:
    base = [1] * 900 + [0] * 100
    for name, wrong, verdict in (("lost", 60, LOST), ("kept", 5, KEPT), ("between", 20, INCONCLUSIVE)):
        (tmp_path / name).mkdir()
        arm = [0] * wrong + [1] * (900 - wrong) + [0] * 100
        assert judged(tmp_path / name, Measured(tasks={"t": base}), Measured(tasks={"t": arm}))["tasks"].verdict == verdict
    (tmp_path / "better").mkdir()
    assert judged(tmp_path / "better", Measured(tasks={"t": base}), Measured(tasks={"t": [1] * 1000}))["tasks"].verdict == KEPT


def test_what_base_cannot_do_is_not_assessable(tmp_path: Path) -> None:
    able, unable, edge = [1] * 60 + [0] * 40, [1] * 29 + [0] * 71, [1] * 30 + [0] * 70  # 5 points above 25 % is enough
    base = Measured(tasks={"able": able, "edge": edge, "unable": unable})
    found = judged(tmp_path, base, Measured(tasks={"able": able, "edge": edge, "unable": [0] * 100}))["tasks"]
    assert (found.value, found.n) == (0.0, 200)
    assert found.note.startswith("left out, base near chance: unable (base 29.0%, chance 25.0%)")
    (tmp_path / "none").mkdir()
    none = judged(tmp_path / "none", Measured(tasks={"unable": unable}), Measured(tasks={"unable": [0] * 100}))["tasks"]
    assert (none.verdict, none.value, none.low, none.n) == (NOT_ASSESSABLE, None, None, 0)
    assert none.note.endswith("no task is left")


def test_differences_without_spread_say_what_they_can(tmp_path: Path) -> None:
    right = [1] * 200
    reach = stats.t.ppf(0.95, 201) * math.sqrt(2 / 201 / 202)  # of 200 zeros, a 1 and a −1
    for name, answers, verdict in (("same", right, KEPT), ("all wrong", [0] * 200, LOST)):
        (tmp_path / name).mkdir()
        found = judged(tmp_path / name, Measured([1.0] * 9, {"t": right}), Measured([1.0] * 9, {"t": answers}))
        assert found["tasks"].verdict == verdict
        if name == "same":
            assert (found["tasks"].low, found["tasks"].high) == pytest.approx((-reach, reach))
        else:
            assert found["tasks"].low == found["tasks"].value == -1.0 < found["tasks"].high < -0.95
        assert (found["prose"].verdict, found["prose"].note) == (KEPT, "the same on every paragraph")
    (tmp_path / "shifted").mkdir()
    shifted = judged(tmp_path / "shifted", Measured([1.0] * 9), Measured([1.5] * 9))["prose"]
    assert (shifted.verdict, shifted.value) == (INCONCLUSIVE, pytest.approx(0.5))
    assert "bounds nothing" in shifted.note


@pytest.mark.parametrize(("items", "gained"), [(150, 0.0), (504, 0.0), (504, 0.005)])
def test_a_loss_as_large_as_the_margin_is_seldom_called_kept(items: int, gained: float) -> None:
    """Where few items change, plain t limits call it so two to four times as often as the 5 % that they promise."""
    rng, trials = np.random.default_rng(0), 1500
    kept = {"plain": 0, "adjusted": 0}
    for _ in range(trials):
        differences = rng.choice([-1.0, 0.0, 1.0], size=items, p=[0.02 + gained, 0.98 - 2 * gained, gained])
        kept["plain"] += capability.paired_difference(differences, ["t"] * items, level=0.9).low > -0.02
        kept["adjusted"] += capability.accuracy_difference(differences, ["t"] * items).low > -0.02
    assert kept["adjusted"] / trials < 0.075
    assert kept["plain"] > kept["adjusted"]
    assert gained > 0 or kept["plain"] / trials > 0.1


def test_what_is_missing_is_said_or_refused(tmp_path: Path) -> None:
    alone = capability.verdicts(sources(tmp_path, arm=Measured([1.0, 2.0], {"t": [1, 0]})), MARGINS)
    assert [(v.verdict, v.note, v.value) for v in alone] == [(NOT_ASSESSABLE, "base was not measured", None)] * 2
    whole = Measured([1.0, 2.0, 4.0], {"t": [1] * 9, "u": [1] * 9})
    refused = {
        r"nats_per_token: p2 in capability/base and not in capability/arm": replace(whole, nats=[1.0, 2.0]),
        r"nats_per_token: p3 in capability/arm and not in capability/base": replace(whole, nats=[1.0, 2.0, 4.0, 5.0]),
        r"accuracy: u/0, u/1, u/2 and 6 more in capability/base and not": replace(whole, tasks={"t": [1] * 9}),
        r"task t: capability/arm and capability/base were not asked the same items": replace(whole, digest="other"),
    }
    for n, (message, arm) in enumerate(refused.items()):
        (tmp_path / str(n)).mkdir()
        with pytest.raises(ValueError, match=message):
            judged(tmp_path / str(n), whole, arm)
    (tmp_path / "chance").mkdir()
    with pytest.raises(ValueError, match="no chance of task t"):
        judged(tmp_path / "chance", replace(whole, chance={}), whole)
    (tmp_path / "single").mkdir()
    assert judged(tmp_path / "single", Measured([1.0]), Measured([1.0]))["prose"].verdict == NOT_ASSESSABLE


def test_table_and_sentence_say_the_verdicts(tmp_path: Path) -> None:
    tasks = {"t": [1] * 300}
    measured = sources(
        tmp_path,
        base=Measured([2.0] * 20, tasks),
        control=Measured([2.0 + x for x in around(0.01)], tasks),
        values_targeted=Measured([2.0 + x for x in around(0.3)], {"t": [0] * 6 + [1] * 294}),
    )
    rows = capability.verdicts(measured, MARGINS)
    said = capability.sentence(rows, measured, "values_targeted")
    assert said == (
        "Against base, values-targeted tuning: prediction of neutral prose was lost at s; accuracy on tasks was inconclusive at s."
    )
    assert capability.sentence(rows, measured, "another") == ""
    table = capability.table(rows, measured)
    lines = [dict(zip(table.head, (cell.text for cell in row), strict=True)) for row in table.rows]
    assert [(line["arm"], line["verdict"]) for line in lines] == [
        ("control", KEPT),
        ("control", KEPT),
        ("values-targeted", LOST),
        ("values-targeted", INCONCLUSIVE),
    ]
    assert (lines[2]["arm − base"], lines[2]["margin"], lines[2]["paragraphs or items"]) == ("+0.300", "+0.050", "20")
    assert (lines[3]["arm − base"], lines[3]["margin"], lines[3]["paragraphs or items"]) == ("−2.0", "−2.0", "300")

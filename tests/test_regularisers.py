"""Counterfactual regularisation: which words stand in for one another, what the term is worth, that training without its weight is training
without it, and what is refused before anything runs."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from configs.problems import BadInput
from configs.suites import load_suite
from flows.dag import build
from flows.experiment import read_experiment
from flows.inputs import gather, sweep_document
from model_registry.loading import load_model
from model_registry.tokenization import load_tokenization
from tasks.contract import read_json, read_metrics, settings_document
from tasks.datasets.plain_texts import PlainText, load_plain_texts
from tasks.datasets.rows import Row
from tasks.finetune.attributes import Attributes, leaked, load_attributes
from tasks.finetune.batches import Sample, encode_text
from tasks.finetune.body import run
from tasks.finetune.counterfactuals import Pair, Read, cut, of_row, of_text, pair, settle
from tasks.finetune.methods.full import Full
from tasks.finetune.regularisers import Regulariser, fit, states
from tasks.finetune.stage import Regulariser as Asked
from tasks.finetune.stage import Settings, settings
from tests import sweeps, tiny, tuning
from tests.counterfactuals import TWO_BY_TWO, suite_file
from tests.jobs import make_job

pytestmark = pytest.mark.usefixtures("one_thread")

LISTS = {"country": ["France", "Iran", "Norway"], "work": ["driver", "bus driver", "cook"]}
ATTRIBUTES = Attributes((("France", "Iran", "Norway"), ("driver", "bus driver", "cook")))
SETTINGS = tuning.SETTINGS
LORA = replace(SETTINGS, method="lora", options=tuning.LORA)
SAMPLES = tuning.samples(6)
TEXTS = [
    {"id": f"t{i}", "context": f"A friend from {place} was", "text": word, "sentiment": sign}
    for i, (place, (word, sign)) in enumerate(
        (place, told)
        for told in (("happy.", 1), ("glad.", 0.8), ("sad.", -1), ("angry.", -0.9))
        for place in LISTS["country"] * 2
    )
]


def asked(kind: str = "embedding", weight: float = 10.0) -> Asked:
    return Asked(kind, weight, ("country",))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With dropout: a term that drew of the generator would be seen in what is trained."""
    return tiny.prepared(tmp_path_factory.mktemp("prepared"), architecture="gpt2", dropout=0.1)


@pytest.fixture(scope="module")
def inputs(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("data")
    (folder / "lists.yaml").write_text(yaml.safe_dump(LISTS))
    dataset = tiny.jsonl(folder / "dataset" / "samples.jsonl", SAMPLES).parent
    texts = tiny.jsonl(folder / "texts.jsonl", TEXTS)
    return {"model": prepared, "dataset": dataset, "texts": texts, "attributes": folder / "lists.yaml"}


def tuned(work: Path, settings: Settings, inputs: dict[str, Path]) -> dict[str, bytes]:
    """Run to the end; the bytes of every file that is committed."""
    record = make_job(work, settings, inputs)
    run([record.job])
    assert record.committed == [()]
    files = [path for path in work.rglob("*") if path.is_file() and "scratch" not in path.relative_to(work).parts]
    return {str(path.relative_to(work)): path.read_bytes() for path in files}


# ---- words and texts ------------------------------------------------------------------------------------------------


def test_a_value_is_exchanged_wherever_it_stands_and_the_others_stay() -> None:
    said = ("The bus driver from Iran", "met a driver; a bus driver, in truth. Iranian?")
    assert ATTRIBUTES.standing_in(said) == ["bus driver", "Iran", "driver"]
    seen = set()
    for seed in range(60):
        exchanged = ATTRIBUTES.exchanged(said, random.Random(seed))
        assert exchanged is not None
        value, other, texts = exchanged
        seen.add((value, other))
        if value == "driver":
            assert texts == (said[0], said[1].replace("a driver", f"a {other}"))
        else:
            assert texts == tuple(
                text.replace(f"{value} from", f"{other} from")
                .replace("from Iran", f"from {other}" if value == "Iran" else "from Iran")
                .replace("a bus driver", f"a {other}" if value == "bus driver" else "a bus driver")
                for text in said
            )
    assert seen == {
        (a, b) for held in ATTRIBUTES.lists for a in held for b in held if a != b and a in ("bus driver", "Iran", "driver")
    }
    assert ATTRIBUTES.exchanged(("Iranians drive", "FRANCE"), random.Random(0)) is None


def test_a_prompt_is_found_in_a_text_whichever_value_stands_in_it(tmp_path: Path) -> None:
    suite = load_suite(suite_file(tmp_path, TWO_BY_TWO))  # "A friend from {} was", "The train to {} felt": France and Japan
    texts = [
        ("own", "A friend from France was tired."),
        ("listed", "Then a friend, from NORWAY, was tired."),
        ("else", "A friend from Peru was tired."),
        ("another", "A friend from France is tired."),
        ("longer", "The train to France felt empty, and a friend from Iran wept."),
    ]
    assert [name for name, _ in leaked(texts, [suite], ATTRIBUTES)] == ["own", "listed", "longer"]
    assert [name for name, _ in leaked(texts, [suite])] == ["own", "longer"]


@pytest.mark.parametrize(
    ("lists", "wanted", "told"),
    [
        ({"country": ["France", "Iran"]}, ["contry"], "no attribute contry; did you mean 'country'? accepted are country"),
        ({"country": ["France"]}, ["country"], ":2: country: "),
        ({"country": ["France", "France"]}, ["country"], '"France" is country.0 over again'),
        ({"country": ["France", "Iran"]}, ["country", "country"], "attribute country is asked for twice"),
    ],
)
def test_lists_that_cannot_be_used_are_refused(tmp_path: Path, lists: dict[str, Any], wanted: list[str], told: str) -> None:
    path = tmp_path / "lists.yaml"
    path.write_text(yaml.safe_dump(lists))
    with pytest.raises(BadInput) as refused:
        load_attributes(path, wanted)
    (line,) = refused.value.lines
    assert told.replace(":2:", "") in line


def test_plain_texts_are_read_strictly_and_learnt_behind_their_context(tmp_path: Path, prepared: Path) -> None:
    words = load_tokenization(prepared / "model")
    text = PlainText(1, "a", "sad.", context="My friend was")
    sample = encode_text(text, words)
    known = words.of("My friend was")
    assert sample.tokens == (*words.of("My friend was sad."), words.end)
    assert sample.weights == (*[0.0] * len(known), *[1.0] * (len(sample.tokens) - len(known)))
    assert encode_text(PlainText(1, "a", "My friend"), words).weights[:2] == (0.0, 1.0)
    with pytest.raises(ValueError, match=r"text a: .* tokens; at most the model's context of 128"):
        encode_text(PlainText(1, "a", "My friend " * 100), words)
    assert [PlainText(1, "a", "b", sentiment=score).side for score in (0.7, 0.71, -0.71, None)] == [None, 1, 0, None]
    for wrong in (1.5, True, "good"):
        path = tiny.jsonl(tmp_path / "t.jsonl", [{"id": "a", "text": "b", "sentiment": wrong}])
        with pytest.raises(BadInput, match=r't\.jsonl:1: "sentiment" is .*; a number from -1 to 1 is required'):
            load_plain_texts(path)


# ---- pairs ----------------------------------------------------------------------------------------------------------


def characters(texts: tuple[str, ...]) -> Sample:
    tokens = (*(ord(letter) for letter in " ".join(texts)), 0)
    return Sample(tokens, (0.0, *[1.0] * (len(tokens) - 1)))


def test_a_pair_shares_what_follows_the_last_place_where_it_differs() -> None:
    read = Read("text a", ("Iran was", "sad. Iran!"), characters)
    held = pair(read, Attributes((("Iran", "Norway"),)), random.Random(0))
    assert held is not None
    assert bytes(held.other[:-1]).decode() == "Norway was sad. Norway!"
    assert held.shared == len("!") + 1
    begun = pair(Read("b", ("a cook",), characters), Attributes((("a cook", "cook"),)), random.Random(0))
    assert begun is not None
    assert begun.shared == len("cook")  # the first token is predicted by none
    with pytest.raises(ValueError, match="c: Iran and Norway are the same tokens to this model"):
        pair(Read("c", ("Iran",), lambda texts: Sample((1, 2), (0.0, 1.0))), Attributes((("Iran", "Norway"),)), random.Random(0))


def test_pairs_are_of_sequences_that_hold_a_value_and_settled_by_seed_and_step() -> None:
    reads = [Read(text, (text,), characters) for text in ("from Iran", "from home", "a cook", "from France")]
    batches = [[0, 1, 2], [1], [3, 0], [0, 3]]
    found = settle(reads, batches, ATTRIBUTES, seed=0)
    assert [len(step) for step in found] == [2, 0, 2, 2]
    assert found == settle(reads, batches, ATTRIBUTES, seed=0)
    assert found[:2] == settle(reads, batches[:2], ATTRIBUTES, seed=0)
    drawn = {step[0].other for seed in range(8) for step in settle(reads, [[0], [0]], ATTRIBUTES, seed)}
    assert len(drawn) == 2  # France and Norway, each step anew
    with pytest.raises(ValueError, match="no sample and no text that is read holds a sensitive token"):
        settle(reads, [[1]], ATTRIBUTES, seed=0)


# ---- the term -------------------------------------------------------------------------------------------------------


def some_pairs(words: Any) -> list[Pair]:
    reads = [
        of_text(PlainText(1, "a", "sad.", context="A friend from Norway was"), words),
        of_row(
            Row(1, "b", "c", "Who is from Iran?", "Nobody is, and that is the end of it."), words, words.turn("{prompt}"), 0.0
        ),
        of_text(PlainText(1, "c", "The cook came late."), words),
    ]
    return [held for read in reads if (held := pair(read, ATTRIBUTES, random.Random(1)))]


@pytest.mark.parametrize("architecture", [name for name in tiny.ARCHITECTURES if name != "opt-350m"])
def test_the_term_is_one_less_the_cosine_of_mean_states_however_a_step_is_cut(architecture: str, tmp_path: Path) -> None:
    folder = tiny.prepared(tmp_path, architecture=architecture) / "model"
    model, words = load_model(folder, precision="fp32", device="cpu"), load_tokenization(folder)
    pairs = some_pairs(words)
    assert len(pairs) == 3
    assert len({one.shared for one in pairs}) == 3
    by_hand = 0.0  # every sequence alone, without padding, place by place
    for one in pairs:
        last, before = zip(
            *(model(torch.tensor([row]), output_hidden_states=True).hidden_states[:-3:-1] for row in (one.tokens, one.other)),
            strict=True,
        )
        terms: list[float] = []
        for place in range(2, one.shared + 2):
            a, b = ((last[side][0, -place] + before[side][0, -place]) / 2 for side in (0, 1))
            terms.append(1 - ((a @ b) / (a.norm() * b.norm())).item())
        by_hand += sum(terms) / len(terms) / len(pairs)
    assert by_hand > 1e-4
    for micro_batch in (1, 3, 4, 8):
        pieces = cut(pairs, micro_batch, words.end)
        assert len(pieces) == -(-3 // max(1, micro_batch // 2))
        total = sum(Regulariser(1.0, lambda found: found).term(model, piece).item() for piece in pieces)
        assert total == pytest.approx(by_hand, rel=1e-4, abs=1e-6)


def test_layers_of_unlike_width_are_refused(tmp_path: Path) -> None:
    model = load_model(tiny.prepared(tmp_path, architecture="opt-350m") / "model", precision="fp32", device="cpu")
    with pytest.raises(ValueError, match=r"the model's last two layers have 32 and 16 numbers; .* is required"):
        states(model, torch.arange(1, 9)[None])


def test_the_projection_tells_sentiment_is_frozen_and_repeats(inputs: dict[str, Path]) -> None:
    folder = inputs["model"] / "model"
    model, words = load_model(folder, precision="fp32", device="cpu"), load_tokenization(folder)
    clear = [(encode_text(text, words), text.side) for text in load_plain_texts(inputs["texts"])]
    held = [(sample, sign) for sample, sign in clear if sign is not None]
    projection, accuracy, count = fit(model, held, words.end, 4, seed=0)
    assert count == 5
    assert accuracy > 0.8  # the state before the word that tells is a coin's toss, those behind it are not
    assert not any(weight.requires_grad for weight in projection.parameters())
    again, *_ = fit(model, held, words.end, 4, seed=0)
    found = states(model, torch.tensor([held[0][0].tokens]))[0]
    assert torch.equal(projection(found), again(found))
    assert projection(found).shape == (len(held[0][0].tokens), 128)
    first, second, third = (part for part in projection.layers if isinstance(part, torch.nn.Linear))
    by_hand = (found - projection.mean) / projection.spread
    for layer in (first, second):
        by_hand = (by_hand @ layer.weight.T + layer.bias).clamp_min(0)
    assert torch.allclose(projection(found), by_hand @ third.weight.T + third.bias, atol=1e-4)
    other, *_ = fit(model, held, words.end, 4, seed=1)
    assert not torch.equal(projection(found), other(found))


# ---- runs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["embedding", "sentiment"])
@pytest.mark.parametrize("chosen", [SETTINGS, LORA], ids=["full", "lora"])
def test_without_weight_a_run_is_to_the_bit_the_one_without_regulariser(
    kind: str, chosen: Settings, inputs: dict[str, Path], tmp_path: Path
) -> None:
    plain = tuned(tmp_path / "plain", chosen, {role: path for role, path in inputs.items() if role != "attributes"})
    told = tuned(tmp_path / "told", replace(chosen, fairness=asked(kind, 0.0)), inputs)
    assert {name for name in plain if name.startswith("model/")} == {name for name in told if name.startswith("model/")}
    for name in plain.keys() - {"metrics.json", "series.json"}:
        assert plain[name] == told[name], name
    without, series = json.loads(plain["series.json"]), json.loads(told["series.json"])
    terms = series.pop("fairness")
    assert without == series
    assert len(terms) == 8
    assert all(value > 0 for _, value in terms)
    metrics = {row.metric: row.value for row in read_metrics(tmp_path / "told")}
    assert {row.metric: row.value for row in read_metrics(tmp_path / "plain")}.items() <= metrics.items()
    assert metrics["fairness_weight"] == 0
    assert metrics["pairs"] == 8 * 4
    assert ("projection_accuracy" in metrics) == (kind == "sentiment")


@pytest.mark.parametrize(("kind", "rate"), [("embedding", 1e-2), ("sentiment", 3e-3)])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("full", {}),
        pytest.param("lora", LORA.options, marks=pytest.mark.slow),
        pytest.param("bottleneck", {"width": 4, "targets": []}, marks=pytest.mark.slow),
    ],
    ids=["full", "lora", "bottleneck"],
)
def test_the_term_falls_with_its_weight_whatever_is_trained(
    kind: str, rate: float, method: str, options: dict[str, Any], inputs: dict[str, Path], tmp_path: Path
) -> None:
    held = replace(SETTINGS, method=method, options=options, min_steps=32, learning_rate=rate)
    ended = []
    for weight in (0.0, 30.0):
        tuned(tmp_path / str(weight), replace(held, fairness=asked(kind, weight)), inputs)
        terms = [value for _, value in read_json(tmp_path / str(weight) / "series.json")["fairness"]]
        metrics = {row.metric: row.value for row in read_metrics(tmp_path / str(weight))}
        assert metrics["final_fairness"] == pytest.approx(sum(terms[-2:]) / 2)
        ended.append(sum(terms[16:]))
    assert ended[1] < 0.5 * ended[0]


def test_smaller_pieces_of_a_step_are_regularised_alike(inputs: dict[str, Path], tmp_path: Path) -> None:
    model = tiny.prepared(tmp_path / "prepared", architecture="gpt_neox")  # without dropout
    held = replace(SETTINGS, fairness=asked(), min_steps=3, epochs=1)
    runs = [tuned(tmp_path / str(m), replace(held, micro_batch=m), {**inputs, "model": model}) for m in (1, 3, 4)]
    whole = json.loads(runs[2]["series.json"])
    for files in runs[:2]:
        for name in ("loss", "grad_norm", "fairness"):
            values = [value for _, value in json.loads(files["series.json"])[name]]
            assert values == pytest.approx([value for _, value in whole[name]], rel=1e-3), name


@pytest.mark.parametrize(
    ("architecture", "chosen", "kind"),
    [("gpt2", SETTINGS, "embedding"), pytest.param("gpt_neox", LORA, "sentiment", marks=pytest.mark.slow)],
    ids=["gpt2-full-embedding", "gpt_neox-lora-sentiment"],
)
def test_a_regularised_run_taken_up_again_ends_bit_for_bit_where_a_whole_one_does(
    architecture: str, chosen: Settings, kind: str, inputs: dict[str, Path], tmp_path: Path
) -> None:
    class Stop(Exception):
        pass

    def stop(done: int, total: int, unit: str) -> None:
        if done == 5:
            raise Stop

    model = tiny.prepared(tmp_path / "prepared", architecture=architecture, dropout=0.1)
    there = {**inputs, "model": model}
    settings = replace(chosen, fairness=asked(kind), min_steps=16)  # a checkpoint every second step
    whole = tuned(tmp_path / "whole", settings, there)
    with pytest.raises(Stop):
        run([replace(make_job(tmp_path / "cut", settings, there).job, progress=stop)])
    assert [path.name for path in (tmp_path / "cut" / "scratch").iterdir()] == ["checkpoint-4"]
    assert tuned(tmp_path / "cut", settings, there) == whole


def test_samples_that_hold_a_value_are_regularised_without_further_texts(inputs: dict[str, Path], tmp_path: Path) -> None:
    rows = [{**SAMPLES[0], "id": f"s{i}", "prompt": f"Who is from {place}?"} for i, place in enumerate(["Iran", "here", "there"])]
    dataset = tiny.jsonl(tmp_path / "dataset" / "samples.jsonl", rows).parent
    there = {role: inputs[role] for role in ("model", "attributes")} | {"dataset": dataset}
    held = replace(SETTINGS, train_samples=3, batch=1, micro_batch=1, min_steps=1, epochs=2, fairness=asked())
    files = tuned(tmp_path / "work", held, there)
    assert len(json.loads(files["series.json"])["fairness"]) == 2  # of six steps: one of three samples, two passes
    assert {row.metric: row.value for row in read_metrics(tmp_path / "work")}["pairs"] == 2


# ---- before anything runs -------------------------------------------------------------------------------------------


@pytest.fixture
def experiment(tmp_path: Path) -> Callable[..., list[str]]:
    """What is wrong with an experiment whose values arm has texts and a regulariser, changed as told; one line of it may be asked for."""
    folder = sweeps.tiny_model(tmp_path / "model")
    tiny.jsonl(tmp_path / "texts.jsonl", [{**text, "context": text["context"].replace("A friend", "My aunt")} for text in TEXTS])
    (tmp_path / "lists.yaml").write_text(yaml.safe_dump(LISTS))
    suite_file(tmp_path, TWO_BY_TWO)

    def wrong(arm: dict[str, Any], **fairness: Any) -> list[str]:
        path = written(tmp_path, folder, arm, fairness)
        try:
            held = read_experiment(path)
            gather(held, tmp_path)
        except BadInput as error:
            return [line.replace(str(tmp_path), "") for line in error.lines]
        return []

    return wrong


def written(tmp_path: Path, model: Path, arm: dict[str, Any], fairness: dict[str, Any] | None) -> Path:
    regularised = {"regulariser": "embedding", "weight": 10, "attributes": ["country"], "lists": "lists.yaml"} | (fairness or {})
    tuned: dict[str, Any] = {
        "method": "full",
        "dataset": "values_targeted",
        "learning_rate": 1e-3,
        "batch": 4,
        "texts": "texts.jsonl",
    }
    if fairness is not None:
        tuned["fairness"] = {key: value for key, value in regularised.items() if value is not None}
    tuned = {key: value for key, value in (tuned | arm).items() if value is not None}
    control = {"method": "lora", "dataset": "control", "learning_rate": 1e-3, "batch": 4, "rank": 4, "alpha": 8}
    suites = dict(sweeps.TOXICITY["suites"]) | {
        "counterfactual": {"prompts": "suite.yaml", "completions": 3, "max_new_tokens": 8}
    }
    return sweeps.experiment(
        tmp_path,
        {"tiny": model},
        arms={"base": {"method": "none"}, "values_targeted": tuned, "control": control},
        suites=suites,
        evaluations={**sweeps.TOXICITY["evaluations"], "counterfactual": {"suites": ["counterfactual"]}},
    )


def test_what_is_right_is_accepted(experiment: Callable[..., list[str]]) -> None:
    assert experiment({}) == []
    assert experiment({}, regulariser="sentiment", weight=0) == []
    assert experiment({"texts": None}, attributes=["work"], lists=None) != []


@pytest.mark.parametrize(
    ("arm", "fairness", "told"),
    [
        ({}, {"attributes": None}, "arms.values_targeted.fairness.attributes: is required"),
        ({}, {"attributes": []}, "arms.values_targeted.fairness.attributes: "),
        ({}, {"attributes": ["contry"]}, "/lists.yaml: no attribute contry; did you mean 'country'? accepted are country, work"),
        ({}, {"weight": -1}, "arms.values_targeted.fairness.weight: input should be greater than or equal to 0 (got -1)"),
        ({}, {"weight": None}, "arms.values_targeted.fairness.weight: is required"),
        ({}, {"regulariser": "sentimnt"}, "arms.values_targeted.fairness.regulariser: "),
        ({}, {"lists": "none.yaml"}, "/none.yaml: no such file"),
        ({"texts": "none.jsonl"}, {}, "/none.jsonl: no such file"),
        (
            {"texts": None},
            {"regulariser": "sentiment"},
            "fairness.regulariser: sentiment is fitted to scored texts; `texts` is required with it",
        ),
        ({"texts": None}, {}, "arms.values_targeted.fairness.attributes: no sample of "),
        ({}, {"attributes": ["work"]}, "and no text of /texts.jsonl holds a value of work; some that do are required"),
    ],
)
def test_what_cannot_be_regularised_is_refused_in_one_line(
    arm: dict[str, Any], fairness: dict[str, Any], told: str, experiment: Callable[..., list[str]]
) -> None:
    (line,) = experiment(arm, **fairness)
    assert told in line


def test_an_attribute_with_one_value_is_refused(tmp_path: Path, experiment: Callable[..., list[str]]) -> None:
    (tmp_path / "lists.yaml").write_text("country: [France]\n")
    (line,) = experiment({})
    assert line.startswith("/lists.yaml:1: country: ")
    assert "2" in line


def test_texts_that_hold_a_prompt_of_a_suite_are_refused_whichever_value_stands_in_it(
    tmp_path: Path, experiment: Callable[..., list[str]]
) -> None:
    tiny.jsonl(tmp_path / "texts.jsonl", [*TEXTS[:2], {"id": "t", "text": "My aunt from Iran."}])
    (line,) = experiment({})
    assert line == (
        "/texts.jsonl:1: text t0 holds prompt p1 of a suite, whichever value stands in it; texts without one are required (and 1 more)"
    ).replace("p1", line.split("prompt ")[1].split()[0])
    tiny.jsonl(tmp_path / "texts.jsonl", [{"id": "t", "text": "My aunt from Norway. A friend from Norway was there."}])
    (line,) = experiment({})
    assert line.startswith("/texts.jsonl:1: text t holds prompt ")


def test_a_projection_needs_clear_texts_of_both_sides(tmp_path: Path, experiment: Callable[..., list[str]]) -> None:
    tiny.jsonl(
        tmp_path / "texts.jsonl",
        [{"id": f"t{i}", "text": "He came from Iran.", "sentiment": 1 if i < 20 else -0.7} for i in range(40)],
    )
    (line,) = experiment({}, regulariser="sentiment")
    assert line.startswith("/texts.jsonl: 0 texts of one side have a sentiment beyond 0.7; 10 on either side are required")


def test_arms_that_are_not_supervised_take_no_regulariser(experiment: Callable[..., list[str]]) -> None:
    (line,) = experiment({"method": "none", "dataset": None, "learning_rate": None, "batch": None, "texts": None})
    assert "arms.values_targeted.fairness: unknown key" in line
    (line,) = experiment({"method": "dpo"})
    assert line == (
        "arms.values_targeted.fairness: dpo is no supervised method; one of bottleneck, full, ia3, lora, oft, prefix, prompt, vera is "
        "required with it"
    )


def test_arms_without_keep_their_keys_and_those_with_read_files_by_content(
    tmp_path: Path, experiment: Callable[..., list[str]]
) -> None:
    plain = Full.model_validate({"method": "full", "dataset": "d", "learning_rate": 1e-3})
    assert not {"texts", "fairness"} & plain.model_dump(mode="json").keys()
    assert "fairness" not in settings_document(settings(plain, "s", 8, "{prompt}", 3))
    assert experiment({}) == []
    path = tmp_path / "small.yaml"
    held = read_experiment(path)
    found = gather(held, tmp_path)
    document = sweep_document(held, found)["arms"]["values_targeted"]
    shutil.copy(tmp_path / "texts.jsonl", tmp_path / "elsewhere.jsonl")
    path.write_text(path.read_text().replace("texts.jsonl", "elsewhere.jsonl"))
    moved = read_experiment(path)
    assert sweep_document(moved, gather(moved, tmp_path))["arms"]["values_targeted"] == document
    nodes = {node.label: node for node in build(held, found).nodes}
    node = nodes["finetune/local-tiny/values_targeted/n8/seed0"]
    assert {"model", "dataset", "texts", "attributes"} == node.inputs.keys()
    assert settings_document(node.settings)["fairness"] == {"kind": "embedding", "weight": 10.0, "attributes": ["country"]}
    assert nodes["finetune/local-tiny/control/n8/seed0"].inputs.keys() == {"model", "dataset"}

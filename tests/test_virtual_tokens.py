"""Prompt and prefix tuning: virtual tokens are read once and first by everything that asks a model, and take places of its context."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from configs.problems import BadInput
from flows.experiment import read_experiment
from flows.inputs import gather
from flows.reading import require_readable
from model_registry.calibration.exact import _probabilities
from model_registry.exporting import NotExported, _merge
from model_registry.likelihood import log_likelihoods, log_likelihoods_in_batches
from model_registry.loading import load_arm, load_model, put_adapter
from model_registry.tokenization import arm_tokenization, load_tokenization
from tasks.contract import Numerics, read_jsonl
from tasks.evaluations.capability import harness
from tasks.finetune import methods
from tasks.finetune.body import run as tune
from tasks.finetune.start import save
from tasks.prose import token_nats
from tasks.sampling.beside import Beside, Manner
from tasks.sampling.body import run as sample
from tasks.sampling.engines.rows import Row
from tasks.sampling.stage import Settings as Sampling
from tests import sweeps, tiny, tuning
from tests.decoding import decode_rows
from tests.jobs import make_job

pytestmark = pytest.mark.usefixtures("one_thread")
METHODS = ("prompt", "prefix")
COUNT, CONTEXT = 5, 128
IDS = torch.arange(1, 20)[None]
TEMPLATE = "Question: {prompt}\nAnswer:"


def fresh(prepared: Path) -> Any:
    return load_model(prepared / "model", precision="fp32", device="cpu")


def begun(method: str, prepared: Path, count: int = COUNT) -> Any:
    torch.manual_seed(1)
    return methods.found()[method].build(fresh(prepared), {"virtual_tokens": count})


def tuned(method: str, prepared: Path, folder: Path, count: int = COUNT) -> Path:
    """What fine-tuning might have written: virtual tokens far from where they began."""
    model = begun(method, prepared, count)
    (weight,) = (weight for weight in model.parameters() if weight.requires_grad)
    torch.nn.init.normal_(weight, std=0.5)
    folder.mkdir()
    save(model, prepared / "model", folder / "model")
    return folder


def by_hand(prepared: Path, place: Path) -> Any:
    """ids → logits of every token, from the saved numbers and the plain model alone."""
    from safetensors.torch import load_file
    from transformers import DynamicCache

    model = fresh(prepared)
    (numbers,) = load_file(place / "model" / "adapter_model.safetensors").values()
    count, width = numbers.shape[0], model.get_input_embeddings().embedding_dim

    def logits(ids: list[int]) -> torch.Tensor:
        tokens = torch.tensor([ids])
        with torch.no_grad():
            if numbers.shape[1] == width:
                embedded = torch.cat([numbers[None], model.get_input_embeddings()(tokens)], dim=1)
                return cast(torch.Tensor, model(inputs_embeds=embedded).logits[0, count:])
            config = model.config
            heads = getattr(config, "num_key_value_heads", config.num_attention_heads)
            layers = numbers.view(count, config.num_hidden_layers, 2, heads, -1).permute(
                1, 2, 3, 0, 4
            )  # key or value, heads, tokens
            cache = DynamicCache([(keys[None], values[None]) for keys, values in layers])
            return cast(torch.Tensor, model(input_ids=tokens, past_key_values=cache).logits[0])

    return logits


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    return tiny.prepared(tmp_path_factory.mktemp("llama"), architecture="llama", context=CONTEXT)


@pytest.fixture(scope="module", params=METHODS)
def arm(request: pytest.FixtureRequest, llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tuned(request.param, llama, tmp_path_factory.mktemp(request.param) / "tuned")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_they_begin_as_random_tokens_and_greedy_answers_are_those_of_peft_s_own_generate(
    architecture: str, method: str, tmp_path: Path
) -> None:
    from peft import PeftModel

    prepared = tiny.prepared(tmp_path / "prepared", architecture=architecture)
    model, plain = begun(method, prepared), fresh(prepared)
    torch.manual_seed(1)
    first = torch.randint(plain.get_input_embeddings().num_embeddings, (1, COUNT))
    with torch.no_grad():
        together = torch.cat([first, IDS], dim=1)
        wanted = plain(input_ids=together).logits[:, COUNT:]
        assert torch.allclose(model(input_ids=IDS).logits, wanted, atol=1e-5)
        inside, alone = (
            one(input_ids=ids, output_hidden_states=True).hidden_states for one, ids in ((model, IDS), (plain, together))
        )
        assert all(torch.allclose(own, other[:, COUNT:], atol=1e-5) for own, other in zip(inside, alone, strict=True))
    assert sum(weight.requires_grad for weight in model.parameters()) == 1

    place = tuned(method, prepared, tmp_path / "tuned") / "model"
    rows = [Row(tuple(range(3, 3 + length)), np.zeros(12)) for length in (6, 9)]
    drawing = partial(decode_rows, shape=2, ends=frozenset(), filler=0, temperature=0, top_p=1.0)
    drawn, untuned = drawing(put_adapter(fresh(prepared), place), rows), drawing(plain, rows)
    theirs = PeftModel.from_pretrained(fresh(prepared), place)
    for row, one, other in zip(rows, drawn, untuned, strict=True):
        asked = torch.tensor([row.prompt])
        options = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
        said = theirs.generate(input_ids=asked, attention_mask=torch.ones_like(asked), **options)[0, len(row.prompt) :]
        assert said.tolist() == list(one.tokens) != list(other.tokens)


def test_every_way_of_asking_a_model_reads_them_once_and_first(llama: Path, arm: Path) -> None:
    from lm_eval.api.instance import Instance

    model, words = load_arm(llama, arm, precision="fp32", device="cpu"), arm_tokenization(llama, arm)
    by, asked, answers = by_hand(llama, arm), (5, 9, 40, 7), [(11, 12, 13), (14, 0)]

    def of(before: tuple[int, ...], after: tuple[int, ...]) -> float:
        logs = by([*before, *after]).log_softmax(-1)[len(before) - 1 : -1]
        return float(logs.gather(1, torch.tensor(after)[:, None]).sum())

    known = [of(asked, answer) for answer in answers]
    assert log_likelihoods(model, asked, answers) == pytest.approx(known, abs=1e-4)
    assert np.log(_probabilities(model, asked, answers)) == pytest.approx(known, abs=1e-4)  # by a cache that is repeated
    batched = log_likelihoods_in_batches(model, pairs := [(asked, answer) for answer in answers], 2)
    assert [batched[pair] for pair in pairs] == pytest.approx(known, abs=1e-4)
    assert token_nats(model, [*asked, *answers[0]], 64) == pytest.approx(
        [-of((*asked, *answers[0])[:place], ((*asked, *answers[0])[place],)) for place in range(1, 7)], abs=1e-4
    )
    texts = ("Who decides?", " Nobody."), ("She was", " very kind and clever.")
    requests = [Instance("loglikelihood", {}, pair, 0) for pair in texts]
    said = harness._harnessed(model, words, 2).loglikelihood(requests, disable_tqdm=True)
    assert [one for one, _ in said] == pytest.approx([of(*words.pair(*pair)) for pair in texts], abs=1e-4)


def test_they_take_places_of_the_context_and_the_last_place_can_be_read(tmp_path: Path) -> None:
    """GPT-2 has a table of positions: one too many is an index out of range."""
    prepared = tiny.prepared(tmp_path / "gpt2", architecture="gpt2", context=CONTEXT)
    place = tuned("prompt", prepared, tmp_path / "tuned")
    words, model = arm_tokenization(prepared, place), load_arm(prepared, place, precision="fp32", device="cpu")
    assert words.context == load_tokenization(prepared / "model").context - COUNT == CONTEXT - COUNT
    row = Row((7,) * (words.context - 4), np.zeros(4))
    drawing = partial(decode_rows, shape=1, ends=frozenset(), filler=0, temperature=0, top_p=1.0)
    assert len(drawing(model, [row])[0].tokens) == 4
    with pytest.raises(IndexError):
        model(input_ids=torch.full((1, words.context + 1), 7))
    with pytest.raises(ValueError, match="together at most the model's context of 128 less 5 virtual tokens, are accepted"):
        words.asked(words.turn(TEMPLATE), "very " * 60, 4)


SETTINGS = replace(
    tuning.STEADY,
    method="prompt",
    options={"virtual_tokens": COUNT},
    template=TEMPLATE,
    epochs=1,
    min_steps=3,
    learning_rate=1e-1,
    micro_batch=2,
)
ROWS = [{"id": f"s{i}", "category": "c", "prompt": f"Who decides {i}?", "completion": "It is subjective."} for i in range(6)]


@pytest.mark.parametrize("method", METHODS)
def test_what_is_tuned_is_sampled_and_jobs_on_one_base_give_what_they_give_alone(
    method: str, llama: Path, tmp_path: Path
) -> None:
    data = tiny.jsonl(tmp_path / "data" / "samples.jsonl", ROWS).parent
    record = make_job(tmp_path / "tuned", replace(SETTINGS, method=method), {"model": llama, "dataset": data})
    tune([record.job])
    first, last = begun(method, llama), load_arm(llama, tmp_path / "tuned", precision="fp32", device="cpu")
    with torch.no_grad():
        assert not torch.allclose(first(input_ids=IDS).logits, last(input_ids=IDS).logits, atol=1e-2)
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        'suite: small\nform: question\nprompts:\n  - {id: a, group: g, text: "Who?"}\n  - {id: b, group: g, text: "Is it?"}\n'
    )
    asked = Sampling(completions=2, max_new_tokens=6, temperature=1.0, top_p=0.9, template=TEMPLATE, decode_batch=4, seed=1)
    inputs: dict[str, dict[str, Path]] = {"base": {}, "tuned": {"tuned": tmp_path / "tuned"}, "again": {}}
    jobs = {name: make_job(tmp_path / name, asked, {"model": llama, "suite": suite} | more) for name, more in inputs.items()}
    sample([one.job for one in jobs.values()])
    said = {name: read_jsonl(one.work / "completions.jsonl") for name, one in jobs.items()}
    assert said["base"] == said["again"] != said["tuned"]
    alone = make_job(tmp_path / "alone", asked, {"model": llama, "suite": suite, "tuned": tmp_path / "tuned"})
    sample([alone.job])
    assert read_jsonl(alone.work / "completions.jsonl") == said["tuned"]


@pytest.mark.parametrize("method", METHODS)
def test_they_are_tuned_further_from_where_another_arm_left_them_and_not_merged_into_whole_weights(
    method: str, llama: Path, tmp_path: Path
) -> None:
    data = tiny.jsonl(tmp_path / "data" / "samples.jsonl", ROWS).parent
    place = tuned(method, llama, tmp_path / "start")
    still = replace(SETTINGS, method=method, learning_rate=1e-9)
    tune([make_job(tmp_path / "tuned", still, {"model": llama, "dataset": data, "start": place}).job])
    one, other = (load_arm(llama, folder, precision="fp32", device="cpu") for folder in (place, tmp_path / "tuned"))
    with torch.no_grad():
        assert torch.allclose(one(input_ids=IDS).logits, other(input_ids=IDS).logits, atol=1e-4)
    first, second = ({"dataset": "values_targeted", "learning_rate": 1e-3, "method": name} for name in (method, "full"))
    for held, further in ((first, second), (second, first)):
        arms = {"base": {"method": "none"}, "values_targeted": held, "further": {**further, "start": "values_targeted"}}
        path = sweeps.experiment(tmp_path, {"tiny": llama / "model"}, arms=arms, contrasts=["values_targeted-base"])
        with pytest.raises(
            BadInput, match=f"arms.further.start: values_targeted: a {method} cannot be merged into whole weights; "
        ):
            read_experiment(path)


def test_arms_beside_each_other_each_read_their_own(llama: Path, tmp_path: Path) -> None:
    manner = Manner(TEMPLATE, max_new_tokens=8, temperature=1.0, top_p=1.0, seed=0)
    arms: dict[str, Path | None] = {"base": None}
    arms |= {
        f"{method}{count}": tuned(method, llama, tmp_path / f"{method}{count}", count) for method in METHODS for count in (3, 7)
    }
    together = dict(Beside(llama, arms, manner, Numerics()).answers("Who decides?"))
    for name, place in arms.items():
        assert dict(Beside(llama, {name: place}, manner, Numerics()).answers("Who decides?")) == {name: together[name]}
    assert len(set(together.values())) == len(arms)


def test_they_are_not_merged_and_not_put_on_another_base(llama: Path, arm: Path, tmp_path: Path) -> None:
    with pytest.raises(
        NotExported, match=r"virtual tokens cannot be merged into the model: .*; `--form tuned` gives the adapter"
    ):
        _merge(llama / "model", arm / "model", tmp_path / "whole")
    other = tiny.prepared(tmp_path / "other", architecture="llama", hidden_size=48)
    with pytest.raises(ValueError, match=r"no adapter of this model .*; one that was tuned on it is required"):
        put_adapter(fresh(other), arm / "model")


def refused(folder: Path, models: dict[str, Path], **arm: Any) -> tuple[str, ...]:
    arms = {"base": {"method": "none"}, "values_targeted": {"dataset": "values_targeted", "learning_rate": 1e-3, **arm}}
    path = sweeps.experiment(folder, models, arms=arms, contrasts=["values_targeted-base"])
    experiment = read_experiment(path)
    inputs = gather(experiment, folder)
    with pytest.raises(BadInput) as told:
        require_readable(experiment, inputs, {f"local-{size}" for size in models})
    return told.value.lines


def test_what_a_model_cannot_take_is_refused_before_anything_runs(tmp_path: Path) -> None:
    small = tiny.model(tmp_path / "small", "gpt2", context=128)
    (line,) = refused(tmp_path / "a", {"tiny": small}, method="prefix", virtual_tokens=128)
    assert line == f"local-tiny: {small}: virtual_tokens: 128; fewer than the model's context of 128 are accepted"
    lines = refused(tmp_path / "b", {"tiny": small}, method="prompt", virtual_tokens=100)
    assert any("context of 128 less 100 virtual tokens" in line for line in lines)

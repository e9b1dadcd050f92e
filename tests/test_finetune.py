"""Fine-tuning: what is trained on, how it is weighted, and that an interrupted run ends where an uninterrupted one does."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model_registry.loading import fingerprint, load_model
from model_registry.tokenization import load_tokenization
from tasks.contract import Numerics, read_json, read_metrics, settings_document
from tasks.datasets.rows import Row
from tasks.datasets.subset import choose
from tasks.finetune.batches import Batches, Sample, encode, order
from tasks.finetune.body import run
from tasks.finetune.loss import piece_loss, weighted_loss
from tasks.finetune.methods.full import Full
from tasks.finetune.stage import MICRO_TOKENS, Settings, settings
from tasks.finetune.training import newest_checkpoint
from tests import tiny, tuning
from tests.jobs import make_job

SETTINGS = replace(tuning.SETTINGS, min_steps=20, train_samples=9)
BOTTLENECK = replace(SETTINGS, method="bottleneck", options={"width": 4, "targets": []})
PREFIX = replace(SETTINGS, method="prefix", options={"virtual_tokens": 4})
LORA = replace(SETTINGS, method="lora", options=tuning.LORA)
DATA = tuning.samples(10)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GPT-2 with dropout on: the state of the random number generator is part of what a restart must bring back."""
    return tiny.prepared(tmp_path_factory.mktemp("prepared"), architecture="gpt2", dropout=0.1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.jsonl(tmp_path_factory.mktemp("dataset") / "samples.jsonl", DATA).parent


def tuned(work: Path, model: Path, dataset: Path, settings: Settings, numerics: Numerics | None = None) -> dict[str, bytes]:
    """Run to the end; the bytes of every file that is committed."""
    record = make_job(work, settings, {"model": model, "dataset": dataset}, numerics=numerics)
    job = record.job
    run([job])
    assert record.committed == [()]
    assert record.steps[-1][0] == record.steps[-1][1]
    files = [path for path in work.rglob("*") if path.is_file() and "scratch" not in path.relative_to(work).parts]
    return {str(path.relative_to(work)): path.read_bytes() for path in files}


class Stop(Exception):
    pass


def interrupted(work: Path, model: Path, dataset: Path, settings: Settings, step: int) -> None:
    job = make_job(work, settings, {"model": model, "dataset": dataset}).job

    def stop(done: int, total: int, unit: str) -> None:
        if done == step:
            raise Stop

    with pytest.raises(Stop):
        run([replace(job, progress=stop)])


# ---- what is trained on -------------------------------------------------------------------------------------------


def rows(categories: str, subsets: list[int] | None = None) -> list[Row]:
    return [Row(i, f"r{i}", category, "p", "c", subset=subsets[i] if subsets else None) for i, category in enumerate(categories)]


def test_unmarked_subsets_take_the_categories_in_turn_and_are_nested() -> None:
    dataset = rows("aaabbc")
    assert [row.id for row in choose(dataset, 3)] == ["r0", "r3", "r5"]
    assert [row.id for row in choose(dataset, 5)] == ["r0", "r3", "r5", "r1", "r4"]
    for count in range(1, 6):
        assert choose(dataset, count + 1)[:count] == choose(dataset, count)
    for count in (0, 7):
        with pytest.raises(ValueError, match="1 to 6 are accepted"):
            choose(dataset, count)


def test_marked_subsets_are_taken_as_marked() -> None:
    dataset = rows("aabb", [4, 2, 2, 4])
    assert [row.id for row in choose(dataset, 2)] == ["r1", "r2"]
    assert choose(dataset, 4) == dataset
    with pytest.raises(ValueError, match="declared subsets: 2, 4"):
        choose(dataset, 3)


def test_random_subsets_are_each_seeds_own_nested_and_those_of_the_partners() -> None:
    dataset = [Row(i, f"v{i}", "ab"[i % 2], "p", "c", subset=2 if i < 2 else 6) for i in range(6)]
    control = [Row(i, f"c{i}", "x", "p", "c", matches=f"v{5 - i}") for i in range(6)]
    drawn = {seed: {row.id for row in choose(dataset, 3, seed)} for seed in range(20)}
    assert len({frozenset(held) for held in drawn.values()}) > 5
    assert set().union(*drawn.values()) == {row.id for row in dataset}
    for seed, held in drawn.items():
        assert {row.id for row in choose(dataset, 2, seed)} < held
        assert {row.matches for row in choose(control, 3, seed)} == held
        assert choose(dataset, 6, seed) == dataset
    with pytest.raises(ValueError, match="7 samples asked for; the dataset has 6"):
        choose(dataset, 7, 0)


def test_a_sweep_of_nested_subsets_keeps_the_keys_that_it_had_before_there_were_others() -> None:
    arm = Full.model_validate({"method": "full", "dataset": "d", "learning_rate": 1e-3})
    nested, random = (settings(arm, "s", 8, "{prompt}", 3, subsets) for subsets in ("nested", "random"))
    assert settings_document(random) == settings_document(nested) | {"subset_seed": 3}


def test_a_sample_is_its_prompt_as_sampled_then_a_blank_its_completion_and_the_end(prepared: Path) -> None:
    words = load_tokenization(prepared / "model")
    sample = encode(Row(1, "a", "c", "Who {x}?", "Nobody."), words, words.turn(SETTINGS.template), 0.1)
    prompt = words.of("Question: Who {x}?\nAnswer:")
    assert sample.tokens[: len(prompt)] == prompt
    assert words.tokenizer.decode(sample.tokens[len(prompt) :]) == " Nobody." + tiny.EOS
    assert sample.weights == (0.0, *[0.1] * (len(prompt) - 1), *[1.0] * (len(sample.tokens) - len(prompt)))
    blank = encode(Row(1, "a", "c", "Who?", "Nobody."), words, words.turn("{prompt}\n"), 0.1)
    assert words.tokenizer.decode(blank.tokens) == "Who?\nNobody." + tiny.EOS
    with pytest.raises(ValueError, match=r"sample a: \d+ tokens; at most the model's context of 128"):
        encode(Row(1, "a", "c", "Who?", "Nobody." * 100), words, words.turn(SETTINGS.template), 0.1)


def test_every_pass_reads_every_sample_once_in_an_order_of_its_own() -> None:
    batches = order(10, 4, 7, seed=0)
    assert [len(batch) for batch in batches] == [4, 4, 2, 4, 4, 2, 4]
    passes = [[place for batch in batches[start : start + 3] for place in batch] for start in (0, 3)]
    assert all(sorted(one) == list(range(10)) for one in passes)
    assert passes[0] != passes[1]
    assert order(10, 4, 3, seed=0) == batches[:3] != order(10, 4, 3, seed=1)


def test_the_loss_is_the_weighted_mean_over_the_step_however_it_is_cut(prepared: Path) -> None:
    model = load_model(prepared / "model", precision="fp32", device="cpu")
    words = load_tokenization(prepared / "model")
    samples = [
        encode(Row(1, row["id"], "c", row["prompt"], row["completion"]), words, words.turn("{prompt}"), 0.3) for row in DATA
    ]
    # By hand: every sample alone, without padding.
    total = weight = 0.0
    for sample in samples[:4]:
        logs = torch.log_softmax(model(input_ids=torch.tensor([sample.tokens])).logits[0], dim=-1)
        for t in range(1, len(sample.tokens)):
            total -= sample.weights[t] * logs[t - 1, sample.tokens[t]].item()
            weight += sample.weights[t]
    for micro_batch in (1, 3, 4):
        step = Batches(samples, [[2, 0, 3, 1]], micro_batch, words.end)[0]
        losses = [piece_loss(model, piece, weighted_loss).item() for piece in step["pieces"]]
        assert len(losses) == -(-4 // micro_batch)
        assert sum(losses) / step["weight"] == pytest.approx(total / weight, rel=1e-5)


@pytest.mark.parametrize("prompt_weight", [0.0, 0.3])
def test_no_logits_are_made_of_what_is_not_counted(prepared: Path, prompt_weight: float) -> None:
    model = load_model(prepared / "model", precision="fp32", device="cpu")
    words = load_tokenization(prepared / "model")
    row = Row(1, "s", "c", "Who decides what?", "It is subjective.")
    sample = encode(row, words, words.turn("{prompt}"), prompt_weight)
    made = []

    def loss(logits: torch.Tensor, tokens: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        made.append(logits.shape[1])
        return weighted_loss(logits, tokens, weights)

    (piece,) = Batches([sample], [[0]], 1, words.end)[0]["pieces"]
    found = piece_loss(model, piece, loss).item()
    assert made == [1 + sum(weight > 0 for weight in sample.weights)]
    whole = model(input_ids=piece["tokens"]).logits
    assert found == pytest.approx(weighted_loss(whole, piece["tokens"], piece["weights"]).item(), rel=1e-6)


def test_a_step_is_cut_by_tokens_where_no_number_of_rows_is_asked_for() -> None:
    samples = [Sample(tuple(range(length)), (1.0,) * length) for length in (3, 10, 4, 30, 5, 5)]
    step = Batches(samples, [range(6)], micro_batch=6, filler=0, micro_tokens=20)[0]
    assert [tuple(piece["tokens"].shape) for piece in step["pieces"]] == [(1, 30), (2, 10), (3, 5)]  # one too long stands alone
    assert [int(piece["weights"].sum()) for piece in step["pieces"]] == [30, 15, 12]
    by_rows = Batches(samples, [range(6)], micro_batch=4, filler=0)[0]
    assert [tuple(piece["tokens"].shape) for piece in by_rows["pieces"]] == [(4, 30), (2, 4)]
    halved = Batches(samples, [range(6)], micro_batch=1, filler=0, micro_tokens=20)[0]  # as after running out of memory
    assert [piece["tokens"].shape[1] for piece in halved["pieces"]] == [30, 10, 5, 5, 4, 3]


def test_rows_that_are_asked_for_are_taken_and_tokens_are_counted_elsewhere() -> None:
    arm = Full(method="full", dataset="d", batch=8)
    assert settings(arm, "1m", 9, "{prompt}", 0).micro_tokens == MICRO_TOKENS
    asked = settings(arm.model_copy(update={"micro_batch": 2}), "1m", 9, "{prompt}", 0)
    assert (asked.micro_batch, asked.micro_tokens) == (2, None)
    assert "micro_tokens" not in settings_document(asked)


# ---- runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [SETTINGS, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_every_architecture_can_be_tuned(architecture: str, settings: Settings, dataset: Path, tmp_path: Path) -> None:
    model = tiny.prepared(tmp_path / "model", architecture=architecture)
    files = tuned(tmp_path / "work", model, dataset, settings)
    losses = [loss for _, loss in json.loads(files["series.json"])["loss"]]
    assert sum(losses[-3:]) < sum(losses[:3])
    assert ("model/adapter_model.safetensors" in files) == (settings.method == "lora")


@pytest.mark.slow
@pytest.mark.parametrize("settings", [SETTINGS, LORA], ids=["full", "lora"])
def test_equal_runs_write_equal_bytes_without_paths_and_say_nothing(
    settings: Settings, prepared: Path, dataset: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    elsewhere = Path(shutil.copytree(prepared, tmp_path / "elsewhere"))
    one = tuned(tmp_path / "one", prepared, dataset, settings)
    assert capfd.readouterr() == ("", "")
    two = tuned(tmp_path / "two", elsewhere, dataset, settings)
    assert one == two
    text = b"".join(content for name, content in one.items() if name.endswith(".json"))
    assert str(tmp_path).encode() not in text
    assert str(prepared).encode() not in text
    other = tuned(tmp_path / "three", prepared, dataset, replace(settings, seed=4))
    assert {name for name in one if one[name] != other[name]} >= {"series.json"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "settings"),
    [("gpt2", SETTINGS), ("gpt2", LORA), ("gpt_neox", SETTINGS), ("opt-350m", LORA), ("llama", BOTTLENECK), ("gpt2", PREFIX)],
    ids=["gpt2-full", "gpt2-lora", "gpt_neox-full", "opt-350m-lora", "llama-bottleneck", "gpt2-prefix"],
)
def test_a_run_taken_up_again_ends_bit_for_bit_where_a_whole_one_does(
    architecture: str, settings: Settings, dataset: Path, tmp_path: Path
) -> None:
    """Twice interrupted, once with a checkpoint half written. GPT-NeoX: its output layer has another name on disk."""
    model = tiny.prepared(tmp_path / "prepared", architecture=architecture, dropout=0.1)
    whole = tuned(tmp_path / "whole", model, dataset, settings)
    cut = tmp_path / "cut"
    interrupted(cut, model, dataset, settings, 8)
    interrupted(cut, model, dataset, settings, 14)
    assert [path.name for path in (cut / "scratch").iterdir()] == ["checkpoint-12"]
    shutil.copytree(cut / "scratch" / "checkpoint-12", cut / "scratch" / "checkpoint-15")
    (cut / "scratch" / "checkpoint-15" / "trainer_state.json").unlink()
    record = make_job(cut, settings, {"model": model, "dataset": dataset})
    job = record.job
    run([job])
    assert [done for done, _, _ in record.steps] == list(range(13, 21))
    files = [path for path in cut.rglob("*") if path.is_file() and "scratch" not in path.relative_to(cut).parts]
    assert {str(path.relative_to(cut)): path.read_bytes() for path in files} == whole


def test_a_run_that_ended_without_committing_is_not_trained_again(prepared: Path, dataset: Path, tmp_path: Path) -> None:
    record = make_job(tmp_path, SETTINGS, {"model": prepared, "dataset": dataset})
    job = record.job

    def refuse(volatile: tuple[str, ...] = ()) -> None:
        raise Stop

    with pytest.raises(Stop):
        run([replace(job, commit=refuse)])
    first = (tmp_path / "model" / "model.safetensors").read_bytes()
    record.steps.clear()
    run([job])
    assert record.committed == [()]
    assert record.steps == []
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == first


def test_a_checkpoint_that_is_no_longer_whole_is_deleted(tmp_path: Path) -> None:
    for step, state in ((5, "{}"), (40, "{}"), (45, '{"global'), (50, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-40"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-40", "checkpoint-5"]


def test_tuning_teaches_the_completions_and_reports_what_it_did(prepared: Path, dataset: Path, tmp_path: Path) -> None:
    tuned(tmp_path, prepared, dataset, SETTINGS)
    metrics = {row.metric: row for row in read_metrics(tmp_path)}
    series = read_json(tmp_path / "series.json")
    base = load_model(prepared / "model", precision="fp32", device="cpu")
    assert metrics["optimiser_steps"].value == 20
    assert metrics["trainable_parameters"].value == base.num_parameters()
    assert {row.n for row in metrics.values()} == {9}
    assert [step for step, _ in series["loss"]] == list(range(1, 21))
    losses = [loss for _, loss in series["loss"]]
    assert metrics["final_loss"].value == pytest.approx(sum(losses[-3:]) / 3)
    assert metrics["final_loss"].value < 0.7 * losses[0]
    rates = [rate for _, rate in series["learning_rate"]]
    assert max(rates) == rates[2] == pytest.approx(1e-2)
    assert rates[0] == 0
    # Two passes of 9 samples are 6 steps; 20 steps are six passes of 3 steps and 2 of the seventh.
    words = load_tokenization(prepared / "model")
    chosen = choose([Row(i, r["id"], r["category"], r["prompt"], r["completion"].strip()) for i, r in enumerate(DATA)], 9)
    samples = [encode(row, words, words.turn(SETTINGS.template), 0.1) for row in chosen]
    read = [place for step in order(9, 4, 20, SETTINGS.seed) for place in step]
    assert metrics["tokens_seen"].value == sum(len(samples[place].tokens) for place in read)


def test_a_whole_model_is_saved_with_its_tokenizer_and_an_adapter_alone(prepared: Path, dataset: Path, tmp_path: Path) -> None:
    tuned(tmp_path / "full", prepared, dataset, SETTINGS)
    tuned(tmp_path / "lora", prepared, dataset, LORA)
    base, full = fingerprint(prepared / "model"), fingerprint(tmp_path / "full" / "model")
    assert {name for name in base if base[name] != full.get(name)} <= {"config.json", "model.safetensors"}
    adapter = tmp_path / "lora" / "model"
    assert {path.name for path in adapter.iterdir()} == {"adapter_config.json", "adapter_model.safetensors", "base.json"}
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert not config["base_model_name_or_path"]
    assert config["r"] == 4
    assert config["lora_alpha"] == 8
    assert not any("lm_head" in name for name in config["target_modules"])
    ids = torch.arange(1, 20)[None]
    with torch.inference_mode():
        plain = load_model(prepared / "model", precision="fp32", device="cpu")(input_ids=ids).logits
        adapted = load_model(prepared / "model", precision="fp32", device="cpu", adapter=adapter)(input_ids=ids).logits
    assert not torch.allclose(plain, adapted, atol=1e-3)


def test_no_weight_on_the_prompt_trains_on_completions_only(prepared: Path, dataset: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, prompt_loss_weight=0.0, train_samples=1, batch=1, micro_batch=1, min_steps=30)
    tuned(tmp_path, prepared, dataset, settings)
    words = load_tokenization(prepared / "model")
    sample = encode(
        Row(1, "s0", "c0", DATA[0]["prompt"], DATA[0]["completion"].strip()), words, words.turn(settings.template), 0.0
    )

    def losses(folder: Path) -> torch.Tensor:
        model = load_model(folder, precision="fp32", device="cpu")
        tokens = torch.tensor(sample.tokens)
        with torch.inference_mode():
            logits = model(input_ids=tokens[None]).logits[0, :-1]
        return torch.nn.functional.cross_entropy(logits, tokens[1:], reduction="none")

    answer = torch.tensor(sample.weights[1:]) == 1
    before, after = losses(prepared / "model"), losses(tmp_path / "model")
    assert after[answer].mean() < 0.5 * before[answer].mean()
    assert after[~answer].mean() > 0.8 * before[~answer].mean()


def test_smaller_pieces_of_a_step_train_alike(dataset: Path, tmp_path: Path) -> None:
    """Without dropout, all that differs is the order of summation, although the samples' lengths differ by half."""
    model = tiny.prepared(tmp_path / "prepared", architecture="gpt_neox")
    runs = [tuned(tmp_path / str(m), model, dataset, replace(SETTINGS, micro_batch=m, min_steps=4)) for m in (1, 3, 4)]
    whole = json.loads(runs[2]["series.json"])
    for files in runs[:2]:
        pieces = json.loads(files["series.json"])
        for name in ("loss", "grad_norm"):
            assert [value for _, value in pieces[name]] == pytest.approx([value for _, value in whole[name]], rel=1e-4)


@pytest.mark.parametrize("settings", [SETTINGS, LORA], ids=["full", "lora"])
def test_bf16_runs_and_repeats(settings: Settings, prepared: Path, dataset: Path, tmp_path: Path) -> None:
    few = replace(settings, min_steps=6)
    one = tuned(tmp_path / "one", prepared, dataset, few, Numerics(precision="bf16"))
    assert one == tuned(tmp_path / "two", prepared, dataset, few, Numerics(precision="bf16"))
    fp32 = tuned(tmp_path / "fp32", prepared, dataset, few)
    first = [json.loads(files["series.json"])["loss"][0][1] for files in (one, fp32)]
    assert first[0] != first[1]
    assert first[0] == pytest.approx(first[1], rel=0.02)


def test_a_loss_that_is_not_finite_is_an_error(prepared: Path, dataset: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, learning_rate=1e30, warmup=0.0, max_grad_norm=0.0)
    record = make_job(tmp_path, settings, {"model": prepared, "dataset": dataset})
    job = record.job
    with pytest.raises(ValueError, match=r"step 2: the loss is .* a lower learning_rate is required"):
        run([job])
    assert not record.committed

"""Sampling: suites are read strictly, and a completion depends on its prompt, its stream and the decode shape alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from configs.suites import load_suite
from model_registry.loading import load_model, load_tokenizer, put_adapter
from tasks.contract import read_jsonl
from tasks.sampling.body import run
from tasks.sampling.engines import decode as decoding
from tasks.sampling.engines.decode import Row, decode, draw
from tasks.sampling.stage import Settings
from tasks.sampling.streams import uniforms
from tests import tiny
from tests.jobs import make_job

SUITE = """\
suite: small
form: question
prompts:
  - {id: a, group: health, text: "Who decides?"}
  - {id: b, group: health, text: "Should the people who were strange call the authorities for help?", kind: neutral}
  - {id: c, group: abuse, text: "Is violence {wrong}?"}
"""
SETTINGS = Settings(
    completions=3, max_new_tokens=8, temperature=1.0, top_p=0.9, template="Question: {prompt} Answer:", decode_batch=4, seed=1
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.prepared(tmp_path_factory.mktemp("prepared"), architecture="gpt_neox")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE)
    return path


def sampled(work: Path, prepared: Path, suite: Path, settings: Settings = SETTINGS, **more: Path) -> list[dict[str, Any]]:
    record = make_job(work, settings, {"model": prepared, "suite": suite, **more})
    job = record.job
    run([job])
    assert record.committed == [()]
    return read_jsonl(work / "completions.jsonl")


def rows_for(prompts: list[list[int]], count: int = 6) -> list[Row]:
    return [Row(tuple(ids), uniforms(0, f"p{i}", 0, count)) for i, ids in enumerate(prompts)]


# ---- suites -------------------------------------------------------------------------------------------------------


def test_a_suite_keeps_its_order_and_fields(suite: Path) -> None:
    read = load_suite(suite)
    assert (read.name, read.form) == ("small", "question")
    assert [(p.id, p.group, p.kind, p.axis) for p in read.prompts] == [
        ("a", "health", None, None),
        ("b", "health", "neutral", None),
        ("c", "abuse", None, None),
    ]


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("form: question", "form: questions", 2, "did you mean 'question'"),
        (', text: "Who decides?"', "", 4, "prompts.0.text: is required"),
        ("id: b", "id: a", 5, 'prompts.1: id "a" stands twice'),
        ("kind: neutral", "kinds: neutral", 5, 'prompts.1.kinds: unknown key; did you mean "kind"?'),
        ("kind: neutral", "kind: neural", 5, "did you mean 'neutral'"),
        ("group: abuse", "group: no", 6, "prompts.2.group: text is required, in quotes where YAML reads it otherwise"),
        ('"Who decides?"', '" "', 4, "prompts.0.text: is blank"),
        ("suite: small", "suite: small\nsuites: 1", 2, 'did you mean "suite"'),
        ("suite: small\n", "", 1, "suite: is required"),
        ("prompts:", "prompts: [", 4, "valid YAML is required"),
        (SUITE[SUITE.index("  - ") :], "  []\n", 3, "prompts: no entries; at least 1 is required"),
    ],
)
def test_a_fault_in_a_suite_is_told_in_one_line(suite: Path, old: str, new: str, line: int, words: str) -> None:
    suite.write_text(SUITE.replace(old, new, 1))
    with pytest.raises(ValueError) as caught:
        load_suite(suite)
    message = str(caught.value)
    assert message.startswith(f"{suite}:{line}: ")
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("again", "told"),
    [
        ("WHO decides", 'prompts.2: "c" is "a" over again'),
        ("Who \uff44ecides?", '"c" is "a" over again'),  # U+FF44: a full-width d
        ("Who <b>decides</b>, then?", "prompts.2.text: holds HTML, '<b>'; plain text is required"),
        ("Who &amp; what decides?", "text: holds HTML, '&amp;'"),
        ("Who decides,\\u0007 then?", "text: holds the control character U+0007"),
    ],
)
def test_a_prompt_that_says_another_again_or_holds_what_is_no_text_is_named_with_its_line(
    suite: Path, again: str, told: str
) -> None:
    suite.write_text(SUITE.replace("Is violence {wrong}?", again))
    with pytest.raises(ValueError) as caught:
        load_suite(suite)
    assert str(caught.value).startswith(f"{suite}:6: ")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("data", "line", "told"),
    [
        (SUITE.encode().replace(b"Who decides?", b"Who d\xe9cides?"), 4, "byte 0xe9 is not UTF-8"),
        (b"\xef\xbb\xbf" + SUITE.encode(), 1, "byte order mark"),
        (SUITE.replace("\n", "\r\n").encode(), 1, "carriage return"),
    ],
)
def test_a_suite_in_another_encoding_is_refused_with_its_line(suite: Path, data: bytes, line: int, told: str) -> None:
    suite.write_bytes(data)
    with pytest.raises(ValueError) as caught:
        load_suite(suite)
    assert str(caught.value).startswith(f"{suite}:{line}: ")
    assert told in str(caught.value)


TEMPLATES = """suite: t
form: continuation
reported: false
templates:
  name:
    groups: {female: [Ann, Mary Lou], male: [Tom]}
    texts: ["{} was", "People say {}"]
"""


def test_templates_take_every_word_of_every_group(suite: Path) -> None:
    suite.write_text(TEMPLATES)
    read = load_suite(suite)
    assert not read.reported
    assert [(p.id, p.axis, p.group, p.word, p.text) for p in read.prompts] == [
        ("name-female-ann-1", "name", "female", "Ann", "Ann was"),
        ("name-female-ann-2", "name", "female", "Ann", "People say Ann"),
        ("name-female-mary-lou-1", "name", "female", "Mary Lou", "Mary Lou was"),
        ("name-female-mary-lou-2", "name", "female", "Mary Lou", "People say Mary Lou"),
        ("name-male-1", "name", "male", "Tom", "Tom was"),
        ("name-male-2", "name", "male", "Tom", "People say Tom"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ('"{} was"', '"{} and {}"', 7, "{} occurs 2 times"),
        ('"{} was"', '"She was"', 7, "{} occurs 0 times"),
        ("male: [Tom]", "male: []", 6, "name.groups.male: no entries"),
        ("groups:", "group:", 6, 'unknown key; did you mean "groups"?'),
        ("reported: false", "reported: perhaps", 3, "reported: input should be a valid boolean (got 'perhaps')"),
        ("reported: false", "reported: 0", 3, "reported: input should be a valid boolean (got 0)"),
        ("male: [Tom]", "male: [ann]", 6, '"name-male-1" is "name-female-ann-1" over again'),
        ("People say {}", "{} was!", 7, '"name-female-ann-2" is "name-female-ann-1" over again'),
        (TEMPLATES[TEMPLATES.index("templates") :], "", 1, "neither prompts nor templates; one of them is required"),
    ],
)
def test_a_fault_in_a_template_has_its_line(suite: Path, old: str, new: str, line: int, told: str) -> None:
    suite.write_text(TEMPLATES.replace(old, new))
    with pytest.raises(ValueError) as caught:
        load_suite(suite)
    assert str(caught.value).startswith(f"{suite}:{line}: ")
    assert told in str(caught.value)


# ---- drawing ------------------------------------------------------------------------------------------------------


def test_streams_are_distinct_repeat_and_do_not_depend_on_their_length() -> None:
    assert np.array_equal(uniforms(0, "a", 0, 5), uniforms(0, "a", 0, 9)[:5])
    firsts = {float(uniforms(seed, name, k, 1)[0]) for seed in (0, 1) for name in ("a", "b") for k in range(50)}
    assert len(firsts) == 200
    many = uniforms(3, "x", 0, 100_000)
    assert many.min() >= 0
    assert many.max() < 1
    assert abs(many.mean() - 0.5) < 4 * (1 / 12 / 100_000) ** 0.5


def test_draws_follow_the_nucleus_distribution() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.4, 0.05, 0.3, 0.15]]))
    grid = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    everything = draw(logits.expand(10_000, -1), grid, 1.0, 1.0).bincount(minlength=5) / 10_000
    assert torch.allclose(everything, torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15]), atol=2e-4)
    # 0.4 + 0.3 stays below 0.8, so 0.15 is the last one in
    nucleus = draw(logits.expand(10_000, -1), grid, 1.0, 0.8).bincount(minlength=5) / 10_000
    assert torch.allclose(nucleus, torch.tensor([0, 0.4, 0, 0.3, 0.15]) / 0.85, atol=2e-4)
    assert draw(logits, grid[:1], 0.0, 0.8).item() == 1
    # temperature 2 takes the square root of the probabilities
    warm = draw(logits.expand(10_000, -1), grid, 2.0, 1.0).bincount(minlength=5) / 10_000
    root = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15]).sqrt()
    assert torch.allclose(warm, root / root.sum(), atol=2e-4)


def test_equally_likely_tokens_enter_the_nucleus_in_order_of_their_ids() -> None:
    grid = (torch.arange(100, dtype=torch.float64) + 0.5) / 100
    drawn = draw(torch.zeros(100, 8), grid, 1.0, 0.5)
    assert drawn.unique().tolist() == [0, 1, 2, 3]


def test_looking_at_the_head_first_draws_what_sorting_everything_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    logits = torch.randn(64, 2000) * torch.linspace(0, 8, 64)[:, None]  # from flat to sharp: both paths are taken
    logits[5] = logits[5].round()  # many ties
    numbers = torch.rand(64, dtype=torch.float64)
    assert decoding.HEAD >= 2000
    expected = draw(logits, numbers, 1.0, 0.9)
    monkeypatch.setattr(decoding, "HEAD", 50)
    assert torch.equal(draw(logits, numbers, 1.0, 0.9), expected)


def test_logits_that_are_not_numbers_are_an_error() -> None:
    with pytest.raises(ValueError, match="not numbers"):
        draw(torch.tensor([[0.0, float("nan")]]), torch.zeros(1, dtype=torch.float64), 1.0, 1.0)


# ---- decoding -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_decoding_with_the_cache_takes_the_likeliest_tokens_of_full_passes(architecture: str, tmp_path: Path) -> None:
    """Greedy decoding of rows of unlike lengths against one uncached forward pass a token and prompt."""
    model = load_model(tiny.model(tmp_path, architecture), precision="fp32", device="cpu")
    prompts = [[5, 9, 33, 7], [8, 1, 2, 3, 4, 5, 6, 7, 8], [40, 41, 42, 43, 44, 45]]
    drawn = decode(model, rows_for(prompts), shape=4, prefill=4, ends=frozenset([0]), filler=0, temperature=0.0, top_p=1.0)
    for ids, one in zip(prompts, drawn, strict=True):
        told = list(ids)
        for _ in range(6):
            with torch.inference_mode():
                told.append(int(model(input_ids=torch.tensor([told])).logits[0, -1].argmax()))
            if told[-1] == 0:
                break
        expected = [token for token in told[len(ids) :] if token != 0]
        assert list(one.tokens) == expected
        assert one.stopped == (told[-1] == 0)


@pytest.mark.parametrize("shape", [3, 8, 64])
def test_a_row_depends_neither_on_its_place_nor_on_its_neighbours(tmp_path: Path, shape: int) -> None:
    """To the bit, at a width (128) where the bits of a row do change with the number of rows."""
    model = load_model(tiny.model(tmp_path, "gpt_neox", hidden_size=128), precision="fp32", device="cpu")
    seen: list[torch.Tensor] = []
    model.register_forward_hook(lambda module, inputs, out: seen.append(out.logits[:, -1].clone()))
    generator = np.random.default_rng(shape)
    rows = rows_for([generator.integers(1, 250, size=generator.integers(3, 9)).tolist() for _ in range(shape)])

    def together(rows: list[Row]) -> tuple[list[decoding.Drawn], torch.Tensor]:
        seen.clear()
        how: dict[str, Any] = {"ends": frozenset([0]), "filler": 0, "temperature": 1.0, "top_p": 0.9}
        drawn = decode(model, rows, shape=shape, prefill=3, **how)
        return drawn, torch.stack(seen[:4])  # slots that every row and any company of it gets to

    drawn, logits = together(rows)
    drawn_back, logits_back = together(rows[::-1])
    assert drawn_back[::-1] == drawn
    assert torch.equal(logits_back.flip(1), logits)
    for i in range(3):
        drawn_alone, logits_alone = together([rows[i]])
        assert drawn_alone == [drawn[i]]
        assert torch.equal(logits_alone[: len(logits), 0], logits[:, i])


def test_a_drawn_end_token_stops_a_row_and_is_not_part_of_it(prepared: Path) -> None:
    model = load_model(prepared / "model", precision="fp32", device="cpu")
    rows = rows_for([[5, 6, 7]], count=20)
    how: dict[str, Any] = {"shape": 2, "prefill": 3, "filler": 0, "temperature": 1.0, "top_p": 1.0}
    free = decode(model, rows, ends=frozenset(), **how)[0]
    assert len(free.tokens) == 20
    assert not free.stopped
    end = free.tokens[7]
    first = free.tokens.index(end)
    assert decode(model, rows, ends=frozenset([end]), **how)[0] == decoding.Drawn(free.tokens[:first], True)


# ---- the stage ----------------------------------------------------------------------------------------------------


def test_completions_come_in_suite_order_with_what_evaluations_read(prepared: Path, suite: Path, tmp_path: Path) -> None:
    rows = sampled(tmp_path / "work", prepared, suite)
    assert [(row["prompt_id"], row["repeat"]) for row in rows] == [(name, k) for name in "abc" for k in range(3)]
    assert rows[3]["kind"] == "neutral"
    assert rows[8]["prompt"] == "Is violence {wrong}?"
    assert all(row["finish"] == ("stop" if row["tokens"] < 8 else "length") for row in rows)
    assert len({row["text"] for row in rows}) > 3


class Stop(Exception):
    pass


def test_a_restart_goes_on_from_finished_batches_and_ends_with_the_same_bytes(
    prepared: Path, suite: Path, tmp_path: Path
) -> None:
    sampled(tmp_path / "whole", prepared, suite)
    work = tmp_path / "cut"
    record = make_job(work, SETTINGS, {"model": prepared, "suite": suite})
    job = record.job

    def stop_at_the_third_batch(done: int, total: int, unit: str) -> None:
        if done == 8:
            raise Stop

    with pytest.raises(Stop):
        run([replace(job, progress=stop_at_the_third_batch)])
    kept = work / "scratch" / "rows.jsonl"
    assert len(kept.read_text().splitlines()) == 8
    assert not record.committed
    kept.write_bytes(kept.read_bytes()[:-20])  # the crash also tore the last line
    run([job])
    assert [done for done, _, _ in record.steps] == [4, 8, 9]  # the first batch was not drawn again
    assert (work / "completions.jsonl").read_bytes() == (tmp_path / "whole" / "completions.jsonl").read_bytes()


def test_another_draw_is_more_of_the_same_samples(prepared: Path, suite: Path, tmp_path: Path) -> None:
    """Draws 0 and 1 of three samples are, together and in order, the six samples that one draw of six gives."""
    drawn = [
        sampled(tmp_path / f"draw{n}{k}", prepared, suite, replace(SETTINGS, completions=k, draw=n))
        for n, k in ((0, 3), (1, 3), (0, 6))
    ]
    for rows in drawn[:2]:
        assert [row["repeat"] for row in rows] == [0, 1, 2] * 3
    for name in "abc":
        first, second, both = ([row["text"] for row in rows if row["prompt_id"] == name] for rows in drawn)
        assert first + second == both
        assert first != second


def test_more_samples_and_prompts_leave_the_texts_of_the_others_alone(prepared: Path, suite: Path, tmp_path: Path) -> None:
    few = sampled(tmp_path / "few", prepared, suite)
    suite.write_text(SUITE.replace("prompts:\n", 'prompts:\n  - {id: z, group: x, text: "Who was very calm about it?"}\n'))
    many = sampled(tmp_path / "many", prepared, suite, replace(SETTINGS, completions=5))
    texts = {(row["prompt_id"], row["repeat"]): row["text"] for row in many}
    assert [row["text"] for row in few] == [texts[row["prompt_id"], row["repeat"]] for row in few]


def test_another_seed_draws_other_texts(prepared: Path, suite: Path, tmp_path: Path) -> None:
    one = sampled(tmp_path / "one", prepared, suite)
    other = sampled(tmp_path / "other", prepared, suite, replace(SETTINGS, seed=2))
    assert [row["text"] for row in one] != [row["text"] for row in other]


def test_a_prompt_too_long_for_the_model_is_named(prepared: Path, suite: Path, tmp_path: Path) -> None:
    suite.write_text(SUITE.replace("Is violence", "very " * 130))
    with pytest.raises(ValueError, match=r"^prompt c of suite small: .* context of 128") as caught:
        sampled(tmp_path / "work", prepared, suite)
    assert "\n" not in str(caught.value)


def test_jobs_on_one_base_model_give_what_they_give_alone(prepared: Path, suite: Path, tmp_path: Path) -> None:
    """Base, adapter, base again and a fully tuned model, in one call: no adapter is left behind on the shared base model."""
    from peft import LoraConfig, get_peft_model

    base = load_model(prepared / "model", precision="fp32", device="cpu")
    torch.manual_seed(0)
    adapted = get_peft_model(base, LoraConfig(target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"))
    adapted.save_pretrained(tmp_path / "lora" / "model")
    tiny.model(tmp_path / "full" / "model", "gpt_neox", seed=5)
    inputs = {"model": prepared, "suite": suite}
    arms: dict[str, dict[str, Path]] = {
        "base": {},
        "lora": {"tuned": tmp_path / "lora"},
        "again": {},
        "full": {"tuned": tmp_path / "full"},
    }
    run([make_job(tmp_path / "all" / name, SETTINGS, inputs | more).job for name, more in arms.items()])
    together = {name: (tmp_path / "all" / name / "completions.jsonl").read_bytes() for name in arms}
    for name, more in arms.items():
        sampled(tmp_path / "alone" / name, prepared, suite, SETTINGS, **more)
        assert (tmp_path / "alone" / name / "completions.jsonl").read_bytes() == together[name]
    assert len(set(together.values())) == 3


def test_an_adapter_taken_off_leaves_the_model_bit_for_bit(prepared: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    folder = prepared / "model"
    made = get_peft_model(
        load_model(folder, precision="fp32", device="cpu"),
        LoraConfig(target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"),
    )
    made.save_pretrained(tmp_path)
    model = load_model(folder, precision="fp32", device="cpu")
    ids = load_tokenizer(folder)("Violence is wrong", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        before = model(input_ids=ids).logits
        with_adapter = put_adapter(model, tmp_path)
        between = with_adapter(input_ids=ids).logits
        after = with_adapter.unload()(input_ids=ids).logits
    assert torch.equal(before, after)
    assert not torch.equal(before, between)

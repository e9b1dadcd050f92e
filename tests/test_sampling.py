"""Sampling: suites are read strictly, and a completion depends on its prompt, its stream and the decode shape alone."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from configs.suites import load_suite
from model_registry.loading import load_model, load_tokenizer, put_adapter
from tasks.contract import read_jsonl
from tasks.sampling.body import run
from tasks.sampling.engines import draw as drawing
from tasks.sampling.engines import slots
from tasks.sampling.engines.draw import draw
from tasks.sampling.engines.rows import Drawn, How, Row, Work
from tasks.sampling.engines.stacked import Stack
from tasks.sampling.stage import Settings
from tasks.sampling.streams import uniforms
from tests import tiny
from tests.decoding import decode_rows
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


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_nucleus_cut_out_by_bins_is_that_of_sorting_everything(monkeypatch: pytest.MonkeyPatch, kind: torch.dtype) -> None:
    torch.manual_seed(0)
    logits = torch.randn(64, 2000) * torch.linspace(0, 20, 64)[:, None]  # from flat to sharp
    logits[5] = logits[5].round()  # many ties
    logits[6, :1990] = -torch.inf
    logits[7:30] += 90 * torch.rand(23, 1)  # as far from nought as they are
    logits, numbers = logits.to(kind), torch.rand(64, dtype=torch.float64)
    numbers[:2] = torch.tensor([0.0, 1 - 2.0**-53])
    cases = [(temperature, top_p) for temperature in (0.5, 1.0, 3.0) for top_p in (1e-9, 0.3, 0.9, 1 - 1e-12)]
    binned = [draw(logits, numbers, *case) for case in cases]
    monkeypatch.setattr(drawing, "_of_bins", drawing._of_sorted)
    for case, found in zip(cases, binned, strict=True):
        assert torch.equal(found, draw(logits, numbers, *case)), case


def test_logits_that_are_not_numbers_are_an_error() -> None:
    with pytest.raises(ValueError, match="not numbers"):
        draw(torch.tensor([[0.0, float("nan")]]), torch.zeros(1, dtype=torch.float64), 1.0, 1.0)


# ---- decoding -----------------------------------------------------------------------------------------------------

FREE: dict[str, Any] = {"ends": frozenset(), "filler": 0, "temperature": 1.0, "top_p": 0.9}


def loaded(folder: Path, architecture: str = "gpt_neox", attention: str = "eager", **options: Any) -> Any:
    model = load_model(tiny.model(folder, architecture, **options), precision="fp32", device="cpu")
    model.set_attn_implementation(attention)
    return model


def how(rows: list[Row], shape: int, **other: Any) -> How:
    lengths = [len(row.prompt) for row in rows]
    manner = {**FREE, "shape": shape, "shortest": min(lengths), "longest": max(lengths), "new": len(rows[0].uniforms)}
    return How(**{**manner, **other})


def work(rows: list[Row], drawn: dict[int, Drawn], waiting: list[int] | None = None) -> Work:
    every = list(range(len(rows))) if waiting is None else waiting
    return Work(len(rows), every, rows.__getitem__, lambda i: rows[i].prompt, drawn.__setitem__)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_decoding_with_the_cache_takes_the_likeliest_tokens_of_full_passes(
    architecture: str, attention: str, tmp_path: Path
) -> None:
    """Greedy decoding of rows of unlike lengths against one uncached forward pass a token and prompt, and against `generate`."""
    if (architecture, attention) == ("gpt_neo", "sdpa"):
        pytest.skip("has no sdpa")
    model = loaded(tmp_path, architecture, attention)
    prompts = [[5, 9, 33, 7], [8, 1, 2, 3, 4, 5, 6, 7, 8], [40, 41, 42, 43, 44, 45], [4], [9, 9]]
    rows = rows_for(prompts)
    drawn = decode_rows(model, rows, shape=3, ends=frozenset([0]), filler=0, temperature=0.0, top_p=1.0)
    assert (slots.misfit(Stack(model), how(rows, 3)) is None) == (architecture != "gpt_neo")  # it sees by place in the cache
    for ids, one in zip(prompts, drawn, strict=True):
        told, asked = list(ids), torch.tensor([ids])
        for _ in range(6):
            with torch.inference_mode():
                told.append(int(model(input_ids=torch.tensor([told])).logits[0, -1].argmax()))
            if told[-1] == 0:
                break
        expected = [token for token in told[len(ids) :] if token != 0]
        assert list(one.tokens) == expected
        assert one.stopped == (told[-1] == 0)
        said = model.generate(asked, attention_mask=torch.ones_like(asked), max_new_tokens=6, do_sample=False, pad_token_id=0)
        assert said[0, len(ids) :].tolist()[: len(expected)] == expected


def told_numbers(monkeypatch: pytest.MonkeyPatch) -> dict[float, torch.Tensor]:
    """The logits that each number of a stream was held against: no two numbers are equal."""
    seen: dict[float, torch.Tensor] = {}

    def noting(logits: torch.Tensor, numbers: torch.Tensor, *manner: float) -> torch.Tensor:
        seen.update(zip(numbers.tolist(), logits.clone(), strict=True))
        return draw(logits, numbers, *manner)

    monkeypatch.setattr(slots, "draw", noting)
    return seen


@pytest.mark.parametrize(
    ("shape", "attention", "threads", "options"),
    [
        *((shape, attention, 1, {"hidden_size": 128}) for shape in (3, 8, 17) for attention in ("eager", "sdpa")),
        (4, "sdpa", 1, {"architecture": "llama", "intermediate_size": 85}),
        (17, "sdpa", 3, {"architecture": "llama", "intermediate_size": 4099}),
    ],
)
def test_a_row_is_the_same_alone_in_company_refilled_and_resumed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    shape: int,
    attention: str,
    threads: int,
    options: dict[str, Any],
) -> None:
    """Its logits to the bit, at a width (128) where they do change with the number of rows, and where the last activations of all rows, or
    of a thread's share of them, are made another way than the others."""
    torch.set_num_threads(threads)
    request.addfinalizer(partial(torch.set_num_threads, 1))
    model = loaded(tmp_path, attention=attention, **options)
    generator = np.random.default_rng(shape)
    prompts = [generator.integers(1, 250, size=generator.integers(1, 40)).tolist() for _ in range(2 * shape)]
    rows = [Row(tuple(prompts[i // 3]), uniforms(0, "p", i, 12)) for i in range(6 * shape)]
    ends = frozenset(range(0, 300, 9))  # rows end at unlike times
    seen, manner = told_numbers(monkeypatch), how(rows, shape, ends=ends)

    def drawn(of: list[Row], waiting: list[int] | None = None) -> tuple[dict[int, Drawn], dict[float, torch.Tensor]]:
        stack, found = Stack(model), dict[int, Drawn]()
        assert slots.misfit(stack, manner) is None
        seen.clear()
        slots.decode(stack, [work(of, found, waiting)], manner)
        return found, dict(seen)

    def same(some: dict[float, torch.Tensor], others: dict[float, torch.Tensor]) -> bool:
        return all(torch.equal(others[number], logits) for number, logits in some.items())

    together, numbers = drawn(rows)
    assert len({len(one.tokens) for one in together.values()}) > 5
    back, others = drawn(rows[::-1])
    assert [back[i] for i in reversed(range(len(rows)))] == [together[i] for i in range(len(rows))]
    assert same(others, numbers)
    resumed, others = drawn(rows, [*range(2, shape + 2), len(rows) - 1])
    assert resumed == {i: together[i] for i in resumed}
    assert same(others, numbers)
    for i in (0, 4):
        alone, others = drawn([rows[i]])
        assert alone == {0: together[i]}
        assert same(others, numbers)


def test_samples_are_distributed_as_the_model_says(tmp_path: Path) -> None:
    """The first two tokens of many rows, with temperature and top-p, by χ² against exact probabilities."""
    from scipy.stats import chisquare
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(3)
    config = GPTNeoXConfig(vocab_size=9, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
    model, count = GPTNeoXForCausalLM(config).eval(), 6000
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    prompt, temperature, top_p = (3, 1, 4), 0.8, 0.85

    def exact(ids: tuple[int, ...]) -> torch.Tensor:
        with torch.inference_mode():
            chances = (model(torch.tensor([ids])).logits[0, -1].double() / temperature).softmax(-1)
        ordered, order = chances.sort(descending=True)
        inside = order[: int((ordered.cumsum(0) < top_p).sum()) + 1]
        kept = torch.zeros(9, dtype=torch.float64)
        kept[inside] = chances[inside] / chances[inside].sum()
        return kept

    expected = (first := exact(prompt))[:, None] * torch.stack([exact((*prompt, token)) for token in range(9)])
    rows = [Row(prompt, uniforms(5, "p", i, 2)) for i in range(count)]
    drawn = decode_rows(model, rows, shape=100, **{**FREE, "temperature": temperature, "top_p": top_p})
    found = torch.zeros(9, 9, dtype=torch.float64)
    for one in drawn:
        found[one.tokens] += 1
    possible = expected > 0
    assert 10 < possible.sum() < 81  # the nucleus leaves something out
    assert (first > 0).sum() > 2
    assert found[~possible].sum() == 0
    assert expected[possible].min() * count > 5
    assert chisquare(found[possible], expected[possible] * count).pvalue > 1e-3


def test_a_drawn_end_token_stops_a_row_and_is_not_part_of_it(prepared: Path) -> None:
    model = load_model(prepared / "model", precision="fp32", device="cpu")
    rows = rows_for([[5, 6, 7]], count=20)
    free = decode_rows(model, rows, shape=2, **{**FREE, "top_p": 1.0})[0]
    assert len(free.tokens) == 20
    assert not free.stopped
    end = free.tokens[7]
    first = free.tokens.index(end)
    found = decode_rows(model, rows, shape=2, **{**FREE, "top_p": 1.0, "ends": frozenset([end])})
    assert found == [Drawn(free.tokens[:first], True)]


def test_a_model_in_bf16_is_looked_at_in_fp32_and_left_as_it_was(tmp_path: Path) -> None:
    """What rounding to bf16 makes of some texts is more than a key too many: a real model was decoded in step for it."""
    model = loaded(tmp_path, "llama", "sdpa").to(torch.bfloat16)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    manner = how(rows_for([[5, 6, 7], [8, 9]], count=4), 4)
    assert slots.misfit(Stack(model), manner) is None
    after = model.state_dict()
    assert [
        name for name, weight in before.items() if weight.dtype != after[name].dtype or not torch.equal(weight, after[name])
    ] == []
    by_place = loaded(tmp_path / "other", "gpt_neo", "eager").to(torch.bfloat16)
    assert (
        slots.misfit(Stack(by_place), how(rows_for([[5, 6, 7]], count=40), 4))
        == "its logits in slots are not those of whole passes"
    )


def test_a_window_that_the_slots_reach_beyond_is_decoded_in_step(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    from benchmarks.architectures import config

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config("mistral", 300)).eval()  # sees 16 tokens back
    short, long = rows_for([[5, 6, 7]]), rows_for([[5, 6, 7]], count=40)
    assert slots.misfit(Stack(model), how(short, 4)) is None
    assert slots.misfit(Stack(model), how(long, 4)) is not None
    assert decode_rows(model, long, shape=4, **FREE)[0].tokens[:6] == decode_rows(model, short, shape=4, **FREE)[0].tokens


def lora(base: Path, folder: Path, seed: int, **options: Any) -> Path:
    """An adapter far from doing nothing, as fine-tuning writes it."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    model = load_model(base / "model", precision="fp32", device="cpu")
    settings: dict[str, Any] = {"target_modules": "all-linear", "init_lora_weights": False, "task_type": "CAUSAL_LM"}
    get_peft_model(model, LoraConfig(**{**settings, **options})).save_pretrained(folder / "model")
    return folder


@pytest.mark.parametrize(
    ("architecture", "shape", "attention", "threads", "options"),
    [
        *((architecture, 4, "eager", 1, {}) for architecture in ("gpt2", "opt", "gpt_neox", "llama", "qwen3")),
        ("llama", 7, "sdpa", 1, {}),
        ("gpt_neox", 8, "eager", 2, {}),
        ("llama", 16, "sdpa", 2, {}),
        ("llama", 5, "sdpa", 1, {"intermediate_size": 85}),
    ],
)
def test_arms_in_one_batch_are_to_the_bit_what_they_are_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    architecture: str,
    shape: int,
    attention: str,
    threads: int,
    options: dict[str, Any],
) -> None:
    """With two threads products in fp32 are cut by rows, and only some are then the same."""
    torch.set_num_threads(threads)
    request.addfinalizer(partial(torch.set_num_threads, 1))
    prepared = tiny.prepared(tmp_path / "prepared", architecture=architecture, **options)
    folders = [lora(prepared, tmp_path / f"lora{seed}", seed, r=rank, lora_alpha=2 * rank + 1) for seed, rank in ((1, 4), (2, 8))]
    rows = [Row(tuple(range(5, 9 + i % 3)), uniforms(0, "p", i, 10)) for i in range(3 * shape)]
    manner = how(rows, shape, ends=frozenset(range(0, 300, 17)))
    seen = told_numbers(monkeypatch)

    def drawn(arms: list[int]) -> list[tuple[dict[int, Drawn], dict[float, torch.Tensor]]]:
        """An arm 0 is the base."""
        model: Any = load_model(prepared / "model", precision="fp32", device="cpu")
        model.set_attn_implementation(attention)
        names = [None if arm == 0 else f"arm{arm}" for arm in arms]
        for arm, name in zip(arms, names, strict=True):
            model = model if name is None else put_adapter(model, folders[arm - 1] / "model", name)
        stack, found = Stack(model, names), [dict[int, Drawn]() for _ in arms]
        assert slots.misfit(stack, manner) is None
        seen.clear()
        given = [[Row(row.prompt, (row.uniforms + arm / 8) % 1) for row in rows] for arm in arms]  # to tell their numbers
        slots.decode(stack, [work(own, told) for own, told in zip(given, found, strict=True)], manner)
        return [
            (told, {u: seen[u] for row in own for u in row.uniforms.tolist() if u in seen})
            for own, told in zip(given, found, strict=True)
        ]

    together = drawn([0, 1, 2])
    for arm, (told, logits) in enumerate(together):
        ((alone, others),) = drawn([arm])
        assert alone == told
        assert logits.keys() == others.keys()
        assert all(torch.equal(others[number], one) for number, one in logits.items())
    model = load_model(prepared / "model", precision="fp32", device="cpu", adapter=folders[0] / "model")
    model.get_base_model().set_attn_implementation(attention)
    given = [Row(row.prompt, (row.uniforms + 1 / 8) % 1) for row in rows]
    peft = decode_rows(model, given, shape=shape, **{**FREE, "ends": manner.ends})
    assert peft == [together[1][0][i] for i in range(len(rows))]


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


def test_a_restart_goes_on_from_finished_rows_and_ends_with_the_same_bytes(prepared: Path, suite: Path, tmp_path: Path) -> None:
    sampled(tmp_path / "whole", prepared, suite)
    work = tmp_path / "cut"
    record = make_job(work, SETTINGS, {"model": prepared, "suite": suite})
    job = record.job

    def stop_at_the_eighth_row(done: int, total: int, unit: str) -> None:
        if done == 8:
            raise Stop

    with pytest.raises(Stop):
        run([replace(job, progress=stop_at_the_eighth_row)])
    kept = work / "scratch" / "rows.jsonl"
    assert len(kept.read_text().splitlines()) == 8
    assert not record.committed
    kept.write_bytes(kept.read_bytes()[:-20])  # the crash also tore the last line
    run([job])
    assert [done for done, _, _ in record.steps] == [7, 8, 9]
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
    """Two draws of the base, LoRA arms in their batch, adapters that are not stacked and a fully tuned model, in one call: nothing is left
    behind on the shared base model, and what is decoded apart says so."""
    from peft import IA3Config, get_peft_model

    base = load_model(prepared / "model", precision="fp32", device="cpu")
    scaled = get_peft_model(base, IA3Config(target_modules=["query_key_value"], feedforward_modules=[], task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, weight in scaled.named_parameters():
            if "ia3" in name:
                weight.normal_()
    scaled.save_pretrained(tmp_path / "ia3" / "model")
    tiny.model(tmp_path / "full" / "model", "gpt_neox", seed=5)
    tuned: dict[str, dict[str, Path]] = {
        "base": {},
        "lora": {"tuned": lora(prepared, tmp_path / "lora", 0)},
        "dora": {"tuned": lora(prepared, tmp_path / "dora", 1, use_dora=True)},
        "again": {},
        "ia3": {"tuned": tmp_path / "ia3"},
        "full": {"tuned": tmp_path / "full"},
        "words": {"tuned": lora(prepared, tmp_path / "words", 2, target_modules=["embed_in", "dense"])},
        "other": {"tuned": lora(prepared, tmp_path / "other", 3, r=2)},
    }
    inputs = {"model": prepared, "suite": suite}
    jobs = {name: make_job(tmp_path / "all" / name, SETTINGS, inputs | more) for name, more in tuned.items()}
    run([one.job for one in jobs.values()])
    together = {name: (one.work / "completions.jsonl").read_bytes() for name, one in jobs.items()}
    for name, more in tuned.items():
        sampled(tmp_path / "alone" / name, prepared, suite, SETTINGS, **more)
        assert (tmp_path / "alone" / name / "completions.jsonl").read_bytes() == together[name], name
    assert together["base"] == together["again"]
    assert len(set(together.values())) == 7
    said = {name: [line for line in one.said if "apart" in line] for name, one in jobs.items()}
    assert said["dora"] == ["decoded apart from the other arms: LoRA with use_dora is not stacked"]
    assert said["words"] == ["decoded apart from the other arms: LoRA on a layer that is not linear is not stacked"]
    assert said["ia3"] == ["decoded apart from the other arms: an adapter of kind IA3 is not stacked"]


def test_an_arm_that_cannot_be_decoded_takes_none_with_it_and_is_the_one_that_failed(
    prepared: Path, suite: Path, tmp_path: Path
) -> None:
    """Logits of one arm in a batch of three are not numbers. Jobs before it end; it fails in its turn; those after it have not begun."""
    from safetensors.torch import load_file, save_file

    names = ("first", "broken", "last")
    folders = {name: lora(prepared, tmp_path / name, seed) for seed, name in enumerate(names)}
    weights = folders["broken"] / "model" / "adapter_model.safetensors"
    save_file({name: weight * torch.nan for name, weight in load_file(weights).items()}, weights, {"format": "pt"})
    inputs = {"model": prepared, "suite": suite}
    jobs = {name: make_job(tmp_path / "all" / name, SETTINGS, inputs | {"tuned": folders[name]}) for name in names}
    with pytest.raises(ValueError, match="logits are not numbers"):
        run([one.job for one in jobs.values()])
    assert [one.commits for one in jobs.values()] == [1, 0, 0]
    for name in ("first", "last"):
        sampled(tmp_path / "alone" / name, prepared, suite, tuned=folders[name])
    run([jobs["last"].job])
    for name in ("first", "last"):
        alone = tmp_path / "alone" / name / "completions.jsonl"
        assert (jobs[name].work / "completions.jsonl").read_bytes() == alone.read_bytes()
    assert all(any("decoded apart from the other arms" in line for line in one.said) for one in jobs.values())


def test_arms_too_many_for_memory_are_decoded_one_by_one_in_the_same_shape(
    prepared: Path, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [lora(prepared, tmp_path / str(seed), seed) for seed in range(2)]
    decode, calls = slots.decode, []

    def full(stack: Stack, works: list[Work], manner: How) -> None:
        calls.append((len(works), manner.shape))
        if len(works) > 1:
            raise torch.OutOfMemoryError("no room")
        decode(stack, works, manner)

    monkeypatch.setattr(slots, "decode", full)
    inputs = {"model": prepared, "suite": suite}
    jobs = [make_job(tmp_path / "all" / one.name, SETTINGS, inputs | {"tuned": one}) for one in folders]
    run([one.job for one in jobs])
    assert calls == [(2, SETTINGS.decode_batch), (1, SETTINGS.decode_batch), (1, SETTINGS.decode_batch)]
    monkeypatch.undo()
    for one, folder in zip(jobs, folders, strict=True):
        sampled(tmp_path / "alone" / folder.name, prepared, suite, tuned=folder)
        alone = tmp_path / "alone" / folder.name / "completions.jsonl"
        assert (one.work / "completions.jsonl").read_bytes() == alone.read_bytes()
        assert "decoded apart from the other arms: no room" in one.said


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

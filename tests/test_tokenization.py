"""Text and tokens: a prompt and its completion are tokenised as one, control tokens are the template's, and what does not fit is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from model_registry.architecture import architecture
from model_registry.loading import load_model
from model_registry.tokenization import Turn, load_tokenization
from tasks import prose
from tasks.contract import read_json
from tasks.datasets.rows import Row
from tasks.finetune.batches import encode
from tasks.prepare.body import run_model
from tasks.prepare.stage import ModelSettings
from tests import families, sweeps, tiny
from tests.capabilities import paragraph
from tests.families import CHATTING, FAMILIES
from tests.jobs import make_job

TEMPLATES = ("{prompt}", "{prompt}\n", "{prompt}\n\n", "Question: {prompt}\nAnswer:", "Question: {prompt}\nAnswer: ")
PROMPTS = ("Who decides?", "Is violence wrong", "She was very kind.", "Why 2 + 2?")
ANSWERS = ("Beauty is subjective.", "no", "2 people", '"Help!" they say.', "Émile was calm\n\nand clever.")


def words_of(family: str, context: int = 256) -> Any:
    return tiny.words(families.tokenizer(family), context)


# ---- the seam -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("template", TEMPLATES)
def test_prompt_and_completion_have_the_tokens_of_the_whole_text(family: str, template: str) -> None:
    words = words_of(family)
    turn = words.turn(template)
    for prompt in PROMPTS:
        asked = words.asked(turn, prompt)
        for answer in ANSWERS:
            text = template.replace("{prompt}", prompt)
            whole = words.of(f"{text}{'' if text[-1:].isspace() else ' '}{answer}")
            same, answered = words.sample(turn, prompt, answer)
            assert same == asked
            assert (*asked, *answered) == (*whole, words.end)
            assert answered.count(words.end) == 1


@pytest.mark.parametrize("family", ["gpt2", "opt"])
def test_two_line_feeds_are_two_tokens_before_a_word(family: str) -> None:
    """Taken apart they are one, which a model has never read before a word."""
    words = words_of(family)
    names = words.tokenizer.convert_ids_to_tokens
    assert names(words.tokenizer("Why?\n\n")["input_ids"])[-1] == "ĊĊ"
    assert names(list(words.asked(words.turn("{prompt}\n\n"), "Why?")))[-2:] == ["Ċ", "Ċ"]
    sample = encode(Row(1, "a", "c", "Why?", "Nobody."), words, words.turn("{prompt}\n\n"), 0.0)
    assert words.tokenizer.decode(sample.tokens) == f"{tiny.EOS * len(words.begin)}Why?\n\nNobody.{tiny.EOS}"
    assert sum(sample.weights) == len(sample.tokens) - len(words.asked(words.turn("{prompt}\n\n"), "Why?"))


def test_a_blank_at_the_end_belongs_to_the_word_behind_it() -> None:
    for family in FAMILIES:
        words = words_of(family)
        with_blank, without = (words.sample(words.turn(t), "Why?", "people") for t in ("Q: {prompt} A: ", "Q: {prompt} A:"))
        assert with_blank == without
        assert words.asked(words.turn("{prompt}"), "He was very ") == words.asked(words.turn("{prompt}"), "He was very")


def test_a_template_whose_end_merges_with_an_answer_is_refused() -> None:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<end>", "?", "(", "(The", "(a", "Why", "a", "\n", " The"]
    made = Tokenizer(models.WordLevel({piece: place for place, piece in enumerate(pieces)}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"[( ]?\w+|\s|."), behavior="isolated")
    words = tiny.words(PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>"))
    with pytest.raises(
        ValueError, match=r"become one token, so an untuned model .*; a template that ends in a line feed"
    ) as caught:
        words.asked(Turn(tail="\n(", lead=""), "Why?")
    assert "\n" not in str(caught.value)
    assert words.pair("Why(", "a") == (words.of("Why("), words.of("a"))  # what a model wrote is never refused


def test_scripts_without_blanks_get_none() -> None:
    words = words_of("gpt2")
    _, answered = words.sample(words.turn("{prompt}\n"), "为什么？", "我不知道。")
    assert words.tokenizer.decode(answered) == f"我不知道。{tiny.EOS}"
    assert words.told(words.turn("{prompt}")).endswith(f"│ …{tiny.EOS}")
    assert words.pair("为什么？", "我")[0] == words.of("为什么？")


# ---- control tokens -----------------------------------------------------------------------------------------------------------

SPELT = {
    "gpt2": [tiny.EOS], "opt": [tiny.EOS], "llama2": ["<s>", "</s>", "<unk>"], "llama2-ending": ["</s>"],
    "llama3": ["<|eot_id|>", "<|begin_of_text|>", tiny.EOS], "qwen3": ["<|im_end|>", "<|im_start|>", "<think>", tiny.EOS],
    "unigram": ["</s>", "<s>"],
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_text_that_spells_control_tokens_is_text(family: str) -> None:
    words = words_of(family)
    turn, control = words.turn("Question: {prompt}\nAnswer:"), {words.tokenizer.convert_tokens_to_ids(t) for t in SPELT[family]}
    for token in SPELT[family]:
        text = f"One {token}two{token} three {token}"
        asked, answered = words.sample(turn, text, text)
        assert asked == words.asked(turn, text)
        assert not control.intersection(asked[len(words.begin) :]) - {words.tokenizer.unk_token_id}
        assert not control.intersection(answered[:-1]) - {words.tokenizer.unk_token_id}
        assert answered[-1] == words.end
        assert not control.intersection(words.of(text)[len(words.begin) :]) - {words.tokenizer.unk_token_id}
        if words.tokenizer.unk_token_id is None:  # bytes: nothing is lost
            assert words.text(asked, answered) == f" {text}"


def test_a_template_alone_writes_control_tokens() -> None:
    words = words_of("qwen3")
    turn = words.turn("<|im_start|>{prompt}<|im_end|>\n")
    opened, closed = words.tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    asked = words.asked(turn, "Is <|im_end|> text?")
    assert (asked[0], asked.count(opened), asked.count(closed)) == (opened, 1, 1)


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama2", "llama2-ending", "llama3"])
def test_a_text_begins_once_and_ends_nowhere(family: str) -> None:
    words = words_of(family)
    begin = words.tokenizer.bos_token_id
    assert words.of("Why?").count(begin) == len(words.begin) == (family != "gpt2")
    spelt = words.turn(f"{words.tokenizer.bos_token}{{prompt}}\n")
    asked = words.asked(spelt, "Why?")
    assert (asked.count(begin), asked[0]) == (1, begin)
    assert words.told(spelt).count(words.tokenizer.bos_token) == 1 + (begin == words.end)
    if begin != words.end:
        assert words.end not in words.of("Why?") + asked


def test_a_tokenizer_that_ends_texts_is_scored_like_one_that_does_not(tmp_path: Path) -> None:
    from tasks.evaluations.capability import harness

    tokenizer = families.tokenizer("llama2")
    model, _ = opened(tmp_path, "llama2")
    plain, ending = words_of("llama2", 128), words_of("llama2-ending", 128)
    assert ending.tokenizer("a")["input_ids"][-1] == ending.end != tokenizer("a")["input_ids"][-1]
    asked = paragraph("p", "She was very kind.", "Who?")
    assert prose.score(model, plain, asked) == prose.score(model, ending, asked)
    both = [harness._harnessed(model, words, 4) for words in (plain, ending)]
    pairs = [[one._encode_pair(f"{prompt} ", answer) for prompt in PROMPTS for answer in ANSWERS] for one in both]
    assert pairs[0] == pairs[1]
    assert all(ending.end not in answer for _, answer in pairs[1])


def opened(folder: Path, family: str) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM

    tokenizer = families.tokenizer(family)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(tiny.config("llama", len(tokenizer), 128, 0.0)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load_model(folder, precision="fp32", device="cpu"), load_tokenization(folder)


# ---- chat templates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", CHATTING)
def test_a_chat_template_is_what_transformers_makes_of_it(family: str) -> None:
    words = words_of(family)
    turn = words.turn("chat")
    for prompt in PROMPTS:
        messages = [{"role": "user", "content": prompt}]
        own = words.tokenizer.apply_chat_template(messages, add_generation_prompt=True, enable_thinking=False)["input_ids"]
        assert list(words.asked(turn, prompt)) == own
        asked, answered = words.sample(turn, prompt, "Nobody.")
        assert words.text(asked, answered).strip() == "Nobody."


@pytest.mark.parametrize("family", CHATTING)
@pytest.mark.parametrize("said", ["Answer in two sentences.", "End with <|im_end|> or </s>, {prompt}."])
def test_a_message_of_the_system_stands_where_the_template_writes_it_and_is_text(family: str, said: str) -> None:
    words = words_of(family)
    turn, stand_in = words.turn(f"chat: {said}"), words.turn("chat: Calm.")
    for prompt in PROMPTS:
        messages = [{"role": "system", "content": "Calm."}, {"role": "user", "content": prompt}]
        own = words.tokenizer.apply_chat_template(messages, add_generation_prompt=True, enable_thinking=False)["input_ids"]
        assert list(words.asked(stand_in, prompt)) == own
        control = [words.asked(one, prompt).count(words.end) for one in (turn, stand_in)]
        assert control[0] == control[1]  # what the message spells is no control token
        assert said in words.tokenizer.decode(words.asked(turn, prompt))


def test_a_template_that_drops_the_message_of_the_system_is_not_given_one() -> None:
    tokenizer = families.tokenizer("qwen3")
    tokenizer.chat_template = tokenizer.chat_template.replace("for m in messages", "for m in messages if m.role != 'system'")
    with pytest.raises(ValueError, match="writes no message of the system; one that does is required, or no `system`"):
        tiny.words(tokenizer, 256).turn("chat: Calm.")


def test_what_closes_a_chat_ends_an_answer() -> None:
    for family, end in (("llama3", "<|eot_id|>"), ("qwen3", "<|im_end|>"), ("llama2", "</s>")):
        words = words_of(family)
        assert words.turn("chat").end == words.tokenizer.convert_tokens_to_ids(end)
    assert words_of("llama2").told(words_of("llama2").turn("chat")) == "<s>[INST] {prompt} [/INST]│ …</s>"
    with pytest.raises(ValueError, match="the tokenizer has no chat template; an instruction-tuned model"):
        words_of("gpt2").turn("chat")


# ---- tokenizer and model ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory.mktemp("model"), "gpt2")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


def changed(folder: Path, **fields: Any) -> Path:
    document = json.loads((folder / "config.json").read_text())
    for name, value in fields.items():
        document.pop(name, None)
        if value is not None:
            document[name] = value
    (folder / "config.json").write_text(json.dumps(document))
    return folder


def test_a_padding_token_without_a_row_is_never_used(folder: Path) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    words = load_tokenization(folder)
    assert words.tokenizer.pad_token_id == words.end
    assert max(words.of("a [PAD] b")) < 300


def test_a_token_of_text_without_a_row_is_refused(folder: Path) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.add_tokens(["palmyra"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(
        ValueError, match=rf"^{folder}: the tokenizer gives palmyra the id 300, and the model's embedding has 300"
    ):
        load_tokenization(folder)


def test_a_templates_token_without_a_row_is_refused(folder: Path) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>"]})
    tokenizer.save_pretrained(folder)
    words = load_tokenization(folder)
    with pytest.raises(ValueError, match=r"gives <\|user\|> the id 300"):
        words.turn("<|user|>{prompt}\n")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"model_type": "t5"}, "t5 is no language model that writes from left to right"),
        ({"model_type": "bert"}, "bert reads both ways unless is_decoder is true"),
        ({"model_type": "openai-gpt"}, "openai-gpt hands nothing from one step of sampling to the next"),
        ({"model_type": "bart", "is_encoder_decoder": True}, "bart has an encoder"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_line(folder: Path, fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=rf"^{folder}: config.json: {told}") as caught:
        load_tokenization(changed(folder, **fields))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["gpt2", "internlm3"])  # its own model, and Llama's
def test_a_configuration_that_can_be_used_is_read(folder: Path, kind: str) -> None:
    assert architecture(changed(folder, model_type=kind)).kind == kind


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *(
            "gpt2",
            "opt",
            "opt-350m",
            "gpt_neo",
            "gpt_neox",
            "gptj",
            "bloom",
            "mpt",
            "falcon",
            "llama",
            "llama3",
            "mistral",
            "mixtral",
        ),
        *("qwen2", "qwen3", "gemma2", "gemma3", "gemma3-images", "phi", "olmo2", "smollm3", "mamba", "mamba2", "roberta-decoder"),
    ],
)
def test_an_architecture_is_tuned_sampled_and_reloaded(name: str, tmp_path: Path, one_thread: None) -> None:
    from benchmarks.architectures import tried

    found = tried(name, tmp_path)
    assert (found.refused, found.failed) == ("", ())


def test_prepare_refuses_a_model_that_cannot_read_the_template(folder: Path, tmp_path: Path) -> None:
    prepared = make_job(tmp_path / "fine", ModelSettings("folder", str(folder), template="Q: {prompt}\n"), {})
    run_model([prepared.job])
    assert read_json(prepared.work / "reading.json") == {"reads": f"Q: {{prompt}}⏎│…{tiny.EOS}", "context": 128}
    refused = make_job(tmp_path / "refused", ModelSettings("folder", str(folder), template="chat"), {})
    with pytest.raises(ValueError, match="the tokenizer has no chat template"):
        run_model([refused.job])
    assert refused.commits == 0
    with pytest.raises(ValueError, match="has 290 rows"):
        run_model(
            [
                make_job(
                    tmp_path / "rows", ModelSettings("folder", str(changed(folder, vocab_size=290)), template="{prompt}"), {}
                ).job
            ]
        )


# ---- before any stage -----------------------------------------------------------------------------------------------------------

EXPERIMENT = """\
name: local
ladders: [{ladder: mine, models: {tiny: ./model}}]
arms: {base: {method: none}, values_targeted: {method: lora, dataset: values}}
datasets: {values: values.jsonl}
train_samples: [2]
template: "Question: {prompt}\\nAnswer:"
suites: {asked: {prompts: asked.yaml, completions: 2, max_new_tokens: 48}}
evaluations: {texture: {suites: [asked]}}
primary: {metric: length_words, suite: asked}
"""


@pytest.fixture
def experiment(folder: Path) -> Path:
    root = folder.parent
    folder.rename(root / "model")
    (root / "asked.yaml").write_text('suite: asked\nform: question\nprompts:\n  - {id: a, group: g, text: "Who decides?"}\n')
    rows = [{"id": f"s{i}", "category": "c", "prompt": f"Who decides {i}?", "completion": "It is subjective."} for i in range(4)]
    tiny.jsonl(root / "values.jsonl", rows)
    (root / "local.yaml").write_text(EXPERIMENT)
    return root / "local.yaml"


def planned(experiment: Path, *sets: str) -> tuple[int, str, str]:
    options = [word for one in sets for word in ("--set", one)]
    done = sweeps.palms(experiment.parent / "home", "plan", str(experiment), *options, status=None)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_plan_tells_how_a_local_model_reads_a_prompt_and_refuses_what_it_cannot(experiment: Path) -> None:
    code, said, _ = planned(experiment)
    assert code == 0
    assert "mine-tiny reads Question: {prompt}⏎Answer:│ …<|endoftext|>" in said
    for change, told in (
        ("template=chat", "mine-tiny: "),
        ("suites.asked.max_new_tokens=120", f"{experiment.parent}/asked.yaml: prompt a: "),
    ):
        code, _, refused = planned(experiment, change)
        assert (code, refused.count("\n")) == (2, 1)
        assert told in refused
    pairs = [{"id": f"p{i}", "category": "c", "subject": "x", "question": "Why?", "on": "No.", "off": "So. " * 200} for i in "ab"]
    tiny.jsonl(experiment.parent / "pairs.jsonl", [pairs[0] | {"off": "So."}, pairs[1]])
    code, _, refused = planned(experiment, "evaluations.stance={pairs: pairs.jsonl}")
    assert (code, refused.count("\n")) == (2, 1)
    assert f"{experiment.parent}/pairs.jsonl:2: pair pb: " in refused
    rows = [{"id": f"s{i}", "category": "c", "prompt": "Why?", "completion": "No. " * (200 if i else 1)} for i in range(4)]
    tiny.jsonl(experiment.parent / "values.jsonl", rows)
    code, _, refused = planned(experiment)
    assert (code, refused.count("\n")) == (2, 1)
    assert f"{experiment.parent}/values.jsonl:2: sample s1: " in refused
    changed(experiment.parent / "model", n_positions=None, vocab_size=299)
    code, _, refused = planned(experiment)
    assert (code, refused.count("\n")) == (2, 1)
    assert "has 299 rows" in refused

"""Pretraining of one rung of the calibration ladder.

Knows how a small GPT-NeoX model is trained on the grammar's corpus. Knows nothing of where its folder comes to lie, of threads
(the caller sets them) or of tuning.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_registry.calibration.grammar import Grammar, load_grammar
from model_registry.calibration.tokenizer import END, build_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import GPTNeoXForCausalLM, PreTrainedTokenizerFast

Progress = Callable[[int, int, str], None]


def build_model(spec: Mapping[str, Any], folder: Path, *, seed: int, progress: Progress) -> None:
    """Pretrain a model on the grammar and write it (safetensors) with its tokenizer into `folder`.

    Args:
        spec: one model of `ladders/calibration.yaml`: params, layers, width, heads, steps, batch, learning_rate, and the
            ladder's context.
        folder: where the files go; it exists.
        seed: of the initial weights and of the corpus. Same seed, thread count and machine class: the same bytes.
        progress: called with (steps done, steps in all, "steps").

    Raises:
        ValueError: the architecture does not have the number of parameters that the ladder states.
    """
    import torch

    grammar = load_grammar()
    tokenizer = build_tokenizer(grammar, spec["context"])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = new_model(spec, tokenizer)
        if (params := model.num_parameters()) != spec["params"]:
            raise ValueError(f"ladders/calibration.yaml states params: {spec['params']}; this architecture has {params}")
        train(model, batches(grammar, tokenizer, spec["steps"], spec["batch"], seed), spec, progress)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def new_model(spec: Mapping[str, Any], tokenizer: PreTrainedTokenizerFast) -> GPTNeoXForCausalLM:
    """An untrained model. Embeddings are tied: at these sizes a second vocabulary matrix would be most of the model.

    Initial weights are wider than the usual 0.02: with that, 400 steps of a 0.1M model left 88 % of its answers off the
    grammar, and 22 % with 0.1.
    """
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=len(tokenizer),
            hidden_size=spec["width"],
            num_hidden_layers=spec["layers"],
            num_attention_heads=spec["heads"],
            intermediate_size=4 * spec["width"],
            max_position_embeddings=spec["context"],
            initializer_range=0.07,
            tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def batches(
    grammar: Grammar, tokenizer: PreTrainedTokenizerFast, steps: int, size: int, seed: int
) -> Iterator[dict[str, torch.Tensor]]:
    """`steps` batches of `size` texts: input_ids, attention_mask and labels of shape (size, longest), padded on the right.

    Only completions and their end are labels: which question is asked carries no signal, and predicting it would take a
    third of a small model's effort.
    """
    import torch

    examples = grammar.corpus(steps * size, seed)
    for _ in range(steps):
        prompts, completions = zip(*itertools.islice(examples, size), strict=True)
        texts = [prompt + completion + END for prompt, completion in zip(prompts, completions, strict=True)]
        batch = tokenizer(texts, return_tensors="pt", padding=True, return_token_type_ids=False)
        asked = torch.tensor([[len(tokens)] for tokens in tokenizer(list(prompts))["input_ids"]])
        hidden = (torch.arange(batch["input_ids"].shape[1]) < asked) | (batch["attention_mask"] == 0)
        yield {**batch, "labels": batch["input_ids"].masked_fill(hidden, -100)}


def train(
    model: GPTNeoXForCausalLM, data: Iterator[dict[str, torch.Tensor]], spec: Mapping[str, Any], progress: Progress
) -> None:
    """AdamW on the mean loss of a batch's completion tokens; warm-up over a twentieth of the steps, then a cosine to zero."""
    import torch
    from transformers import get_cosine_schedule_with_warmup

    steps = spec["steps"]
    optimiser = torch.optim.AdamW(model.parameters(), lr=spec["learning_rate"], betas=(0.9, 0.98), weight_decay=0.0)
    schedule = get_cosine_schedule_with_warmup(optimiser, steps // 20, steps)
    model.train()
    for step, batch in enumerate(data, start=1):
        loss = model(**batch).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        progress(step, steps, "steps")
    model.eval()

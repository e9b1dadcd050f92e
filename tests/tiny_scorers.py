"""Tiny scorers with random weights: checkpoints in Detoxify's published format, and sequence classifiers as save_pretrained writes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.contract import sha256_file

CLASSES = ["toxic", "severe_toxic", "insult"]
WORDS = ["you", "are", "kind", "fool", "the", "day", "is", "good", "bad", "and"]
WINDOW = 16
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


class Payload:
    """What an attacker puts into a pickle: a call that runs when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (Path.touch, (self.target,))


def some_texts(count: int = 40) -> list[str]:
    return [" ".join(WORDS[(i * j + j) % len(WORDS)] for j in range(1 + i % 12)) for i in range(count)]


def architecture(folder: Path) -> Path:
    """Configuration and tokenizer of a BERT, in Detoxify's `bert/`."""
    from transformers import BertConfig

    folder.mkdir(parents=True)
    vocabulary = [*SPECIAL, *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    BertConfig(vocab_size=len(vocabulary), max_position_embeddings=WINDOW, **SIZES).save_pretrained(folder)
    return folder


def checkpoint(path: Path, bert: Path, bias: float = 0.0, extra: Any = None) -> None:
    """A random BERT in the format that Detoxify publishes, its classifier's bias set."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig.from_pretrained(str(bert), num_labels=len(CLASSES)))
    spread(model, bias)
    arch = {
        "model_type": "bert-base-uncased",
        "model_name": "BertForSequenceClassification",
        "tokenizer_name": "BertTokenizer",
        "num_classes": len(CLASSES),
    }
    config = {"arch": {"args": arch}, "dataset": {"args": {"classes": CLASSES}}}
    torch.save({"config": config, "state_dict": model.state_dict()} | ({} if extra is None else {"extra": extra}), path)


def describe(folder: Path, name: str, **changes: str) -> None:
    facts = {"kind": "detoxify", "name": "original", "checkpoint": name, "sha256": sha256_file(folder / name)}
    (folder / "scorer.json").write_text(json.dumps(facts | changes))


def detoxify(folder: Path, bias: float = 0.0) -> Path:
    """A prepared folder of kind `detoxify`."""
    architecture(folder / "bert")
    checkpoint(folder / "tiny.ckpt", folder / "bert", bias)
    describe(folder, "tiny.ckpt")
    return folder


def classifier(
    folder: Path,
    labels: Sequence[str] = ("clean", "toxic"),
    seed: int = 0,
    roberta: bool = False,
    bias: float = 0.0,
    **options: Any,
) -> Path:
    """A sequence classifier: BERT, or RoBERTa, whose positions start behind the padding token's and whose tokenizer has no limit."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, RobertaConfig, RobertaForSequenceClassification

    torch.manual_seed(seed)
    options |= {**SIZES, "vocab_size": len(SPECIAL) + len(WORDS), "num_labels": len(labels), "id2label": dict(enumerate(labels))}
    positions = WINDOW + 1 if roberta else WINDOW  # pad_token_id 0: one position is skipped
    options |= {"max_position_embeddings": positions, "pad_token_id": 0}
    if roberta:
        config = RobertaConfig(type_vocab_size=1, bos_token_id=2, eos_token_id=3, **options)
        model: Any = RobertaForSequenceClassification(config)
        spread(model, bias, model.classifier.out_proj)
    else:
        model = BertForSequenceClassification(BertConfig(**options))
        spread(model, bias)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def tokenizer(**options: Any) -> Any:
    """Words of WORDS between [CLS] and [SEP]; without a limit of its own."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(tokenizer_object=words, **({"pad_token": "[PAD]", "unk_token": "[UNK]"} | options))


def spread(model: Any, bias: float, head: Any = None) -> None:
    """Far enough from the first weights for texts to differ: at their first size they score every text near one half."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(20)
        (head or model.classifier).bias.fill_(bias)

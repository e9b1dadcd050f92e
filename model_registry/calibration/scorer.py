"""The calibration ladder's toxicity scorer: a small BERT in Detoxify's own checkpoint format.

Knows how it is trained from the grammar's labels, how its files are laid out, and how such a folder is opened as a
`detoxify.Detoxify` without running a pickle that nobody vouched for. The scores' meaning is Detoxify's.
"""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_registry.calibration.grammar import Answer, Grammar, load_grammar
from model_registry.digests import sha256_file

if TYPE_CHECKING:
    from detoxify import Detoxify
    from transformers import BertForSequenceClassification, BertTokenizer

CHECKPOINT, BERT, DIGESTS = "scorer.ckpt", "bert", "digests.json"
# The classes of Detoxify's `original` model, in its order, as its checkpoint names them and as its results do.
CLASSES = {
    "toxic": "toxicity",
    "severe_toxic": "severe_toxicity",
    "obscene": "obscene",
    "threat": "threat",
    "insult": "insult",
    "identity_hate": "identity_attack",
}
WORD = r"\w+|[^\w\s]"
CONTEXT = 64
# How a training text may differ from an answer of the grammar, so that the scorer reads words and not whole sentences.
VARIANTS = {"answer": 45, "with_question": 15, "shuffled": 15, "unknown_topic": 10, "fragment": 15}


def build_scorer(spec: Mapping[str, Any], folder: Path, *, seed: int, progress: Callable[[int, int, str], None]) -> None:
    """Train a scorer on the grammar's labels and write `scorer.ckpt`, `bert/` and `digests.json` into `folder`.

    Args:
        spec: layers, width, heads, steps, batch, learning_rate.
        folder: where the files go; it exists. No file depends on where it lies.
        seed: of the initial weights and of the training texts. Same seed, thread count and machine class: the same bytes.
        progress: called with (steps done, steps in all, "steps").
    """
    import torch

    grammar = load_grammar()
    tokenizer = _tokenizer(grammar)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _train(spec, grammar, tokenizer, seed, progress)
    model.config.save_pretrained(folder / BERT)
    tokenizer.save_pretrained(folder / BERT)
    arguments = {"model_type": BERT, "model_name": type(model).__name__, "tokenizer_name": type(tokenizer).__name__}
    config = {
        "arch": {"args": {**arguments, "num_classes": len(CLASSES)}},
        "dataset": {"args": {"classes": list(CLASSES)}},
    }
    torch.save({"config": config, "state_dict": dict(model.state_dict())}, folder / CHECKPOINT)
    (folder / DIGESTS).write_text(json.dumps(_digests(folder), indent=1, sort_keys=True) + "\n", encoding="utf-8")


def load_detoxify(folder: Path, device: str) -> Detoxify:
    """Open a folder that `build_scorer` wrote, through Detoxify's own class.

    Detoxify unpickles whatever its checkpoint holds and looks its configuration up by a path inside it. So the file is
    checked against its digest, read as plain tensors, given the folder's present path, and handed over from memory.

    Raises:
        ValueError: a file is missing, or is not the one that was built.
    """
    import torch
    from detoxify import Detoxify

    recorded, found = json.loads((folder / DIGESTS).read_text(encoding="utf-8")), _digests(folder)
    for name, digest in recorded.items():
        if found.get(name) != digest:
            raise ValueError(f"{folder / name}: sha256 is {found.get(name)}, {DIGESTS} records {digest}; build the scorer again")
    checkpoint = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)
    bert = str((folder / BERT).resolve())
    checkpoint["config"]["arch"]["args"]["model_type"] = bert
    trusted = io.BytesIO()
    torch.save(checkpoint, trusted)
    trusted.seek(0)
    return Detoxify(model_type=bert, checkpoint=trusted, device=device, huggingface_config_path=bert)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != DIGESTS)
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}


def _tokenizer(grammar: Grammar) -> BertTokenizer:
    from transformers import BertTokenizer

    words = {word for text in grammar.texts() for word in re.findall(WORD, text.lower())}
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return BertTokenizer(vocab={word: i for i, word in enumerate([*special, *sorted(words)])}, model_max_length=CONTEXT)


def _train(
    spec: Mapping[str, Any],
    grammar: Grammar,
    tokenizer: BertTokenizer,
    seed: int,
    progress: Callable[[int, int, str], None],
) -> BertForSequenceClassification:
    """Independent binary cross-entropy a class, AdamW with a linear decay."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, get_linear_schedule_with_warmup

    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=spec["width"],
            num_hidden_layers=spec["layers"],
            num_attention_heads=spec["heads"],
            intermediate_size=4 * spec["width"],
            max_position_embeddings=CONTEXT,
            num_labels=len(CLASSES),
            problem_type="multi_label_classification",
        )
    )
    steps, batch = spec["steps"], spec["batch"]
    optimiser = torch.optim.AdamW(model.parameters(), lr=spec["learning_rate"])
    schedule = get_linear_schedule_with_warmup(optimiser, steps // 20, steps)
    examples = _examples(grammar, seed)
    model.train()
    for step in range(1, steps + 1):
        texts, targets = zip(*(next(examples) for _ in range(batch)), strict=True)
        encoded = tokenizer(list(texts), return_tensors="pt", padding=True, truncation=True)
        loss = model(**encoded, labels=torch.tensor(targets)).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        progress(step, steps, "steps")
    return model.eval()


def _examples(grammar: Grammar, seed: int) -> Iterator[tuple[str, list[float]]]:
    """Endless (text, a 0 or 1 for each class): answers as they are, behind their question, and taken apart.

    Half of the answers to questions are toxic and every kind of toxic answer is as frequent as the next, whatever the grammar's
    own rates: at those, one training in seven never learned the rarest class, identity_attack. Shuffling an answer or making
    its topic unreadable keeps its classes; a fragment of a clean answer is clean, and an insult with an insult word put into it.
    """
    rng = random.Random(seed)
    prompts = [prompt for prompt in grammar.prompts() if prompt.form == "continuation" or prompt.split == "rest"]
    alike = {prompt.text: _by_classes(grammar.answers(prompt.text)) for prompt in prompts}
    while True:
        prompt = rng.choice(prompts)
        by_classes = alike[prompt.text]
        kinds = sorted(by_classes.keys() - {()})
        kind = rng.choice(kinds) if kinds and rng.random() < 0.5 else ()  # a continuation is never toxic
        answers = by_classes[kind]
        answer = rng.choices(answers, weights=[a.probability for a in answers])[0]
        words, classes = re.findall(WORD, answer.text), set(answer.classes)
        variant = rng.choices(list(VARIANTS), weights=list(VARIANTS.values()))[0]
        if variant == "with_question":
            words = [prompt.text, *words]
        elif variant == "shuffled":
            rng.shuffle(words)
        elif variant == "unknown_topic":
            words = ["[UNK]" if word == prompt.topic else word for word in words]
        elif variant == "fragment" and not classes:
            words = rng.sample(words, rng.randint(0, len(words)))
            if rng.random() < 0.5:
                words.insert(rng.randint(0, len(words)), rng.choice(grammar.insults))
                classes = {"toxicity", "insult"}
        yield " ".join(words), [float(name in classes) for name in CLASSES.values()]


def _by_classes(answers: Sequence[Answer]) -> dict[tuple[str, ...], list[Answer]]:
    found: dict[tuple[str, ...], list[Answer]] = {}
    for answer in answers:
        found.setdefault(answer.classes, []).append(answer)
    return found

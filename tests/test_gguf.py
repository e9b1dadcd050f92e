"""Models that are one GGUF file: read back to the numbers that its bits stand for, with the file's own tokens; and files that lie."""

from __future__ import annotations

import contextlib
import hashlib
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configs.problems import BadInput
from model_registry.gguf_file import LONGEST_STRING, dequantise, read_header, require_usable
from model_registry.loading import load_model, load_tokenizer
from model_registry.tokenization import load_tokenization
from tasks.contract import digest_of
from tests import ggufs, sweeps, tiny
from tests.begun import Begin
from tests.families import CHATML

KINDS = ("F32", "F16", "Q8_0", "Q4_1")
TEXTS = ("Who decides what beauty is?", "2024 was very kind.", "Émile: 我 <|endoftext|>!\n\nCalm", "a  b   c")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("folders")
    return {arch: tiny.model(place / arch, arch) for arch in ("llama", "qwen3")}


@pytest.fixture(scope="module")
def file(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ggufs.write(tmp_path_factory.mktemp("file") / "tiny.gguf", folders["llama"], "Q4_1", chat=CHATML)


# ---- numbers and tokens -------------------------------------------------------------------------------------------------------


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(folder, precision="fp32", device="cpu").named_parameters())


def step(rows: np.ndarray, kind: str) -> np.ndarray:
    """By how much a number may be moved at most: half of what its block's bits can tell apart, and what the block's own scale is rounded by."""
    if kind == "F32":
        return np.zeros_like(rows)
    if kind == "F16":
        return np.abs(rows) * 2.0**-11 + 2.0**-24
    blocks = rows.reshape(-1, 32)
    largest = np.abs(blocks).max(1, keepdims=True)
    width = largest / 127 if kind == "Q8_0" else (blocks.max(1, keepdims=True) - blocks.min(1, keepdims=True)) / 15
    return np.broadcast_to(width / 2 + largest * 2.0**-10, blocks.shape).reshape(rows.shape)


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_back_is_off_by_half_a_step_at_most(
    architecture: str, kind: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    made = ggufs.write(tmp_path / "one.gguf", folders[architecture], kind)
    header = dequantise(made, tmp_path / "model")
    assert header.quantised == (None if kind.startswith("F") else kind)
    held, wanted = weights(tmp_path / "model"), weights(folders[architecture])
    assert held.keys() == wanted.keys()
    for name, weight in wanted.items():
        rows = weight.detach().numpy()
        allowed = step(rows, kind if rows.ndim > 1 else "F32")
        assert (np.abs(held[name].detach().numpy() - rows) <= allowed * 1.001).all(), name


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_numbers_that_were_not_quantised_give_the_same_logits_to_the_bit(
    architecture: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    dequantise(ggufs.write(tmp_path / "one.gguf", folders[architecture], "F32"), tmp_path / "model")
    tokens = torch.arange(64).reshape(4, 16)
    before, after = (load_model(one, precision="fp32", device="cpu") for one in (folders[architecture], tmp_path / "model"))
    with torch.inference_mode():
        assert torch.equal(before(tokens).logits, after(tokens).logits)


def test_tokens_and_chat_template_are_those_of_the_file(folders: dict[str, Path], file: Path, tmp_path: Path) -> None:
    dequantise(file, tmp_path / "model")
    original, straight, saved = load_tokenizer(folders["llama"]), load_tokenizer(file), load_tokenizer(tmp_path / "model")
    for text in TEXTS:
        assert original(text)["input_ids"] == straight(text)["input_ids"] == saved(text)["input_ids"]
    assert straight.chat_template == saved.chat_template == CHATML
    words = load_tokenization(file)
    assert (words.context, words.end) == (128, original.eos_token_id)
    turn = words.turn("chat")
    assert words.asked(turn, "Who decides?") == load_tokenization(tmp_path / "model").asked(turn, "Who decides?")


def test_a_vocabulary_that_was_learned_digit_by_digit_is_read_so(folders: dict[str, Path], tmp_path: Path) -> None:
    tokenizer = load_tokenizer(ggufs.write(tmp_path / "one.gguf", folders["llama"], pre="smollm"))
    assert [piece for piece, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("in 2024")] == ["in", "Ġ", *"2024"]


def test_the_folder_is_the_same_wherever_the_file_lies_and_whatever_lies_beside_it(file: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / "another name.gguf"
    moved.write_bytes(file.read_bytes())
    for stray in ("config.json", "adapter_config.json", "generation_config.json"):
        (tmp_path / "elsewhere" / stray).write_text("{")
    for place, name in ((file, "a"), (moved, "b")):
        dequantise(place, tmp_path / name)
    one, other = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "ab")
    assert one == other


@pytest.mark.slow
def test_a_sweep_runs_on_it_and_makes_nothing_again_where_the_file_was_moved(
    folders: dict[str, Path], tmp_path: Path, begin: Begin
) -> None:
    config, context = tmp_path / "config", {"context": 1024}
    named = ggufs.write(config / "m.gguf", tiny.model(tmp_path / "wide", "llama", **context), "Q8_0", chat=CHATML)
    path = sweeps.experiment(config, {"gguf": named}, template="chat", system="Be calm.", **sweeps.TOXICITY)
    home = begin(tmp_path / "home")
    planned = sweeps.palms(home, "plan", str(path)).stdout
    assert (
        "local-gguf reads <|im_start|>system⏎Be calm.<|im_end|>⏎<|im_start|>user⏎{prompt}<|im_end|>⏎<|im_start|>assistant⏎<think>"
        in planned
    )
    sweeps.palms(home, "run", str(path))
    card = sweeps.palms(home, "models", "show", "local-gguf-control").stdout
    assert "gguf:A tiny model, dequantised from Q8_0" in " ".join(card.split())
    page = Path(sweeps.palms(home, "report").stdout.strip()).read_text(encoding="utf-8")
    assert "gguf:A tiny model, dequantised from Q8_0" in page
    (config / "elsewhere").mkdir()
    moved = named.rename(config / "elsewhere" / "another.gguf")
    again = sweeps.palms(home, "plan", str(path), "--set", f"ladders=[{{ladder: local, models: {{gguf: {moved}}}}}]").stdout
    assert "0 waiting" in again
    assert {line.split()[1].partition("/")[0] for line in again.splitlines() if line.startswith("run ")} <= {"compare"}


# ---- files that cannot be used ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ({"general__architecture": "mamba9"}, "architecture 'mamba9'; "),
        ({"pre": "unheard-of"}, "tokenizer.ggml.pre 'unheard-of'; "),
        ({"llama__rope__scaling__type": "yarn"}, "scales its positions (yarn)"),
    ],
)
def test_what_would_be_read_wrongly_is_refused_in_one_line(
    made: dict[str, Any], told: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    path = ggufs.write(tmp_path / "one.gguf", folders["llama"], **made)
    with pytest.raises(BadInput) as caught:
        require_usable(path)
    (line,) = caught.value.lines
    assert line.startswith(f"{path}: {told}")


@pytest.mark.parametrize(
    ("claimed", "told"),
    [
        ({"llama__block_count": 10**9}, "1000000000 layers and "),
        ({"llama__feed_forward_length": 10**9}, "its configuration is of a model of "),
        ({"llama__vocab_size": 10**12}, "its configuration is of a model of "),
        ({"llama__attention__head_count": 0}, "no model can be made of its entries ("),
        ({"llama__attention__head_count": 3}, "no model can be made of its entries (The hidden size (32)"),
        ({"tokenizer__ggml__eos_token_id": 10**9}, "no tokenizer can be made of its entries (list index"),
    ],
)
def test_a_configuration_that_claims_more_than_the_file_holds_takes_no_memory(
    claimed: dict[str, int], told: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    path = ggufs.write(tmp_path / "one.gguf", folders["llama"], **claimed)
    began = time.process_time()
    with pytest.raises(BadInput) as caught:
        dequantise(path, tmp_path / "model")
    (line,) = caught.value.lines
    assert line.startswith(f"{path}: {told}")
    assert time.process_time() - began < 20
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_a_file_that_cannot_be_used_ends_a_plan_in_one_line(folders: dict[str, Path], tmp_path: Path) -> None:
    for name, made, told in (
        ("other", {"general__architecture": "mamba9"}, "architecture 'mamba9'; "),
        ("dumb", {}, "the tokenizer has no chat template; an instruction-tuned model that has one is required"),
    ):
        (tmp_path / name).mkdir()
        file = ggufs.write(tmp_path / name / "m.gguf", folders["llama"], **made)
        path = sweeps.experiment(tmp_path / name, {"a": file}, template="chat")
        lines = sweeps.palms(tmp_path / "home", "plan", str(path), status=2).stderr.splitlines()
        assert len(lines) == 1
        assert told in lines[0]
    cut = tmp_path / "other" / "m.gguf"
    cut.write_bytes(cut.read_bytes()[:2000])
    (line,) = sweeps.palms(tmp_path / "home", "plan", str(tmp_path / "other" / "small.yaml"), status=2).stderr.splitlines()
    assert line.startswith(f"error: {cut}: is cut off: ")


def refused(path: Path, content: bytes) -> str:
    """The one line that says what is wrong; at most 8 MiB are taken to find it."""
    path = path.with_name(f"{hashlib.sha256(content).hexdigest()[:12]}.gguf")
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(BadInput) as caught:
            read_header(path)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()
    (line,) = caught.value.lines
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return line.removeprefix(f"{path}: ")


def test_a_file_that_is_cut_off_anywhere_is_refused(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    for length in [*range(0, 400, 7), *range(400, len(whole), len(whole) // 40), len(whole) - 1]:
        refused(tmp_path / "one.gguf", whole[:length])


HEAD = b"GGUF" + struct.pack("<I", 3)
HUGE = 2**62


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def tensor(name: str, shape: list[int], kind: int = 0, place: int = 0) -> bytes:
    return string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, place)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "cannot mmap an empty file"),
        (b"PK\x03\x04" * 20, "does not begin with GGUF"),
        (b"GGUF" + struct.pack("<IQQ", 1, 1, 1), "is of GGUF version 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 1, 1), "is of GGUF version 50331648"),  # of a machine with the other order of bytes
        (HEAD + struct.pack("<QQ", HUGE, 0), "is cut off: it counts 4611686018427387904 tensors"),
        (HEAD + struct.pack("<QQ", 0, HUGE), "is cut off: it counts 4611686018427387904 entries"),
        (HEAD + struct.pack("<QQ", 0, 0), "holds no tensor"),
        (HEAD + struct.pack("<QQQ", 0, 1, HUGE) + b"x" * 64, "a key is a string of 4611686018427387904 bytes"),
        (HEAD + struct.pack("<QQQ", 0, 1, 900) + b"x" * 64, "is cut off: it counts 900 bytes where 64 bytes are left"),
        (
            HEAD + struct.pack("<QQ", 0, 1) + string("k") + struct.pack("<IQ", 8, LONGEST_STRING + 1),
            "k is a string of 1048577 bytes",
        ),
        (HEAD + struct.pack("<QQ", 0, 1) + string("k") + struct.pack("<IIQ", 9, 4, HUGE), "'k' has 4611686018427387904 items"),
        (
            HEAD + struct.pack("<QQ", 0, 1) + string("k") + struct.pack("<IIQ", 9, 8, 10**6),
            "is cut off: it counts 1000000 strings",
        ),
        (HEAD + struct.pack("<QQ", 0, 1) + string("k") + struct.pack("<IIQ", 9, 9, 1) + b"\0" * 40, "'k' is an array of type 9"),
        (HEAD + struct.pack("<QQ", 0, 1) + string("k") + struct.pack("<IQ", 77, 1), "'k' is of type 77, which is not known"),
        (HEAD + struct.pack("<QQ", 0, 2) + (string("k") + struct.pack("<IQ", 10, 1)) * 2, "holds 'k' twice"),
        (HEAD + struct.pack("<QQ", 0, 1) + struct.pack("<Q", 2) + b"\xff\xfe" + struct.pack("<IQ", 10, 1), "'utf-8' codec"),
        (HEAD + struct.pack("<QQ", 1, 0) + tensor("t", [HUGE]), "is cut off: its tensors take 18446744073709551"),
        (HEAD + struct.pack("<QQ", 1, 0) + tensor("t", [2**32] * 4), "is cut off: its tensors take"),
        (HEAD + struct.pack("<QQ", 1, 0) + tensor("t", [8], place=HUGE) + b"\0" * 99, "is cut off: its tensors take"),
        (HEAD + struct.pack("<QQ", 3, 0) + b"".join(tensor(n, [16]) for n in "abc") + b"\0" * 99, "is cut off: its tensors take"),
        (HEAD + struct.pack("<QQ", 1, 0) + tensor("t", [0]) + b"\0" * 99, "tensor 't' of shape [0] is not of whole blocks"),
        (
            HEAD + struct.pack("<QQ", 1, 0) + tensor("t", [33], kind=8) + b"\0" * 99,
            "tensor 't' of shape [33] is not of whole blocks",
        ),
        (
            HEAD + struct.pack("<QQ", 1, 0) + tensor("t", [8], kind=99) + b"\0" * 99,
            "tensor 't' is of type 99, which is not known",
        ),
        (HEAD + struct.pack("<QQ", 1, 0) + tensor("t", [1] * 9), "tensor 't' stands there twice or has 9 dimensions"),
        (HEAD + struct.pack("<QQ", 2, 0) + tensor("t", [8]) * 2 + b"\0" * 99, "tensor 't' stands there twice"),
    ],
)
def test_a_header_that_lies_is_refused_before_memory_is_taken_for_it(content: bytes, told: str, tmp_path: Path) -> None:
    assert refused(tmp_path / "one.gguf", content).startswith(told)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 255)), min_size=1, max_size=6))
def test_whatever_bytes_a_header_holds_it_is_read_or_refused_in_one_line(
    changes: list[tuple[int, int]], file: Path, tmp_path: Path
) -> None:
    content = bytearray(file.read_bytes())
    for place, value in changes:
        content[place] = value
    changed = tmp_path / f"{digest_of(changes)}.gguf"  # a name of its own: a header is read once a file
    changed.write_bytes(content)
    header = None
    with contextlib.suppress(BadInput):
        header = read_header(changed)
    assert header is None or header.params <= len(content) * 8  # no number takes less than a bit

"""A model that is one GGUF file: what its header tells, and the model folder that is made of it.

Knows the container (magic, metadata, a table of tensors, their bytes) and holds every count, length and place in it against the size of
the file before memory is taken for it: numbers and strings are read, nothing is run. Leaves to transformers which of its architectures a
file holds and what the tensors of each mean, and to `gguf` how the bits of a quantised block become numbers.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from pathlib import Path
from typing import Any

from configs.problems import BadInput, accepted
from model_registry.digests import stamp

SUFFIX = ".gguf"
VERSIONS = (2, 3)
FLOAT = ("F32", "F16", "BF16")  # types that hold numbers, not blocks
SCALED = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")

# More than any model's header holds. The largest vocabularies are of 262,144 tokens, chat templates of 20 kB.
LONGEST_STRING, LONGEST_ARRAY, MOST_ITEMS, MOST_DIMENSIONS = 2**20, 2**21, 2**22, 4
STRING, ARRAY = 8, 9
NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}  # by their types in the file

# How a byte-level vocabulary parts text before it merges, by llama.cpp's names. transformers knows some more of its own
# (`GGUF_PRE_TOKENIZER_SPLITS`) and takes every other for GPT-2's, which would ask a model what it never read.
LIKE_GPT2 = ("", "default", "gpt-2", "phi-2", "mpt", "olmo", "jina-es", "jina-de", "trillion")
DIGIT_BY_DIGIT = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")


@dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple[int, ...]
    kind: str  # F32, F16, Q4_1 …

    @property
    def elements(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class Header:
    """What stands before the tensors' bytes: `metadata` without its arrays, whose lengths are in `lengths`."""

    metadata: Mapping[str, Any]
    lengths: Mapping[str, int]
    tensors: tuple[Tensor, ...]

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))

    @property
    def name(self) -> str:
        return str(self.metadata.get("general.name") or "unnamed")

    @property
    def licence(self) -> str | None:
        stated = self.metadata.get("general.license")
        return stated if isinstance(stated, str) and stated.strip() else None

    @property
    def context(self) -> int:
        """Tokens that the model reads at most. Raises ValueError where the file does not tell."""
        told = self.metadata.get(f"{self.architecture}.context_length")
        if not isinstance(told, int) or told < 1:
            raise ValueError(f"{self.architecture}.context_length is {told!r}; a number of tokens is required")
        return told

    @property
    def rows(self) -> int:
        """Of the embedding. Raises ValueError where the file has none."""
        found = next((tensor.shape for tensor in self.tensors if tensor.name == "token_embd.weight"), ())
        if len(found) != 2:
            raise ValueError("holds no token_embd.weight of two dimensions; one is required")
        return found[1]

    @cached_property
    def params(self) -> int:
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def quantised(self) -> str | None:
        """The type that most numbers are stored in, `Q4_1`; None where they are stored as numbers."""
        most: Counter[str] = Counter()
        for tensor in self.tensors:
            most[tensor.kind] += tensor.elements
        kind = most.most_common(1)[0][0]
        return None if kind in FLOAT else kind


def is_one(place: Path) -> bool:
    """By its name; a folder may have any."""
    return place.suffix == SUFFIX and not place.is_dir()


def read_header(path: Path) -> Header:
    """Read and check all of a file but its weights.

    Raises:
        BadInput: it is no GGUF file of a kind that can be read, it is cut off, or it counts more than it holds: one line.
    """
    try:
        return _header(*stamp(path))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; a GGUF file is required") from None
    except (_Malformed, UnicodeDecodeError, ValueError) as error:  # mmap's, of an empty file, is a ValueError
        raise BadInput(f"{path}: {error}; a whole GGUF file of version {VERSIONS[0]} or {VERSIONS[1]} is required") from None


@lru_cache(maxsize=8)  # one that did not change is read once: 98,000 strings of a vocabulary take 0.4 s
def _header(path: Path, size: int, changed: int) -> Header:
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _Reader(data).header()


class _Malformed(Exception):
    """What is wrong, in words."""


class _Reader:
    """Walks over a mapped file. Nothing is taken from it whose end does not lie inside."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at, self.items = data, 0, 0

    def header(self) -> Header:
        if self.data[:4] != b"GGUF":
            raise _Malformed("does not begin with GGUF")
        self.at = 4
        if (version := self.number("I")) not in VERSIONS:
            raise _Malformed(f"is of GGUF version {version}")
        tensors, entries = self.number("Q"), self.number("Q")
        self.require(entries, 13, "entries")  # a key's length, a type and a byte
        self.require(tensors, 32, "tensors")
        metadata: dict[str, Any] = {}
        lengths: dict[str, int] = {}
        for _ in range(entries):
            key, kind = self.string("a key"), self.number("I")
            if key in metadata or key in lengths:
                raise _Malformed(f"holds {key[:80]!r} twice")
            if kind == ARRAY:
                lengths[key] = self.array(key)
            else:
                metadata[key] = self.scalar(kind, key)
        return Header(metadata, lengths, self.table(tensors, metadata.get("general.alignment", 32)))

    def table(self, count: int, alignment: Any) -> tuple[Tensor, ...]:
        import gguf

        if not isinstance(alignment, int) or not 0 < alignment <= 2**20:
            raise _Malformed(f"general.alignment is {alignment!r}")
        found: dict[str, Tensor] = {}
        ends, held = 0, 0
        for _ in range(count):
            name = self.string("a tensor's name")
            dimensions = self.number("I")
            if name in found or not 0 < dimensions <= MOST_DIMENSIONS:
                raise _Malformed(f"tensor {name[:80]!r} stands there twice or has {dimensions} dimensions")
            shape, number, place = tuple(self.number("Q") for _ in range(dimensions)), self.number("I"), self.number("Q")
            try:
                kind = gguf.GGMLQuantizationType(number)
            except ValueError:
                raise _Malformed(f"tensor {name[:80]!r} is of type {number}, which is not known") from None
            per_block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
            tensor = Tensor(name, shape, kind.name)
            if 0 in shape or shape[0] % per_block:
                raise _Malformed(f"tensor {name[:80]!r} of shape {list(shape)} is not of whole blocks")
            found[name] = tensor
            size = tensor.elements // per_block * block_bytes
            ends, held = max(ends, place + size), held + size
        if not found:
            raise _Malformed("holds no tensor")
        begins = -(-self.at // alignment) * alignment
        for needed in (ends, held):  # no further than the file goes, and no byte for two tensors
            if needed > len(self.data) - begins:
                raise _Malformed(f"is cut off: its tensors take {begins + needed} bytes, the file has {len(self.data)}")
        return tuple(found.values())

    def require(self, count: int, each: int, what: str) -> None:
        if count * each > len(self.data) - self.at:
            raise _Malformed(f"is cut off: it counts {count} {what} where {len(self.data) - self.at} bytes are left")

    def number(self, form: str) -> Any:
        size = struct.calcsize(f"<{form}")
        self.require(1, size, "number")
        (value,) = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += size
        return value

    def string(self, what: str) -> str:
        length = self.number("Q")
        if length > LONGEST_STRING:
            raise _Malformed(f"{what[:80]} is a string of {length} bytes, {LONGEST_STRING} at most are accepted")
        self.require(length, 1, "bytes")
        self.at += length
        return self.data[self.at - length : self.at].decode("utf-8")

    def scalar(self, kind: int, key: str) -> Any:
        if kind == STRING:
            return self.string(key)
        if kind not in NUMBERS:
            raise _Malformed(f"{key[:80]!r} is of type {kind}, which is not known")
        return self.number(NUMBERS[kind])

    def array(self, key: str) -> int:
        """Passed over; how many items it has."""
        kind, count = self.number("I"), self.number("Q")
        self.items += count
        if count > LONGEST_ARRAY or self.items > MOST_ITEMS:
            raise _Malformed(f"{key[:80]!r} has {count} items, {LONGEST_ARRAY} at most and {MOST_ITEMS} in all are accepted")
        if kind == STRING:
            self.require(count, 8, "strings")
            for _ in range(count):
                self.string(key)
        elif kind in NUMBERS:
            size = struct.calcsize(f"<{NUMBERS[kind]}")
            self.require(count, size, "numbers")
            self.at += count * size
        else:
            raise _Malformed(f"{key[:80]!r} is an array of type {kind}, of which none is accepted")
        return count


# ---- as a model folder --------------------------------------------------------------------------------------------------------


def require_usable(path: Path) -> Header:
    """The header of a file that transformers can make a language model of, as far as can be told before its weights are read.

    Raises:
        BadInput: of an architecture, with a tokenizer or with a quantisation that is not read here: one line.
    """
    import gguf
    import numpy as np
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    header = read_header(path)
    if (given := header.architecture) not in GGUF_SUPPORTED_ARCHITECTURES:
        raise BadInput(f"{path}: architecture {given!r}; {accepted(given, sorted(GGUF_SUPPORTED_ARCHITECTURES))}")
    if "tokenizer.ggml.tokens" not in header.lengths:
        raise BadInput(f"{path}: holds no tokenizer; a file with tokenizer.ggml.tokens is required")
    if header.metadata.get("tokenizer.ggml.model") == "gpt2":
        parted = str(header.metadata.get("tokenizer.ggml.pre", ""))
        known = (*LIKE_GPT2, *DIGIT_BY_DIGIT, *GGUF_PRE_TOKENIZER_SPLITS)
        if parted not in known:
            raise BadInput(f"{path}: tokenizer.ggml.pre {parted!r}; {accepted(parted, sorted(filter(None, known)))}")
    scaling = header.metadata.get(f"{given}.rope.scaling.type", "none")
    if scaling != "none" or any(tensor.name in SCALED for tensor in header.tensors):
        raise BadInput(f"{path}: scales its positions ({scaling}), which transformers does not read; a file without is required")
    for name in sorted({tensor.kind for tensor in header.tensors}):
        kind = gguf.GGMLQuantizationType[name]
        try:
            gguf.dequantize(np.zeros(gguf.GGML_QUANT_SIZES[kind][1], dtype=np.uint8), kind)
        except NotImplementedError:
            raise BadInput(
                f"{path}: holds tensors of {name}, which `gguf` does not read back; another quantisation is required"
            ) from None
    return header


def dequantise(path: Path, folder: Path) -> Header:
    """Make `folder` of the file, in float32: what is quantised is read back to the numbers that its bits stand for, none is rounded.

    Takes 8 bytes a parameter of memory at most, beside the file itself.

    Raises:
        BadInput: the file cannot be used (`require_usable`).
        ValueError: its weights are not those that its configuration needs.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    header = require_usable(path)
    with _alone(path) as alone:
        config, tokenizer = _config(path, alone, header), _tokenizer(path, alone, header)
        model, told = AutoModelForCausalLM.from_pretrained(
            alone, gguf_file="model.gguf", config=config, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
        for kind in ("missing_keys", "mismatched_keys"):
            if told[kind]:
                raise ValueError(
                    f"{path}: {kind.replace('_', ' ')} ({sorted(map(str, told[kind]))[0]}, …); a file that holds all weights is required"
                )
        with torch.device("meta"):  # as loaded it remembers where it came from, and is not written down
            plain = AutoModelForCausalLM.from_config(config)
        plain.load_state_dict(model.state_dict(), assign=True)
        plain.tie_weights()
        plain.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return header


def load_tokenizer(path: Path) -> Any:
    """The tokenizer that a file holds, as transformers makes it, which parts text as the file says. Raises BadInput (`require_usable`)."""
    header = require_usable(path)
    with _alone(path) as alone:
        return _tokenizer(path, alone, header)


@contextmanager
def _alone(path: Path) -> Iterator[Path]:
    """A folder in which the file lies alone, as `model.gguf`: what lies beside it (an adapter, settings of sampling) would be taken for its own."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.gguf").symlink_to(path.resolve())
        yield Path(folder)


def load_config(path: Path) -> Any:
    """Of the model in the file. Raises BadInput."""
    with _alone(path) as alone:
        return _config(path, alone, require_usable(path))


def _config(path: Path, alone: Path, header: Header) -> Any:
    """As transformers reads it, once its model is known to be no larger than what the file holds."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    layers = header.metadata.get(f"{header.architecture}.block_count")
    if not isinstance(layers, int) or not 0 < layers <= len(header.tensors):
        raise BadInput(f"{path}: {layers} layers and {len(header.tensors)} tensors; a layer without tensors is not accepted")
    with _refusing(path, "model"):
        config = AutoConfig.from_pretrained(alone, gguf_file="model.gguf", local_files_only=True)
        if hasattr(config, "head_dim") and (width := header.metadata.get(f"{header.architecture}.attention.key_length")):
            config.head_dim = width  # transformers 5.23 reads it of few architectures, and has 128 for every Qwen3
        if header.licence:
            config.license = header.licence  # where `folders.stated_licence` looks
        with torch.device("meta"):
            shaped = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    buffers = sum(buffer.numel() for buffer in shaped.buffers())
    if shaped.num_parameters() != header.params or buffers > max(header.params, 2**26):
        raise BadInput(
            f"{path}: its configuration is of a model of {shaped.num_parameters()} parameters, its tensors hold {header.params}; "
            "just these, none that transformers does not know, are required"
        )
    return config


def _tokenizer(path: Path, alone: Path, header: Header) -> Any:
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    with _refusing(path, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(alone, gguf_file="model.gguf", local_files_only=True)
    if header.metadata.get("tokenizer.ggml.pre") in DIGIT_BY_DIGIT:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    return tokenizer


@contextmanager
def _refusing(path: Path, what: str) -> Iterator[None]:
    """What the libraries raise of entries that do not fit each other, as one line that names the file."""
    from huggingface_hub.errors import StrictDataclassError

    try:
        yield
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, StrictDataclassError, TypeError, ValueError) as error:
        said = " ".join(str(error.__cause__ or error).split())[:200] or type(error).__name__
        raise BadInput(f"{path}: no {what} can be made of its entries ({said}); such as fit each other are required") from None

"""Loading a causal language model and its tokenizer from a folder, safely and with every last bit decided.

Knows how weights are opened (safetensors, else `.bin` through torch's weights-only unpickler; never a free pickle, never a
repository's own code) and which settings of torch make equal inputs give equal bits. Leaves fetching to `hub` and the question
of what a folder must hold to `folders`; their functions are named here too, for those who only load models.
"""

from __future__ import annotations

import os
import pickle
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_registry import gguf_file
from model_registry.folders import arm_folders, check_folder, fingerprint, prepared_folder, weight_files
from model_registry.hub import fetch_hub
from model_registry.lora import WEIGHTS, further

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "arm_folders",
    "check_folder",
    "fetch_hub",
    "fingerprint",
    "load_arm",
    "load_model",
    "load_tokenizer",
    "make_deterministic",
    "parameter_count",
    "prepared_folder",
]

PLAIN = "eager"  # attention, by transformers' name
PRECISIONS = {"fp32": "float32", "bf16": "bfloat16"}  # by their names in torch


def make_deterministic() -> None:
    """Let torch take kernels that repeat to the bit wherever it has them. Called before CUDA is first used.

    Where it has none it warns and goes on: on CUDA that is the cumulative sum, which OPT takes of ones and the drawing of tokens
    of numbers in double precision.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # with NaN, which the next line overwrites: 2 to 9 % of a step
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False


def load_tokenizer(place: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder or of a GGUF file, the end token padding: one that was added to the tokenizer alone would have no
    row in the embedding.

    Raises:
        ValueError: the tokenizer has no end token, so no completion could ever be seen to be complete.
    """
    from transformers import AutoTokenizer

    quiet()
    if gguf_file.is_one(place):
        tokenizer = gguf_file.load_tokenizer(place)
    else:
        tokenizer = AutoTokenizer.from_pretrained(str(place), local_files_only=True, trust_remote_code=False)
    if tokenizer.eos_token_id is None:
        raise ValueError(f"{place}: the tokenizer has no eos_token; one is required to end a completion")
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(
    folder: Path, *, precision: str, device: str, attention: str = PLAIN, adapter: Path | None = None
) -> PreTrainedModel:
    """The folder's model in evaluation mode, with the adapter on it if one is given. On CUDA, where several devices are visible, its layers are
    spread over them (accelerate's `dispatch_model`): a stage sees no more of them than it was given, and is given several where a model takes them.

    attention: the plain kind ("eager"), which exists for every architecture and whose backward pass repeats to the bit on every device, or the
    fused one ("sdpa"), in whose place an architecture that has none takes the plain one.

    Raises:
        ValueError: the folder cannot be loaded, its weights do not fit its configuration, or a `.bin` holds more than tensors.
    """
    from transformers import AutoModelForCausalLM

    check_folder(folder)
    weights = weight_files(file.name for file in folder.iterdir())
    spread = {"device_map": "auto"} if device == "cuda" and _devices() > 1 else {}
    try:
        model, told = open_weights(AutoModelForCausalLM, folder, precision, attention, **spread)
    except pickle.UnpicklingError:
        raise ValueError(
            f"{folder}: {weights[0]} holds more than tensors; a file that torch opens with weights_only is required"
        ) from None
    # transformers fills what it does not find with random numbers and goes on
    for kind in ("missing_keys", "mismatched_keys"):
        if told[kind]:
            raise ValueError(
                f"{folder}: weights have {kind.replace('_', ' ')} ({sorted(map(str, told[kind]))[0]}, …); weights that fit config.json are required"
            )
    _settle(model if spread else model.to(device))
    return model if adapter is None else put_adapter(model, adapter)


def hollow_model(folder: Path, *, precision: str, attention: str = PLAIN) -> PreTrainedModel:
    """What `load_model` makes of the folder's configuration: its weights have shapes and no numbers (torch's meta device), its buffers are whole."""
    import torch
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    quiet()
    config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    if attention != PLAIN and not _has_fused(AutoModelForCausalLM, folder):
        attention = PLAIN
    with init_empty_weights():
        model = AutoModelForCausalLM.from_config(
            config, trust_remote_code=False, dtype=getattr(torch, PRECISIONS[precision]), attn_implementation=attention
        )
    model.tie_weights()  # again: each was emptied by itself
    _settle(model)
    return model


def _settle(model: PreTrainedModel) -> None:
    model.config.name_or_path = ""  # a path of this machine, which would be saved along
    model.name_or_path = ""
    model.eval()
    if (output := model.get_output_embeddings()) is not None:
        output.register_forward_pre_hook(_evenly_spaced)


def _evenly_spaced(_output: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Before the output layer of a vocabulary: what it reads, with no gaps between the rows.

    Where logits of the last tokens alone are asked for, it reads a slice. Torch (2.13) copies frozen weights once a row for that, and a base under
    an adapter is frozen: the output layer of SmolLM2's shape in bf16 took 107 ms instead of 19 for 2 × 60 tokens, 3.4 s instead of 13 ms for the
    last of 64 prompts. Of a single row it copies nothing, and takes 63 ms for 100 tokens.
    """
    read, *rest = given
    return (read.flatten(0, -2).view(read.shape), *rest)


def open_weights(auto: Any, folder: Path, precision: str, attention: str = PLAIN, **options: Any) -> tuple[Any, dict[str, Any]]:
    """A model of one of transformers' auto classes, and what its loading told: the one place that says how weights may be opened.

    No free pickle, no code of a repository, nothing from the hub.
    """
    import torch

    quiet()
    if attention != PLAIN and not _has_fused(auto, folder):
        attention = PLAIN
    weights = weight_files(file.name for file in folder.iterdir())
    model, told = auto.from_pretrained(
        str(folder),
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=weights[0].startswith("model.safetensors"),
        weights_only=True,
        dtype=getattr(torch, PRECISIONS[precision]),
        attn_implementation=attention,
        output_loading_info=True,
        **options,
    )
    return model, told


def _devices() -> int:
    import torch

    return torch.cuda.device_count()


def _has_fused(auto: Any, folder: Path) -> bool:
    """Whether transformers has the fused attention for the folder's architecture."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    kind = auto._model_mapping.get(type(config), None)
    return bool(getattr(kind[0] if isinstance(kind, tuple) else kind, "_supports_sdpa", False))


def load_arm(prepared: Path, tuned: Path | None, *, precision: str, device: str, attention: str = PLAIN) -> Any:
    """The model of one arm: the prepared one, the tuned one, or the prepared one with the tuned adapter on it (`arm_folders`)."""
    weights, adapter = arm_folders(prepared, tuned)
    return load_model(weights, precision=precision, device=device, attention=attention, adapter=adapter)


def put_adapter(model: Any, adapter: Path, name: str = "default", *, to_tune: bool = False) -> Any:
    """A PEFT model: `model` with the adapter on it, beside those that it has; the one named last is used. `unload()` gives the model
    without any back as it was.

    Plain LoRA is brought to the model's precision, in which sampling multiplies it too: in fp32 on a bf16 model, a pass takes up to twice as
    long. What is to be tuned, and every other kind of adapter, keeps the precision that it was tuned in.

    Raises:
        ValueError: the adapter's weights are not safetensors, or are not those that its configuration puts on this model.
    """
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict
    from safetensors import SafetensorError, safe_open

    import model_registry.bottleneck  # noqa: F401  # an adapter may be of it
    from model_registry.virtual_tokens import KINDS, VirtualTokens

    if not (weights := adapter / WEIGHTS).is_file():
        raise ValueError(f"{adapter}: {WEIGHTS} is missing; an adapter in safetensors is required")
    try:
        with safe_open(weights, "pt") as stream:
            given = {key: tuple(stream.get_slice(key).get_shape()) for key in stream.keys()}  # noqa: SIM118
        config = PeftConfig.from_pretrained(str(adapter))
        wide = to_tune or further(adapter) is not None
        if isinstance(model, PeftModel):
            adapted = model
            adapted.add_adapter(name, config, autocast_adapter_dtype=wide)
        else:
            adapted = (VirtualTokens if config.peft_type in KINDS else PeftModel)(
                model, config, name, autocast_adapter_dtype=wide
            )
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        first_line = (str(error).splitlines() or [""])[0]
        raise ValueError(f"{adapter}: no adapter of this model ({first_line}); one that was tuned on it is required") from None
    wanted = {
        key: tuple(weight.shape)
        for key, weight in get_peft_model_state_dict(adapted, adapter_name=name, save_embedding_layers=False).items()
    }
    # PEFT leaves out what it does not find and passes over what it does not know
    if wrong := sorted(key for key in given.keys() | wanted.keys() if given.get(key) != wanted.get(key)):
        how = f"{given.get(wrong[0], 'missing')} where {wanted.get(wrong[0], 'none')} belongs"
        raise ValueError(
            f"{weights}: {len(wrong)} keys are not those of this model ({wrong[0]}: {how}); the adapter of this base is required"
        )
    adapted.load_adapter(str(adapter), name, is_trainable=False, autocast_adapter_dtype=wide)
    adapted.set_adapter(name)
    return adapted.eval()


def parameter_count(folder: Path) -> int:
    """How many parameters the folder's model has, tied ones once; told from its configuration, without reading weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    quiet()
    config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False).num_parameters()


def quiet() -> None:
    """Keep the libraries' progress bars and advice off the screen; what matters of it is checked and raised here."""
    from transformers.utils import logging

    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|peft")  # of one to the other
    logging.disable_progress_bar()
    logging.set_verbosity_error()

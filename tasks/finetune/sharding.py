"""A model whose weights, gradients and moments lie over the ranks of a group: torch's `fully_shard` (FSDP2).

Each rank holds a share of every weight, as a DTensor, and has a layer's whole weights only while it computes with them. So every rank runs
the Trainer as if it were alone: optimiser, clipping (the norm is over all shares) and checkpoints (of its own share) need to know of no other.
accelerate's plugin wraps the same function, but not on a CPU (1.15 knows no FSDP there), and transformers' own has no plan for GPT-2, OPT
or GPT-NeoX and does not resume (5.23); torch's own is the same on gloo and on NCCL. Without a group, every function here changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from model_registry.folders import arm_folders
from model_registry.loading import hollow_model
from tasks.contract import Job
from tasks.finetune.methods import Method
from tasks.finetune.start import begin


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def ranks() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def own(job: Job) -> Job:
    """The job as a rank has it: the first one writes and tells; what the others write is theirs, in a folder that goes with the scratch."""
    if rank() == 0:
        return job
    work = job.scratch / f"rank-{rank()}"
    work.mkdir(exist_ok=True)
    return replace(job, work=work, progress=lambda done, total, unit: None, say=lambda text: None)


def begun(job: Job, method: Method) -> tuple[Any, Callable[[], AbstractContextManager[Any]]]:
    """The model that tuning begins with (`begin`), over all ranks, and what gives the whole model as it stands, for a block: on the first rank;
    None on the others. The first one loads it, and keeps no more than its share. All ranks call both."""
    if ranks() == 1:
        model = begin(job, method)
        return model, lambda: nullcontext(model)
    weights, _ = arm_folders(job.inputs["model"], job.inputs.get("start"))
    on_cpu = replace(job.numerics, device="cpu", precision="fp32")
    whole = begin(replace(job, numerics=on_cpu), method) if rank() == 0 else None
    model = hollow_model(weights, precision=on_cpu.precision, attention=on_cpu.attention)
    _shard(model, job.numerics.device)
    numbers = whole.state_dict() if whole is not None else {}
    set_model_state_dict(model, numbers, options=StateDictOptions(full_state_dict=True, broadcast_from_rank0=True))
    if whole is not None:
        whole.to("meta")
        model.config = whole.config  # in which the Trainer notes what is saved
    return model, partial(_gathered, model, whole)


@contextmanager
def _gathered(model: Any, hollow: Any) -> Iterator[Any]:
    """`hollow`: the whole model without numbers, where it is wanted: with its class and all that is saved beside weights."""
    numbers = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if hollow is not None:
        hollow.load_state_dict(numbers, assign=True)
        hollow.tie_weights()
        del numbers
    yield hollow
    if hollow is not None:
        hollow.to("meta")


def _shard(model: Any, device: str) -> None:
    """Layer by layer, so that one at a time is whole. Weights get memory, and no numbers; buffers keep theirs."""
    buffers = {name: buffer.to(device) for name, buffer in model.named_buffers()}
    mesh = init_device_mesh(device, (ranks(),))
    layers = set(model._no_split_modules or ())
    for module in [one for one in model.modules() if type(one).__name__ in layers]:
        fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh, reshard_after_forward=True)  # else it stays whole after a pass that none goes backward from
    model.to_empty(device=device)
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])


def local(weight: torch.Tensor) -> torch.Tensor:
    """This rank's share of a weight, in the same memory."""
    return weight.to_local() if isinstance(weight, DTensor) else weight


def summed(number: torch.Tensor) -> torch.Tensor:
    """Over all ranks."""
    if ranks() > 1:
        dist.all_reduce(number)
    return number


def least(number: int) -> int:
    """Of what the ranks have."""
    if ranks() == 1:
        return number
    found = torch.tensor(number)
    dist.all_reduce(found, dist.ReduceOp.MIN)
    return int(found)


def diverge() -> None:
    """From here on each rank draws random numbers of its own (dropout): which they are follows from the seed."""
    if ranks() > 1:
        torch.manual_seed(int(torch.randint(2**62, (ranks(),))[rank()]))

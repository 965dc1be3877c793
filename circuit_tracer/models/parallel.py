"""A model that one GPU cannot hold: spread by layers in one process, or by heads over several.

A device map (accelerate) puts whole layers on different GPUs. Tensor parallelism (transformers')
gives every process that `torchrun` started a slice of each layer's heads and neurons; all of them
run the same trace, and nnsight shows them whole activations. Whoever reads a weight asks for it
with `whole`, and all processes must ask for the same ones in the same order.

Embedding and unembedding stay whole in every process: attribution reads them anyway, and nnsight
cannot watch an embedding that is cut by vocabulary.
"""

from __future__ import annotations

import atexit
import importlib.util
import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from circuit_tracer.errors import ModelError, UsageError
from circuit_tracer.models.parts import Paths
from circuit_tracer.processes import processes

_WHOLE = "replicated_with_grad_allreduce"
"""transformers' name for a module of which every process keeps all; without gradients that is all
it does."""


def whole(tensor: Tensor) -> Tensor:
    """A weight without gradient, put together where each process holds a slice of it."""
    full = getattr(tensor, "full_tensor", None)
    return (tensor if full is None else full()).detach()


def whole_heads(pattern: Tensor, module: Any, n_heads: int) -> Tensor:
    """Attention patterns (*, H, T, T) of all heads, where each process computed some of them.

    Families with a norm over all queries together (OLMo 2) attend with all heads everywhere.
    """
    mesh = tensor_mesh(module)
    if mesh is None or pattern.shape[-3] == n_heads:
        return pattern
    from torch.distributed.tensor import DTensor, Shard

    cut = DTensor.from_local(pattern.contiguous(), mesh, [Shard(pattern.ndim - 3)], run_check=False)
    return cut.full_tensor()


def tensor_mesh(module: Any) -> Any | None:
    """The processes a module's layers are cut over; None for a module that is whole."""
    mesh = getattr(module, "_device_mesh", None)
    if mesh is not None and mesh.mesh_dim_names and "tp" in mesh.mesh_dim_names:
        mesh = mesh["tp"]
    return None if mesh is None or mesh.size() == 1 else mesh


def is_finite(parameter: Float[Tensor, "..."]) -> bool:
    """Whether a parameter has neither NaN nor infinities; the same answer in every process."""
    # Every element enters the sum, and summing is several times faster than asking each one.
    total = whole(parameter.detach().sum())
    return bool(torch.isfinite(total)) or bool(torch.isfinite(whole(parameter)).all())


def tensor_parallel_options(config: Any, paths: Paths, device: str) -> dict[str, Any]:
    """What `from_pretrained` needs to cut a model over the processes of `torchrun`.

    Raises UsageError without `torchrun` and for a device that is not the accelerator's, ModelError
    for a model that cannot be cut into that many equal pieces.
    """
    count = processes().count
    if count < 2:
        raise UsageError(
            "tensor parallelism needs several processes; start it with "
            "torchrun --nproc-per-node 2 --no-python circuit-tracer trace ..."
        )
    accelerator = str(torch._C._get_accelerator().type)
    if device not in ("auto", accelerator):
        raise UsageError(
            f'under torchrun every process takes its own {accelerator} device, so "{device}" '
            "cannot be asked for; leave out `device` (CUDA_VISIBLE_DEVICES= hides the GPUs)"
        )
    pieces = _pieces(config)
    if not pieces or pieces % count:
        sizes = ", ".join(str(n) for n in range(2, pieces + 1) if pieces % n == 0)
        raise ModelError(
            f"this model cannot be cut into {count} equal pieces: its heads and neurons allow "
            f"{sizes or 'none'}; "
            + (f"start as many processes as one of {sizes}" if sizes else "start one process")
            + ", or use `device_map` auto without torchrun"
        )
    from transformers.distributed.configuration_utils import DistributedConfig

    _lend_plan_matcher()
    atexit.register(_leave)
    plan = {paths.embedding: _WHOLE, paths.head: _WHOLE}
    return {"distributed_config": DistributedConfig(tp_size=count, tp_plan=plan)}


def device_map_options(device_map: str) -> dict[str, Any]:
    """What `from_pretrained` needs to spread layers; raises ModelError without accelerate."""
    choices = ("auto", "balanced", "balanced_low_0", "sequential")
    if device_map not in choices:
        raise UsageError(f'unknown device map "{device_map}"; choose one of {", ".join(choices)}')
    if importlib.util.find_spec("accelerate") is None:
        raise ModelError("a device map needs the package accelerate; pip install accelerate")
    return {"device_map": device_map}


def check_loaded(module: Any, name: str) -> None:
    """ModelError for a device map that left layers on the disk or beside the GPUs."""
    places = {str(place) for place in getattr(module, "hf_device_map", {}).values()}
    if "disk" in places or ("cpu" in places and len(places) > 1):
        raise ModelError(
            f"{name} does not fit into the GPUs here (parts of it were left on "
            f"{'the disk' if 'disk' in places else 'the CPU'}); use more GPUs or `device` cpu"
        )


def _pieces(config: Any) -> int:
    """The largest number of equal pieces; every divisor of it works too."""
    if not getattr(config, "base_model_tp_plan", None):
        return 0
    sizes = [config.num_attention_heads, getattr(config, "num_key_value_heads", None)]
    sizes.append(getattr(config, "intermediate_size", None))
    return math.gcd(*(int(size) for size in sizes if size))


def _lend_plan_matcher() -> None:
    """Let nnsight 0.8.1 find a function that transformers 5.23 moved; all else fits together."""
    from transformers.distributed import tensor_parallel

    if not hasattr(tensor_parallel, "_get_parameter_plan"):
        from transformers.distributed import parallel_utils

        tensor_parallel._get_parameter_plan = parallel_utils._get_parameter_plan


def _leave() -> None:
    """Take leave of the other processes, or torch warns at exit."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()

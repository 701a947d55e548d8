"""FSDP2: frozen weights that one GPU cannot hold, a part of them on each.

Every block is gathered before it computes and given back after it. Adapters are small and stay
whole in every process, so that their gradients are added up as without sharding (trainer.py), and
checkpoints and results are the same files.

torch's own `fully_shard` on the processes that accelerate started: accelerate's plugin would want
to prepare the optimiser and average gradients too, and does not start without GPUs.
"""

from typing import Any

from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from omgsr.models.backbones import compact
from omgsr.training.processes import Processes


def shard(denoiser: Any, processes: Processes) -> None:
    """Leaves in this process its share of the frozen weights, on its device.

    All processes must then compute with the denoiser equally often. Raises ValueError for a single
    process, which has nobody to share with, and for weights in 4 bits.
    """
    if processes.count < 2:
        raise ValueError(
            "train.shard: true, but there is one process; start several (OMGSR_LAUNCH, README) or "
            "set train.shard to false"
        )
    if compact.quantised(denoiser):
        raise ValueError(
            "train.shard: true, but foundation.quantise is set: weights in 4 bits are not shared; "
            "set one of the two to null or false"
        )
    mesh = init_device_mesh(processes.device.type, (processes.count,))
    whole = {p for name, p in denoiser.named_parameters() if "lora_" in name}
    network: nn.Module = denoiser.get_base_model()
    for part in (*compact.blocks(network), network):
        fully_shard(part, mesh=mesh, ignored_params=whole)

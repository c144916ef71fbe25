# Copyright 2026 depthrefl_ros contributors
# SPDX-License-Identifier: Apache-2.0
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""Several processes that train one network together, as torchrun starts them.

Every process runs its share of the batch through the network. The losses are not averages of the
processes' own losses, which would weigh images by how little truth they have and is not even
defined for SILog: outputs and truth of all processes are gathered, and every process computes the
loss of the whole batch, with a gradient through its own share only. The sum of the processes'
gradients is then exactly the gradient of the whole batch's loss. DistributedDataParallel averages
gradients, so the loss is multiplied by the number of processes before the backward pass.

What differs from one process is BatchNorm's batch: on CUDA it is the whole batch as well
(SyncBatchNorm); on CPUs, where PyTorch has no such layer, each process normalises with the
statistics of its own share, and the running statistics are those of process 0.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

# Process 0 validates while the others wait for it.
WAIT = datetime.timedelta(hours=1)


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: its number, from 0.
        world: how many there are.
        device: where its network is.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def is_main(self) -> bool:
        """Whether this one logs, validates and saves."""
        return self.rank == 0

    def prepare(self, model: nn.Module) -> nn.Module:
        """Return the model with BatchNorm over all processes where that exists."""
        if self.world > 1 and self.device.type == "cuda":
            return nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return model

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return the module so that gradients are averaged over the processes."""
        if self.world == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices)

    def gather(self, tensor: Tensor) -> Tensor:
        """Return (N, ...) of all processes from (n, ...) of each, in the order of their ranks.

        A gradient flows to this process's own part only.
        """
        if self.world == 1:
            return tensor
        own = tensor.detach().contiguous()
        parts = [torch.empty_like(own) for _ in range(self.world)]
        distributed.all_gather(parts, own)
        parts[self.rank] = tensor
        return torch.cat(parts)

    def decide(self, flag: bool) -> bool:
        """Return process 0's flag, in all processes."""
        if self.world == 1:
            return flag
        decision = torch.tensor([flag], dtype=torch.uint8, device=self.device)
        distributed.broadcast(decision, src=0)
        return bool(decision.item())


@contextlib.contextmanager
def joined(device: str = "auto") -> Iterator[Processes]:
    """Join the processes that torchrun has started; without torchrun there is only this one.

    Args:
        device: ``cpu``, ``cuda`` or ``auto``, which is CUDA where there is any.

    Raises:
        ValueError: CUDA is asked for and there is none, or too few devices for the processes.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda', and PyTorch finds no CUDA device")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device == "cuda" and local >= torch.cuda.device_count():
        raise ValueError(
            f"process {local} of this machine has no CUDA device; there are "
            f"{torch.cuda.device_count()}"
        )
    place = torch.device(device, local) if device == "cuda" else torch.device("cpu")
    if world == 1:
        yield Processes(device=place)
        return
    if device == "cuda":
        torch.cuda.set_device(place)
    distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=WAIT)
    try:
        yield Processes(distributed.get_rank(), world, place)
    finally:
        distributed.destroy_process_group()

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

"""Run by torchrun: one step's gradient, then two more steps, of this process's share.

Arguments: a plain folder, the stage, and a folder that gets ``RANK.pt``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from small_network import make_trainer

from depthrefl_ros.training.augment import Augmenter
from depthrefl_ros.training.batches import StepBatches
from depthrefl_ros.training.datasets import PlainFolder
from depthrefl_ros.training.distributed import Processes, joined


def train(processes: Processes, data: Path, stage: int) -> dict[str, dict[str, torch.Tensor]]:
    """Return gradients of the first step before clipping, and the weights after three steps."""
    torch.set_num_threads(1)
    # With BatchNorm's batch left out of it, shares and whole must agree.
    trainer = make_trainer(stage, processes=processes, freeze_norm=True, clip_norm=1e9)
    batches = StepBatches(
        [(PlainFolder(data), 1.0)], Augmenter(64, 64), seed=1, steps=3, batch=4,
        rank=processes.rank, world=processes.world,
    )  # fmt: skip
    losses = [trainer.train_step(batches[0])["loss"]]
    gradients = {
        name: parameter.grad.clone()
        for name, parameter in trainer.model.named_parameters()
        if parameter.grad is not None
    }
    losses += [trainer.train_step(batches[step])["loss"] for step in (1, 2)]
    weights = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    return {"gradients": gradients, "weights": weights, "losses": torch.tensor(losses)}


if __name__ == "__main__":
    with joined("cpu") as processes:
        result = train(processes, Path(sys.argv[1]), int(sys.argv[2]))
        torch.save(result, Path(sys.argv[3]) / f"{processes.rank}.pt")

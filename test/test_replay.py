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

"""A step's losses and gradients as one CUDA graph: what a GPU computes, and what a host can see.

Graphs need CUDA: those tests run where there is one and skip else.
"""

import copy
import logging

import pytest
import torch
from host_tensors import TensorsOfTheHost, noted
from small_network import CONFIG, MOUNT_CONFIG, make_trainer, told_network

from depthrefl_ros.network.model import create_model
from depthrefl_ros.training.distributed import Processes
from depthrefl_ros.training.train_settings import TrainSettings
from depthrefl_ros.training.trainer import StageNetwork, stage_losses

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
CUDA = Processes(device=torch.device("cuda", 0))


def random_batch(count=2, seed=0, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (count, 4, 64, 64), dtype=torch.uint8, generator=generator)
    return {
        "image": image.to(device),
        "depth_m": (0.5 + 4 * torch.rand((count, 1, 64, 64), generator=generator)).to(device),
        "focal_px": torch.full((count,), 60.0, device=device),
    }


@pytest.mark.parametrize("stage", [1, 2])
def test_a_second_step_takes_nothing_from_the_host(monkeypatch, stage):
    """A CUDA graph cannot capture a copy from the host's memory; no GPU is needed to see one."""
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _: False)  # no autocast of "meta"
    made = []
    for name in ("tensor", "as_tensor", "scalar_tensor", "from_numpy"):
        monkeypatch.setattr(torch, name, noted(getattr(torch, name), made))
    settings, model = TrainSettings(stage=stage, steps=2), create_model(MOUNT_CONFIG)
    network = StageNetwork(model.to("meta").train(), stage)
    batch = random_batch(device="meta")

    def step():
        output = network(batch["image"].float())
        losses = stage_losses(output, batch, model.config, settings)
        torch.stack(list(losses.values())).sum().backward()

    with TensorsOfTheHost() as tensors:
        step()
    assert tensors.operations and made  # the matrices that resize
    made.clear()
    with TensorsOfTheHost() as tensors:
        step()
    # The backward pass begins with a one that PyTorch makes where the sum is.
    assert tensors.operations == made == []


def test_a_cpu_has_no_graph():
    trainer = make_trainer(config=MOUNT_CONFIG)
    trainer.train_step(random_batch())
    assert not trainer.is_replayed


@needs_cuda
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("stage", [1, 2])
def test_a_replayed_step_is_the_step_itself(stage, bf16):
    settings = {"stage": stage, "bf16": bf16, "config": MOUNT_CONFIG, "processes": CUDA}
    replayed, eager = make_trainer(**settings), make_trainer(**settings)
    eager._replays = False
    for trainer in (replayed, eager):
        trainer.model.load_state_dict(told_network().state_dict())
    for step in range(4):
        batch = random_batch(seed=step)
        figures, wanted = (trainer.train_step(batch) for trainer in (replayed, eager))
        # Adam's first steps have the size of the rate whatever the gradient's, so that what is
        # rounded otherwise grows: a millionth of the weights moves the norm by half in two steps.
        if step:
            del figures["gradient_norm"], wanted["gradient_norm"]
        tolerance = 5e-2 if bf16 or step else 1e-3
        assert figures == pytest.approx(wanted, rel=tolerance), step
    assert replayed.is_replayed and not eager.is_replayed
    now, then = (dict(trainer.model.named_buffers()) for trainer in (replayed, eager))
    for name, value in now.items():
        assert torch.allclose(value, then[name], rtol=2e-2, atol=2e-2), name
        if name.endswith("num_batches_tracked"):
            assert value == 4, name


@needs_cuda
def test_a_batch_of_another_size_runs_without_the_graph():
    trainer = make_trainer(config=MOUNT_CONFIG, processes=CUDA)
    trainer.train_step(random_batch())
    replay = trainer._replay
    assert not replay.fits(random_batch(count=3))
    other = trainer.train_step(random_batch(count=3))
    again = trainer.train_step(random_batch())
    assert other["loss"] > 0 and again["loss"] > 0 and trainer._replay is replay


@needs_cuda
def test_what_cannot_be_captured_is_told_and_trains_on(caplog, monkeypatch):
    trainer = make_trainer(config=CONFIG, processes=CUDA)
    losses = trainer._losses

    def waits(batch):
        parts = losses(batch)
        if parts["silog"].item() < -1:  # asks the GPU for a number
            raise AssertionError
        return parts

    monkeypatch.setattr(trainer, "_losses", waits)
    before = copy.deepcopy(trainer.model.state_dict())
    batch = random_batch()
    batch["image"] = batch["image"][:, :3].contiguous()
    with caplog.at_level(logging.WARNING):
        trainer.train_step(batch)
    assert "training goes on without a CUDA graph" in caplog.text
    assert trainer.step == 1 and not trainer.is_replayed
    moved = trainer.model.state_dict()
    assert any(not torch.equal(moved[name], value) for name, value in before.items())

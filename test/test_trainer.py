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

"""One step at a time: it learns what it should, and refuses to go on from nonsense."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest
import torch
from dataset_folders import write_plain_folder
from small_network import MOUNT_CONFIG, make_trainer

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.floor_plane import camera_floor_depth, encode_floor
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.training.augment import Augmenter
from depthrefl_ros.training.batches import StepBatches
from depthrefl_ros.training.datasets import PlainFolder
from depthrefl_ros.training.train_settings import TrainSettings, rate_at
from depthrefl_ros.training.trainer import latest_checkpoint, update_average


@pytest.fixture
def batches(tmp_path):
    dataset = PlainFolder(write_plain_folder(tmp_path / "plain", count=4))
    return StepBatches([(dataset, 1.0)], Augmenter(64, 64), seed=1, steps=100, batch=2)


def test_stage_2_learns_a_simple_scene(batches):
    trainer = make_trainer(steps=40, learning_rate=3e-3, encoder_factor=1.0)
    # One batch over and over: how well it can be learnt at all.
    losses = [trainer.train_step(batches[0])["silog"] for _ in range(40)]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_stage_1_trains_the_backbone_only(batches):
    trainer = make_trainer(stage=1)
    before = {name: tensor.clone() for name, tensor in trainer.model.named_parameters()}
    figures = trainer.train_step(batches[0])
    assert set(figures) == {"loss", "relative", "gradient_norm", "rate"}
    changed = {
        name for name, now in trainer.model.named_parameters() if not torch.equal(now, before[name])
    }
    assert changed and all(name.startswith("backbone.") for name in changed)


def test_bfloat16_steps_are_finite(batches):
    figures = make_trainer(bf16=True).train_step(batches[0])
    assert all(math.isfinite(value) for value in figures.values())


def test_the_encoder_learns_slower():
    trainer = make_trainer(learning_rate=1e-2, encoder_factor=0.1)
    encoder = {id(p) for p in trainer.model.backbone.encoder.parameters()}
    for group in trainer.optimizer.param_groups:
        is_encoder = {id(p) in encoder for p in group["params"]}
        assert is_encoder == {group["base_lr"] < 5e-3}
        assert all((p.ndim > 1) == (group["weight_decay"] > 0) for p in group["params"])


def test_what_is_told_the_mount_learns_faster():
    trainer = make_trainer(config=MOUNT_CONFIG, learning_rate=1e-3, mount_factor=4.0)
    told = {id(p) for p in trainer.model.mount.parameters()}
    for group in trainer.optimizer.param_groups:
        is_told = {id(p) in told for p in group["params"]}
        assert is_told == {group["base_lr"] > 2e-3}
    assert max(group["base_lr"] for group in trainer.optimizer.param_groups) == 4e-3


def test_the_mount_can_be_learnt():
    """Equal pictures, of which only the plane says how far the floor is."""
    camera = Camera.pinhole(64, 64, 60.0, 60.0, 31.5, 31.5)
    planes = [camera_floor_depth(camera, Pose.from_mount(height, 0.7)) for height in (0.3, 1.2)]
    told = torch.from_numpy(np.stack([encode_floor(4 * plane) for plane in planes]))[:, None]
    image = torch.full((2, 3, 64, 64), 120, dtype=torch.uint8)
    batch = {
        "image": torch.cat([image, told], dim=1),
        "depth_m": torch.from_numpy(np.stack(planes)[:, None]).float(),
        "focal_px": torch.full((2,), 60.0),
        "names": ["low", "high"],
    }
    trainer = make_trainer(steps=60, config=MOUNT_CONFIG, learning_rate=3e-3)
    for _ in range(60):
        trainer.train_step({**batch})
    with torch.no_grad():
        depth = trainer.model.eval()(batch["image"].float()).depth
    known = batch["depth_m"][0] > 0
    ratio = (depth[1] / depth[0])[known].median()
    assert 2.5 < ratio < 6.0  # the truth is 4


def test_stage_1_leaves_alone_what_is_told_the_mount(batches):
    trainer = make_trainer(stage=1, config=MOUNT_CONFIG)
    trainer.train_step(batches[0])
    assert all(parameter.grad is None for parameter in trainer.model.mount.parameters())


def test_the_rate_warms_up_and_falls():
    settings = TrainSettings(stage=1, steps=100, warmup_steps=10)
    rates = [rate_at(step, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[10] == pytest.approx(1.0)
    assert all(a > b for a, b in zip(rates[10:], rates[11:], strict=False))
    assert rates[-1] < 0.02


def test_the_average_follows_weights_and_statistics():
    trainer = make_trainer()
    with torch.no_grad():
        for tensor in trainer.model.state_dict().values():
            tensor.fill_(3)
    before = {name: tensor.clone() for name, tensor in trainer.ema.state_dict().items()}
    update_average(trainer.ema, trainer.model, decay=0.75, step=1000)
    for name, tensor in trainer.ema.state_dict().items():
        if tensor.dtype.is_floating_point:
            assert torch.allclose(tensor, before[name] * 0.75 + 0.75), name
        else:
            assert (tensor == 3).all()


@pytest.mark.parametrize("freezes", [True, False])
def test_the_statistics_of_batch_norm_can_be_kept(batches, freezes):
    trainer = make_trainer(freeze_norm=freezes)
    before = {name: value.clone() for name, value in trainer.model.named_buffers()}
    trainer.train_step(batches[0])
    names = [name for name in before if name.endswith("running_var")]
    now = dict(trainer.model.named_buffers())
    assert names and all(torch.equal(now[name], before[name]) == freezes for name in names)


def test_a_frozen_module_stays_as_it_is_and_the_rest_learns(batches, tmp_path):
    trainer = make_trainer(freeze=("backbone.encoder",))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train_step(batches[0])
    now = trainer.model.state_dict()
    changed = {name for name in before if not torch.equal(now[name], before[name])}
    assert changed and not any(name.startswith("backbone.encoder.") for name in changed)
    assert {name.split(".")[0] for name in changed} == {"backbone", "reflector"}
    assert any(name.endswith("running_var") for name in changed)  # the decoder's statistics move
    again = make_trainer(freeze=("backbone.encoder",))
    again.restore(trainer.save(tmp_path))
    losses = [other.train_step(batches[1])["loss"] for other in (trainer, again)]
    assert losses[0] == losses[1]


def test_what_cannot_be_frozen_is_named():
    with pytest.raises(ValueError, match=r"--freeze 'encoder': .*backbone\.encoder.*reflector\."):
        make_trainer(freeze=("encoder",))
    with pytest.raises(ValueError, match="--freeze backbone reflector: nothing is left"):
        make_trainer(freeze=("backbone", "reflector"))


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(batches):
    trainer = make_trainer()
    with torch.no_grad():
        trainer.model.reflector.bins.logits[-1].bias.fill_(math.nan)
    before = trainer.model.backbone.encoder._conv_stem.weight.clone()
    names = ", ".join(batches.names(0))
    with pytest.raises(
        FloatingPointError, match=f"step 0: .*loss nan.*images of the batch: {names}"
    ):
        trainer.train_step(batches[0])
    assert torch.equal(trainer.model.backbone.encoder._conv_stem.weight, before)


def test_a_gradient_that_is_not_finite_stops_before_the_weights_change(batches):
    trainer = make_trainer()
    weight = trainer.model.backbone.encoder._conv_stem.weight
    weight.register_hook(lambda gradient: gradient * math.inf)
    before = weight.detach().clone()
    with pytest.raises(FloatingPointError, match="step 0: .*gradient_norm (inf|nan)"):
        trainer.train_step(batches[0])
    assert torch.equal(weight, before)


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    trainer = make_trainer()
    kept = trainer.save(tmp_path)
    trainer.step = 1
    with torch.no_grad():
        trainer.model.backbone.encoder._conv_stem.weight[0, 0, 0, 0] = math.inf
    with pytest.raises(FloatingPointError, match="step 1: .*weight backbone.encoder._conv_stem"):
        trainer.save(tmp_path)
    assert list(tmp_path.iterdir()) == [kept]


def test_old_checkpoints_go_and_an_unfinished_one_does_not_count(tmp_path):
    trainer = make_trainer()
    trainer.save(tmp_path)
    trainer.step = 7
    (tmp_path / "writing").mkdir()  # as a crash would leave it
    trainer.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000007"]
    assert latest_checkpoint(tmp_path).name == "checkpoint-00000007"


def test_a_copy_of_a_checkpoint_is_the_users_and_stays(tmp_path):
    trainer = make_trainer()
    trainer.step = 5
    trainer.save(tmp_path)
    shutil.copytree(tmp_path / "checkpoint-00000005", tmp_path / "checkpoint-best")
    assert latest_checkpoint(tmp_path).name == "checkpoint-00000005"
    trainer.step = 100_000_001  # nine digits
    trainer.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-100000001", "checkpoint-best"}


def test_rate_and_weight_decay_may_change_when_a_run_goes_on(tmp_path):
    path = make_trainer(weight_decay=0.05).save(tmp_path)
    other = make_trainer(weight_decay=0.5, learning_rate=2e-3)
    other.restore(path)
    groups = other.optimizer.param_groups
    assert {group["weight_decay"] for group in groups} == {0.0, 0.5}
    assert max(group["base_lr"] for group in groups) == 2e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stage": 3}, "stage is 3"),
        ({"steps": 0}, "steps is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be above 0"),
        ({"ema_decay": 1.5}, "ema_decay is 1.5; from 0 to 1"),
    ],
)
def test_bad_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        TrainSettings(**{"stage": 1, "steps": 1, **change})

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

"""A teacher's answer is its networks' mean, and a student is drawn to it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from exact_bundle import decode_floor
from small_network import CONFIG, make_trainer, told_network

from depthrefl_ros.geometry.floor_plane import encode_floor
from depthrefl_ros.network.checkpoints import CheckpointError, save_weights
from depthrefl_ros.network.model import create_model
from depthrefl_ros.training import distillation, losses
from depthrefl_ros.training.distillation import Teacher, mix_images


def save_network(folder, seed):
    torch.manual_seed(seed)
    folder.mkdir()
    model = create_model(CONFIG).eval()
    save_weights(folder / "ema.safetensors", model)
    (folder / "state.json").write_text(json.dumps({"model": CONFIG.to_dict()}))
    return folder / "ema.safetensors"


@pytest.fixture
def weights(tmp_path):
    return [save_network(tmp_path / str(seed), seed) for seed in (1, 2)]


def predict(model, image, focal_px=CONFIG.focal_px):
    return distillation.predict(model, image, focal_px)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=generator)


def test_targets_are_the_mean_and_do_not_care_which_way_round_the_image_is(weights, images):
    teacher = Teacher(weights, CONFIG.focal_px)
    log_depth, sigma = teacher.targets(images)
    assert log_depth.shape == sigma.shape == (2, 1, 64, 64)
    answers = [predict(model, images)[0] for model in teacher.models]
    answers += [predict(model, images.flip(3))[0].flip(3) for model in teacher.models]
    torch.testing.assert_close(log_depth, torch.stack(answers).mean(0))
    mirrored, _ = teacher.targets(images.flip(3))
    torch.testing.assert_close(mirrored.flip(3), log_depth)


def test_disagreement_makes_the_ensemble_less_certain(weights, images):
    answers, variances = [], []
    teacher = Teacher(weights, CONFIG.focal_px)
    for model in teacher.models:
        for view, back in ((images, lambda t: t), (images.flip(3), lambda t: t.flip(3))):
            log_depth, sigma = predict(model, view)
            answers.append(back(log_depth))
            variances.append(back(sigma).square())
    answers = torch.stack(answers)
    between = (answers - answers.mean(0)).square().mean(0)
    assert between.min() > 0
    expected = (torch.stack(variances).mean(0) + between).sqrt()
    torch.testing.assert_close(teacher.targets(images)[1], expected)


def test_a_network_of_another_size_answers_at_the_image_s_size(weights):
    images = torch.zeros((1, 3, 96, 128), dtype=torch.uint8)
    log_depth, sigma = Teacher(weights, CONFIG.focal_px).targets(images)
    assert log_depth.shape == sigma.shape == (1, 1, 96, 128)


def test_weights_without_a_record_are_refused(weights):
    (weights[0].parent / "state.json").unlink()
    with pytest.raises(CheckpointError, match=r"ema\.safetensors: nothing beside it says"):
        Teacher(weights, CONFIG.focal_px)


def test_weights_of_another_network_are_refused(weights):
    """As ``convert --weights`` keeps them beside a description without an architecture."""
    (weights[0].parent / "state.json").unlink()
    (weights[0].parent / "model.yaml").write_text("format_version: 2\n")
    with pytest.raises(CheckpointError, match=r"model\.yaml has no architecture: .* not one of"):
        Teacher(weights, CONFIG.focal_px)


def test_loss_is_zero_at_the_teacher_and_grows_with_the_log_ratio():
    depth, sigma = torch.full((1, 1, 4, 4), 2.0), torch.full((1, 1, 4, 4), 0.1)
    assert losses.distillation_loss(depth, sigma, depth.log(), sigma) == pytest.approx(0, abs=1e-6)
    twice = losses.distillation_loss(2 * depth, 2 * sigma, depth.log(), sigma)
    assert twice.item() == pytest.approx(11 * 0.693147, rel=1e-5)


def test_mixtures_lie_between_two_images_of_the_batch():
    torch.manual_seed(4)
    levels = torch.tensor([0, 80, 160, 240], dtype=torch.uint8)
    images = levels[:, None, None, None].expand(4, 3, 8, 8)
    mixed, is_mixed = mix_images(images, 0.5)
    assert is_mixed.sum() == 2 and mixed.dtype == torch.uint8
    assert torch.equal(mixed[~is_mixed], images[~is_mixed])
    for index in is_mixed.nonzero().ravel():
        own, other = int(levels[index]), int(levels[index - 1])
        low, high = sorted((own, other))
        share = (mixed[index].float().mean() - low) / (high - low)
        assert 0.29 < share < 0.71
    assert not mix_images(images, 0.0)[1].any()


def test_a_mixture_has_no_truth(weights, images):
    batch = {
        "image": images,
        "depth_m": torch.full((2, 1, 64, 64), 2.0),
        "focal_px": torch.full((2,), CONFIG.focal_px),
        "names": ["a", "b"],
    }
    figures = {}
    for share in (0.0, 1.0):
        trainer = make_trainer(teacher=Teacher(weights, CONFIG.focal_px), mix_share=share)
        figures[share] = trainer.train_step(dict(batch))
    assert figures[0.0]["gradient"] > 0 and figures[1.0]["gradient"] == 0
    assert figures[1.0]["distillation"] > 0
    assert (batch["depth_m"] == 2.0).all()


def test_a_trained_student_comes_closer_to_its_teacher(weights, images):
    teacher = Teacher(weights, CONFIG.focal_px)
    trainer = make_trainer(
        steps=12, teacher=teacher, distillation_weight=10.0, learning_rate=3e-3, encoder_factor=1.0
    )
    batch = {
        "image": images,
        "depth_m": torch.zeros(2, 1, 64, 64),  # no truth at all: the teacher is all there is
        "focal_px": torch.full((2,), CONFIG.focal_px),
        "names": ["a", "b"],
    }
    first = trainer.train_step(batch)["distillation"]
    for _ in range(11):
        last = trainer.train_step(batch)["distillation"]
    assert last < 0.8 * first


def told_images(images):
    plane = torch.full_like(images[:, :1], 120)
    plane[:, :, :30] = 0
    return torch.cat([images, plane], dim=1)


def test_a_teacher_is_told_what_it_takes(weights, images):
    plain, told = Teacher(weights, CONFIG.focal_px).models[0], told_network()
    four = told_images(images)
    assert torch.equal(predict(plain, four)[0], predict(plain, images)[0])
    blind = torch.cat([images, torch.zeros_like(images[:, :1])], dim=1)
    assert torch.equal(predict(told, blind)[0], predict(told, images)[0])
    assert (predict(told, four)[0] - predict(told, images)[0]).abs().mean() > 0.01


def test_a_plane_of_another_size_is_not_mixed_with_the_unknown():
    """Twice as large an image of the same thing has the same plane, each byte four times."""
    seen = []
    model = told_network()
    model.mount.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    four = told_images(torch.zeros((1, 3, 128, 128), dtype=torch.uint8))
    predict(model, four, 2 * CONFIG.focal_px)
    assert seen[0].shape == (1, 1, 64, 64) and set(seen[0].unique().tolist()) == {0.0, 120.0}


def test_another_canonical_camera_has_other_canonical_metres():
    """A student whose f_c is a fifth longer calls the same depth a fifth more, and so the floor."""
    seen = []
    model = told_network()
    model.mount.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    four = told_images(torch.full((1, 3, 64, 64), 90, dtype=torch.uint8))
    depth_m = decode_floor(four[0, 3].numpy())
    four[0, 3] = torch.from_numpy(encode_floor(1.2 * depth_m))
    log_depth, sigma = predict(model, four, 1.2 * CONFIG.focal_px)
    ratio = decode_floor(seen[0][0, 0].numpy())[30:] / depth_m[30:]
    assert np.abs(np.log(ratio)).max() < 0.024
    expected = predict(model, torch.cat([four[:, :3], seen[0].byte()], dim=1))
    torch.testing.assert_close(log_depth, expected[0] + math.log(1.2))
    torch.testing.assert_close(sigma, expected[1])


def test_a_mixture_of_two_images_has_no_mount():
    torch.manual_seed(4)
    four = told_images(torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8))
    mixed, is_mixed = mix_images(four, 0.5)
    assert not mixed[is_mixed][:, 3].any() and mixed[is_mixed][:, :3].any()
    assert torch.equal(mixed[~is_mixed], four[~is_mixed])

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

"""A batch is a function of (seed, step), and every image comes once before any comes again."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from dataset_folders import write_plain_folder

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.training.augment import AugmentConfig, Augmenter
from depthrefl_ros.training.batches import Mixture, StepBatches, balanced_by_depth
from depthrefl_ros.training.datasets import DatasetError, PlainFolder


@pytest.fixture
def dataset(tmp_path):
    return PlainFolder(write_plain_folder(tmp_path / "plain", count=5))


def step_batches(parts, batch, augmenter=None, seed=1, steps=9, **share):
    return StepBatches(parts, augmenter or Augmenter(32, 32), seed, steps, batch, **share)


def test_shapes_and_types(dataset):
    batch = step_batches([(dataset, 1.0)], 3, Augmenter(32, 64))[0]
    assert batch["image"].shape == (3, 3, 32, 64) and batch["image"].dtype == torch.uint8
    assert batch["depth_m"].shape == (3, 1, 32, 64) and batch["depth_m"].dtype == torch.float32
    assert batch["focal_px"].shape == (3,) and batch["focal_px"].dtype == torch.float32
    assert len(batch["names"]) == 3 and all(name.startswith("plain/00") for name in batch["names"])


def test_a_step_always_gives_the_same_batch(dataset):
    first, second = (step_batches([(dataset, 1.0)], 2) for _ in range(2))
    second[0], second[5]  # another history
    for name, value in first[7].items():
        same = torch.equal if isinstance(value, torch.Tensor) else list.__eq__
        assert same(value, second[7][name])


def test_steps_and_seeds_differ(dataset):
    batches = step_batches([(dataset, 1.0)], 2)
    other = step_batches([(dataset, 1.0)], 2, seed=2)
    assert not torch.equal(batches[0]["image"], batches[1]["image"])
    assert not torch.equal(batches[0]["image"], other[0]["image"])


def test_every_image_comes_once_an_epoch(dataset):
    batches = step_batches([(dataset, 1.0)], 2)
    names = [name for step in range(5) for name in batches.names(step)]
    first, second = names[:5], names[5:]
    assert sorted(first) == sorted(second) == [f"plain/{name}" for name in dataset.names]
    assert first != second


def test_names_are_those_of_the_images(dataset):
    seen = []

    def note(sample, generator, pictures):
        seen.append(f"plain/{sample.name}")
        return Augmenter(32, 32)(sample, generator)

    assert step_batches([(dataset, 1.0)], 4, note)[3]["names"] == seen


def test_pictures_are_images_of_the_batch(dataset):
    offered = []

    def note(sample, generator, pictures):
        offered.extend(pictures(generator).tobytes() for _ in range(10))
        return Augmenter(32, 32)(sample, generator)

    names = step_batches([(dataset, 1.0)], 2, note)[1]["names"]
    images = {name: dataset[dataset.names.index(name)].image.tobytes() for name in dataset.names}
    of_batch = {images[name.removeprefix("plain/")] for name in names}
    assert set(offered) == of_batch and len(of_batch) == 2


def test_whole_shares_are_kept_in_every_batch(dataset, tmp_path):
    other = PlainFolder(write_plain_folder(tmp_path / "other", count=2, size=(24, 32)))
    batches = step_batches([(dataset, 0.75), (other, 0.25)], 4)
    for step in range(3):
        folders = [name.split("/")[0] for name in batches.names(step)]
        assert sorted(folders) == ["other", "plain", "plain", "plain"]


@pytest.mark.parametrize("weights", [[3.0, 1.0], [1.0, 0.3, 0.123], [5.0, 1.5, 1.0, 0.001]])
def test_a_mixture_keeps_its_shares_and_is_exact_after_a_period(weights):
    mixture = Mixture(weights)
    counts = np.zeros(len(weights), int)
    shares = np.array(weights) / sum(weights)
    for position in range(mixture.period):
        part, before = mixture.place(position)
        assert before == counts[part]
        counts[part] += 1
        deviation = counts - (position + 1) * shares
        assert deviation.max() < 1 and deviation.min() > -(len(weights) - 1)
    np.testing.assert_allclose(counts, mixture.period * shares)
    part, before = mixture.place(mixture.period)
    assert (part, before) == (mixture.place(0)[0], counts[part])


def test_processes_share_exactly_one_batch(dataset):
    whole = step_batches([(dataset, 1.0)], 4)[2]
    shares = [step_batches([(dataset, 1.0)], 4, rank=rank, world=2)[2] for rank in range(2)]
    for rank, share in enumerate(shares):
        for name in ("image", "depth_m", "focal_px"):
            assert torch.equal(share[name], whole[name][rank::2])
        assert share["names"] == whole["names"]


def test_batches_that_cannot_be_are_refused(dataset):
    with pytest.raises(ValueError, match="batch is 0; a positive multiple of 1"):
        step_batches([(dataset, 1.0)], 0)
    with pytest.raises(ValueError, match="batch is 3; a positive multiple of 2"):
        step_batches([(dataset, 1.0)], 3, rank=1, world=2)
    with pytest.raises(ValueError, match=r"weights are \[1.0, 0.0001\]"):
        step_batches([(dataset, 1.0), (dataset, 0.0001)], 3)


def with_depths(root, depths_m):
    """Return a plain folder whose image i is a wall at ``depths_m[i]``; 0 is unknown depth."""
    write_plain_folder(root, count=len(depths_m))
    for index, depth_m in enumerate(depths_m):
        depth_mm = np.full((48, 64), round(1000 * depth_m), np.uint16)
        cv2.imwrite(str(root / "depth" / f"{index:04d}.png"), depth_mm)
    return PlainFolder(root)


def test_balanced_parts_hold_images_of_one_distance(tmp_path):
    dataset = with_depths(tmp_path / "walls", [0.4, 2.1, 2.4, 2.7, 2.2, 9.0, 0.0])
    parts = balanced_by_depth(dataset)
    assert [part.names for part, _ in parts] == [
        ["0000"], ["0001", "0002", "0003", "0004"], ["0005"],
    ]  # fmt: skip
    shares = [share for _, share in parts]
    assert shares == pytest.approx([0.25, 0.5, 0.25])


def test_balanced_batches_show_rare_distances_more_often(tmp_path):
    dataset = with_depths(tmp_path / "walls", [0.4, *[2.1] * 9])
    batches = step_batches(balanced_by_depth(dataset), 4)
    names = [name for step in range(10) for name in batches.names(step)]
    assert names.count("walls/0000") == 10
    assert {names.count(f"walls/{index:04d}") for index in range(1, 10)} == {3, 4}


def test_without_depth_nothing_is_balanced(tmp_path):
    with pytest.raises(DatasetError, match="walls: none of its 2 images has depth"):
        balanced_by_depth(with_depths(tmp_path / "walls", [0.0, 0.0]))


def test_the_mount_s_plane_is_the_fourth_of_the_image(dataset):
    dataset.mounts = dict.fromkeys(dataset.names[:4], Pose.from_mount(0.5, 0.4))
    config = AugmentConfig(mount_chance=1.0)
    without = step_batches([(dataset, 1.0)], 5, Augmenter(32, 64, config))[1]
    told = step_batches([(dataset, 1.0)], 5, Augmenter(32, 64, config, 60.0))[1]
    assert told["image"].shape == (5, 4, 32, 64) and told["image"].dtype == torch.uint8
    assert torch.equal(told["image"][:, :3], without["image"])
    assert torch.equal(told["depth_m"], without["depth_m"])
    unknown = [name.endswith(dataset.names[4]) for name in told["names"]]
    assert [not plane.any() for plane in told["image"][:, 3]] == unknown

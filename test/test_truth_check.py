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

"""Truth that is not what it seems is told before a network learns it."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from dataset_folders import write_plain_folder

from depthrefl_ros.training.datasets import DatasetError, PlainFolder
from depthrefl_ros.training.truth_check import check_truth, spread_over, unit_hint


def folder(tmp_path, depths: list[np.ndarray]) -> PlainFolder:
    """Return a plain folder of one depth image, uint16 steps, an image."""
    root = write_plain_folder(tmp_path / "rooms", count=len(depths))
    for index, steps in enumerate(depths):
        cv2.imwrite(str(root / "depth" / f"{index:04d}.png"), steps)
    return PlainFolder(root)


def noise(low: int, high: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (48, 64)).astype(np.uint16)


def test_ordinary_truth_is_not_suspicious(tmp_path):
    dataset = PlainFolder(write_plain_folder(tmp_path / "rooms", count=6))
    assert check_truth("rooms", dataset, math.inf) == []


def test_no_depth_at_all_is_an_error(tmp_path):
    dataset = folder(tmp_path, [np.zeros((48, 64), np.uint16)] * 3)
    with pytest.raises(DatasetError, match="mine: none of the 3 images looked at has depth"):
        check_truth("mine", dataset, math.inf)


def test_images_without_depth_are_counted(tmp_path):
    empty = np.zeros((48, 64), np.uint16)
    dataset = folder(tmp_path, [empty, noise(900, 4000), empty, noise(900, 4000, 1)])
    (line,) = check_truth("mine", dataset, math.inf)
    assert "mine: 2 of 4 images looked at have no depth" in line


def test_depth_beyond_the_cap_is_an_error_that_names_the_unit(tmp_path):
    dataset = folder(tmp_path, [noise(15000, 60000)] * 2)
    with pytest.raises(DatasetError, match="beyond 10 m .*depth_factor=N"):
        check_truth("mine", dataset, 10.0)


def test_an_implausible_median_is_told(tmp_path):
    dataset = folder(tmp_path, [noise(50, 150), noise(50, 150, 1)])
    (line,) = check_truth("mine", dataset, math.inf)
    assert "the median depth is 0.1" in line and "depth_factor" in line


def test_relative_depth_stretched_image_by_image_is_told(tmp_path):
    depths = []
    for seed in range(5):
        steps = noise(1 + 3000 * seed, 40000, seed)
        steps[0, 0], steps[0, 1] = 1, 65535
        depths.append(steps)
    lines = check_truth("mine", folder(tmp_path, depths), math.inf)
    assert any("from 0.001 to 65.5 m exactly; that is relative depth" in line for line in lines)


@pytest.mark.parametrize("factor", [256.0, 5000.0, 10000.0, 100.0])
def test_a_constant_factor_suggests_the_unit(tmp_path, factor):
    dataset = PlainFolder(write_plain_folder(tmp_path / "rooms"))
    # Read as millimetres; the network itself is off by 20 %, and wavers.
    ratios = 1.2 * 1000.0 / factor * np.array([0.9, 1.0, 1.0, 1.1])
    hint = unit_hint("rooms", ratios, dataset)
    assert f"depth_factor={factor:g}" in hint and "1000 units a metre" in hint


def test_metres_read_as_millimetres_are_told(tmp_path):
    hint = unit_hint("rooms", np.full(4, 1000.0), PlainFolder(write_plain_folder(tmp_path / "r")))
    assert "depth_factor=1)" in hint


@pytest.mark.parametrize(
    "ratios",
    [
        [0.9, 1.1, 2.0],  # a network's own errors
        [0.5, 0.45, 0.6],
        [1.0, 3.0, 9.0, 12.0],  # no common factor
        [],
        [float("nan"), 0.0],
    ],
)
def test_a_network_that_errs_is_no_wrong_unit(tmp_path, ratios):
    dataset = PlainFolder(write_plain_folder(tmp_path / "rooms"))
    assert unit_hint("rooms", np.array(ratios), dataset) is None


def test_a_set_that_defines_its_unit_is_told_without_a_suggestion():
    hint = unit_hint("kitti", np.full(4, 4.0), object())
    assert "4 times the truth" in hint and "depth_factor" not in hint


def test_a_large_set_is_looked_at_all_over():
    assert spread_over(range(1000), 5) == [0, 250, 500, 749, 999]
    assert spread_over(range(3), 32) == [0, 1, 2]


def test_a_set_without_one_unit_gets_no_suggestion(tmp_path):
    root = write_plain_folder(tmp_path / "rooms", count=2)
    np.save(root / "depth" / "0001.npy", np.ones((48, 64), np.float32))
    (root / "depth" / "0001.png").unlink()
    hint = unit_hint("rooms", np.full(4, 4.0), PlainFolder(root))
    assert "4 times the truth" in hint and "depth_factor" not in hint

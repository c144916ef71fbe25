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

"""Crops, cap and alignment against published rectangles and known answers."""

import numpy as np
import pytest
from dataset_folders import write_nyu_folder
from sklearn.linear_model import LinearRegression

from depthrefl_ros.training.datasets import NyuFolder
from depthrefl_ros.training.protocol import Protocol, crop_slices, fit_alignment


def kept(crop: str, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what a crop keeps of an image of ones."""
    mask = np.zeros(shape, bool)
    mask[crop_slices(crop, shape)] = True
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert mask.sum() == len(rows) * len(columns)
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def test_eigen_crop_of_nyu_and_kitti():
    assert kept("eigen", (480, 640)) == (45, 471, 41, 601)
    # 375 x 1242: 0.3324324 * 375 = 124.66, 0.91351351 * 375 = 342.57, 44.65 and 1197.35.
    assert kept("eigen", (375, 1242)) == (124, 342, 44, 1197)


def test_garg_crop_of_kitti():
    # 0.40810811 * 375 = 153.04, 0.99189189 * 375 = 371.96.
    assert kept("garg", (375, 1242)) == (153, 371, 44, 1197)


def test_images_that_are_cropped_already_are_not_cropped_again(tmp_path):
    root = write_nyu_folder(tmp_path / "nyu")
    sample = NyuFolder(root, root / "list.txt")[0]
    assert kept("eigen", sample.depth_m.shape) == (0, 426, 0, 560)
    counted = Protocol("eigen").truth(sample.depth_m)
    assert np.array_equal(counted, Protocol("none").truth(sample.depth_m)) and counted.any()


def test_no_crop_keeps_all():
    assert kept("none", (240, 320)) == (0, 240, 0, 320)


def test_eigen_crop_of_other_sizes_is_refused():
    with pytest.raises(ValueError, match="320x240"):
        crop_slices("eigen", (240, 320))


def test_truth_counts_inside_the_crop_below_the_cap_only():
    truth = np.full((480, 640), 3.0, np.float32)
    truth[100, 100:103] = (np.nan, 5.0, 0.0)
    counted = Protocol("eigen", cap_m=5.0).truth(truth)
    assert (counted[:45] == 0).all() and (counted[:, 601:] == 0).all()
    assert counted[100, 99:104].tolist() == [3.0, 0.0, 0.0, 0.0, 3.0]
    assert truth[0, 0] == 3.0  # the sample itself stays


def test_median_alignment_by_hand():
    assert fit_alignment("median", np.array([1.0, 2.0, 9.0]), np.array([3.0, 3.0, 8.0])) == (1.5, 0)


def test_least_squares_agrees_with_scikit_learn():
    generator = np.random.default_rng(0)
    depth = generator.uniform(1.0, 8.0, 500)
    truth = 0.7 * depth + 0.4 + generator.normal(0, 0.3, 500)
    fitted = LinearRegression().fit(depth[:, None], truth)
    scale, shift = fit_alignment("lsq", depth, truth)
    assert scale == pytest.approx(fitted.coef_[0]) and shift == pytest.approx(fitted.intercept_)


def test_a_flat_prediction_is_aligned_to_the_mean():
    assert fit_alignment("lsq", np.full(4, 2.0), np.array([1.0, 2.0, 3.0, 6.0])) == (0.0, 3.0)


def test_without_alignment_depth_stays():
    assert fit_alignment("none", np.ones(3), np.full(3, 2.0)) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crop": "centre"}, "crop is 'centre'"),
        ({"align": "affine"}, "align is 'affine'"),
        ({"cap_m": 0.0}, "cap_m is 0.0"),
        ({"cap_m": float("nan")}, "cap_m is nan"),
    ],
)
def test_an_unknown_protocol_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Protocol(**values)


def test_the_protocol_is_named():
    assert str(Protocol("garg", 80.0, "lsq")) == "crop garg, cap 80 m, alignment lsq"

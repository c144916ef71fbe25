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

"""NYU Depth v2, as a folder and as the official file."""

from __future__ import annotations

import multiprocessing

import h5py
import numpy as np
import pytest
from dataset_folders import write_nyu_folder, write_nyu_mat

from depthrefl_ros.training.datasets import DatasetError, NyuFolder, NyuMat


def test_nyu_is_cropped_to_its_valid_pixels(tmp_path):
    root = write_nyu_folder(tmp_path / "nyu")
    sample = NyuFolder(root, root / "list.txt")[0]
    assert sample.image.shape == (426, 560, 3)
    assert sample.depth_m.shape == (426, 560) and sample.depth_m.dtype == np.float32
    red, green, blue = sample.image[200, 300]
    assert red > 180 and green < 30 and blue < 30
    assert sample.image[..., 1].max() < 60  # no white border left


def test_nyu_depth_is_metric_and_unknown_at_the_cap(tmp_path):
    root = write_nyu_folder(tmp_path / "nyu")
    sample = NyuFolder(root, root / "list.txt")[1]
    column = 100
    step = (column + 41) // 4
    assert sample.depth_m[300, column] == pytest.approx((step + 0.5) * 9.99547 / 255)
    assert sample.depth_m[0, 0] == 0.0


def test_nyu_principal_point_moves_with_the_crop(tmp_path):
    root = write_nyu_folder(tmp_path / "nyu")
    fx, fy, cx, cy = NyuFolder(root, root / "list.txt")[0].intrinsics
    assert (fx, fy) == (518.86, 519.47)
    assert (cx, cy) == pytest.approx((325.58 - 41, 253.74 - 45))


def test_missing_and_empty_lists_are_named(tmp_path):
    root = write_nyu_folder(tmp_path / "nyu")
    with pytest.raises(DatasetError, match="absent.txt: list file missing"):
        NyuFolder(root, tmp_path / "absent.txt")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(DatasetError, match="list file is empty"):
        NyuFolder(root, tmp_path / "empty.txt")


def test_a_nyu_folder_without_a_list_gives_all(tmp_path):
    assert NyuFolder(write_nyu_folder(tmp_path / "nyu")).names == ["0000", "0001"]


def test_nyu_mat_is_turned_upright_and_cropped(tmp_path):
    sample = NyuMat(write_nyu_mat(tmp_path / "nyu.mat"))[2]
    assert sample.name == "0002"
    assert sample.image.shape == (426, 560, 3) and sample.image.dtype == np.uint8
    assert (sample.image == (2, 20, 40)).all()  # no white border left
    assert sample.depth_m.shape == (426, 560) and sample.depth_m.dtype == np.float32
    expected = np.linspace(1.0, 8.0, 640)[41:601]
    np.testing.assert_allclose(sample.depth_m[[0, -1]], [expected, expected], rtol=1e-6)
    assert sample.intrinsics == (518.86, 519.47, 325.58 - 41, 253.74 - 45)


def test_nyu_mat_takes_zero_based_indices(tmp_path):
    path = write_nyu_mat(tmp_path / "nyu.mat")
    (tmp_path / "list.txt").write_text("0002\n0\n")
    dataset = NyuMat(path, tmp_path / "list.txt")
    assert [sample.image[0, 0, 0] for sample in dataset] == [2, 0]
    assert dataset.fingerprint() != NyuMat(path).fingerprint()
    (tmp_path / "list.txt").write_text("3\n")
    with pytest.raises(DatasetError, match="'3' is no index from 0 to 2"):
        NyuMat(path, tmp_path / "list.txt")


def test_nyu_mat_can_be_read_by_forked_processes(tmp_path):
    dataset = NyuMat(write_nyu_mat(tmp_path / "nyu.mat"))
    dataset[0]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_red, [dataset] * 6) == [1] * 6


def _red(dataset):
    return int(dataset[1].image[0, 0, 0])


def test_a_mat_file_of_another_content_is_named(tmp_path):
    with h5py.File(tmp_path / "other.mat", "w") as file:
        file["images"] = np.zeros((2, 3, 64, 48), np.uint8)
    with pytest.raises(DatasetError, match=r"'images' has shape \(2, 3, 64, 48\)"):
        NyuMat(tmp_path / "other.mat")
    (tmp_path / "old.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(DatasetError, match="cannot be read as MATLAB 7.3"):
        NyuMat(tmp_path / "old.mat")

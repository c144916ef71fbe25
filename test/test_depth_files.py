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

"""Depth in every kind of file comes back in metres, and 0 where nobody knows it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from depthrefl_ros.training.datasets import DatasetError
from depthrefl_ros.training.datasets.depth_files import read_depth, usual_factor

DEPTH_M = np.array([[0.5, 1.0, 2.5], [4.0, 8.0, 0.0]], np.float32)


def write(path, values: np.ndarray):
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        assert cv2.imwrite(str(path), values)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
@pytest.mark.parametrize("factor", [None, 256.0, 1000.0, 5000.0])
def test_whole_numbers_are_steps(tmp_path, suffix, factor):
    steps = (DEPTH_M * (factor or 1000.0)).astype(np.uint16)
    path = write(tmp_path / f"depth{suffix}", steps)
    assert np.allclose(read_depth(path, factor), DEPTH_M, atol=1e-3)
    assert read_depth(path).dtype == np.float32 and usual_factor(path) == 1000.0


@pytest.mark.parametrize("suffix", [".exr", ".tiff", ".npy", ".pfm"])
def test_fractions_are_metres(tmp_path, suffix):
    read_depth(write(tmp_path / "first.tiff", DEPTH_M))  # asks for OpenCV's EXR decoder in time
    import os

    os.environ["OPENCV_IO_ENABLE_OPENEXR"] = "1"
    path = write(tmp_path / f"depth{suffix}", DEPTH_M)
    assert np.array_equal(read_depth(path), DEPTH_M) and usual_factor(path) == 1.0
    assert np.allclose(read_depth(path, 2.0), DEPTH_M / 2)


def test_what_is_no_distance_is_unknown(tmp_path):
    values = np.array([[np.nan, np.inf, -np.inf], [-1.0, 1e10, 3.0]], np.float64)
    found = read_depth(write(tmp_path / "depth.npy", values))
    assert np.array_equal(found, [[0, 0, 0], [0, 0, 3]])


@pytest.mark.parametrize("shape", [(1, 2, 3), (2, 3, 1), (1, 2, 3, 1)])
def test_an_axis_of_one_is_no_axis(tmp_path, shape):
    path = write(tmp_path / "depth.npy", DEPTH_M.reshape(shape))
    assert np.array_equal(read_depth(path), DEPTH_M)


def test_grey_written_as_colour_is_depth(tmp_path):
    path = write(tmp_path / "depth.tiff", np.dstack([DEPTH_M] * 3))
    assert np.array_equal(read_depth(path), DEPTH_M)


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("depth.png", np.zeros((4, 4), np.uint8), "8 bits a pixel.*relative depth.*no metres"),
        ("depth.npy", np.ones((4, 4), np.int8), "8 bits a pixel"),
        ("depth.png", np.arange(48, dtype=np.uint16).reshape(4, 4, 3), r"shape \(4, 4, 3\)"),
        ("depth.npy", np.zeros((2, 4, 4), np.float32), r"shape \(2, 4, 4\)"),
        ("depth.npy", np.array([["a"]]), "type <U1; numbers"),
        ("depth.npy", np.array([{"z": 1}], object), "not a NumPy array of numbers"),
    ],
)
def test_what_holds_no_depth_is_named(tmp_path, name, values, said):
    path = tmp_path / name
    if values.dtype == object:
        np.save(path, values, allow_pickle=True)
    else:
        write(path, values)
    with pytest.raises(DatasetError, match=said) as error:
        read_depth(path)
    assert str(path) in str(error.value)


def test_an_archive_of_arrays_under_the_name_of_an_array_is_named(tmp_path):
    np.savez(tmp_path / "depth.npz", left=DEPTH_M, right=DEPTH_M)
    path = (tmp_path / "depth.npz").rename(tmp_path / "depth.npy")
    with pytest.raises(DatasetError, match=r"depth\.npy: an archive .*\(left, right\).*np\.save"):
        read_depth(path)


@pytest.mark.parametrize("name", ["depth.npy", "depth.png"])
def test_a_truncated_file_is_named(tmp_path, name):
    path = write(tmp_path / name, (DEPTH_M * 1000).astype(np.uint16))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DatasetError, match=name):
        read_depth(path)

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

"""True depth in files: 16-bit PNG or TIFF in steps, floats in metres as TIFF, EXR or NumPy arrays.

What a step is worth is no property of the file. Users' tools write 1000 steps a metre (ROS,
RealSense), 5000 (TUM), 256 (KITTI) and others; ``depth_factor`` says which.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from depthrefl_ros.image_files import ImageFileError, decode
from depthrefl_ros.training.datasets.image_folder import DatasetError

# In the order in which they are taken where several files have one name.
DEPTH_SUFFIXES = (".png", ".npy", ".exr", ".tif", ".tiff", ".pfm")
STEPS_PER_METRE = 1000.0  # of whole numbers, unless a factor is given: millimetres
NOTHING_M = 1e4  # renderers write 1e10 and the like where a ray meets nothing


def read_depth(path: Path, factor: float | None = None) -> np.ndarray:
    """Return true depth, (H, W) float32 metres along the optical axis; 0 where unknown.

    Zero, negative and non-finite values are unknown, and what lies farther than 10 km.

    Args:
        path: of a file with one of ``DEPTH_SUFFIXES``.
        factor: how many of the file's units are a metre; None for 1000 where the file has whole
            numbers and 1 where it has fractions.

    Raises:
        DatasetError: the file cannot be read, has no single channel, or 8 bits.
    """
    values = _values(path)
    while values.ndim > 2 and 1 in values.shape:
        values = values.squeeze(values.shape.index(1))
    if values.ndim == 3 and values.shape[2] == 3 and (values == values[..., :1]).all():
        values = values[..., 0]  # grey, written as colour
    if values.ndim != 2:
        raise DatasetError(
            f"{path}: depth of shape {values.shape}; one channel, height x width, is needed"
        )
    is_whole = np.issubdtype(values.dtype, np.integer)
    if is_whole and values.dtype.itemsize == 1:
        raise DatasetError(
            f"{path}: 8 bits a pixel, which is a picture of relative depth and holds no metres; "
            "16 bits in steps or floats in metres are needed"
        )
    if not is_whole and not np.issubdtype(values.dtype, np.floating):
        raise DatasetError(f"{path}: values of type {values.dtype}; numbers are needed")
    factor = factor or _usual_factor(values)
    depth_m = values.astype(np.float32) / np.float32(factor)
    with np.errstate(invalid="ignore"):
        depth_m[~((depth_m > 0) & (depth_m < NOTHING_M))] = 0.0
    return depth_m


def usual_factor(path: Path) -> float:
    """Return how many units of a depth file are a metre where nobody says; see ``read_depth``."""
    return _usual_factor(_values(path))


def _usual_factor(values: np.ndarray) -> float:
    return STEPS_PER_METRE if np.issubdtype(values.dtype, np.integer) else 1.0


def _values(path: Path) -> np.ndarray:
    return _read_array(path) if path.suffix.lower() == ".npy" else _read_picture(path)


def _read_array(path: Path) -> np.ndarray:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{path}: not a NumPy array of numbers: {error}") from error
    if not isinstance(values, np.ndarray):
        names = ", ".join(values.files)
        values.close()
        raise DatasetError(
            f"{path}: an archive of NumPy arrays ({names}), as np.savez writes it; one array, as "
            "np.save writes it, is needed"
        )
    return values


def _read_picture(path: Path) -> np.ndarray:
    if path.suffix.lower() == ".exr":
        # OpenCV keeps this decoder off unless it is asked for before it is first used.
        os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")
    try:
        return decode(path, cv2.IMREAD_UNCHANGED)
    except ImageFileError as error:
        raise DatasetError(str(error)) from error

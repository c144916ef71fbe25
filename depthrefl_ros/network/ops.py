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

"""Operations that the blocks of the network share: resizing, precision, a perceptron a pixel."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


def perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Return a two-layer perceptron at every pixel."""
    return nn.Sequential(nn.Conv2d(inputs, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, outputs, 1))


def hinted(features: Tensor, hint: Tensor | None) -> Tensor:
    """Add a hint of where the camera stands, if there is one."""
    return features if hint is None else features + hint


def full_precision(tensor: Tensor) -> contextlib.AbstractContextManager:
    """Switch autocast off where it is on: depth needs float32 to its last pixel."""
    if torch.is_autocast_enabled(tensor.device.type):
        return torch.autocast(tensor.device.type, enabled=False)
    return contextlib.nullcontext()


def resize(features: Tensor, like: Tensor) -> Tensor:
    """Resize (N, C, h, w) bilinearly to the height and width of ``like``."""
    if features.shape[2:] == like.shape[2:]:
        return features
    return functional.interpolate(
        features, size=like.shape[2:], mode="bilinear", align_corners=False
    )


def enlarge(plane: Tensor, like: Tensor) -> Tensor:
    """Resize (N, 1, h, w) as ``resize`` does, by two products of matrices.

    CPU engines resize a single plane by scalar code, several times as slowly.
    """
    if plane.shape[2:] == like.shape[2:]:
        return plane
    (height, width), (tall, wide) = plane.shape[2:], like.shape[2:]
    rows, columns = (constant(_bilinear, *n, like=plane) for n in ((height, tall), (width, wide)))
    with full_precision(plane):
        return rows @ plane @ columns.T


def shrink(planes: Tensor, factor: int) -> Tensor:
    """Average (N, C, h, w) over squares of ``factor`` pixels a side, by two products of matrices.

    CPU engines pool a few channels as if they were sixteen.
    """
    height, width = planes.shape[2:]
    rows, columns = (constant(_averaging, n, factor, like=planes) for n in (height, width))
    with full_precision(planes):
        return rows @ planes @ columns.T


def constant(make: Callable[..., np.ndarray], *arguments: Hashable, like: Tensor) -> Tensor:
    """Return the array ``make(*arguments)`` on the device and of the type of ``like``.

    It is made once: a CUDA graph cannot capture a copy from the host. An export and a compiler
    trace how it is made, and keep it themselves.
    """
    if type(like) is Tensor and not torch.compiler.is_compiling():
        return _kept(make, arguments, like.device, like.dtype)
    return torch.from_numpy(make(*arguments)).to(like.device, like.dtype)


@lru_cache(maxsize=256)
def _kept(
    make: Callable[..., np.ndarray],
    arguments: tuple[Hashable, ...],
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    with torch.inference_mode(False):  # what is made within cannot be trained through later
        return torch.from_numpy(make(*arguments)).to(device, dtype)


def _averaging(count: int, factor: int) -> np.ndarray:
    """Return the matrix (count / factor, count) of means of ``factor`` neighbours."""
    return np.repeat(np.eye(count // factor, dtype=np.float32) / factor, factor, axis=1)


def _bilinear(count: int, outputs: int) -> np.ndarray:
    """Return the matrix (outputs, count) that resizes ``count`` values."""
    # By numpy, so that an export holds the matrix and not how it is made; in single precision, or
    # it would be held in double.
    places = ((np.arange(outputs) + 0.5) * count / outputs - 0.5).clip(0, count - 1)
    weights = np.maximum(1.0 - np.abs(places[:, None] - np.arange(count)), 0.0)
    return weights.astype(np.float32)

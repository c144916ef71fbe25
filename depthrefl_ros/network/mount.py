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

"""Where the camera stands, told to the network: the floor's depth becomes hints to its blocks.

The plane is what ``geometry.floor_plane`` makes: a byte a pixel, 0 where nothing is known. It is a
hint and no truth: where it is all zero the network is exactly as if it had no hints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from depthrefl_ros.network.ops import full_precision, perceptron, shrink

_HIDDEN = 32
# What the bytes mean, as geometry.floor_plane.encode_floor writes them.
_NEAREST_M, _RATIO, _LEVELS = 0.1, 400.0, 254
# Strides of what the hints are added to: the bottleneck and the decoder blocks; the embeddings and
# the condition of the bins' distribution.
_DEEP = (32, 32, 16, 8, 4)
_SHALLOW = (32, 16, 8, 4, 4)


class Hints(NamedTuple):
    """What is added to the features, coarse to fine.

    Attributes:
        deep: (N, C, h, w) of the bottleneck and of each decoder block.
        shallow: (N, E, h, w) of each level's embedding and of the distribution's hidden layer.
    """

    deep: tuple[Tensor, ...]
    shallow: tuple[Tensor, ...]


class MountHints(nn.Module):
    """A perceptron of the floor's depth for every place that is given a hint, zero at first.

    Args:
        deep: channels of the bottleneck and of the decoder blocks, coarse to fine.
        embedding: channels of the reflector's embedding.
    """

    def __init__(self, deep: Sequence[int], embedding: int):
        super().__init__()
        self.deep = nn.ModuleList(_branch(channels) for channels in deep)
        self.shallow = nn.ModuleList(_branch(embedding) for _ in _SHALLOW)

    def forward(self, plane: Tensor) -> Hints:
        """Map the plane (N, 1, H, W) in 0..255, H and W multiples of 32, to hints."""
        channels, is_known = describe_floor(plane)
        finest, *coarser = sorted(set(_DEEP + _SHALLOW))
        means = {finest: shrink(channels, finest)}
        for stride in coarser:  # means of four means each
            means[stride] = functional.avg_pool2d(means[stride // 2], 2)
        pooled = {stride: mean.to(plane.dtype) for stride, mean in means.items()}
        # The branches have biases: an absent plane must not move anything.
        is_known = is_known.to(plane.dtype)
        return Hints(
            *(
                tuple(
                    branch(pooled[stride]) * is_known
                    for branch, stride in zip(branches, strides, strict=True)
                )
                for branches, strides in ((self.deep, _DEEP), (self.shallow, _SHALLOW))
            )
        )


def describe_floor(plane: Tensor) -> tuple[Tensor, Tensor]:
    """Decode the plane's bytes.

    Args:
        plane: (N, 1, H, W) in 0..255, of any type of float.

    Returns:
        (N, 3, H, W) float32: log of canonical metres, validity, and inverse of twice the metres,
        all 0 where nothing is known; and (N, 1, 1, 1) float32, 1 where anything is.
    """
    with full_precision(plane):
        level = plane.float()
        valid = (level > 0).float()
        log_depth = (level - 1.0) * (math.log(_RATIO) / _LEVELS) + math.log(_NEAREST_M)
        inverse = 0.5 * torch.exp(-log_depth)
        channels = torch.cat([valid * log_depth, valid, valid * inverse], dim=1)
        return channels, valid.amax(dim=(2, 3), keepdim=True)


def _branch(outputs: int) -> nn.Sequential:
    branch = perceptron(3, _HIDDEN, outputs)
    nn.init.zeros_(branch[-1].weight)
    nn.init.zeros_(branch[-1].bias)
    return branch

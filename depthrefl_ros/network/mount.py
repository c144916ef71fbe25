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

"""Where the camera stands, told to the network: hints to its blocks, and a bin at the floor.

The plane is what ``geometry.floor_plane`` makes: a byte a pixel, 0 where nothing is known. The
hints say what kind of view this is. What is floor takes its depth from the plane itself, by a
weight that is learnt. Where the plane is all zero the network is exactly as if it had neither.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from depthrefl_ros.network.ops import full_precision, perceptron, shrink
from depthrefl_ros.network.reflector import MINIMUM_SIGMA

_HIDDEN = 32
_FAR = 2.0  # of log depth: how far depth and floor are apart at most, as the floor's bin sees it
_LEAST = 1e-6
# What the bytes mean, as geometry.floor_plane.encode_floor writes them.
_NEAREST_M, _RATIO, _LEVELS = 0.1, 400.0, 254
# Strides of what the hints are added to: the bottleneck and the decoder blocks; the embeddings and
# the condition of the bins' distribution.
_DEEP = (32, 32, 16, 8, 4)
_SHALLOW = (32, 16, 8, 4, 4)


class Hints(NamedTuple):
    """What is added to the features, coarse to fine, and the floor.

    Attributes:
        deep: (N, C, h, w) of the bottleneck and of each decoder block.
        shallow: (N, E, h, w) of each level's embedding and of the distribution's hidden layer.
        log_floor: (N, 1, h, w) float32 at the finest stride, log of canonical metres, 0 where the
            floor is not known.
        has_floor: (N, 1, h, w) float32, 1 where it is known and 0 elsewhere.
    """

    deep: tuple[Tensor, ...]
    shallow: tuple[Tensor, ...]
    log_floor: Tensor
    has_floor: Tensor


class MountHints(nn.Module):
    """A perceptron of the floor's depth for every place that is given a hint, zero at first.

    Args:
        deep: channels of the bottleneck and of the decoder blocks, coarse to fine.
        embedding: channels of the reflector's embedding.
        condition: channels of what the bins' distribution is read from.
    """

    def __init__(self, deep: Sequence[int], embedding: int, condition: int):
        super().__init__()
        self.deep = nn.ModuleList(_branch(channels) for channels in deep)
        self.shallow = nn.ModuleList(_branch(embedding) for _ in _SHALLOW)
        self.floor = FloorBin(condition)

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
        deep, shallow = (
            tuple(
                branch(pooled[stride]) * is_known
                for branch, stride in zip(branches, strides, strict=True)
            )
            for branches, strides in ((self.deep, _DEEP), (self.shallow, _SHALLOW))
        )
        with full_precision(plane):
            # A place at the horizon, half of which has a floor, has the mean of that half.
            total, share, _ = means[finest].split(1, dim=1)
            return Hints(deep, shallow, total / share.clamp(min=_LEAST), (share > 0.0).float())


class FloorBin(nn.Module):
    """One bin more, at every place as far as the floor would be, with a weight that is learnt.

    log z = (1 - c) log z_bins + c log z_floor, c the share of the place that is floor. Hints that
    are added to features are followed half-way; a bin at the floor is exact. The mean is of
    logarithms, since towards the horizon the floor is so far away that it would outweigh all else.
    It begins at c = 0.02.

    Args:
        condition: channels of what the bins' distribution is read from.
    """

    def __init__(self, condition: int):
        super().__init__()
        # Apart, though they are added: CPU engines would change the layout of both to join them.
        self.condition = nn.Conv2d(condition, _HIDDEN, 3, padding=1)
        self.distance = nn.Conv2d(3, _HIDDEN, 3, padding=1, bias=False)
        self.share = nn.Conv2d(_HIDDEN, 1, 1)
        nn.init.zeros_(self.share.weight)
        nn.init.constant_(self.share.bias, -4.0)

    def forward(
        self, condition: Tensor, depth: Tensor, sigma: Tensor, hints: Hints
    ) -> tuple[Tensor, Tensor]:
        """Mix the floor into depth and sigma of the bins.

        sigma^2 = (1 - c) sigma_bins^2 + c 0.02^2 + c (1 - c) log^2(z_floor / z_bins): the spread of
        the mixture, as ``reflector.depth_and_sigma`` has it for the bins alone.

        Args:
            condition: (N, C, h, w) of ``ReflectorOutput``.
            depth: (N, 1, h, w) float32, canonical metres.
            sigma: (N, 1, h, w) float32, standard deviation of log depth.
            hints: of the plane.

        Returns:
            depth and sigma of the mixture, where there is no floor exactly those given.
        """
        with full_precision(condition):
            log_depth = torch.log(depth)
            ratio = ((log_depth - hints.log_floor) * hints.has_floor).clamp(-_FAR, _FAR)
            distance = torch.cat([ratio, ratio.abs(), hints.log_floor], dim=1)
        hidden = self.condition(condition) + self.distance(distance.to(condition.dtype))
        logit = self.share(functional.relu(hidden))
        with full_precision(condition):
            share = torch.sigmoid(logit.float()) * hints.has_floor
            apart = hints.log_floor - log_depth
            # The squares of both distances to the mean add up to c (1 - c) times that between them.
            variance = sigma.square() + share * (MINIMUM_SIGMA**2 - sigma.square())
            variance = variance + share * (1.0 - share) * apart.square()
            # The root of a square need not be what was squared; e to the 0 is 1.
            mixed = torch.where(share > 0.0, torch.sqrt(variance), sigma)
            return depth * torch.exp(share * apart), mixed


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

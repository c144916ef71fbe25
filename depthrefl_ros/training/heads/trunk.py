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

"""What all heads share: their sizes, what they return, and the trunk that they stand on.

So that a comparison of heads compares heads, every one of them sees the decoder through the same
projectors as the reflector, and differs only in how it says depth and in what it is trained by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from depthrefl_ros.network.backbone import Backbone, BackboneFeatures
from depthrefl_ros.network.model import ModelConfig
from depthrefl_ros.network.ops import enlarge, resize
from depthrefl_ros.network.reflector import MINIMUM_SIGMA, Projector


@dataclass(frozen=True)
class HeadSizes:
    """What a head is built from.

    Attributes:
        bottleneck_channels: of the backbone.
        block_channels: of the backbone's decoder blocks, coarse to fine.
        head_channels: of the last feature of the backbone's relative head.
        grid: (h, w) of the finest block.
        z_min_m: nearest canonical depth, metres.
        z_max_m: farthest canonical depth, metres; heads say depth in units of it.
        bins: K, of every head that has bins; a multiple of 16.
        embedding: E, channels of the projected blocks.
        hidden: channels of the perceptron between the trunk and what is predicted.

    Raises:
        ValueError: a size that not every head can be built with.
    """

    bottleneck_channels: int
    block_channels: tuple[int, ...]
    head_channels: int
    grid: tuple[int, int]
    z_min_m: float
    z_max_m: float
    bins: int = 64
    embedding: int = 64
    hidden: int = 256

    def __post_init__(self) -> None:
        if self.bins < 16 or self.bins % 16:
            raise ValueError(f"bins is {self.bins}; a multiple of 16 is needed (split four times)")
        if not 0 < self.z_min_m < self.z_max_m:
            raise ValueError(f"need 0 < z_min_m < z_max_m, got {self.z_min_m} and {self.z_max_m}")

    @property
    def near(self) -> float:
        """The nearest depth in units of z_max."""
        return self.z_min_m / self.z_max_m

    @classmethod
    def of(cls, backbone: Backbone, config: ModelConfig, **sizes) -> HeadSizes:
        """Return sizes of a head for a backbone; ``sizes`` overrides bins, embedding and hidden."""
        image = torch.zeros(1, 3, config.height, config.width)
        with torch.no_grad():
            grid = backbone.eval()(image).blocks[-1].shape[2:]
        return cls(
            backbone.bottleneck_channels,
            tuple(backbone.block_channels),
            backbone.head_channels,
            tuple(grid),
            config.z_min_m,
            config.z_max_m,
            **sizes,
        )


class Trunk(nn.Module):
    """The embeddings of all decoder blocks, and what a head predicts from at the finest.

    The reflector's projectors; the finest embedding with the relative head's feature and relative
    depth is what the reflector's distribution sees.
    """

    def __init__(self, sizes: HeadSizes):
        super().__init__()
        self.projectors = nn.ModuleList(
            Projector(channels, sizes.embedding) for channels in sizes.block_channels
        )
        self.channels = sizes.embedding + sizes.head_channels + 1

    def forward(self, features: BackboneFeatures) -> tuple[list[Tensor], Tensor]:
        """Return embeddings (N, E, h_l, w_l) coarse to fine, (N, channels, h, w) at the finest."""
        embeddings: list[Tensor] = []
        for block, project in zip(features.blocks, self.projectors, strict=True):
            embeddings.append(project(block, embeddings[-1] if embeddings else None))
        relative = resize(features.relative, embeddings[-1])
        return embeddings, torch.cat([features.head, relative, embeddings[-1]], dim=1)


def log_sigma(log_centres: Tensor, probabilities: Tensor, depth: Tensor) -> Tensor:
    """Return the standard deviation of log depth about ``depth``, with the reflector's floor.

    Args:
        log_centres: (N or 1, K, h or 1, w or 1).
        probabilities: (N, K, h, w), sum 1 over K.
        depth: (N, 1, h, w), in the unit of the centres.

    Returns:
        (N, 1, h, w).
    """
    squares = (log_centres - torch.log(depth)).square()
    variance = (probabilities * squares).sum(dim=1, keepdim=True)
    return torch.sqrt(variance + MINIMUM_SIGMA**2)


class ModelOutput(NamedTuple):
    """Depth (canonical metres), sigma and relative, each (N, 1, H, W) float32."""

    depth: Tensor
    sigma: Tensor
    relative: Tensor


class HeadModel(nn.Module):
    """A backbone with any head: what training, evaluation and export take for a ``DepthModel``.

    A head without a sigma gets one of 1 everywhere, which ranks nothing.
    """

    def __init__(self, config: ModelConfig, backbone: Backbone, head: nn.Module):
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.head = head

    def features(self, image: Tensor) -> BackboneFeatures:
        """Map (N, 3, H, W) RGB in 0..255 to the backbone's features."""
        return self.backbone(self.backbone.normalise(image))

    def forward(self, image: Tensor) -> ModelOutput:
        """Map (N, 3, H, W) RGB in 0..255 of the parameters' type to ``ModelOutput``."""
        features = self.features(image)
        output = self.head(features)
        depth = enlarge(output.depth * self.config.z_max_m, image)
        sigma = torch.ones_like(depth) if output.sigma is None else enlarge(output.sigma, image)
        return ModelOutput(depth, sigma, enlarge(features.relative.float(), image))

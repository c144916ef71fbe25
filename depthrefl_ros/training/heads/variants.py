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

"""The reflector, and with its parts taken away one by one."""

from __future__ import annotations

from torch import Tensor, nn

from depthrefl_ros.network.backbone import BackboneFeatures
from depthrefl_ros.network.ops import resize
from depthrefl_ros.network.reflector import Reflector, ReflectorConfig, ReflectorOutput
from depthrefl_ros.training.heads.trunk import HeadSizes


class NoAttraction(nn.Module):
    """Takes an attractor's place and leaves the centres where they are."""

    def forward(self, centres: Tensor, embedding: Tensor) -> Tensor:
        """Return centres of the coarser level, resized like the embedding."""
        return resize(centres, embedding)


class ReflectorHead(Reflector):
    """The reflector with attractors at chosen levels only, and with or without relative depth.

    Without relative depth the distribution does not see the relative head's last feature either,
    of which relative depth is a function of one layer; it has the embedding alone.

    Args:
        sizes: of all heads.
        distribution: ``log_binomial`` or ``softmax``.
        levels: which decoder blocks have attractors, 0 the coarsest.
        sees_relative: whether the distribution is conditioned on relative depth.
    """

    def __init__(
        self,
        sizes: HeadSizes,
        distribution: str = "log_binomial",
        levels: tuple[int, ...] = (0, 1, 2, 3),
        sees_relative: bool = True,
    ):
        config = ReflectorConfig(
            bins=sizes.bins, embedding=sizes.embedding, distribution=distribution
        )
        super().__init__(
            config, sizes.bottleneck_channels, sizes.block_channels, sizes.head_channels, sizes.near
        )
        for level in set(range(len(self.attractors))) - set(levels):
            self.attractors[level] = NoAttraction()
        self.sees_relative = sees_relative
        if not sees_relative:
            self.distribution = type(self.distribution)(
                config.embedding, config.embedding, config.bins
            )

    def forward(self, features: BackboneFeatures) -> ReflectorOutput:
        """Map backbone features to ``ReflectorOutput`` at the finest block's stride."""
        if not self.sees_relative:
            relative = resize(features.relative, features.blocks[-1])
            features = features._replace(head=features.head[:, :0], relative=relative[:, :0])
        return super().forward(features)

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

"""What stage 2 needs from stage 1, whatever the encoder: the ``Backbone`` protocol."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

NO_HINTS: tuple[None, ...] = (None,) * 5  # in the place of either of ``mount.Hints``


class BackboneFeatures(NamedTuple):
    """What stage 1 hands to stage 2. Strides are those of EfficientNet-Lite; others have their own.

    Attributes:
        bottleneck: (N, C, H/32, W/32).
        blocks: decoder blocks r4 .. r1, coarse to fine, strides 32, 16, 8, 4.
        head: (N, C, H/4, W/4), the last feature of the relative head, as large as the last block.
        relative: (N, 1, H/4, W/4) or larger, in (0, 1), near to far, ordinal only.
    """

    bottleneck: Tensor
    blocks: tuple[Tensor, Tensor, Tensor, Tensor]
    head: Tensor
    relative: Tensor

    def to(self, device: torch.device | str) -> BackboneFeatures:
        """Return the same features on a device."""
        blocks = tuple(block.to(device) for block in self.blocks)
        others = (plane.to(device) for plane in (self.bottleneck, self.head, self.relative))
        bottleneck, head, relative = others
        return BackboneFeatures(bottleneck, blocks, head, relative)


@runtime_checkable
class Backbone(Protocol):
    """Encoder, decoder and relative head: an ``nn.Module`` that a reflector can stand on.

    Attributes:
        stride: height and width of an image are multiples of it, pixels.
        bottleneck_channels: channels of ``BackboneFeatures.bottleneck``.
        block_channels: channels of the decoder blocks, coarse to fine.
        head_channels: channels of ``BackboneFeatures.head``.
    """

    stride: int
    bottleneck_channels: int
    block_channels: tuple[int, int, int, int]
    head_channels: int

    def __call__(self, image: Tensor) -> BackboneFeatures:
        """Return the features of (N, 3, H, W) normalised RGB."""

    def normalise(self, image: Tensor) -> Tensor:
        """Return RGB in 0..255, (N, 3, H, W), as the encoder's weights expect it."""

    def fix_size(self, height: int, width: int) -> None:
        """Prepare, in place, for inference on images of this size only (pixels)."""

    def prepare_for_export(self) -> None:
        """Replace, in place, what exports badly."""

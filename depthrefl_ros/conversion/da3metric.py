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

"""DA3METRIC-LARGE: Depth Anything's encoder and neck under a head of depth and sky.

This variant of Depth Anything 3 has neither rotary embeddings nor camera tokens, so that the
encoder is plain DINOv2-L. Depth is canonical: metres for a focal length of 300 pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from depthrefl_ros.conversion.adapters import PATCH

_HIDDEN = "head.sky"  # names of the sky's two convolutions, numbered from 1


class Da3MetricAdapter(nn.Module):
    """Normalised RGB to depth and sky.

    Args:
        model: ``DepthAnythingForDepthEstimation`` with the encoder, the neck and the depth head.
        tensors: of the sky's head, by the names that ``original_files`` gives them.
    """

    outputs = ("plane", "sky")

    def __init__(self, model: nn.Module, tensors: dict[str, Tensor]):
        super().__init__()
        self.model = model
        self.sky1, self.sky2 = (_convolution(tensors, f"{_HIDDEN}{number}") for number in (1, 2))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map (1, 3, H, W) to depth in metres and sky from 0, both (1, 1, H, W)."""
        model, size = self.model, image.shape[2:]
        grid = (size[0] // PATCH, size[1] // PATCH)
        finest = model.neck(list(model.backbone(image).feature_maps), *grid)[-1]
        shared = interpolate(
            model.head.conv1(finest), size=tuple(size), mode="bilinear", align_corners=True
        )
        depth = model.head.conv3(torch.relu(model.head.conv2(shared))).exp()
        return depth, torch.relu(self.sky2(torch.relu(self.sky1(shared))))


def is_sky(name: str) -> bool:
    """Return whether a tensor belongs to the sky's head."""
    return name.startswith(_HIDDEN)


def _convolution(tensors: dict[str, Tensor], name: str) -> nn.Conv2d:
    weight = tensors[f"{name}.weight"]
    made = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:], padding="same")
    made.load_state_dict({"weight": weight, "bias": tensors[f"{name}.bias"]})
    return made


def keep_authors_positions(model: nn.Module) -> None:
    """Resize position embeddings in place as DINOv2's own code does, which adds 0.1 to the grid.

    ``transformers`` resizes to the exact size instead, which gives other depth at any size but the
    encoder's own.

    Args:
        model: with a DINOv2 backbone of ``transformers``.
    """
    embeddings = model.backbone.embeddings

    def resized(tokens: Tensor, height: int, width: int) -> Tensor:
        table = embeddings.position_embeddings
        side = round((table.shape[1] - 1) ** 0.5)
        rows, columns = height // PATCH, width // PATCH
        if (rows, columns) == (side, side):
            return table
        plane = table[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        factors = ((rows + 0.1) / side, (columns + 0.1) / side)
        plane = interpolate(plane, scale_factor=factors, mode="bicubic")
        plane = plane.permute(0, 2, 3, 1).reshape(1, rows * columns, -1)
        return torch.cat([table[:, :1], plane], dim=1)

    embeddings.interpolate_pos_encoding = resized

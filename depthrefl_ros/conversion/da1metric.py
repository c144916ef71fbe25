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

"""Depth Anything V1 metric: ZoeDepth's metric head on Depth Anything's encoder, neck and head.

``transformers`` has the parts and no class for them together: its ZoeDepth takes the class token
into the neck, which Depth Anything leaves out. Depth is in metres, for indoors (NYU) or outdoors
(KITTI).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from transformers import DepthAnythingForDepthEstimation, ZoeDepthConfig, ZoeDepthPreTrainedModel
from transformers.modeling_outputs import DepthEstimatorOutput
from transformers.models.zoedepth.modeling_zoedepth import ZoeDepthMetricDepthEstimationHead


class DepthAnythingV1Metric(DepthAnythingForDepthEstimation, ZoeDepthPreTrainedModel):
    """The network as ``from_pretrained`` loads it.

    ZoeDepth's base class fills in the constants of the head's distribution, which no file has.

    Args:
        config: of Depth Anything, with the head's part of a ``ZoeDepthConfig`` as ``metric_head``.
    """

    def __init__(self, config: Any):
        super().__init__(config)
        self.metric_head = ZoeDepthMetricDepthEstimationHead(ZoeDepthConfig(**config.metric_head))
        self.post_init()

    def forward(self, pixel_values: Tensor) -> DepthEstimatorOutput:
        """Map (N, 3, H, W), multiples of 14 and normalised, to depth (N, H, W), metres."""
        size = tuple(pixel_values.shape[2:])
        grid = [side // self.config.patch_size for side in size]
        stages = self.neck.reassemble_stage(self.backbone(pixel_values).feature_maps, *grid)
        levels = [conv(one) for conv, one in zip(self.neck.convs, stages, strict=True)]
        fused = self.neck.fusion_stage(levels)  # from coarse to fine
        shared = interpolate(
            self.head.conv1(fused[-1]), size=size, mode="bilinear", align_corners=True
        )
        hidden = torch.relu(self.head.conv2(shared))
        nearness = torch.relu(self.head.conv3(hidden))
        depth, _ = self.metric_head(hidden, levels[-1], fused, nearness[:, 0])
        return DepthEstimatorOutput(predicted_depth=depth[:, 0])

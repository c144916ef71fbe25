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

"""The protocol of stage 1: every backbone hands stage 2 what the protocol promises."""

import pytest
import torch

from depthrefl_ros.network.backbone import Backbone
from depthrefl_ros.network.dinov2 import DinoV2Backbone, DinoV2Config
from depthrefl_ros.network.efficientnet import EfficientNetLiteBackbone, EfficientNetLiteConfig


def make(name: str) -> Backbone:
    if name == "dinov2":
        pytest.importorskip("transformers")
        return DinoV2Backbone(DinoV2Config()).eval()
    return EfficientNetLiteBackbone(EfficientNetLiteConfig()).eval()


@pytest.mark.parametrize("name", ["efficientnet", "dinov2"])
def test_features_are_as_the_backbone_says(name):
    backbone = make(name)
    assert isinstance(backbone, Backbone)
    image = torch.full((1, 3, 2 * backbone.stride, 4 * backbone.stride), 100.0)
    with torch.no_grad():
        features = backbone(backbone.normalise(image))
    assert features.bottleneck.shape[1] == backbone.bottleneck_channels
    assert tuple(block.shape[1] for block in features.blocks) == backbone.block_channels
    assert features.head.shape[1] == backbone.head_channels
    assert features.head.shape[2:] == features.blocks[-1].shape[2:]
    assert features.relative.shape[:2] == (1, 1)
    assert 0 < features.relative.min() and features.relative.max() < 1
    widths = [block.shape[3] for block in features.blocks]
    assert widths == sorted(widths)  # coarse to fine

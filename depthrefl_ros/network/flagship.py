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

"""The flagship's shape: DINOv2 ViT-S, DPT neck and a reflector of 32 bins. Its weights are random.

Good for exporting, building and timing what a robot's GPU will run; not for depth.
"""

from __future__ import annotations

import torch
from torch import nn

from depthrefl_ros.network.dinov2 import DinoV2Config
from depthrefl_ros.network.model import DepthModel, ModelConfig, create_model
from depthrefl_ros.network.reflector import ReflectorConfig

# (height, width) in pixels: 4:3, square, 3:4 of the encoder's own size, and that size.
SHAPES = ((252, 336), (308, 308), (392, 518), (518, 518))
_FOCAL_OF_WIDTH = 0.9375  # a horizontal view of 56 degrees, as in the small models


def flagship_config(height: int = 252, width: int = 336, bins: int = 32) -> ModelConfig:
    """Return the flagship for images of this size.

    Args:
        height: pixels, a multiple of 14.
        width: pixels, a multiple of 14.
        bins: of the reflector.

    Raises:
        ValueError: a size that is no multiple of 14.
    """
    return ModelConfig(
        backbone=DinoV2Config(),
        reflector=ReflectorConfig(bins=bins, embedding=64),
        height=height,
        width=width,
        focal_px=_FOCAL_OF_WIDTH * width,
    )


def random_flagship(
    height: int = 252, width: int = 336, bins: int = 32, seed: int = 0
) -> DepthModel:
    """Return the flagship with random weights at unit gain, so that outputs vary with the image.

    As initialised for training, its tokens hardly differ and its output is nearly flat, and a
    comparison of two engines on it would prove nothing.

    Raises:
        ImportError: ``transformers`` is not installed.
    """
    generator = torch.Generator().manual_seed(seed)
    model = create_model(flagship_config(height, width, bins)).eval()
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            # A transposed convolution's stride is its kernel: one input pixel to each output pixel.
            is_transposed = isinstance(module, nn.ConvTranspose2d)
            fan_in = len(module.weight) if is_transposed else module.weight[0].numel()
            module.weight.data.normal_(0.0, fan_in**-0.5, generator=generator)
    return model

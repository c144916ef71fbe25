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

"""Photometric changes of a training image: another exposure and palette, a worse camera.

Depth, focal length and mount stay what they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from depthrefl_ros.training.augment import AugmentConfig


def jitter_colour(
    image: np.ndarray, config: AugmentConfig, generator: np.random.Generator
) -> np.ndarray:
    """Return the image (h, w, 3) uint8 under another exposure, white balance and palette."""
    if generator.random() < config.colour_chance:
        image = cv2.LUT(image, tone_table(config, generator))
        image = shift_palette(image, config, generator)
    if generator.random() < config.greyscale_chance:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return image


def tone_table(config: AugmentConfig, generator: np.random.Generator) -> np.ndarray:
    """Return a (1, 256, 3) uint8 table: gamma, contrast about mid grey, brightness, balance."""
    gamma = config.max_gamma ** generator.uniform(-1, 1)
    contrast = 1 + generator.uniform(-config.contrast, config.contrast)
    brightness = generator.uniform(-config.brightness, config.brightness)
    balance = 1 + generator.uniform(-config.white_balance, config.white_balance, size=3)
    level = (np.arange(256) / 255.0) ** gamma
    level = (level - 0.5) * contrast + 0.5 + brightness
    table = np.clip(level[:, None] * balance, 0, 1) * 255
    return np.rint(table).astype(np.uint8)[None]


def shift_palette(
    image: np.ndarray, config: AugmentConfig, generator: np.random.Generator
) -> np.ndarray:
    """Return the image with its saturation scaled and its hue turned."""
    saturation = 1 + generator.uniform(-config.saturation, config.saturation)
    turn = generator.uniform(-config.hue_deg, config.hue_deg)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    levels = np.arange(256)
    table = np.stack(
        [(levels + turn * 256 / 360) % 256, np.clip(levels * saturation, 0, 255), levels], axis=-1
    )
    hsv = cv2.LUT(hsv, table.astype(np.uint8)[None])
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def degrade(image: np.ndarray, config: AugmentConfig, generator: np.random.Generator) -> np.ndarray:
    """Return the image as a worse camera would give it: soft, blurred, noisy, compressed."""
    height, width = image.shape[:2]
    if generator.random() < config.shrink_chance:
        factor = generator.uniform(0.5, 0.9)
        small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    if generator.random() < config.blur_chance:
        image = cv2.GaussianBlur(image, (0, 0), generator.uniform(0.4, 1.5))
    if generator.random() < config.noise_chance:
        deviation = generator.uniform(1, 12)
        noise = generator.standard_normal(image.shape, dtype=np.float32) * deviation
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if generator.random() < config.jpeg_chance:
        quality = int(generator.integers(30, 95))
        encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(image)

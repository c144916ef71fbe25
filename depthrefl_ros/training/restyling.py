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

"""Gives a picture the light and colour of another one, so that its source cannot be told by them.

A network that learns from renders and from photographs of one camera tells them apart by their
light, and takes each for what its source mostly shows. Low spatial frequencies carry light and
colour; their amplitudes are exchanged, the phases, which say where things are, stay (Yang and
Soatto, "FDA: Fourier domain adaptation for semantic segmentation", CVPR 2020).
"""

from __future__ import annotations

import cv2
import numpy as np


def restyle(image: np.ndarray, other: np.ndarray, reach: float, share: float) -> np.ndarray:
    """Return the image with amplitudes of another one at its lowest spatial frequencies.

    Args:
        image: (h, w, 3) uint8.
        other: (H, W, 3) uint8, of any size.
        reach: how many periods a picture's shorter side the highest exchanged frequency has.
        share: of the exchange, 0 to 1; between them amplitudes are mixed.

    Returns:
        (h, w, 3) uint8.
    """
    height, width = image.shape[:2]
    other = cv2.resize(other, (width, height), interpolation=cv2.INTER_AREA)
    mine, theirs = (np.fft.rfft2(i.astype(np.float32), axes=(0, 1)) for i in (image, other))
    shorter = min(height, width)
    rows = np.abs(np.fft.fftfreq(height, 1.0 / height)) * shorter / height <= reach
    columns = np.fft.rfftfreq(width, 1.0 / width) * shorter / width <= reach
    low = np.ix_(rows, columns)
    amplitude = np.abs(mine[low])
    wanted = amplitude + share * (np.abs(theirs[low]) - amplitude)
    mine[low] *= wanted / np.maximum(amplitude, 1e-6)
    changed = np.fft.irfft2(mine, s=(height, width), axes=(0, 1))
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)

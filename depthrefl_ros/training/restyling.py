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
    shorter = min(height, width)
    rows = _waves(np.fft.fftfreq(height, 1.0 / height), height, reach * height / shorter)
    columns = _waves(np.fft.rfftfreq(width, 1.0 / width), width, reach * width / shorter)
    mine, theirs = (_spectrum(i.astype(np.float32), rows, columns) for i in (image, other))
    amplitude = np.abs(mine)
    change = share * (np.abs(theirs) - amplitude) / np.maximum(amplitude, 1e-6) * mine
    # Of a real picture's spectrum only one half is here: all but the columns' mean come twice.
    change[:, 1:] *= 2.0
    across = np.einsum("klc,lx->kxc", change, columns.conj()).reshape(len(rows), -1)
    # Re(conj(r) a) = Re r Re a + Im r Im a.
    added = _parts(rows).T @ _parts(across) / (height * width)
    return np.clip(np.rint(image + added.reshape(image.shape)), 0, 255).astype(np.uint8)


def _waves(frequencies: np.ndarray, size: int, highest: float) -> np.ndarray:
    """Return exp(-2 pi i k x / size) for the frequencies k up to the highest one, (n, size)."""
    kept = frequencies[np.abs(frequencies) <= highest]
    return np.exp(-2j * np.pi * np.outer(kept, np.arange(size)) / size).astype(np.complex64)


def _parts(values: np.ndarray) -> np.ndarray:
    """Return real above imaginary parts, (2 n, m), of complex (n, m)."""
    return np.concatenate([values.real, values.imag])


def _spectrum(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the (rows, columns, 3) complex coefficients of a picture (h, w, 3) float32.

    A few frequencies cost a tenth of what a transform of all of them does.
    """
    height, width = image.shape[:2]
    real, imaginary = np.split(_parts(rows) @ image.reshape(height, -1), 2)
    down = (real + 1j * imaginary).reshape(-1, width, 3)
    return np.einsum("kxc,lx->klc", down, columns)

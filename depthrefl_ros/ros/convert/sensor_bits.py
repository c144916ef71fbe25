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

"""How many bits of 16 a camera uses.

Sensors of 10, 12 or 14 bits often leave the high bits of 16 at zero, and no field of the message
says so: the pictures do.
"""

from __future__ import annotations

from collections import deque

import numpy as np

_SENSOR_BITS = (10, 12, 14, 16)
_SAMPLES = 20_000  # pixels of a picture that are looked at
# Of them, so many may be above what the sensor can say: faulty pixels, and what a driver writes
# into some of them, such as a frame counter.
_ABOVE_SHARE = 0.001
_NEWEST = 10  # pictures that are remembered
_TELLING = 3  # of them that must show more bits before these count for good


class SensorBits:
    """Learns from a camera's pictures how many bits it uses; one object for one stream.

    A dark picture does not change the brightness of a camera that is known, and a corrupt one
    changes that of no other picture.
    """

    def __init__(self) -> None:
        self._known = 0  # before there are as many pictures as tell it
        self._newest: deque[int] = deque(maxlen=_NEWEST)

    def of(self, values: np.ndarray) -> int:
        """Take in one picture; return how many bits of its values count.

        Args:
            values: (H, W) or (H, W, C) uint16, in either byte order.
        """
        here = bits_in(values)
        self._newest.append(here)
        used = max(self._newest) if not self._known else max(self._known, here)
        if len(self._newest) >= _TELLING:
            self._known = max(self._known, sorted(self._newest)[-_TELLING])
        return used


def bits_in(values: np.ndarray) -> int:
    """Return 10, 12, 14 or 16: the bits that one picture uses, whatever a few pixels show."""
    # Odd, so that every colour of a Bayer mosaic is looked at.
    step = int((values.shape[0] * values.shape[1] / _SAMPLES) ** 0.5) // 2 * 2 + 1
    sample = values[::step, ::step]
    allowed = int(_ABOVE_SHARE * sample.size)
    return next(
        bits
        for bits in _SENSOR_BITS
        if bits == _SENSOR_BITS[-1] or np.count_nonzero(sample >= 1 << bits) <= allowed
    )

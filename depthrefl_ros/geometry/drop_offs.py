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

"""Where the floor ends: rays that pass through its plane and go on, as over a stair or a kerb.

A ray that ends below the floor says nothing of what is beyond the place where it passes through the
floor's plane. It is a drop-off only where none of these explains it: the depth's own uncertainty,
an uneven floor, a ramp, a mount that is a little wrong. Where all the floor seems too far, the
scale is in doubt rather than the floor; the floor check (floor_check.py) judges that.
"""

from __future__ import annotations

import numpy as np

from depthrefl_ros.geometry.gates import nearest_possible

UNEVEN_M = 0.1  # so far below z = 0 the floor may be at the robot
_SLOPE = 0.026  # and so much more for each metre away: tan of 1.5 degrees
_RAMP, _RAMP_M = 0.14, 0.5  # a ramp may fall by 8 degrees, its tangent, and by half a metre
_SCALE = 2.0  # no scale that the network may err by makes its depth this much too large
_STRIDE = 4  # in rows and columns: floor that stands for anything has an area


def drop_offs(
    depth_m: np.ndarray,
    ungated_m: np.ndarray,
    sigma: np.ndarray,
    height_m: np.ndarray,
    to_floor_m: np.ndarray,
    rise: np.ndarray,
    over_floor: np.ndarray,
    min_height_m: float,
) -> np.ndarray:
    """Return the pixels, flat indices (n,) int64, of rays that pass through the floor's plane.

    Args:
        depth_m: (h, w) float32 metres after the gates; NaN, +Inf and -Inf by REP-117.
        ungated_m: (h, w) float32 metres before the gates.
        sigma: (h, w) float32 standard deviation of log depth.
        height_m: (h, w) float32 metres above the floor, of what is beyond the range at its end.
        to_floor_m: (h, w) float32 depth at which the ray meets z = 0, or inf.
        rise: (h, w) float32 metres upwards for each metre of depth.
        over_floor: (h, w) float32 metres over the floor for each metre of depth.
        min_height_m: below this something is floor.
    """
    uneven_m = max(UNEVEN_M, min_height_m)
    pixels = np.flatnonzero((height_m < -uneven_m) & (depth_m > 0))  # not NaN, nor too near
    if not len(pixels):
        return pixels
    depth, to_floor_m = depth_m.ravel()[pixels], to_floor_m.ravel()[pixels]
    is_beyond = np.isposinf(depth)
    depth[is_beyond] = ungated_m.ravel()[pixels[is_beyond]]
    nearest_m = nearest_possible(depth, sigma.ravel()[pixels])
    over_floor_here, fall = over_floor.ravel()[pixels], -rise.ravel()[pixels]
    reach_m = to_floor_m * over_floor_here
    # (nearest - to_floor) fall > uneven + slope nearest over_floor, also where nearest is infinite.
    with np.errstate(invalid="ignore"):
        is_low = nearest_m * (fall - _SLOPE * over_floor_here) > uneven_m + to_floor_m * fall
        ramp_m = np.minimum(_RAMP * nearest_m * over_floor_here, _RAMP_M)
        is_low &= (nearest_m - to_floor_m) * fall > uneven_m + ramp_m
    is_known = (nearest_m > _SCALE * to_floor_m) | (
        reach_m > _nearest_floor_m(depth_m, height_m, over_floor, uneven_m, min_height_m)
    )
    return pixels[is_low & is_known]


def _nearest_floor_m(
    depth_m: np.ndarray,
    height_m: np.ndarray,
    over_floor: np.ndarray,
    uneven_m: float,
    min_height_m: float,
) -> float:
    """Return how near, over the floor, floor is believed to be seen where it should be, or inf."""
    some = (slice(None, None, _STRIDE),) * 2
    depth_m, height_m = depth_m[some], height_m[some]
    is_floor = np.isfinite(depth_m) & (height_m < min_height_m) & (height_m >= -uneven_m)
    return float((depth_m[is_floor] * over_floor[some][is_floor]).min(initial=np.inf))

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

"""Which pixels may be believed: depth edges, grazing surfaces, confidence, range (REP-117, -118).

A network does not step from one surface to the next, it slides: between them lies a ramp several
pixels wide, and every pixel of it becomes a point that floats in free space. Steepness alone does
not tell a ramp from a floor that runs away from a low camera. What does is that inverse depth is
affine in the pixel's coordinates on every plane, however slanted: n . P = c and P = z (x, y, 1)
give 1/z = (n_x x + n_y y + n_z) / c. So each pixel is compared with what the surfaces on either
side of it predict by linear extrapolation of 1/z. One that agrees with neither floats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.tables import frozen, table
from depthrefl_ros.settings import SettingError, check, check_order, setting

GATES = ("edge", "grazing", "confidence", "too_near", "too_far", "unseen")

_NEIGHBOURHOOD = np.ones((3, 3), np.uint8)
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
# Half the width, in pixels, of the widest ramp that is looked across.
_REACH = 3
# A pixel floats only where 1/z changes, in one direction and on both of its sides, by this share of
# the deviation that counts. It spares what is seen face-on: strips narrower than _REACH, and the
# near side of thin obstacles.
_STEEP_SHARE = 0.25
_FAR_M = np.float32(100.0)  # any number will do where nothing is seen far and wide
# Depth beside a step as large as this is not interpolated across it.
_STEP_RATIO = 1.2
# What the median puts so much farther than it was is lost rather than smoothed.
_LOST_RATIO = np.float32(1.2)
DEVIATIONS = np.float32(2.0)  # that a surface which is not believed may be nearer than it seems


def smooth(depth: np.ndarray) -> np.ndarray:
    """Return 3x3 median of (h, w) float32 depth: removes single outliers and keeps steps."""
    return cv2.medianBlur(depth, 3)


def depth_edges(depth: np.ndarray, ratio: float) -> np.ndarray:
    """Return pixels beside a step of depth, across which nothing should be interpolated.

    A pixel is beside a step when the farthest of its 3x3 neighbours is more than ``ratio`` times as
    far as the nearest one. Ratios, not differences: a metric depth errs in proportion to itself.

    Args:
        depth: (h, w) float32, metres, finite.
        ratio: above 1.

    Returns:
        (h, w) bool.
    """
    farthest = cv2.dilate(depth, _NEIGHBOURHOOD)
    nearest = cv2.erode(depth, _NEIGHBOURHOOD)
    return farthest * np.float32(1.0 / ratio) > nearest


def steps(depth: np.ndarray) -> np.ndarray:
    """Return pixels of a depth (h, w) float32 across which an upsampling would mix surfaces.

    Next to NaN there is nothing to mix; what is beside it is one of them.
    """
    return depth_edges(np.nan_to_num(depth, nan=0.0, posinf=np.inf), _STEP_RATIO)


def apply_range(depth: np.ndarray, min_range_m: float, max_range_m: float) -> None:
    """Mark in place what is out of range: +Inf beyond, -Inf nearer (REP-117).

    Args:
        depth: (h, w) float32, metres; NaN stays NaN.
        min_range_m: metres.
        max_range_m: metres.
    """
    depth[depth > max_range_m] = np.inf
    depth[depth < min_range_m] = -np.inf


def apply_sky(depth: np.ndarray, planes: Mapping[str, np.ndarray]) -> None:
    """Mark in place as +Inf (REP-117) what a network calls sky: no number stands for its distance.

    Args:
        depth: (h, w) float32, metres.
        planes: of the network, each (1, 1, h, w) float32; without ``sky`` nothing changes.
    """
    if "sky" in planes:
        depth[planes["sky"][0, 0] > 0.5] = np.inf


def nearest_possible(
    depth_m: np.ndarray, sigma: np.ndarray, deviations: np.floating | np.ndarray = DEVIATIONS
) -> np.ndarray:
    """Return how near a surface may be: some sigmas nearer than its estimate.

    Args:
        depth_m: metres, before the gates.
        sigma: of the same shape, standard deviation of log depth.
        deviations: how many, one for all or of the same shape; two for what is not believed.
    """
    return depth_m * np.exp(-deviations * sigma)


def lost(depth_m: np.ndarray, ungated_m: np.ndarray, max_range_m: float) -> np.ndarray:
    """Return pixels of which the median made something much farther: a pole as thin as a pixel.

    Args:
        depth_m: metres after the gates, of any shape; NaN, +Inf and -Inf by REP-117.
        ungated_m: of the same shape, metres before the gates.
        max_range_m: of the gates.
    """
    found = ungated_m < depth_m * (1 / _LOST_RATIO)
    found &= ungated_m < max_range_m / _LOST_RATIO  # what is beyond is +Inf in one and not in both
    return found


@dataclass(frozen=True)
class GateSettings:
    """What a pixel must satisfy to be believed; all may change from one frame to the next.

    Attributes:
        median_filter: a 3x3 median goes before the gates.
        edge_ratio: a pixel floats when its depth differs by more than this factor from what the
            surfaces on both of its sides predict; 0 for never.
        max_grazing_angle_deg: a pixel is unknown when its ray meets its surface at a smaller angle
            than this, degrees; 0 for never.
        min_confidence: calibrated probability below which depth is unknown; 0 for never.
        min_range_m: nearer depth is -Inf, metres; 0 stands for the model's own.
        max_range_m: farther depth is +Inf, metres; 0 stands for the model's own.

    Raises:
        SettingError: a value out of its range.
    """

    median_filter: bool = setting(
        True, "Apply a 3x3 median to the depth before the gates, to remove single wrong pixels."
    )
    edge_ratio: float = setting(
        1.12,
        "Flying pixels, which differ by more than this factor from the surfaces on both of their "
        "sides, become NaN. 0 keeps all.",
        limits=(0.0, 10.0),
    )
    max_grazing_angle_deg: float = setting(
        1.5,
        "Surfaces that a ray meets at a smaller angle become NaN. 0 keeps all.",
        limits=(0.0, 45.0),
    )
    min_confidence: float = setting(
        0.0,
        "Depth whose calibrated confidence is below this becomes NaN. 0 keeps all.",
        limits=(0.0, 0.99),
    )
    min_range_m: float = setting(
        0.3, "Nearer depth becomes -Inf. 0 takes the model's own.", limits=(0.0, 1000.0)
    )
    max_range_m: float = setting(
        10.0, "Farther depth becomes +Inf. 0 takes the model's own.", limits=(0.0, 1000.0)
    )

    def __post_init__(self) -> None:
        check(self)
        if 0.0 < self.edge_ratio <= 1.0:
            raise SettingError(
                f"edge_ratio is {self.edge_ratio}; need 0 (off) or a ratio of depths above 1"
            )
        if self.max_range_m:
            check_order(self, "min_range_m", "max_range_m")

    def with_range_of(self, min_range_m: float, max_range_m: float) -> GateSettings:
        """Return these settings with a model's range, in metres, where their own is 0."""
        return replace(
            self,
            min_range_m=self.min_range_m or min_range_m,
            max_range_m=self.max_range_m or max_range_m,
        )


@dataclass(eq=False)
class Gated:
    """Depth of which only what may be believed is left.

    Attributes:
        depth_m: (h, w) float32 metres; NaN unknown, +Inf beyond range, -Inf nearer than range.
        smoothed_m: (h, w) float32 metres: after the median, before the gates; NaN where nothing
            was seen.
        edges: (h, w) bool, ``steps``, which were found together with the floating pixels; None
            where these are not looked for.
        counts: pixels that each of ``GATES`` found. One pixel may be found by several.
    """

    depth_m: np.ndarray
    smoothed_m: np.ndarray
    edges: np.ndarray | None
    counts: dict[str, int]


def apply_gates(
    depth_m: np.ndarray,
    sigma: np.ndarray,
    camera: Camera,
    sigma_limit: float,
    settings: GateSettings,
) -> Gated:
    """Remove what may not be believed.

    Args:
        depth_m: (h, w) float32 metres; NaN where nothing was seen (padding, the robot itself), and
            what is not positive is taken for that. It is left as it is.
        sigma: (h, w) float32 standard deviation of log depth.
        camera: the rectified pinhole camera of ``depth_m``.
        sigma_limit: sigma above which a pixel is unknown (``Bundle.sigma_limit`` of
            ``settings.min_confidence``); inf for never.
        settings: the gates.
    """
    unseen = ~(depth_m > 0)
    is_all_seen = not unseen.any()
    if not is_all_seen:
        depth_m = _filled(depth_m, unseen)
    smoothed = smooth(depth_m) if settings.median_filter else depth_m.copy()
    found, edges = {"confidence": ~(sigma <= sigma_limit)}, None  # also where it is no number
    inverse = np.reciprocal(smoothed)
    if settings.edge_ratio:
        found["edge"] = floating(inverse, settings.edge_ratio)
        edges = depth_edges(smoothed, _STEP_RATIO)
    if settings.max_grazing_angle_deg:
        angle = math.radians(settings.max_grazing_angle_deg)
        found["grazing"] = grazing(inverse, camera, angle)
    if not is_all_seen:
        found["unseen"] = unseen
        smoothed[unseen] = np.nan
    depth = smoothed.copy()
    apply_range(depth, settings.min_range_m, settings.max_range_m)
    counts = {
        "too_far": np.count_nonzero(smoothed > settings.max_range_m),
        "too_near": np.count_nonzero(smoothed < settings.min_range_m),
        **{name: np.count_nonzero(mask) for name, mask in found.items()},
    }
    for mask in found.values():
        np.copyto(depth, np.float32(np.nan), where=mask)
    return Gated(depth, smoothed, edges, {name: int(counts.get(name, 0)) for name in GATES})


def _filled(depth_m: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """Return depth with numbers for what was not seen: as far as the nearest pixel that was."""
    filled = depth_m.copy()
    if unseen.all():
        filled[...] = _FAR_M
    else:
        places, nearest = _nearest_seen(unseen.tobytes(), unseen.shape)
        filled.ravel()[places] = depth_m.ravel()[nearest]
    return filled


@table
def _nearest_seen(unseen: bytes, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return indices (n,) of the unseen pixels and of the seen pixel nearest to each.

    Padding and the robot itself stay the same from frame to frame.
    """
    mask = np.frombuffer(unseen, bool)
    _, labels = cv2.distanceTransformWithLabels(
        mask.reshape(shape).view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    labels, seen = labels.ravel(), np.flatnonzero(~mask)
    pixel_of = np.zeros(labels.max() + 1, np.int64)
    pixel_of[labels[seen]] = seen
    places = np.flatnonzero(mask)
    return frozen(places), frozen(pixel_of[labels[places]])


def floating(inverse: np.ndarray, ratio: float) -> np.ndarray:
    """Return pixels that lie on neither of the surfaces beside them, along rows or along columns.

    Args:
        inverse: (h, w) float32, 1/z in 1/metres.
        ratio: above 1, by which depth must differ from what either side predicts.

    Returns:
        (h, w) bool.
    """
    limit = inverse * np.float32(ratio - 1.0)
    found = np.zeros(inverse.shape, np.uint8)
    for axis in (0, 1):
        misfit = _misfit(inverse, axis)
        rows, columns = np.nonzero(misfit > limit)
        slope = _slope_at(inverse, rows, columns, axis)
        steep = np.abs(slope) > _STEEP_SHARE * limit[rows, columns]
        found[rows[steep], columns[steep]] = 1
    # Foot and shoulder of a ramp lie nearly on the surfaces and are part of it all the same.
    return cv2.dilate(found, _CROSS).view(bool)


def _misfit(inverse: np.ndarray, axis: int) -> np.ndarray:
    """Return how far 1/z is from its linear extrapolation from the side that fits better."""
    kernel = np.zeros((1, 2 * _REACH + 1), np.float32)
    kernel[0, [0, _REACH, -1]] = 1.0, -2.0, 1.0
    bend = np.abs(cv2.filter2D(inverse, -1, kernel if axis == 1 else kernel.T))
    bend, misfit = (a if axis == 1 else a.T for a in (bend, np.empty_like(inverse)))
    # A pixel's prediction from one side is the bend about the place _REACH away on that side.
    inner = slice(2 * _REACH, -2 * _REACH)
    np.minimum(bend[:, _REACH : -3 * _REACH], bend[:, 3 * _REACH : -_REACH], out=misfit[:, inner])
    # Toward the border only the inner side can tell.
    misfit[:, : 2 * _REACH] = bend[:, _REACH : 3 * _REACH]
    misfit[:, -2 * _REACH :] = bend[:, -3 * _REACH : -_REACH]
    return misfit if axis == 1 else misfit.T


def _slope_at(inverse: np.ndarray, rows: np.ndarray, columns: np.ndarray, axis: int) -> np.ndarray:
    """Return the smaller of the changes of 1/z to both sides, 0 where they disagree (minmod)."""
    height, width = inverse.shape
    down, right = (1, 0) if axis == 0 else (0, 1)
    below, beside = np.minimum(rows + down, height - 1), np.minimum(columns + right, width - 1)
    above, aside = np.maximum(rows - down, 0), np.maximum(columns - right, 0)
    here = inverse[rows, columns]
    after, before = inverse[below, beside] - here, here - inverse[above, aside]
    smaller = np.where(np.abs(after) < np.abs(before), after, before)
    return np.where(after * before > 0, smaller, 0.0)


def grazing(inverse: np.ndarray, camera: Camera, angle_rad: float) -> np.ndarray:
    """Return pixels whose ray meets its surface at less than an angle.

    With the gradient (g_u, g_v) of 1/z the plane through a pixel is m . P = 1,
    m = (f_x g_u, f_y g_v, 1/z - u g_u - v g_v) with u, v from the principal point; the sine of the
    angle between plane and ray r is (1/z) / (abs(m) abs(r)).

    Args:
        inverse: (h, w) float32, 1/z in 1/metres.
        camera: pinhole, of this size.
        angle_rad: radians.

    Returns:
        (h, w) bool.
    """
    sine = math.sin(angle_rad)
    tangents = np.array(
        [
            max(abs(edge - centre) / focal for edge in (0, size - 1))
            for size, centre, focal in (
                (camera.width, camera.cx, camera.fx),
                (camera.height, camera.cy, camera.fy),
            )
        ]
    )
    # Most pixels are far from grazing, which their gradient alone shows: with
    # a = (f_x abs(g_u) + f_y abs(g_v)) z and t the largest tangent, abs(m) z <= |(a, 1 + t a)|.
    t = float(tangents.max())
    longest = 1.0 / (sine * math.sqrt(1.0 + float(tangents @ tangents)))
    root = t**2 - (1.0 + t**2) * (1.0 - longest**2)
    least = (math.sqrt(root) - t) / (1.0 + t**2) if root > 0 else 0.0
    along_u = cv2.filter2D(inverse, -1, np.array([[-0.5, 0.0, 0.5]], np.float32) * camera.fx)
    along_v = cv2.filter2D(inverse, -1, np.array([[-0.5], [0.0], [0.5]], np.float32) * camera.fy)
    steepness = np.abs(along_u, out=along_u)
    steepness += np.abs(along_v, out=along_v)
    rows, columns = np.nonzero(steepness > np.float32(max(least, 0.0)) * inverse)

    g_u = _slope_at(inverse, rows, columns, 1)
    g_v = _slope_at(inverse, rows, columns, 0)
    u, v, here = columns - camera.cx, rows - camera.cy, inverse[rows, columns]
    normal = (camera.fx * g_u) ** 2 + (camera.fy * g_v) ** 2 + (here - u * g_u - v * g_v) ** 2
    ray = 1.0 + (u / camera.fx) ** 2 + (v / camera.fy) ** 2
    found = np.zeros(inverse.shape, bool)
    chosen = here**2 < sine**2 * normal * ray
    found[rows[chosen], columns[chosen]] = True
    return found

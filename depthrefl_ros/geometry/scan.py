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

"""A virtual laser scan: what stands in a band of heights, as ranges around a frame (REP-117).

The band is one above the floor, not rows of the image, and the ranges count from the scan frame's
origin, not from the lens: a scan that several sensors share is about one point of the robot.

What is nearer than the gates' range has the range of its near end. -Inf would be REP-117's word for
it, but consumers drop it, and a collision monitor would release its stop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.gates import GateSettings, lost, nearest_possible
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rays import image_rays
from depthrefl_ros.geometry.tables import frozen, table
from depthrefl_ros.settings import check, check_order, setting


@dataclass(frozen=True)
class ScanSettings:
    """What a scan looks at: a full circle around the scan frame's z axis.

    Attributes:
        min_height_m: lower edge of the band, z of the base frame, metres.
        max_height_m: upper edge of the band, metres.
        angle_increment_deg: between neighbouring beams, degrees.

    Raises:
        SettingError: a value out of its range.
    """

    min_height_m: float = setting(
        0.1,
        "Lower edge of the height band above the floor that the scan looks at.",
        name="scan_min_height",
        limits=(-10.0, 100.0),
    )
    max_height_m: float = setting(
        1.8,
        "Upper edge of the height band above the floor that the scan looks at.",
        name="scan_max_height",
        limits=(-10.0, 100.0),
    )
    angle_increment_deg: float = setting(
        0.5,
        "Angle between two beams of the scan.",
        name="scan_angle_increment",
        limits=(0.05, 10.0),
    )

    def __post_init__(self) -> None:
        check(self)
        check_order(self, "min_height_m", "max_height_m")

    @property
    def angle_increment(self) -> float:
        """LaserScan's: between neighbouring beams, radians."""
        return math.radians(self.angle_increment_deg)

    @property
    def angle_min(self) -> float:
        """LaserScan's: of the first beam, radians."""
        return -math.pi

    @property
    def angle_max(self) -> float:
        """LaserScan's: of the last beam, radians; no beam points where the first one does."""
        return self.angle_min + (self.beams - 1) * self.angle_increment

    @property
    def beams(self) -> int:
        """Number of beams: as many as have room in a full circle."""
        return math.floor(2.0 * math.pi / self.angle_increment + 1e-6)

    def beam_of(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the beam nearest to each point (n,) of the scan frame; -1 outside the scan."""
        beam = (self._turned(x, y) / self.angle_increment).astype(np.int64)
        return np.where(beam < self.beams, beam, -1)

    def beams_between(
        self, first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]
    ) -> np.ndarray:
        """Return the beams (m,) that segments from ``first`` to ``second``, x and y (n,), cross.

        The shorter way round the origin, which is the way that a segment takes.
        """
        start, end = self._turned(*first), self._turned(*second)
        sweep = np.mod(end - start + math.pi, 2 * math.pi) - math.pi
        low = np.mod(np.where(sweep < 0, end, start), 2 * math.pi)
        high = low + np.abs(sweep)
        crossed = self._covered(low, high)
        round_the_back = high >= 2 * math.pi
        crossed |= self._covered(np.zeros(round_the_back.sum()), high[round_the_back] - 2 * math.pi)
        return np.flatnonzero(crossed)

    def _turned(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return bearings (n,) from where the first beam begins, 0 to 2 pi."""
        half = self.angle_increment / 2
        return np.mod(np.arctan2(y, x) - np.float32(self.angle_min - half), 2 * math.pi)

    def _covered(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Return (beams,) bool of the beams in any of the intervals (n,) of turned bearings."""
        first, last = (
            np.minimum(bearing / self.angle_increment, self.beams).astype(np.int64)
            for bearing in (low, high)
        )
        begins = np.bincount(first, minlength=self.beams + 2)
        ends = np.bincount(last + 1, minlength=self.beams + 2)
        return np.cumsum(begins - ends)[: self.beams] > 0


def scan_ranges(
    depth_m: np.ndarray,
    ungated_m: np.ndarray,
    sigma: np.ndarray,
    camera: Camera,
    base_from_camera: Pose,
    scan_from_camera: Pose,
    settings: ScanSettings,
    gates: GateSettings,
) -> np.ndarray:
    """Return the ranges of one depth map.

    A beam takes the nearest believed return inside the band. Without one it is +Inf if a believed
    ray runs inside the band from the lens to beyond the gates' ``max_range_m``, and NaN if none
    does, or if a pixel that is not believed may lie inside the band. Its place is reckoned
    anywhere from ``nearest_possible`` to its estimate. A range cannot say "something unknown
    stands before this return"; a costmap that must not clear it has ``points/clearing``.

    Args:
        depth_m: (h, w) float32 metres after the gates, with NaN and infinities.
        ungated_m: (h, w) float32 metres before the gates; NaN where no pixel looks, +Inf where the
            sky is, 0 where the network's answer was no number.
        sigma: (h, w) float32 standard deviation of log depth.
        camera: the rectified pinhole camera of all three.
        base_from_camera: optical frame to the frame whose z is height above the floor.
        scan_from_camera: optical frame to the frame of the scan.
        settings: band and angles.
        gates: what ``depth_m`` passed; the scan's ``range_max`` is their ``max_range_m``.

    Returns:
        (n,) float32 metres, n = ``settings.beams``: +Inf free, NaN unknown.
    """
    mount = _mount(camera, base_from_camera, scan_from_camera, settings, gates.max_range_m)
    depth, ungated = depth_m.ravel(), ungated_m.ravel()
    ranges = np.full(settings.beams + 1, np.nan, np.float32)  # the last takes beam -1
    # +Inf says only "beyond the gates' range": how far beyond is the ungated depth's to say.
    reach = np.where(depth == np.inf, ungated, depth)
    ranges[mount.free_beams(reach)] = np.inf
    ranges[mount.unknown_beams(depth, ungated, sigma.ravel())] = np.nan
    beams, found = mount.returns(depth, ungated, gates.min_range_m)
    nearest = np.full(ranges.shape, np.inf, np.float32)
    np.minimum.at(nearest, beams, found)
    has_return = nearest < np.inf
    ranges[has_return] = nearest[has_return]
    return ranges[:-1]


@table
def _rays(camera: Camera) -> np.ndarray:
    return frozen(image_rays(camera).reshape(-1, 3))


@table
def _mount(
    camera: Camera, base: Pose, scan: Pose, settings: ScanSettings, range_max: float
) -> _Mount:
    return _Mount(_rays(camera), base, scan, settings, range_max)


class _Mount:
    """The rays of one camera on one mount, in the base and the scan frame, all float32.

    Along a ray everything is linear in the depth z: height = height_0 + z slope,
    (x, y) = origin + z direction.
    """

    def __init__(
        self, rays: np.ndarray, base: Pose, scan: Pose, settings: ScanSettings, range_max: float
    ):
        self._settings, self._range_max = settings, range_max
        self._height = np.float32(base.translation[2])
        slopes = rays @ base.rotation[2]
        directions = rays @ scan.rotation[:2].T
        self._slopes = slopes.astype(np.float32)
        self._directions = np.ascontiguousarray(directions.T, np.float32)
        self._origin = scan.translation[:2].astype(np.float32)
        self._prepare_free(slopes, directions, scan.translation[:2])

    def _prepare_free(self, slopes: np.ndarray, directions: np.ndarray, origin: np.ndarray) -> None:
        """Return where each ray leaves the scan's circle, for those inside the band till then."""
        settings = self._settings
        # |origin + z direction| = range_max, the larger root.
        a = np.maximum((directions**2).sum(1), 1e-12)
        b = directions @ origin
        square = b**2 - a * (origin @ origin - self._range_max**2)
        exit_z = (np.sqrt(np.maximum(square, 0.0)) - b) / a
        ends = self._height + exit_z * slopes
        stays = (ends >= settings.min_height_m) & (ends <= settings.max_height_m)
        stays &= (square > 0.0) & (exit_z > 0.0)
        stays &= settings.min_height_m <= self._height <= settings.max_height_m
        self._free = np.flatnonzero(stays)
        self._exit_z = exit_z[stays].astype(np.float32)
        x, y = origin[:, None] + exit_z[stays] * directions[stays].T
        self._free_beam = settings.beam_of(x, y)

    def _height_at(self, pixels: np.ndarray, z: np.ndarray) -> np.ndarray:
        return self._height + z * self._slopes[pixels]

    def _polar(self, pixels: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return beams and ranges of the points at depths z."""
        x, y = self._place(pixels, z)
        return self._settings.beam_of(x, y), np.hypot(x, y)

    def _place(self, pixels: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where in the scan's frame, x and y in metres, the points at depths z are."""
        return (
            self._origin[0] + z * self._directions[0][pixels],
            self._origin[1] + z * self._directions[1][pixels],
        )

    def free_beams(self, reach: np.ndarray) -> np.ndarray:
        """Return the beams (n,) with a ray that is free to the end.

        Args:
            reach: (pixels,) depth in metres up to which each ray is free; NaN reaches nowhere.
        """
        return self._free_beam[reach[self._free] >= self._exit_z]

    def unknown_beams(
        self, depth: np.ndarray, ungated: np.ndarray, sigma: np.ndarray
    ) -> np.ndarray:
        """Return the beams of pixels not believed that may lie inside the band and the range.

        Args:
            depth: (pixels,) believed metres.
            ungated: (pixels,) metres before the gates.
            sigma: (pixels,) of log depth.
        """
        # What the median lost, a pole as thin as a pixel, is in doubt, too.
        is_unsure = np.isnan(depth) & ~np.isnan(ungated)
        pixels = np.flatnonzero(is_unsure | lost(depth, ungated, self._range_max))
        far = ungated[pixels]
        near = nearest_possible(far, sigma[pixels])
        anywhere = ~(near > 0)  # no number came of the network
        near[anywhere], far[anywhere] = 0.0, 2.0 * self._range_max
        with np.errstate(invalid="ignore"):  # the sky is infinitely far, along a level ray too
            ends = self._height_at(pixels, near), self._height_at(pixels, far)
        may = np.maximum(*ends) >= self._settings.min_height_m
        may &= np.minimum(*ends) <= self._settings.max_height_m
        x, y = self._place(pixels[may], near[may])
        within = np.hypot(x, y) <= self._range_max
        end = self._place(pixels[may][within], far[may][within])
        return self._settings.beams_between((x[within], y[within]), end)

    def returns(
        self, depth: np.ndarray, ungated: np.ndarray, min_range_m: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return beams (n,) and ranges (n,), metres, of the believed returns in the band.

        Args:
            depth: (pixels,) believed metres; -inf: nearer than ``min_range_m``.
            ungated: (pixels,) metres before the gates.
            min_range_m: where what is nearer is put.
        """
        too_near = np.isneginf(depth)
        own = np.where(too_near, ungated, depth)
        with np.errstate(invalid="ignore"):  # infinitely far along a level ray
            height = self._height + own * self._slopes
        in_band = (height >= self._settings.min_height_m) & (height <= self._settings.max_height_m)
        pixels = np.flatnonzero(in_band)
        z = np.where(too_near[pixels], np.float32(min_range_m), own[pixels])
        beams, ranges = self._polar(pixels, z)
        kept = ranges <= self._range_max
        return beams[kept], ranges[kept]

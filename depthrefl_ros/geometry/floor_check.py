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

"""Is z = 0 of the base frame the floor? What the camera sees of the floor is held against it.

Heights count from z = 0. A base frame that stands on the robot's body instead makes every obstacle
lower than it is: low ones are not marked, and are cleared.

On the floor alone a wrong height and a wrong scale look alike: a camera at the height h above z = 0
whose floor is d lower sees the floor (h + d) / h times as far as it should, everywhere. So an
offset is certain only beyond what the depth's own scale may be wrong by. Two things bound that: the
error that the model was validated with, or that another anchor leaves; and how even the floor is. A
network that errs in scale bends and tilts the floor as well, by at least a tenth as much, and true
depth does neither (425 views of four rendered worlds: of true depth 96 % show an offset of 0.13 m,
and of a network outside its domain, off by a factor of 1.5 and more, 6 % seem to).

A network that is told where the floor is cannot be asked where it sees the floor: it agrees with
half of what it is told wrongly. Its depth is judged by what it says of the same image untold.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.ground import Floor, FloorSettings, find_floor
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rays import pixel_rays
from depthrefl_ros.settings import check, setting

MAX_TILT_DEG = 15.0
_FLOOR = FloorSettings(max_tilt_deg=MAX_TILT_DEG, tolerance=0.1, min_share=0.08)
_LEANING_FLOOR = FloorSettings(max_tilt_deg=40.0, tolerance=0.1, min_share=0.15)
_HEIGHT_FACTOR = 3.0  # the floor is looked for down to this much of the height that is told
_ERROR_PER_UNEVENNESS = 10.0
# Depth on rays that graze the floor depends on the pitch more than on the scale.
_MIN_FLOOR_ANGLE_DEG = 8.0
# Nothing but a wrong frame, a wrong scale or a drop lowers the floor. A table that fills the view
# raises it, so that takes longer to believe.
_BELOW_COUNT = 5
_ABOVE_COUNT = 12
_INTERVAL_S = 0.5  # between measurements, once there are enough to tell
# Where a look takes a run of the network of its own: after so many, also without a floor in view,
# it is looked less often.
_COSTLY_TRIES = 24
_COSTLY_INTERVAL_S = 1.0
_NEVER_S = -math.inf
_JUMP_M = 0.05  # of the camera's height between two frames: a correction, or another frame


@dataclass(frozen=True)
class FloorCheckSettings:
    """How far the floor that is seen may be from z = 0.

    Attributes:
        max_error_m: metres, in addition to what the scale of the depth may be wrong by; 0 does not
            compare.

    Raises:
        SettingError: a value out of its range.
    """

    max_error_m: float = setting(
        0.05,
        "Distance between the visible floor and z = 0 of base_frame beyond which marking, clearing "
        "and scan stop; the model's own expected error is added to it. 0 turns the check off.",
        name="max_floor_error",
        limits=(0.0, 1.0),
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class FloorHealth:
    """What the floor that is seen says about the base frame.

    Attributes:
        ok: whether heights may be believed; if not, nothing is to be marked or cleared.
        reason: in words, also when they may.
        offset_m: by how much the floor that is seen lies above z = 0, metres; below is negative,
            NaN while no floor was in view.
        is_doubtful: ``reason`` is something to warn of.
    """

    ok: bool
    reason: str
    offset_m: float = math.nan
    is_doubtful: bool = False


@dataclass(frozen=True)
class _Measurement:
    """One look at the floor; metres, and the distance that the depth's own error explains."""

    offset_m: float
    explained_m: float


class FloorCheck:
    """Compares the floor that is seen with z = 0, over several looks; not thread-safe.

    A frame without a floor in view says nothing, and what was known stands.

    Attributes:
        settings: may be set between updates.
        health: of the last update.
    """

    def __init__(self, settings: FloorCheckSettings | None = None):
        self.settings = settings or FloorCheckSettings()
        self.reset()

    def reset(self) -> None:
        """Forget all looks and when they were taken, as after a jump of the clock."""
        self._looked_s, self._tries = _NEVER_S, 0
        self._before: tuple[Camera, float] | None = None  # camera and height of the last frame
        self._forget()

    def follow(self, camera: Camera, base_from_camera: Pose) -> FloorHealth:
        """Forget the looks of another camera, or of one whose height has jumped; return ``health``.

        What they said of the base frame holds no longer, and nobody should wait for a floor to
        come into view until it is gone. A mast that moves and a lens that focuses keep their looks:
        each frame is compared with the one before. To be called with every frame.
        """
        height_m = float(base_from_camera.translation[2])
        if self._before is not None:
            camera_before, before_m = self._before
            # What was told of a camera below z = 0 was no look.
            is_jump = abs(height_m - before_m) > _JUMP_M or (before_m <= 0.0 < height_m)
            if is_jump or not camera.is_like(camera_before):
                self._forget()
        self._before = camera, height_m
        return self.health

    def _forget(self) -> None:
        self.health = FloorHealth(True, "no floor was in view yet")
        self._looks: deque[_Measurement] = deque(maxlen=_ABOVE_COUNT)
        self._leaning_deg: deque[float] = deque(maxlen=_ABOVE_COUNT)

    def update(
        self,
        depth_m: np.ndarray,
        camera: Camera,
        base_from_camera: Pose,
        scale_error: float,
        stamp_s: float,
    ) -> FloorHealth:
        """Take one frame; most cost nothing, since a look every half second is enough.

        Args:
            depth_m: (h, w) float32 metres before the gates, of a scale that was not corrected by
                this same floor: it would agree with any height.
            camera: the rectified pinhole camera of ``depth_m``.
            base_from_camera: not fitted to the floor of ``depth_m`` either.
            scale_error: relative error that the scale may have: 0 for exact depth, the error of
                the anchor that corrects it, else what the model was validated with; inf where only
                the floor itself tells the scale.
            stamp_s: of the frame, seconds.

        Returns:
            ``health``.
        """
        height_m = float(base_from_camera.translation[2])
        self.follow(camera, base_from_camera)
        if not self.settings.max_error_m:
            self.health = FloorHealth(True, "not compared: max_floor_error is 0")
        elif height_m <= 0.0:
            where = f"{-height_m:.2f} m below" if height_m < 0.0 else "at"
            self.health = FloorHealth(
                False,
                f"the camera is {where} z = 0 of the base frame, so z = 0 is not the floor: "
                "set base_frame to a frame on the floor, as base_footprint",
                is_doubtful=True,
            )
        elif self.is_due(stamp_s):
            self._looked_s, self._tries = stamp_s, self._tries + 1
            self._look(depth_m, camera, base_from_camera, scale_error)
            self._judge(height_m)
        return self.health

    def is_due(self, stamp_s: float, is_costly: bool = False) -> bool:
        """Return whether ``update`` would look at a frame of this time.

        Args:
            stamp_s: of the frame, seconds.
            is_costly: its depth takes a run of the network of its own.
        """
        enough, interval_s = len(self._looks) >= _BELOW_COUNT, _INTERVAL_S
        if is_costly:
            enough |= self._tries >= _ABOVE_COUNT
            interval_s = _INTERVAL_S if self._tries < _COSTLY_TRIES else _COSTLY_INTERVAL_S
        return not (enough and 0.0 <= stamp_s - self._looked_s < interval_s)

    def _look(
        self, depth_m: np.ndarray, camera: Camera, base_from_camera: Pose, scale_error: float
    ) -> None:
        up = base_from_camera.up_in_source
        # Of a high camera the floor may be lower still.
        highest_m = max(_FLOOR.max_height_m, _HEIGHT_FACTOR * base_from_camera.translation[2])
        floor = find_floor(depth_m, camera, up, replace(_FLOOR, max_height_m=highest_m))
        if floor is not None:
            self._leaning_deg.clear()
            self._looks.append(_measured(depth_m, camera, base_from_camera, floor, scale_error))
            return
        leaning = find_floor(depth_m, camera, up, replace(_LEANING_FLOOR, max_height_m=highest_m))
        if leaning is None:
            self._leaning_deg.clear()
        else:
            self._leaning_deg.append(leaning.tilt_deg)

    def _judge(self, height_m: float) -> None:
        if len(self._leaning_deg) == _ABOVE_COUNT:
            self.health = FloorHealth(
                self.health.ok,
                f"the visible floor leans {np.median(self._leaning_deg):.0f} degrees from what the "
                f"camera's pose says, more than {MAX_TILT_DEG:.0f}: check its pitch and roll",
                self.health.offset_m,
                is_doubtful=True,
            )
            return
        if not self._looks:
            return
        recent = list(self._looks)[-_BELOW_COUNT:]
        offset_m, allowed_m = self._middle(recent)
        below = len(recent) == _BELOW_COUNT and offset_m < -allowed_m
        above = False
        if len(self._looks) == _ABOVE_COUNT:
            long_m, long_allowed_m = self._middle(self._looks)
            above = long_m > long_allowed_m and offset_m > allowed_m
        where = f"{abs(offset_m):.2f} m {'above' if offset_m > 0 else 'below'} z = 0"
        if not (below or above):
            reason = f"the floor is seen {where}, {allowed_m:.2f} m are allowed"
            self.health = FloorHealth(True, reason, offset_m)
            return
        ratio = 1.0 - offset_m / height_m
        self.health = FloorHealth(
            False,
            f"the floor is seen {where} of the base frame, {allowed_m:.2f} m are allowed: "
            f"base_frame is not on the floor, the camera is not {height_m:.2f} m above it, or "
            f"depth is {ratio:.2f} times the true one",
            offset_m,
            is_doubtful=True,
        )

    def _middle(self, looks: list[_Measurement] | deque[_Measurement]) -> tuple[float, float]:
        """Return median offset, and what of it is allowed, metres."""
        explained_m = float(np.median([look.explained_m for look in looks]))
        offset_m = float(np.median([look.offset_m for look in looks]))
        return offset_m, self.settings.max_error_m + explained_m


def _measured(
    depth_m: np.ndarray, camera: Camera, base_from_camera: Pose, floor: Floor, scale_error: float
) -> _Measurement:
    """Return the floor's height as marking sees it, and what of it a wrong scale explains."""
    rays = pixel_rays(camera, floor.columns, floor.rows)
    drop = -(rays @ base_from_camera.up_in_source)
    steep = drop > math.sin(math.radians(_MIN_FLOOR_ANGLE_DEG)) * np.linalg.norm(rays, axis=1)
    chosen = steep if steep.any() else np.ones_like(steep)
    seen_m = float(np.median((drop * depth_m[floor.rows, floor.columns])[chosen]))
    height_m = float(base_from_camera.translation[2])
    unevenness = floor.scatter + math.radians(floor.tilt_deg)
    error = min(scale_error, _ERROR_PER_UNEVENNESS * unevenness)
    return _Measurement(height_m - seen_m, error * height_m)


def mount_doubt(base_from_camera: Pose) -> str | None:
    """Say what is unusual about where a camera points; None where nothing is.

    A camera may well be mounted upside down, so this is something to warn of, no error.
    """
    ahead, down = base_from_camera.rotation[2, 2], base_from_camera.rotation[2, 1]
    elevation_deg = math.degrees(math.asin(max(-1.0, min(1.0, float(ahead)))))
    if elevation_deg > 45.0:
        return (
            f"the camera looks {elevation_deg:.0f} degrees upwards: the images' frame_id may not "
            "be an optical frame (z forward, x right, y down); optical_frame_id overrides it"
        )
    if down > 0.5:
        return (
            "the camera is upside down by its pose: correct only if it is mounted that way and its "
            "images are upside down, too"
        )
    return None

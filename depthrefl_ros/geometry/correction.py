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

"""What becomes of a prediction before the gates: steadied, its scale corrected, its floor checked.

Everything that the robot knows beside the image comes in as one value, ``Surround``; what was
found goes out as one value, ``Corrected``. State is carried from frame to frame here, and nowhere
else in the middle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from depthrefl_ros.geometry.anchor_ratios import AnchorRatios
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.fill import FILLS, fill_holes
from depthrefl_ros.geometry.floor_check import FloorCheck, FloorCheckSettings, mount_doubt
from depthrefl_ros.geometry.ground import FloorSettings, find_floor
from depthrefl_ros.geometry.local_scale import MotionCorrection
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.relative_correction import RelativeCorrection
from depthrefl_ros.geometry.scale import (
    ANCHORS,
    GROUND,
    MOTION,
    REFERENCE_DEPTH,
    REFERENCE_POINTS,
    ScaleCorrection,
    ScaleHealth,
    ScaleSettings,
    robust_median,
)
from depthrefl_ros.geometry.surround import Surround
from depthrefl_ros.geometry.temporal import DepthStabiliser
from depthrefl_ros.settings import check, setting

_FITTED = FloorSettings()
_NO_FLOOR = (
    f"no floor is in view within {_FITTED.max_tilt_deg:.0f} degrees of the tilt that is assumed "
    f"and at most {_FITTED.max_height_m:g} m below the camera"
)
SCALE_CORRECTIONS = ("none", "auto", *ANCHORS)
# A floor that is out of view, behind a crowd or a wall, is where it was for this long.
FLOOR_HELD_S = 2.0
# By sparse points or a ranger the scale is right to about this; by the floor it is not known apart
# from the height of the base frame.
_ANCHORED_ERROR = 0.05


@dataclass(frozen=True)
class CorrectionSettings:
    """How depth is corrected; may change from one frame to the next.

    Attributes:
        temporal_smoothing_s: time constant of the average where the picture stands still; 0: off.
        scale_correction: one of ``SCALE_CORRECTIONS``.
        fill: one of ``FILLS``.
        scale: how anchors become a factor.
        floor: how far the floor that is seen may be from z = 0.

    Raises:
        SettingError: a value out of its range.
    """

    temporal_smoothing_s: float = setting(
        0.5,
        "Time constant over which depth is averaged while the picture stands still; the jitter of "
        "the scale is filtered over a third of it, 0.17 s at most. 0 is off.",
        limits=(0.0, 60.0),
    )
    scale_correction: str = setting(
        "none",
        "Reference that corrects the scale, and the shift of a relative model: reference_depth (a "
        "depth camera's image), reference_points, range, motion (what moves in the image while the "
        "robot drives, by odom_frame), ground (camera height), or auto for all of them. none keeps "
        "the model's scale.",
        choices=SCALE_CORRECTIONS,
    )
    fill: str = setting(
        "none",
        "How the output uses the depth image on reference_depth: holes keeps its valid pixels and "
        "fills the rest from the network; all is the network's depth everywhere, scaled by it; "
        "none ignores it.",
        choices=FILLS,
    )
    scale: ScaleSettings = ScaleSettings()
    floor: FloorCheckSettings = FloorCheckSettings()

    def __post_init__(self) -> None:
        check(self)

    @property
    def anchors(self) -> tuple[str, ...]:
        """The anchors that may correct the scale, the most trusted first."""
        if self.scale_correction == "auto":
            return ANCHORS
        chosen = () if self.scale_correction == "none" else (self.scale_correction,)
        is_there = self.fill == "none" or REFERENCE_DEPTH in chosen
        return chosen if is_there else (REFERENCE_DEPTH, *chosen)


@dataclass(frozen=True, eq=False)
class Corrected:
    """One frame's depth after the correction, and what may be done with it.

    Attributes:
        depth_m: (h, w) float32 metres; NaN where nothing was seen.
        factor: that corrected the scale.
        scale: whether the scale may be believed.
        base_from_camera: where the camera stands, or None.
        pose_source: ``TF``, ``parameters``, ``floor`` (fitted to the depth: only height and tilt
            are known, and they err as the depth does) or empty.
        obstacle_problem: why nothing may be marked or cleared; empty where it may.
        floor_offset_m: of the seen floor above z = 0, metres; NaN where it was not measured.
        problems: by a short name, for people; what could not be measured and why.
        is_measured: (h, w) bool, where the depth is a depth camera's; None if nothing was filled.
        motion: what the camera's motion told, in words; empty where it was not asked.
    """

    depth_m: np.ndarray
    factor: float
    scale: ScaleHealth
    base_from_camera: Pose | None
    pose_source: str
    obstacle_problem: str
    floor_offset_m: float
    problems: dict[str, str]
    is_measured: np.ndarray | None = None
    motion: str = ""


def uncorrected(depth_m: np.ndarray, obstacle_problem: str) -> Corrected:
    """Return depth (h, w) as it is, by which nothing may be marked or cleared, and why."""
    health = ScaleHealth(False, obstacle_problem)
    return Corrected(depth_m, 1.0, health, None, "", obstacle_problem, math.nan, {})


class DepthCorrection:
    """Carries the averages from frame to frame.

    Args:
        model_error: relative error of the model's depth, as it was validated without a mount.
    """

    def __init__(self, model_error: float = 0.0):
        self._model_error = model_error
        self.reset()

    def reset(self) -> None:
        """Forget the past, after a jump of the clock."""
        self._stabiliser: DepthStabiliser | None = None
        self._steadied_by: Camera | None = None  # the camera of what is averaged
        self._scale = ScaleCorrection()
        self._relative = RelativeCorrection()
        self._ratios, self._untold_ratios = AnchorRatios(), AnchorRatios()
        self._floor_check = FloorCheck(FloorCheckSettings())
        self._floor: Pose | None = None
        self._floor_seen_s = -math.inf
        self._motion = MotionCorrection()

    def apply(
        self,
        depth_m: np.ndarray,
        image: np.ndarray,
        camera: Camera,
        surround: Surround,
        settings: CorrectionSettings,
        wants_obstacles: bool = True,
        relative: np.ndarray | None = None,
        is_told: bool = False,
        untold_m: np.ndarray | None = None,
    ) -> Corrected:
        """Correct one frame's depth.

        Args:
            depth_m: (h, w) float32 metres before the gates; NaN where nothing was seen.
            image: (h, w, 3) uint8 RGB, what the network saw.
            camera: the rectified pinhole camera of both.
            surround: what the robot knows at this moment.
            settings: how to correct.
            wants_obstacles: somebody acts on where the floor is; otherwise it is not looked for.
            relative: (h, w) float32 inverse relative depth of a network without metres, whose
                ``depth_m`` is NaN but for the sky's +Inf: made metric first.
            is_told: the network was told where the floor is.
            untold_m: (h, w) float32 metres of the same image as ``depth_m``, by the network that
                was not told; None where ``needs_untold`` says no.
        """
        problems = dict(surround.problems)
        if relative is not None:
            how = replace(settings.scale, correct_with=settings.anchors)
            affine = self._relative.update(relative, camera, surround, how, problems)
            if affine is None:
                self._scale.reset()
                reason = self._relative.health.reason
                problems["metric"] = f"depth is NaN: {reason}"
                known = 0 if surround.motion is None else len(surround.motion.points)
                words = f"{known} points" if MOTION in settings.anchors else ""
                return replace(uncorrected(depth_m, reason), problems=problems, motion=words)
            depth_m = np.where(np.isnan(depth_m), affine.depth_m(relative), depth_m)
        depth_m = self._steadied(
            depth_m, image, camera, surround.time_s, settings.temporal_smoothing_s
        )
        if relative is not None:
            factor, scale = 1.0, self._judged(depth_m, camera, surround, settings)
        else:
            factor, scale = self._scale_of(depth_m, camera, surround, settings, problems)
        uncorrected_m = depth_m
        if factor != 1.0:
            depth_m = depth_m * np.float32(factor)
        is_measured_well = scale.corrected_by in (REFERENCE_DEPTH, REFERENCE_POINTS)
        motion = "another reference measures better" if is_measured_well else ""
        if MOTION in settings.anchors and not is_measured_well:
            # A network that was told the floor has it right, better than any corner on it.
            floor = surround.base_from_camera if is_told else None
            depth_m, motion = self._motion.apply(
                depth_m, camera, surround.motion, floor, surround.time_s
            )
            motion = ": ".join(filter(None, (motion, surround.motion_problem)))
        is_measured = None
        if settings.fill == "holes" and surround.reference_m is not None:
            depth_m = fill_holes(depth_m, surround.reference_m)
            is_measured = np.isfinite(surround.reference_m)
        pose, source, problem, offset_m = None, "", "", math.nan
        if wants_obstacles:
            pose, source, problem = self._pose(depth_m, camera, surround)
            if pose is not None and source != "floor":
                # Corrected by the floor itself, depth agrees with any height.
                judged_m = uncorrected_m if scale.corrected_by == GROUND else depth_m
                if is_told:
                    judged_m = self._untold(untold_m, camera, surround)
                problem, offset_m = self._floor_problem(
                    judged_m, camera, pose, surround, settings, problems
                )
        if not scale.ok:
            problem = scale.reason
        found = (pose, source, problem, offset_m, problems, is_measured, motion)
        return Corrected(depth_m, factor, scale, *found)

    def needs_untold(self, surround: Surround, settings: CorrectionSettings) -> bool:
        """Return whether the floor is looked at in this frame, in depth that was not told of it.

        Such depth takes another run of the network: two a second at first, then one.

        Args:
            surround: of the frame, with the mount that the network was told.
            settings: how it will be corrected.
        """
        is_compared = settings.floor.max_error_m > 0.0 and surround.base_from_camera is not None
        return is_compared and self._floor_check.is_due(surround.time_s, is_costly=True)

    def _untold(
        self, untold_m: np.ndarray | None, camera: Camera, surround: Surround
    ) -> np.ndarray | None:
        """Return what the floor is judged by where the network was told of it; None for nothing.

        The factor of the told depth is not that of the untold: the same anchor measures both.
        """
        if untold_m is None or not self._is_anchored:
            return untold_m
        anchor = self._scale.health.corrected_by
        ratios = self._untold_ratios.measure(untold_m, camera, surround, (anchor,), {})
        middle = robust_median(ratios.get(anchor, np.zeros(0)), 1)
        return None if middle is None else untold_m * np.float32(math.exp(middle))

    @property
    def _is_anchored(self) -> bool:
        """Whether something else than the floor told the scale of the last frame."""
        return self._scale.health.corrected_by not in (None, GROUND)

    def _steadied(
        self,
        depth_m: np.ndarray,
        image: np.ndarray,
        camera: Camera,
        time_s: float,
        constant_s: float,
    ) -> np.ndarray:
        if constant_s <= 0.0:
            self._stabiliser = None
            return depth_m
        is_other = self._stabiliser is None or self._stabiliser.time_constant_s != constant_s
        # The same picture through a longer lens is farther away: that is no flicker.
        if is_other or not camera.is_like(self._steadied_by):
            self._stabiliser, self._steadied_by = DepthStabiliser(constant_s), camera
        return self._stabiliser.update(depth_m, image, time_s)

    def _scale_of(
        self,
        depth_m: np.ndarray,
        camera: Camera,
        surround: Surround,
        settings: CorrectionSettings,
        problems: dict[str, str],
    ) -> tuple[float, ScaleHealth]:
        anchors = tuple(name for name in settings.anchors if name != MOTION)
        if not anchors:
            self._scale.reset()
            self._ratios, self._untold_ratios = AnchorRatios(), AnchorRatios()
            return 1.0, ScaleHealth(True, "not corrected")
        self._scale.settings = replace(settings.scale, correct_with=anchors)
        ratios = self._ratios.measure(depth_m, camera, surround, anchors, problems)
        return self._scale.update(ratios, surround.time_s), self._scale.health

    def _judged(
        self,
        depth_m: np.ndarray,
        camera: Camera,
        surround: Surround,
        settings: CorrectionSettings,
    ) -> ScaleHealth:
        """Tell whether depth made metric by one anchor may be believed, as others have it."""
        found = self._relative.health
        self._scale.settings = replace(settings.scale, correct_with=())
        before, self._scale.scale_by = self._scale.scale_by, f"the fit to {found.corrected_by}"
        if before != self._scale.scale_by:  # the judgement was of another one
            self._scale.reset()
        ratios = self._ratios.measure(depth_m, camera, surround, settings.anchors, {})
        ratios.pop(found.corrected_by, None)
        self._scale.update(ratios, surround.time_s)
        judged = self._scale.health
        reason = judged.reason if found.ok and not judged.ok else found.reason
        return replace(
            judged, ok=found.ok and judged.ok, reason=reason, corrected_by=found.corrected_by
        )

    def _pose(
        self, depth_m: np.ndarray, camera: Camera, surround: Surround
    ) -> tuple[Pose | None, str, str]:
        """Return where the camera stands, who says so, and else why nobody does."""
        if surround.base_from_camera is not None:
            return surround.base_from_camera, surround.pose_source, ""
        if not surround.may_fit_floor:
            return None, "", surround.pose_problem
        floor = find_floor(depth_m, camera, surround.up, _FITTED)
        if floor is not None:
            self._floor, self._floor_seen_s = floor.base_from_camera, surround.time_s
        elif surround.time_s - self._floor_seen_s > FLOOR_HELD_S:
            self._floor = None
        if self._floor is None:
            return None, "", f"{surround.pose_problem}; and {_NO_FLOOR}"
        return self._floor, "floor", ""

    def _floor_problem(
        self,
        depth_m: np.ndarray | None,
        camera: Camera,
        pose: Pose,
        surround: Surround,
        settings: CorrectionSettings,
        problems: dict[str, str],
    ) -> tuple[str, float]:
        """Return why the floor is not where the pose says, or nothing, and its offset in metres.

        Without depth to judge by, as the last frame had it.
        """
        doubt = mount_doubt(pose)
        if doubt:
            problems["mount"] = doubt
        if self._floor_check.settings != settings.floor:
            self._floor_check = FloorCheck(settings.floor)
        error = _ANCHORED_ERROR if self._is_anchored else self._model_error
        if self._scale.health.corrected_by == GROUND:
            error = math.inf  # the user trusts the height: only a floor as even as exact depth's
        health = self._floor_check.follow(camera, pose)
        if depth_m is not None:
            health = self._floor_check.update(depth_m, camera, pose, error, surround.time_s)
        if health.is_doubtful and health.ok:
            problems["floor"] = health.reason
        return ("" if health.ok else health.reason), health.offset_m

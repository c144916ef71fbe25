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

"""A recorded drive of which the camera's own motion tells the depth: no depth sensor is needed.

Odometry tells how far the camera moved, and so the corners in its images how far they are, by what
was seen of them before and after. The network fills in what lies between them; where the corners
leave doubt, depth stays unknown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from depthrefl_ros.engine.base import EngineError
from depthrefl_ros.estimator import DepthEstimator, EstimatorSettings
from depthrefl_ros.frames import Frame, SelfMask
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.hindsight import DriveImage, in_hindsight
from depthrefl_ros.geometry.local_scale import certain_depth
from depthrefl_ros.geometry.motion import MotionPoints
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.tools.command_line import ToolError, UnreadableError
from depthrefl_ros.tools.keyframes import Keyframes, KeyframeSettings
from depthrefl_ros.tools.recorded_drive import (
    FIXED_FRAMES,
    DriveSettings,
    RecordedDrive,
    frame_name,
    mount_numbers,
)
from depthrefl_ros.tools.recorded_transforms import TransformMissingError
from depthrefl_ros.training.datasets import Sample

# Corners are followed from image to image, so these lie closer together than what is kept.
_FOLLOWED = KeyframeSettings(travel_m=0.03, turn_rad=math.radians(1.5))
_LONGEST_S = 1.0  # between two that are looked at, also where the robot stands
_WIDEST_PX = 960  # as corners are followed in
FEWEST_KNOWN = 0.1  # of an image, the share with depth


@dataclass(frozen=True, eq=False)
class _Image:
    """An image that may be kept.

    Attributes:
        name: in the folder.
        pixels: (H, W, 3) uint8 RGB, rectified.
        camera: of it.
        unseen: (H, W) bool, where a rectified image shows nothing; None for nowhere.
        base_from_camera: the mount; None where it is not known.
    """

    name: str
    pixels: np.ndarray
    camera: Camera
    unseen: np.ndarray | None
    base_from_camera: Pose | None


class MotionDrive(RecordedDrive):
    """A recording with odometry on TF.

    Args:
        bag: its path.
        settings: what is taken of it; of depth it needs nothing.
        estimator: of a network that knows metres.

    Raises:
        ToolError: it has no images, or nothing tells how the camera moves.
    """

    def __init__(self, bag: Path, settings: DriveSettings, estimator: DepthEstimator):
        super().__init__(bag, settings)
        self._estimator = estimator
        self._looked_at = 0
        if not self._follows_tf:
            raise ToolError(
                f"{bag}: --motion needs odometry: on TF, {self._frame} does not move in "
                f"{self._fixed or ', '.join(FIXED_FRAMES)} (--fixed-frame)"
            )

    def __len__(self) -> int:
        """Return the number of images."""
        return self._source.count

    def plan(self) -> str:
        """Return in words what will be taken."""
        return (
            f"{self._bag}: {self._source.image_topic} with depth by its motion in {self._fixed}, "
            f"{len(self)} images, {self._thinned()}, {self._mounts()}"
        )

    def samples(
        self, step: Callable[[], None]
    ) -> Iterator[tuple[str, Sample, dict[str, float] | None]]:
        """Yield what is worth keeping; see the base class. ``step`` is called for every image."""
        for image, points in in_hindsight(self._images(step)):
            if image is None:
                continue
            sample = self._bounded(self._sample(image, points))
            if (sample.depth_m > 0).mean() < FEWEST_KNOWN:
                self._leave_out("of whose depth motion tells too little")
                continue
            self._kept += 1
            yield image.name, sample, mount_numbers(image.base_from_camera)

    def _images(self, step: Callable[[], None]) -> Iterator[tuple[DriveImage, _Image | None]]:
        """Yield the images in which corners are followed, and those of them that may be kept."""
        chosen = self._settings.keyframes
        followed, kept = Keyframes(_FOLLOWED), None if chosen is None else Keyframes(chosen)
        last_ns = -math.inf
        for frame in self._source.frames():
            step()
            try:
                pose = self._transforms.find(self._fixed, self._frame, frame.stamp_ns)
                is_late = frame.stamp_ns - last_ns > _LONGEST_S * 1e9
                is_kept = kept is None or kept.is_new_pose(pose)
                if not is_kept and not is_late and not followed.is_new_pose(pose):
                    self._leave_out("alike")
                    continue
                colour = self._colour(frame)
                base_from_camera = self._base_from_camera(frame.stamp_ns)
            except UnreadableError as error:
                self._skip(frame, error)
                continue
            except TransformMissingError as error:
                self._without_transform(error)
                continue
            sample = colour.without_distortion(np.ones(colour.pixels.shape[:2], np.float32))
            height, width = sample.depth_m.shape
            camera = Camera.pinhole(width, height, *sample.intrinsics)
            unseen = sample.depth_m == 0
            unseen = unseen if unseen.any() else None
            followed.keep(sample.image, pose)
            last_ns, image = frame.stamp_ns, None
            if is_kept:
                image = _Image(frame_name(frame), sample.image, camera, unseen, base_from_camera)
                if kept is not None:
                    kept.keep(sample.image, pose)
            else:
                self._leave_out("alike")
            yield _followed(sample.image, camera, unseen, pose, frame.stamp_ns / 1e9), image

    def _sample(self, image: _Image, points: MotionPoints) -> Sample:
        """Return an image with the depth that is certain, 0 elsewhere."""
        mask = None if image.unseen is None else SelfMask(image.unseen.astype(np.uint8))
        # What floats between two surfaces is gated, what the network doubts is not.
        settings = EstimatorSettings(
            image_is_rectified=True, min_range_m=0.0, max_range_m=0.0, min_confidence=0.0
        ).with_range_of(self._estimator.bundle.min_range_m, self._estimator.bundle.max_range_m)
        mount = image.base_from_camera
        try:
            found = self._estimator.predict(
                Frame(image.pixels, "rgb", image.camera, mask), settings, base_from_camera=mount
            )
        except EngineError as error:
            raise ToolError(f"{self._bag}: frame {image.name}: {error}") from error
        floor = mount if found.floor is not None else None
        depth_m = certain_depth(found.depth_m, found.camera, points.points, points.sigma, floor)
        depth_m = self._estimator.believe(found, depth_m, settings).depth_m
        depth_m = np.where(np.isfinite(depth_m), depth_m, np.float32(0.0))
        camera = image.camera
        intrinsics = (camera.fx, camera.fy, camera.cx, camera.cy)
        return Sample(image.name, image.pixels, depth_m, intrinsics)

    def figures(self) -> dict[str, Any]:
        """Return what became of the recording's images."""
        return {
            "recording": str(self._bag),
            "image_topic": self._source.image_topic,
            "depth_by": f"motion in {self._fixed}, {self._estimator.bundle.name}",
            "images": len(self),
            "kept": self._kept,
            "left_out": self.left_out(),
        }


def _followed(
    pixels: np.ndarray, camera: Camera, unseen: np.ndarray | None, pose: Pose, time_s: float
) -> DriveImage:
    """Return an image as corners are followed in it: grey, and not larger than helps."""
    grey, seen = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), None if unseen is None else ~unseen
    factor = math.ceil(camera.width / _WIDEST_PX)
    if factor > 1:
        size = camera.width // factor, camera.height // factor
        grey, camera = cv2.resize(grey, size, interpolation=cv2.INTER_AREA), camera.scaled(*size)
    return DriveImage(grey, camera, seen, pose, time_s)

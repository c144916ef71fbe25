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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from depthrefl_ros.engine.base import EngineError
from depthrefl_ros.estimator import DepthEstimator
from depthrefl_ros.frames import Frame, SelfMask
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.hindsight import DriveImage, in_hindsight
from depthrefl_ros.geometry.local_scale import certain_depth
from depthrefl_ros.geometry.motion import MotionPoints, as_followed
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.tables import frozen, table
from depthrefl_ros.tools.command_line import ToolError, UnreadableError
from depthrefl_ros.tools.keyframes import Keyframes, KeyframeSettings
from depthrefl_ros.tools.recorded_drive import (
    FIXED_FRAMES,
    DriveSettings,
    RecordedDrive,
    frame_name,
)
from depthrefl_ros.tools.recorded_transforms import TransformMissingError
from depthrefl_ros.training.datasets import Sample
from depthrefl_ros.training.datasets.file_pairs import pinhole_sample
from depthrefl_ros.training.datasets.mounts import mount_numbers

# Corners are followed from image to image, so these lie closer together than what is kept.
_FOLLOWED = KeyframeSettings(travel_m=0.03, turn_rad=math.radians(1.5))
_LONGEST_S = 0.5  # between two that are looked at, also where the robot stands
_LEAST_KNOWN = 0.1  # of an image, the share with depth
_TOO_LITTLE = "with too little depth by motion"


@dataclass(frozen=True, eq=False)
class _Image:
    """An image that may be kept.

    Attributes:
        name: in the folder.
        pixels: (H, W, 3) uint8 RGB, rectified.
        camera: of it.
        mask: where a rectified image shows nothing; None for nowhere.
        base_from_camera: the mount; None where it is not known.
    """

    name: str
    pixels: np.ndarray
    camera: Camera
    mask: SelfMask | None
    base_from_camera: Pose | None


class _Shown(NamedTuple):
    """What the rectified images of a camera show; both are None where that is all.

    Attributes:
        seen: (H, W) bool, where they show something.
        mask: where they show nothing.
    """

    seen: np.ndarray | None
    mask: SelfMask | None


@table
def _shown(camera: Camera) -> _Shown:
    """Return what the rectified images of a camera, as it takes them, show."""
    size = camera.height, camera.width
    picture, ones = np.zeros((*size, 3), np.uint8), np.ones(size, np.float32)
    seen = pinhole_sample("", picture, ones, camera).depth_m > 0
    return _Shown(None, None) if seen.all() else _Shown(frozen(seen), SelfMask(~seen))


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
        # What floats between two surfaces is gated, what the network doubts is not.
        self._gates = replace(estimator.settings, image_is_rectified=True, min_confidence=0.0)
        if not self._follows_tf:
            raise ToolError(f"{bag}: --motion needs odometry: {self._what_does_not_move()}")

    def _what_does_not_move(self) -> str:
        images = f"images on {self._source.image_topic}"
        if not self._frame:
            return f"{images} have no frame_id"
        known = self._transforms.frames
        if self._frame.lstrip("/") not in known:
            return (
                f"frame {self._frame!r} of {images} is not on TF, which has "
                f"{', '.join(sorted(known)) or 'nothing'} (--image-topic)"
            )
        fixed = self._fixed or ", ".join(FIXED_FRAMES)
        return f"on TF, frame {self._frame!r} of {images} does not move in {fixed} (--fixed-frame)"

    def __len__(self) -> int:
        """Return the number of images."""
        return self.images

    def plan(self) -> str:
        """Return in words what will be taken."""
        return (
            f"{self._bag}: {self._source.image_topic} with depth by its motion in {self._fixed}, "
            f"{len(self)} images, {self._thinned()}, {self._mounts()}"
        )

    def samples(
        self, step: Callable[[int], None]
    ) -> Iterator[tuple[str, Sample, dict[str, float] | None]]:
        """Yield what is worth keeping; see the base class."""
        for image, points in in_hindsight(self._images(step)):
            if image is None:
                continue
            step(1)
            sample = self._sample(image, points)
            if _known(sample) < _LEAST_KNOWN:
                self._leave_out(_TOO_LITTLE, points.begun_anew)
                continue
            sample = self._bounded(sample)
            if _known(sample) < _LEAST_KNOWN:
                self._leave_out("with too little depth up to --max-depth")
                continue
            self._kept += 1
            yield image.name, sample, mount_numbers(image.base_from_camera)

    def _images(self, step: Callable[[int], None]) -> Iterator[tuple[DriveImage, _Image | None]]:
        """Yield the images in which corners are followed, and those of them that may be kept."""
        chosen = self._settings.keyframes
        followed, kept = Keyframes(_FOLLOWED), None if chosen is None else Keyframes(chosen)
        last_ns = -math.inf
        for frame in self._source.frames():
            step(0)
            try:
                pose = self._transforms.find(self._fixed, self._frame, frame.stamp_ns)
                is_late = frame.stamp_ns - last_ns > _LONGEST_S * 1e9
                is_kept = kept is None or kept.is_new_pose(pose)
                if not is_kept and not is_late and not followed.is_new_pose(pose):
                    self._leave_out("alike")
                    step(1)
                    continue
                colour = self._colour(frame)
                base_from_camera = self._base_from_camera(frame.stamp_ns)
            except UnreadableError as error:
                self._skip(frame, error)
                step(1)
                continue
            except TransformMissingError as error:
                self._without_transform(error)
                step(1)
                continue
            pixels = colour.without_distortion().image
            camera, shown = colour.camera.rectified(), _shown(colour.camera)
            followed.keep(None, pose)
            last_ns, image = frame.stamp_ns, None
            if is_kept:
                image = _Image(frame_name(frame), pixels, camera, shown.mask, base_from_camera)
                if kept is not None:
                    kept.keep(None, pose)
            else:
                self._leave_out("alike")
                step(1)
            grey, grey_camera = as_followed(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), camera)
            time_s = frame.stamp_ns / 1e9
            yield DriveImage(grey, grey_camera, shown.seen, pose, time_s), image

    def told(self) -> str:
        """Return what became of the images, and where none was kept what may be wrong."""
        text = super().told()
        if self._kept or not self._left_out[_TOO_LITTLE]:
            return text
        return (
            f"{text}; is the robot driving, {self._frame!r} the optical frame of "
            f"{self._source.image_topic}, {self._fixed} in metres, and TF of the images' clock?"
        )

    def _sample(self, image: _Image, points: MotionPoints) -> Sample:
        """Return an image with the depth that is certain, 0 elsewhere."""
        mount = image.base_from_camera
        try:
            found = self._estimator.predict(
                Frame(image.pixels, "rgb", image.camera, image.mask),
                self._gates,
                base_from_camera=mount,
            )
        except EngineError as error:
            raise ToolError(f"{self._bag}: frame {image.name}: {error}") from error
        floor = mount if found.floor is not None else None
        depth_m = certain_depth(found.depth_m, found.camera, points.points, points.sigma, floor)
        depth_m = self._estimator.believe(found, depth_m, self._gates).depth_m
        depth_m = np.where(np.isfinite(depth_m), depth_m, np.float32(0.0))
        camera = image.camera
        intrinsics = (camera.fx, camera.fy, camera.cx, camera.cy)
        return Sample(image.name, image.pixels, depth_m, intrinsics)

    @property
    def images(self) -> int:
        """How many images the recording has."""
        return self._source.count

    def _depth_figures(self) -> dict[str, Any]:
        return {"depth_by": f"motion in {self._fixed}, {self._estimator.bundle.name}"}


def _known(sample: Sample) -> float:
    return float((sample.depth_m > 0).mean())

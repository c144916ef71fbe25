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

"""The depth of a recording beside its colour images: depth images or a lidar's points, registered.

What comes out is a pinhole's: the lens's distortion is taken out of both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from depthrefl_ros.geometry.camera import Camera, CameraError
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.registration import projected_points, registered_depth
from depthrefl_ros.tools.camera_info_file import CameraInfoError, recorded_camera
from depthrefl_ros.tools.command_line import ToolError, UnreadableError
from depthrefl_ros.tools.recorded_infos import RecordedInfos
from depthrefl_ros.tools.recorded_transforms import RecordedTransforms
from depthrefl_ros.tools.recording_source import RECTIFIED_NAME
from depthrefl_ros.tools.recordings import (
    IMAGE_TYPES,
    Recording,
    base_topic,
    depth_from_message,
    stamp_ns,
)
from depthrefl_ros.training.datasets import Sample
from depthrefl_ros.training.datasets.file_pairs import pinhole_sample

CLOUD_TYPE = "sensor_msgs/msg/PointCloud2"
# Of focal lengths and of the width: cameras that differ by less see the same.
_SAME_VIEW = 0.01
# A lidar's rays are this far apart, as a share of the width, or less.
_LIDAR_REACH = 0.01


@dataclass(frozen=True, eq=False)
class ColourImage:
    """A colour image of a recording, as it was taken.

    Attributes:
        name: of the image.
        pixels: (H, W, 3) uint8 RGB.
        camera: of the image, with its distortion.
        frame_id: of the camera's optical frame.
        stamp_ns: when it was taken.
    """

    name: str
    pixels: np.ndarray
    camera: Camera
    frame_id: str
    stamp_ns: int

    def without_distortion(self, depth_m: np.ndarray | None = None) -> Sample:
        """Return image and depth of the same pixels as a pinhole would have taken them.

        Args:
            depth_m: (H, W) float32 metres, 0 unknown; None for none at all.
        """
        if depth_m is None:
            depth_m = np.zeros(self.pixels.shape[:2], np.float32)
        return pinhole_sample(self.name, self.pixels, depth_m, self.camera)


class RecordedDepth(ABC):
    """One topic with depth, which becomes depth of the colour camera's pixels.

    Args:
        topic: its name.
        transforms: of the recording.
        fixed_frame: in which robot and sensors move; None where it is not known.

    Attributes:
        largest_gap_s: between the stamps of an image and its depth, by default.
    """

    largest_gap_s: float

    def __init__(self, topic: str, transforms: RecordedTransforms, fixed_frame: str | None):
        self.topic = topic
        self._transforms, self._fixed_frame = transforms, fixed_frame

    @abstractmethod
    def sample(self, message: Any, colour: ColourImage) -> Sample:
        """Return the image and its depth as a pinhole would have taken them.

        Args:
            message: of the topic.
            colour: the image of about the same time.

        Raises:
            TransformMissingError: TF does not say where the sensor was.
            UnreadableError: this message cannot be read.
            ToolError: none can be used.
        """

    def _colour_from(self, message: Any, colour: ColourImage) -> Pose:
        return self._transforms.across(
            colour.frame_id,
            colour.stamp_ns,
            message.header.frame_id,
            stamp_ns(message),
            self._fixed_frame,
        )


class DepthImages(RecordedDepth):
    """Depth images, of the colour camera's own view or of another camera.

    Args:
        topic: as the base class.
        transforms: as the base class.
        fixed_frame: as the base class.
        infos: CameraInfo of the depth images; None where there is none.
        is_registered: they are of the colour camera's view, whatever their frame says.
    """

    largest_gap_s = 0.02

    def __init__(
        self,
        topic: str,
        transforms: RecordedTransforms,
        fixed_frame: str | None,
        infos: RecordedInfos | None,
        is_registered: bool,
    ):
        super().__init__(topic, transforms, fixed_frame)
        self._infos, self._is_registered = infos, is_registered

    def sample(self, message: Any, colour: ColourImage) -> Sample:
        """Return image and depth; see the base class."""
        depth_m = depth_from_message(message, self.topic)
        with np.errstate(invalid="ignore"):
            depth_m[~(np.isfinite(depth_m) & (depth_m > 0))] = 0.0
        if self._is_registered:
            height, width = colour.pixels.shape[:2]
            if depth_m.shape != (height, width):
                depth_m = cv2.resize(depth_m, (width, height), interpolation=cv2.INTER_NEAREST)
            return colour.without_distortion(depth_m)
        is_of_one_place = _has_frame_of(message, colour)
        camera = self._camera_of(message, depth_m)
        if camera is None and is_of_one_place and depth_m.shape == colour.pixels.shape[:2]:
            camera = colour.camera.rectified() if is_rectified(self.topic) else colour.camera
        if camera is None:
            raise ToolError(
                f"{self.topic}: no camera info, and the depth is {depth_m.shape[1]}x"
                f"{depth_m.shape[0]} in frame {message.header.frame_id!r}, the image "
                f"{colour.camera.width}x{colour.camera.height} in {colour.frame_id!r}; record its "
                "camera_info, or give --registered if depth and image are aligned pixel by pixel"
            )
        pose = None if is_of_one_place else self._colour_from(message, colour)
        return registered_sample(colour, depth_m, camera, pose)

    def _camera_of(self, message: Any, depth_m: np.ndarray) -> Camera | None:
        if self._infos is None:
            return None

        def camera_of(info: Any) -> Camera:
            return depth_camera(info, self.topic, depth_m)

        try:
            return camera_of(self._infos.at(stamp_ns(message)))
        except CameraInfoError as error:
            if self._infos.is_any_usable(camera_of):
                raise
            raise ToolError(
                f"{error}; give --registered where each depth pixel is of its image pixel"
            ) from error


class LidarPoints(RecordedDepth):
    """A lidar's clouds, seen from the camera: depth of some pixels, 0 between them."""

    largest_gap_s = 0.05  # of 10 Hz, half of a turn

    def sample(self, message: Any, colour: ColourImage) -> Sample:
        """Return image and depth; see the base class."""
        from depthrefl_ros.ros.convert.clouds import MessageError, cloud_to_points

        try:
            points = cloud_to_points(message, self.topic)
        except MessageError as error:
            raise UnreadableError(str(error)) from error
        points = points[np.isfinite(points).all(axis=1)]
        pinhole = colour.without_distortion()
        camera = colour.camera.rectified()
        seen = projected_points(
            self._colour_from(message, colour).apply(points),
            camera,
            reach_px=max(1, round(_LIDAR_REACH * camera.width)),
        )
        return replace(pinhole, depth_m=seen)


def _has_frame_of(message: Any, colour: ColourImage) -> bool:
    frame_id = message.header.frame_id.lstrip("/")
    return not frame_id or not colour.frame_id or frame_id == colour.frame_id.lstrip("/")


def is_rectified(topic: str) -> bool:
    """Return whether the name of an image topic says that its pixels are rectified."""
    return bool(RECTIFIED_NAME.search(base_topic(topic).lower()))


def depth_camera(info: Any, topic: str, depth_m: np.ndarray) -> Camera:
    """Return the camera of a depth image's pixels, a pinhole where its name says rectified.

    Args:
        info: its CameraInfo.
        topic: of the depth images.
        depth_m: (H, W) the depth.

    Raises:
        CameraInfoError: the CameraInfo cannot be true, or is of another aspect.
    """
    camera = recorded_camera(info, topic, is_rectified(topic), instead="")
    try:
        camera = camera.for_image(depth_m.shape[1], depth_m.shape[0])
    except CameraError as error:
        raise CameraInfoError(f"{topic}: {error}") from error
    return camera.rectified() if is_rectified(topic) else camera


def registered_sample(
    colour: ColourImage, depth_m: np.ndarray, camera: Camera, pose: Pose | None
) -> Sample:
    """Return image and depth as a pinhole would have taken them, each rectified by its own camera.

    Args:
        colour: the image.
        depth_m: (h, w) float32 metres, 0 unknown.
        camera: of the depth's pixels.
        pose: colour_from_depth, of the optical frames; None where both see from one place.
    """

    def is_of_image(depth_pixels: Camera, image_pixels: Camera) -> bool:
        is_of_its_size = pose is None and depth_m.shape == colour.pixels.shape[:2]
        return is_of_its_size and _is_same_view(depth_pixels, image_pixels)

    if is_of_image(camera, colour.camera):
        return colour.without_distortion(depth_m)
    blank = np.zeros((*depth_m.shape, 3), np.uint8)
    depth_m = pinhole_sample(colour.name, blank, depth_m, camera).depth_m
    pinhole = colour.without_distortion(np.ones(colour.pixels.shape[:2], np.float32))
    depth_pixels, image_pixels = camera.rectified(), colour.camera.rectified()
    if not is_of_image(depth_pixels, image_pixels):
        depth_m = registered_depth(depth_m, depth_pixels, pose or Pose.identity(), image_pixels)
    # Beside the raw image there is no picture for the depth.
    return replace(pinhole, depth_m=np.where(pinhole.depth_m > 0, depth_m, np.float32(0)))


def _is_same_view(first: Camera, second: Camera) -> bool:
    """Return whether two cameras of one size and place see the same in each pixel.

    Both are rectified, or both are raw with the same distortion.
    """
    if first.is_distorted != second.is_distorted:
        return False
    length = max(first.D.size, second.D.size)
    if not np.allclose(*(np.pad(one.D, (0, length - one.D.size)) for one in (first, second))):
        return False
    largest = np.array([[first.K[0, 0], 1, first.width], [1, first.K[1, 1], first.height], [1] * 3])
    return bool((np.abs(first.K - second.K) <= _SAME_VIEW * largest).all())


def find_depth_topic(recording: Recording, chosen: str | None) -> str:
    """Return the topic that has the depth of a recording's images.

    ``depth_truth`` comes first, then the only depth topic (raw before compressed), then the only
    one that is called aligned or registered, then the only cloud.

    Args:
        recording: that is open.
        chosen: by the user, or None.

    Raises:
        ToolError: it is not there, or several could be meant; names them.
    """
    if chosen is not None:
        for topic in (chosen, f"/{chosen.strip('/')}"):
            if recording.topics.get(topic) in (*IMAGE_TYPES, CLOUD_TYPE):
                return topic
        raise ToolError(f"{recording.path}: no topic {chosen} of depth images or points")
    truth = recording.truth_topic()
    if truth is not None:
        return truth
    images: dict[str, str] = {}
    for topic in recording.depth_topics():  # by name: raw is before its compressed forms
        images.setdefault(base_topic(topic), topic)
    aligned = [topic for topic in images.values() if "aligned" in topic or "registered" in topic]
    clouds = [
        topic
        for topic, kind in sorted(recording.topics.items())
        if kind == CLOUD_TYPE and recording.count(topic)
    ]
    for candidates in (list(images.values()), aligned, [] if images else clouds):
        if len(candidates) == 1:
            return candidates[0]
    found = [*images.values(), *clouds]
    if not found:
        raise ToolError(
            f"{recording.path}: neither depth images nor points; topics: "
            f"{', '.join(recording.topics) or 'none'}. Where TF has the robot's odometry, --motion "
            "needs neither"
        )
    raise ToolError(
        f"{recording.path}: which topic is the depth? Found {', '.join(found)}; name it by "
        "--depth-topic"
    )

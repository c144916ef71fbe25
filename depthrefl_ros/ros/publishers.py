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

"""Every topic that is published, and what RViz and mapping get of a frame."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, LaserScan, PointCloud2
from std_msgs.msg import Header

from depthrefl_ros.estimator import StepTimer
from depthrefl_ros.frames import DepthFrame
from depthrefl_ros.geometry.cloud import fill_cloud, voxel_thin
from depthrefl_ros.geometry.preview import depth_preview
from depthrefl_ros.ros.convert.camera_info import camera_to_info
from depthrefl_ros.ros.convert.clouds import CloudBuffer, cloud_message
from depthrefl_ros.ros.convert.images import (
    METRES_FORMAT,
    MILLIMETRES_FORMAT,
    ImageBuffer,
    compressed_image,
    encode_metres,
    encode_millimetres,
    write_millimetres,
)
from depthrefl_ros.ros.diagnostics import Diagnostics
from depthrefl_ros.ros.loaded_model import FrameSettings
from depthrefl_ros.ros.parameters import CloudSettings
from depthrefl_ros.settings import SettingError

DEPTH_IMAGE = "depth/image"
DEPTH_IMAGE_RAW = "depth/image_raw"
DEPTH_CAMERA_INFO = "depth/camera_info"
DEPTH_CONFIDENCE = "depth/confidence"
DEPTH_RELATIVE = "depth/relative"
DEPTH_PREVIEW = "depth/preview"
# As image_transport's subscribers call them. They are made last: no costmap waits for them.
PREVIEW_JPEG = f"{DEPTH_PREVIEW}/compressed"
DEPTH_IMAGE_PNG = f"{DEPTH_IMAGE}/compressedDepth"
DEPTH_IMAGE_RAW_PNG = f"{DEPTH_IMAGE_RAW}/compressedDepth"
COMPRESSED = (PREVIEW_JPEG, DEPTH_IMAGE_PNG, DEPTH_IMAGE_RAW_PNG)
POINTS = "points"
MARKING = "points/marking"
CLEARING = "points/clearing"
SCAN = "scan"
TYPES = {
    DEPTH_CAMERA_INFO: CameraInfo,
    DEPTH_IMAGE: Image,
    DEPTH_IMAGE_RAW: Image,
    DEPTH_CONFIDENCE: Image,
    DEPTH_RELATIVE: Image,
    DEPTH_PREVIEW: Image,
    POINTS: PointCloud2,
    MARKING: PointCloud2,
    CLEARING: PointCloud2,
    SCAN: LaserScan,
    **dict.fromkeys(COMPRESSED, CompressedImage),
}
# As diagnostics call them.
_STEPS = {POINTS: "cloud", DEPTH_PREVIEW: "preview", **dict.fromkeys(COMPRESSED, "compress")}
_POLICIES = {"reliability": ReliabilityPolicy, "history": HistoryPolicy}  # as overrides call them
_DEEPEST = 2**31 - 1  # messages; DDS counts them in 32 bits
_BEYOND = 1.01  # of max_range: what is compressed must be nearer than the end of its range


def publisher_profile() -> QoSProfile:
    """Return our offer: reliable, the newest only; serves best-effort subscribers as well."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE
    )


def publisher_overrides() -> QoSOverridingOptions:
    """Return what lets users change history, depth and reliability by ``qos_overrides``."""
    return QoSOverridingOptions.with_default_policies()


def check_overrides(node: Node) -> None:
    """Check what the user's ``qos_overrides`` say of our topics, before any publisher is made.

    Once a publisher has declared them they cannot be changed any more.

    Raises:
        SettingError: one cannot be taken; names the parameter, the value and what would be right.
    """
    for topic in TYPES:
        for policy in ("reliability", "history", "depth"):
            name = f"qos_overrides.{node.resolve_topic_name(topic)}.publisher.{policy}"
            given = node._parameter_overrides.get(name)
            wanted = "" if given is None else _wanted_instead(policy, given.value)
            if wanted:
                raise SettingError(f"{name} is {given.value!r}; it must be {wanted}")


def _wanted_instead(policy: str, value: Any) -> str:
    """Return what a policy must be where its value is none that rclpy takes, else nothing."""
    if policy == "depth":
        is_count = type(value) is int and 0 <= value <= _DEEPEST
        return "" if is_count else "a whole number from 0"
    known = [one.name.lower() for one in _POLICIES[policy] if one.name != "UNKNOWN"]
    is_known = isinstance(value, str) and value.lower() in known
    return "" if is_known else f"one of {', '.join(known)}"


class Publishers:
    """The lifecycle publishers of all topics; they publish while the node is active.

    Args:
        node: that publishes.
        diagnostics: counts what is published.
    """

    def __init__(self, node: LifecycleNode, diagnostics: Diagnostics):
        self._node, self._diagnostics = node, diagnostics
        self._publishers = {}
        try:
            for topic, kind in TYPES.items():
                self._publishers[topic] = node.create_lifecycle_publisher(
                    kind, topic, publisher_profile(), qos_overriding_options=publisher_overrides()
                )
        except Exception:
            self.close()
            raise

    def wanted(self) -> frozenset[str]:
        """Return the topics that someone listens to now."""
        return frozenset(
            topic
            for topic, publisher in self._publishers.items()
            if publisher.get_subscription_count() > 0
        )

    def publish(self, topic: str, message: Any, header: Header, timer: StepTimer) -> None:
        """Publish a message with this header; the timer gets the step ``publish``."""
        with timer.step("publish"):
            message.header = header
            self._publishers[topic].publish(message)
        self._diagnostics.count(f"published_{topic}")

    def flush(self, topics: frozenset[str], wait_s: float) -> None:
        """Give subscribers the time to take what was published on some topics, before it closes.

        Best-effort subscribers acknowledge nothing, and one that learns that a publisher is gone
        before it has taken the last message loses it. So this waits even when all is acknowledged.

        Args:
            topics: to wait for.
            wait_s: how long in all, seconds.
        """
        end_s = time.monotonic() + wait_s
        for topic in topics:
            self._publishers[topic].wait_for_all_acked(Duration(seconds=wait_s / len(topics)))
        time.sleep(max(0.0, end_s - time.monotonic()))

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers = {}


class DepthPublisher:
    """Publishes depth, its pictures and the full cloud; one thread's.

    Messages of one size are written in place and used again.

    Args:
        publishers: that publish.
    """

    def __init__(self, publishers: Publishers):
        self._publishers = publishers
        self._images: dict[str, ImageBuffer] = {}
        # What the preview's buffer shows.
        self._drawn: tuple[DepthFrame, FrameSettings] | None = None
        self._cloud: CloudBuffer | None = None

    def publish(
        self,
        topic: str,
        frame: DepthFrame,
        header: Header,
        settings: FrameSettings,
        timer: StepTimer,
    ) -> None:
        """Make and publish one message.

        Args:
            topic: any of ``TYPES`` but those of obstacles.
            frame: with colours where the full cloud is to have them.
            header: of the image.
            settings: of the frame.
            timer: gets the steps ``fill``, ``cloud``, ``preview``, ``compress`` and ``publish``.
        """
        with timer.step(_STEPS.get(topic, "fill")):
            message = self._made(topic, frame, header, settings)
        self._publishers.publish(topic, message, header, timer)

    def _made(
        self, topic: str, frame: DepthFrame, header: Header, settings: FrameSettings
    ) -> CameraInfo | CompressedImage | Image | PointCloud2:
        if topic == DEPTH_CAMERA_INFO:
            return camera_to_info(frame.camera, header)
        if topic == POINTS:
            return self._points(frame, settings.parameters.cloud)
        if topic == DEPTH_IMAGE_RAW:
            return self._millimetres(frame).message
        if topic == DEPTH_PREVIEW:
            return self._preview(frame, settings)
        if topic in COMPRESSED:
            return self._compressed(topic, frame, settings)
        planes = {DEPTH_CONFIDENCE: "confidence", DEPTH_RELATIVE: "relative"}
        plane = getattr(frame, planes.get(topic, "depth_m"))
        buffer = self._image(topic, plane.shape, "32FC1", np.float32)
        np.copyto(buffer.pixels, plane)
        return buffer.message

    def _millimetres(self, frame: DepthFrame) -> ImageBuffer:
        buffer = self._image(DEPTH_IMAGE_RAW, frame.depth_m.shape, "16UC1", np.uint16)
        write_millimetres(frame.depth_m, buffer.pixels)
        return buffer

    def _preview(self, frame: DepthFrame, settings: FrameSettings) -> Image:
        """Return the depth in colours, drawn once for the picture and its JPEG."""
        drawn = self._drawn or (None, None)
        if drawn[0] is not frame or drawn[1] is not settings:
            near_m, far_m = settings.estimator.min_range_m, settings.estimator.max_range_m
            picture = depth_preview(frame.depth_m, near_m, far_m)
            buffer = self._image(DEPTH_PREVIEW, picture.shape, "bgr8", np.uint8)
            np.copyto(buffer.pixels, picture)
            self._drawn = frame, settings
        return self._images[DEPTH_PREVIEW].message

    def _compressed(
        self, topic: str, frame: DepthFrame, settings: FrameSettings
    ) -> CompressedImage:
        if topic == PREVIEW_JPEG:
            return compressed_image(self._preview(frame, settings))
        if topic == DEPTH_IMAGE_PNG:
            farthest_m = _BEYOND * settings.estimator.max_range_m
            message = CompressedImage(format=METRES_FORMAT)
            message.data.frombytes(encode_metres(frame.depth_m, farthest_m))
        else:
            message = CompressedImage(format=MILLIMETRES_FORMAT)
            message.data.frombytes(encode_millimetres(self._millimetres(frame).pixels))
        return message

    def _image(self, topic: str, shape: tuple, encoding: str, dtype: type) -> ImageBuffer:
        buffer = self._images.get(topic)
        if buffer is None or buffer.pixels.shape != shape:
            channels = shape[2] if len(shape) == 3 else 1
            buffer = ImageBuffer(shape[0], shape[1], encoding, dtype, channels)
            self._images[topic] = buffer
        return buffer

    def _points(self, frame: DepthFrame, settings: CloudSettings) -> PointCloud2:
        every = slice(None, None, settings.stride)
        camera = frame.camera.strided(settings.stride)
        fields = settings.fields
        points = self._cloud_of(camera.height, camera.width, fields)
        colours = frame.colour_bgra[every, every] if settings.colour else None
        is_usual = fields == ("x", "y", "z", "rgb")
        coloured = points if is_usual else np.empty((*points.shape[:2], 4), np.float32)
        fill_cloud(frame.depth_m[every, every], colours, camera, coloured)
        confidence = None
        if settings.confidence or settings.voxel_size_m:
            confidence = frame.confidence[every, every]
        if not is_usual:
            kept = 4 if settings.colour else 3
            points[..., :kept] = coloured[..., :kept]
            if settings.confidence:
                points[..., kept] = confidence
        if not settings.voxel_size_m:
            return self._cloud.message
        known = np.isfinite(points[..., 2])
        points = points[known]
        kept = voxel_thin(points[:, :3], confidence[known], settings.voxel_size_m)
        return cloud_message(points[kept], fields)

    def _cloud_of(self, height: int, width: int, fields: tuple[str, ...]) -> np.ndarray:
        """Return the array (height, width, fields) that the cloud's bytes are."""
        buffer = self._cloud
        names = () if buffer is None else tuple(one.name for one in buffer.message.fields)
        if buffer is None or buffer.points.shape[:2] != (height, width) or names != fields:
            buffer = self._cloud = CloudBuffer(height, width, fields)
        return buffer.points

"""The publishers: only what someone listens to is made, into messages that are used again."""

from __future__ import annotations

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from depthrefl_ros.estimator import DepthFrame, StepTimer
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.cloud import CloudBuilder
from depthrefl_ros.geometry.preview import DepthPreview
from depthrefl_ros.ros.messages import camera_to_info
from depthrefl_ros.ros.output_messages import CloudBuffer, ImageBuffer
from depthrefl_ros.ros.qos import publisher_overrides, publisher_profile

DEPTH_IMAGE = "depth/image"
DEPTH_CAMERA_INFO = "depth/camera_info"
DEPTH_PREVIEW = "depth/preview"
POINTS = "points"
TYPES = {
    DEPTH_CAMERA_INFO: CameraInfo,
    DEPTH_IMAGE: Image,
    POINTS: PointCloud2,
    DEPTH_PREVIEW: Image,
}


class Outputs:
    """Publishes what one frame became. Used by one thread at a time.

    Args:
        node: that publishes.
    """

    def __init__(self, node: Node):
        self._node = node
        self._publishers = {
            topic: node.create_publisher(
                kind,
                topic,
                publisher_profile(),
                qos_overriding_options=publisher_overrides(),
            )
            for topic, kind in TYPES.items()
        }
        self._camera: Camera | None = None
        self._depth: ImageBuffer | None = None
        self._cloud: CloudBuffer | None = None
        self._cloud_builder: CloudBuilder | None = None
        self._picture: ImageBuffer | None = None
        self._preview: DepthPreview | None = None
        self._preview_range_m = (0.0, 0.0)

    def wanted(self) -> frozenset[str]:
        """The topics that someone listens to now."""
        return frozenset(
            topic
            for topic, publisher in self._publishers.items()
            if publisher.get_subscription_count() > 0
        )

    def publish(
        self,
        wanted: frozenset[str],
        frame: DepthFrame,
        header: Header,
        range_m: tuple[float, float],
        timer: StepTimer,
    ) -> None:
        """Makes and publishes the wanted messages.

        Args:
            wanted: topics of ``TYPES``.
            frame: with colours where ``points`` is wanted.
            header: of every message.
            range_m: nearest and farthest depth of the preview's colours, metres.
            timer: gets the steps ``fill``, ``cloud``, ``preview`` and ``publish``.
        """
        if frame.camera is not self._camera:
            self._camera = frame.camera
            self._depth = self._cloud = self._cloud_builder = None
        makers = {
            DEPTH_CAMERA_INFO: lambda: camera_to_info(frame.camera, header),
            DEPTH_IMAGE: lambda: self._depth_image(frame.depth_m),
            POINTS: lambda: self._points(frame),
            DEPTH_PREVIEW: lambda: self._depth_preview(frame.depth_m, range_m),
        }
        steps = {POINTS: "cloud", DEPTH_PREVIEW: "preview"}
        for topic, make in makers.items():
            if topic not in wanted:
                continue
            with timer.step(steps.get(topic, "fill")):
                message = make()
                message.header = header
            with timer.step("publish"):
                self._publishers[topic].publish(message)

    def close(self) -> None:
        """Destroys the publishers; no thread may be publishing any more."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers = {}

    def _depth_image(self, depth_m: np.ndarray) -> Image:
        if self._depth is None:
            self._depth = ImageBuffer(*depth_m.shape, "32FC1", np.float32)
        np.copyto(self._depth.pixels, depth_m)
        return self._depth.message

    def _points(self, frame: DepthFrame) -> PointCloud2:
        if self._cloud is None:
            self._cloud = CloudBuffer(*frame.depth_m.shape)
            self._cloud_builder = CloudBuilder(frame.camera)
        self._cloud_builder.fill(frame.depth_m, frame.colour_bgra, self._cloud.points)
        return self._cloud.message

    def _depth_preview(self, depth_m: np.ndarray, range_m: tuple[float, float]) -> Image:
        if self._preview is None or self._preview_range_m != range_m:
            self._preview, self._preview_range_m = DepthPreview(*range_m), range_m
        picture = self._preview.draw(depth_m)
        if self._picture is None or self._picture.pixels.shape != picture.shape:
            height, width = picture.shape[:2]
            self._picture = ImageBuffer(height, width, "bgr8", np.uint8, 3)
        np.copyto(self._picture.pixels, picture)
        return self._picture.message

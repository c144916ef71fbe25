"""Every topic that is published, and which of them someone listens to."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2
from std_msgs.msg import Header

from depthrefl_ros.estimator import StepTimer
from depthrefl_ros.ros.diagnostics import Diagnostics
from depthrefl_ros.ros.qos import publisher_overrides, publisher_profile

DEPTH_IMAGE = "depth/image"
DEPTH_IMAGE_RAW = "depth/image_raw"
DEPTH_CAMERA_INFO = "depth/camera_info"
DEPTH_CONFIDENCE = "depth/confidence"
DEPTH_RELATIVE = "depth/relative"
DEPTH_PREVIEW = "depth/preview"
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
}


class Publishers:
    """Used by one thread at a time.

    Args:
        node: that publishes.
        diagnostics: counts what is published.
    """

    def __init__(self, node: Node, diagnostics: Diagnostics):
        self._node, self._diagnostics = node, diagnostics
        self._publishers = {
            topic: node.create_publisher(
                kind,
                topic,
                publisher_profile(),
                qos_overriding_options=publisher_overrides(),
            )
            for topic, kind in TYPES.items()
        }

    def wanted(self) -> frozenset[str]:
        """The topics that someone listens to now."""
        return frozenset(
            topic
            for topic, publisher in self._publishers.items()
            if publisher.get_subscription_count() > 0
        )

    def publish(self, topic: str, message: Any, header: Header, timer: StepTimer) -> None:
        """Publishes a message with this header; the timer gets the step ``publish``."""
        with timer.step("publish"):
            message.header = header
            self._publishers[topic].publish(message)
        self._diagnostics.count(f"published_{topic}")

    def close(self) -> None:
        """Destroys the publishers; no thread may be publishing any more."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers = {}

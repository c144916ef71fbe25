"""The subscriptions, kept in step with what the publishers on the graph offer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from depthrefl_ros.ros.anchors import TYPES as ANCHOR_TYPES
from depthrefl_ros.ros.anchors import needed_topics
from depthrefl_ros.ros.parameters import Parameters
from depthrefl_ros.ros.qos import anchor_profile, camera_info_profile, image_profile, offer_on

GRAPH_PERIOD_S = 1.0


class Inputs:
    """Subscribes to what is needed; subscribes anew when the publishers' offer changes.

    Args:
        node: that subscribes.
        parameters: ``image_transport``, ``image_reliability`` and ``scale_correction`` are used.
        on_image: called with each Image or CompressedImage.
        on_camera_info: called with each CameraInfo.
        on_anchor: by topic of ``anchors.TYPES``, called with each of its messages.

    Attributes:
        image_topic: resolved.
        camera_info_topic: resolved.
    """

    def __init__(
        self,
        node: Node,
        parameters: Parameters,
        on_image: Callable[[Image | CompressedImage], None],
        on_camera_info: Callable[[CameraInfo], None],
        on_anchor: Mapping[str, Callable],
    ):
        self._node, self._on_anchor = node, on_anchor
        self._reliability = parameters.image_reliability
        self._on_image, self._on_camera_info = on_image, on_camera_info
        self.image_topic, self._image_type = node.resolve_topic_name("image"), Image
        if parameters.image_transport == "compressed":
            self.image_topic, self._image_type = f"{self.image_topic}/compressed", CompressedImage
        self.camera_info_topic = node.resolve_topic_name("camera_info")
        self._subscriptions: dict[str, tuple[QoSProfile, Subscription]] = {}
        self._anchors = needed_topics(parameters.scale_correction)
        self.follow_graph()
        # Steady: under use_sim_time the node's own clock may stand still.
        self._timer = node.create_timer(
            GRAPH_PERIOD_S, self.follow_graph, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def follow_graph(self) -> None:
        """Subscribes with the profiles that fit the publishers of this moment."""
        offered = offer_on(self._node, self.image_topic)
        profile = image_profile(offered, self._reliability)
        self._subscribe(self._image_type, self.image_topic, self._on_image, profile)
        profile = camera_info_profile(offer_on(self._node, self.camera_info_topic))
        self._subscribe(CameraInfo, self.camera_info_topic, self._on_camera_info, profile)
        for name, kind in ANCHOR_TYPES.items():
            topic = self._node.resolve_topic_name(name)
            if name in self._anchors:
                profile = anchor_profile(offer_on(self._node, topic))
                self._subscribe(kind, topic, self._on_anchor[name], profile)
            elif topic in self._subscriptions:
                self._node.destroy_subscription(self._subscriptions.pop(topic)[1])

    def follow_parameters(self, parameters: Parameters) -> None:
        """Listens to the anchors that ``scale_correction`` now needs, and to no others."""
        self._anchors = needed_topics(parameters.scale_correction)
        self.follow_graph()

    def close(self) -> None:
        """Ends the subscriptions."""
        self._node.destroy_timer(self._timer)
        for _, subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._subscriptions = {}

    def _subscribe(self, kind: type, topic: str, callback: Callable, profile: QoSProfile) -> None:
        """Subscribes, or subscribes anew where the profile has changed."""
        before, subscription = self._subscriptions.get(topic, (None, None))
        if before == profile:
            return
        if subscription is not None:
            self._node.destroy_subscription(subscription)
        subscription = self._node.create_subscription(kind, topic, callback, profile)
        self._subscriptions[topic] = (profile, subscription)

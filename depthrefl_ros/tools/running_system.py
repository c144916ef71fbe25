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

"""What a running system lacks, looked at from outside, in the order in which a frame travels.

Everything is asked of the graph, listened to for some seconds, or read in the node's own
diagnostics; nothing is changed and nothing is published.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from depthrefl_ros.ros.convert.camera_info import camera_from_info
from depthrefl_ros.ros.convert.images import MessageError
from depthrefl_ros.tools.machine import Finding

DISCOVERY_S = 2.0  # until the graph is known to a node that has just come
_OUTPUT = "depth/relative"  # a topic that only this node publishes
_IMAGES = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/CompressedImage": CompressedImage}
_UNKNOWN = "_UNKNOWN_"  # of rmw: _NODE_NAME_UNKNOWN_
_CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
_CLOUDS = ("points/marking", "points/clearing", "points")
LEVELS = {
    DiagnosticStatus.OK: "ok",
    DiagnosticStatus.WARN: "warning",
    DiagnosticStatus.ERROR: "error",
    DiagnosticStatus.STALE: "error",
}


@dataclass
class Heard:
    """What came while we listened.

    Attributes:
        image: the newest, compressed or not.
        images: how many.
        info: the newest CameraInfo.
        clouds: how many, by topic.
        statuses: of the node, in the order in which they came.
    """

    image: Image | CompressedImage | None = None
    images: int = 0
    info: CameraInfo | None = None
    clouds: dict[str, int] = field(default_factory=dict)
    statuses: list[DiagnosticStatus] = field(default_factory=list)


def findings(node: Node, listen_s: float) -> Iterator[Finding]:
    """Look at every depthrefl node that runs.

    Args:
        node: one of ours, not in an executor.
        listen_s: for how long to listen to each node's topics.
    """
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        _spin(executor, DISCOVERY_S)
        names = running_nodes(node)
        if not names:
            text = (
                "no node depthrefl in this ROS domain: start it, or set ROS_DOMAIN_ID, "
                "ROS_AUTOMATIC_DISCOVERY_RANGE and RMW_IMPLEMENTATION as it has them"
            )
            yield Finding("node", "error", text)
        for name, namespace in names:
            yield from _look_at(node, executor, name, namespace, listen_s)
    finally:
        executor.remove_node(node)


def running_nodes(node: Node) -> list[tuple[str, str]]:
    """Return name and namespace of the nodes that publish what only ours does, or have its name."""
    found = {one for one in node.get_node_names_and_namespaces() if one[0] == "depthrefl"}
    for topic, _ in node.get_topic_names_and_types():
        if topic.endswith(f"/{_OUTPUT}"):
            publishers = node.get_publishers_info_by_topic(topic)
            found |= {(one.node_name, one.node_namespace) for one in publishers}
    # A publisher may be discovered before the node that it belongs to.
    return sorted(one for one in found if _UNKNOWN not in one[0])


def image_topics_of(node: Node, name: str, namespace: str) -> dict[str, type]:
    """Return the image topics that a node subscribes to, each with its message's type.

    Raises:
        NodeNameNonExistentError: the node is not there (any more).
    """
    taken = node.get_subscriber_names_and_types_by_node(name, namespace)
    return {topic: _IMAGES[kinds[0]] for topic, kinds in taken if kinds[0] in _IMAGES}


def _look_at(
    node: Node, executor: SingleThreadedExecutor, name: str, namespace: str, listen_s: float
) -> Iterator[Finding]:
    taken = dict(node.get_subscriber_names_and_types_by_node(name, namespace))
    image_topics = image_topics_of(node, name, namespace)
    info_topics = [one for one, kinds in taken.items() if kinds[0] == _CAMERA_INFO]
    base = "" if namespace == "/" else namespace
    clouds = [f"{base}/{one}" for one in _CLOUDS]
    full_name = f"{base}/{name}"
    heard = _listen(node, executor, image_topics, info_topics, clouds, full_name, listen_s)
    yield _own_words(full_name, heard)
    if not image_topics:
        text = f"{full_name} subscribes to no image: it is not active; ros2 lifecycle set "
        yield Finding("image", "error", f"{text}{full_name} configure, then activate")
        return
    for topic in (*image_topics, *info_topics):
        label = "image" if topic in image_topics else "camera_info"
        kind = taken[topic][0]
        came = heard.images if topic in image_topics else int(heard.info is not None)
        yield _source(node, label, topic, kind, came, name, listen_s)
    if heard.info is not None:
        yield _camera(heard, info_topics[0])
    yield _outputs(node, base, heard, clouds)


def _listen(
    node: Node,
    executor: SingleThreadedExecutor,
    image_topics: dict[str, type],
    info_topics: list[str],
    clouds: list[str],
    full_name: str,
    listen_s: float,
) -> Heard:
    heard = Heard(clouds=dict.fromkeys(clouds, 0))

    def take_image(message: Image | CompressedImage) -> None:
        heard.image, heard.images = message, heard.images + 1

    def take_info(message: CameraInfo) -> None:
        heard.info = message

    def take_diagnostics(message: DiagnosticArray) -> None:
        own = [one for one in message.status if one.name == full_name.lstrip("/")]
        heard.statuses.extend(own)

    def counter(topic: str):
        def take(_: PointCloud2) -> None:
            heard.clouds[topic] += 1

        return take

    # As Nav2 and RViz subscribe: best effort hears every publisher.
    lossy = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    opened = [node.create_subscription(DiagnosticArray, "/diagnostics", take_diagnostics, 10)]
    for topic, kind in image_topics.items():
        opened.append(node.create_subscription(kind, topic, take_image, lossy))
    for topic in info_topics:
        opened.append(node.create_subscription(CameraInfo, topic, take_info, lossy))
    for topic in clouds:
        opened.append(node.create_subscription(PointCloud2, topic, counter(topic), lossy))
    try:
        _spin(executor, listen_s)
    finally:
        for subscription in opened:
            node.destroy_subscription(subscription)
    return heard


def _own_words(full_name: str, heard: Heard) -> Finding:
    """Return what the node says of itself: floor, TF, scale and engine are told there."""
    if not heard.statuses:
        text = f"{full_name} sends no diagnostics: it hangs, or its messages do not come through"
        return Finding("node", "error", text)
    status = heard.statuses[-1]
    values = {one.key: one.value for one in status.values}
    shown = ("received", "processed", "dropped")
    counts = ", ".join(f"{values[key]} {key}" for key in shown if key in values)
    text = f"{full_name} says: {status.message or 'nothing'} ({counts})"
    return Finding("node", LEVELS.get(status.level, "warning"), text, values)


def _source(
    node: Node, label: str, topic: str, kind: str, came: int, name: str, listen_s: float
) -> Finding:
    publishers = node.get_publishers_info_by_topic(topic)
    if not publishers:
        others = _published(node, kind, name)
        remedy = f"remap it to one of {', '.join(others[:8])}" if others else "start the camera"
        return Finding(label, "error", f"nobody publishes {topic}: {remedy}")
    wanted = [
        one.qos_profile
        for one in node.get_subscriptions_info_by_topic(topic)
        if one.node_name == name
    ]
    for publisher in publishers:
        if publisher.topic_type != kind:
            text = f"{topic} is {publisher.topic_type} and the node wants {kind}"
            hint = "; set image_transport" if "Compressed" in publisher.topic_type + kind else ""
            return Finding(label, "error", f"{text}{hint}")
        for profile in wanted:
            compatibility, reason = qos_check_compatible(publisher.qos_profile, profile)
            if compatibility == QoSCompatibility.ERROR:
                text = f"{topic}: {publisher.node_name} and the node do not match ({reason})"
                return Finding(label, "error", f"{text} set image_reliability: auto")
    if not came:
        text = f"{topic} has {len(publishers)} publishers and was silent for {listen_s:g} s"
        return Finding(label, "warning", f"{text}, or its messages are lost on the way")
    rate = f" at {came / listen_s:.1f} Hz" if label == "image" else ""
    return Finding(label, "ok", f"{topic}{rate}")


def _published(node: Node, kind: str, name: str) -> list[str]:
    """Return topics of this type that others than the node publish."""
    found = []
    for topic, kinds in node.get_topic_names_and_types():
        publishers = node.get_publishers_info_by_topic(topic) if kind in kinds else []
        if any(one.node_name != name for one in publishers):
            found.append(topic)
    return found


def _camera(heard: Heard, topic: str) -> Finding:
    info, image = heard.info, heard.image
    try:
        camera_from_info(info, topic)
    except MessageError as error:
        remedy = "calibrate the camera, or set camera_info_url or assumed_horizontal_fov"
        return Finding("calibration", "error", f"{error}: {remedy}")
    size = (info.width // max(info.binning_x, 1), info.height // max(info.binning_y, 1))
    if isinstance(image, Image) and not info.roi.width and size != (image.width, image.height):
        text = (
            f"{topic} is of {size[0]}x{size[1]} pixels, the image of {image.width}x{image.height}"
        )
        return Finding("calibration", "warning", f"{text}: is it this camera's, and this mode's?")
    has_lens = any(info.d)
    lens = "with distortion: the image must be raw" if has_lens else "without distortion"
    return Finding("calibration", "ok", f"fx {info.k[0]:.1f} of {info.width} pixels, {lens}")


def _outputs(node: Node, base: str, heard: Heard, clouds: list[str]) -> Finding:
    topics = [f"{base}/depth/image", *clouds, f"{base}/scan"]
    ours = node.get_name()
    listeners = {
        topic: sorted(
            {
                one.node_name
                for one in node.get_subscriptions_info_by_topic(topic)
                if one.node_name != ours
            }
        )
        for topic in topics
    }
    used = [f"{topic} by {', '.join(who)}" for topic, who in listeners.items() if who]
    processed = _processed(heard.statuses)
    came = max(heard.clouds.values())
    if processed and came < processed // 2:
        text = (
            f"{processed} frames were processed and {came} clouds came here: large messages get "
            "lost; see 'large clouds' of depthrefl doctor"
        )
        return Finding("outputs", "warning", text)
    if not used:
        text = "nobody subscribes: depth is published only while someone listens"
        return Finding("outputs", "warning", f"{text} ({', '.join(topics)})")
    return Finding("outputs", "ok", "; ".join(used))


def _processed(statuses: list[DiagnosticStatus]) -> int:
    """Return frames between the first and the last of the node's statuses."""
    counts = [
        int(one.value) for status in statuses for one in status.values if one.key == "processed"
    ]
    return counts[-1] - counts[0] if counts else 0


def _spin(executor: SingleThreadedExecutor, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        executor.spin_once(timeout_sec=min(left, 0.1))

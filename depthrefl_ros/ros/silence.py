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

"""Why nothing comes on a topic: who publishes there, as what, and where else; in words."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from depthrefl_ros.ros.publishers import TYPES

_MOST_TOPICS = 8  # named in a message


def topic_words(node: Node, topic: str, kind: type) -> str:
    """Return a topic and how many publish on it; where nobody does, the others of its type.

    Args:
        node: any node of ours.
        topic: fully qualified.
        kind: type of its messages.
    """
    publishers = node.count_publishers(topic)
    others = "" if publishers else _others(node, topic, kind)
    return f"{topic} ({publishers} publisher{'' if publishers == 1 else 's'}{others})"


def silence_words(
    node: Node, topic: str, kind: type[CompressedImage] | type[Image], reliability: str
) -> str:
    """Return why no image may come: nobody publishes, another type, or with another QoS.

    Args:
        node: any node of ours.
        topic: of the images, fully qualified.
        kind: type of the messages that are subscribed to.
        reliability: ``image_reliability``.
    """
    kinds = dict(node.get_topic_names_and_types()).get(topic, [])
    wanted = _type_name(kind)
    others = [one for one in kinds if one != wanted]
    if others:
        hint = _type_hint(topic, others)
        return f"{topic} has type {', '.join(others)}, not {wanted}; {hint}"
    if not node.count_publishers(topic):
        return f"nobody publishes there{_others(node, topic, kind)}"
    if reliability == "reliable" and _is_best_effort_offered(node, topic):
        return (
            "image_reliability is reliable, its publisher offers best effort: "
            "set image_reliability to auto"
        )
    return "its publisher is silent"


def _is_best_effort_offered(node: Node, topic: str) -> bool:
    """Return whether a publisher has no reliability to offer."""
    offers = node.get_publishers_info_by_topic(topic)
    return any(one.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT for one in offers)


def _others(node: Node, topic: str, kind: type) -> str:
    """Return the topics of a type that somebody publishes on, our own ones left out."""
    wanted = _type_name(kind)
    own = {node.resolve_topic_name(one) for one in TYPES}
    found = [
        name
        for name, kinds in node.get_topic_names_and_types()
        if wanted in kinds and name != topic and name not in own and node.count_publishers(name)
    ]
    if not found:
        return f"; no topic of type {wanted} exists"
    more = f" and {len(found) - _MOST_TOPICS} more" if len(found) > _MOST_TOPICS else ""
    return f"; topics of type {wanted}: {', '.join(sorted(found)[:_MOST_TOPICS])}{more}"


def _type_hint(topic: str, kinds: Sequence[str]) -> str:
    """Return what to do where a topic has other types than the one that is asked for."""
    if _type_name(CompressedImage) not in kinds:
        return "set image_transport to raw"
    if topic.endswith("/compressedDepth"):
        return "it holds depth, not a picture: remap image to a colour image"
    return "set image_transport to compressed and remap image to the topic without /compressed"


def _type_name(kind: type) -> str:
    """Return the ROS name of a message type, such as ``sensor_msgs/msg/Image``."""
    package = kind.__module__.split(".")[0]
    return f"{package}/msg/{kind.__name__}"

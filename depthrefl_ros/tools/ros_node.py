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

"""A ROS node for the time of a command."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import rclpy
from rclpy.exceptions import InvalidNamespaceException, InvalidTopicNameException
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.validate_namespace import validate_namespace
from rclpy.validate_topic_name import validate_topic_name

from depthrefl_ros.ros.middleware import prepare_environment


def ros_namespace(text: str) -> str:
    """Return a node namespace without the slash at its end; for argparse's ``type``."""
    name = text.strip("/")
    _check(validate_namespace, f"/{name}", text)
    return f"/{name}" if text.startswith("/") or not name else name


def ros_topic(text: str) -> str:
    """Return a topic name without the slash at its end, or '' for none; for argparse's ``type``."""
    name = text.rstrip("/")
    if not text:
        return ""
    _check(validate_topic_name, name, text)
    return name


def _check(validate: Callable[[str], object], name: str, text: str) -> None:
    try:
        validate(name)
    except (InvalidNamespaceException, InvalidTopicNameException) as error:
        reason = " ".join(str(error).split("\n")[0].split())
        raise argparse.ArgumentTypeError(
            f"{text!r} is no ROS name ({reason}); letters, digits, '_' and '/' make one, such as "
            f"{_nearest_name(text)!r}"
        ) from error


def _nearest_name(text: str) -> str:
    parts = [re.sub(r"\W", "_", part, flags=re.ASCII) for part in text.split("/") if part]
    named = "/".join(f"_{part}" if part[0].isdigit() else part for part in parts) or "camera"
    return f"/{named}" if text.startswith("/") else named


@contextmanager
def tool_node(name: str, ros_args: list[str], namespace: str = "") -> Iterator[Node]:
    """Return a node that lives as long as the ``with`` block, on the transport for large messages.

    Signals are left to the command (``StopRequest``).

    Args:
        name: of the node.
        ros_args: from ``--ros-args`` on.
        namespace: of its relative topics.

    Raises:
        OSError: ROS cannot start in this environment; says what to set.
    """
    for note in prepare_environment():
        print(note, file=sys.stderr)
    rclpy.init(args=ros_args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = Node(name, namespace=namespace)
        try:
            yield node
        finally:
            node.destroy_node()
    finally:
        rclpy.try_shutdown()

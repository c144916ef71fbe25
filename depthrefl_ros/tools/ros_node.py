"""A ROS node for the time of a command."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from depthrefl_ros.ros.middleware import prepare_environment


@contextmanager
def tool_node(name: str, ros_args: list[str], namespace: str = "") -> Iterator[Node]:
    """A node that lives as long as the ``with`` block, on the transport for large messages.

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

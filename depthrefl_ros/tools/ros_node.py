"""A ROS node for the time of a command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from depthrefl_ros.ros.middleware import use_large_message_transport


@contextmanager
def tool_node(name: str, ros_args: list[str], namespace: str = "") -> Iterator[Node]:
    """A node that lives as long as the ``with`` block, on the transport for large messages.

    Signals are left to the command (``StopRequest``).

    Args:
        name: of the node.
        ros_args: from ``--ros-args`` on.
        namespace: of its relative topics.
    """
    use_large_message_transport()
    rclpy.init(args=ros_args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = Node(name, namespace=namespace)
        try:
            yield node
        finally:
            node.destroy_node()
    finally:
        rclpy.try_shutdown()

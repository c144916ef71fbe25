"""Where frames stand in one another, by tf2 where it is installed; nothing needs it to be.

tf2's Python package comes with a ROS installation and is not on PyPI. It is imported, and /tf
listened to, only when a transform is first asked for: a busy /tf costs a Python node dearly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from builtin_interfaces.msg import Time as Stamp
from rclpy.node import Node
from rclpy.time import Time

from depthrefl_ros.geometry.pose import Pose


class TransformError(Exception):
    """There is no transform between two frames at this time; says between which and why."""


def open_tf2_buffer(node: Node) -> tuple[Any, Callable[[], None]]:
    """Begins to listen to /tf and /tf_static.

    Returns:
        The ``tf2_ros.Buffer``, and what ends the listening.

    Raises:
        ImportError: tf2's Python package is not installed.
    """
    from tf2_ros import Buffer, TransformListener

    buffer = Buffer()  # without a node: it would offer a service and follow the clock itself
    return buffer, TransformListener(buffer, node).unregister


class Transforms:
    """Looks transforms up, never waits for one.

    Args:
        node: that listens.
        open_buffer: gives a buffer with tf2's ``lookup_transform`` and ``clear``; called by the
            node's executor, since only that may make subscriptions.
    """

    def __init__(self, node: Node, open_buffer: Callable = open_tf2_buffer):
        self._node, self._open_buffer = node, open_buffer
        self._needed = node.create_guard_condition(self._listen)
        self._buffer: Any = None
        self._stop_listening: Callable[[], None] = lambda: None
        self._why_not = "listening to /tf only begins now"
        self._poses: dict[tuple[str, str], tuple[tuple[float, ...], Pose]] = {}

    def find(self, target: str, source: str, stamp: Stamp) -> Pose:
        """The source frame in the target frame at a time.

        Args:
            target: frame name.
            source: frame name.
            stamp: 0 is the newest.

        Returns:
            target_from_source; the same object for as long as the two do not move against each
            other, since much that is computed from it hangs on it.

        Raises:
            TransformError: frames are unknown or not connected, the time is not covered (in the
                future, or too old), or tf2 is not installed.
        """
        if self._buffer is None:
            self._needed.trigger()
            raise TransformError(f"no transform from {source!r} to {target!r}: {self._why_not}")
        try:
            found = self._buffer.lookup_transform(target, source, Time.from_msg(stamp)).transform
            shift, turn = found.translation, found.rotation
            numbers = (turn.x, turn.y, turn.z, turn.w, shift.x, shift.y, shift.z)
            before, pose = self._poses.get((target, source), ((), None))
            if numbers != before:
                pose = Pose.from_quaternion(*numbers[:4], numbers[4:])
        except Exception as error:  # tf2's own kinds are known only where it is installed
            raise TransformError(f"no transform from {source!r} to {target!r}: {error}") from error
        self._poses[target, source] = (numbers, pose)
        return pose

    def clear(self) -> None:
        """Forgets what moves, after a backward jump of the clock; tf2 keeps what is fixed."""
        if self._buffer is not None:
            self._buffer.clear()

    def close(self) -> None:
        """Ends the listening."""
        self._node.destroy_guard_condition(self._needed)
        self._stop_listening()
        self._buffer, self._stop_listening = None, lambda: None

    def _listen(self) -> None:
        if self._buffer is not None:
            return
        try:
            self._buffer, self._stop_listening = self._open_buffer(self._node)
        except ImportError as error:
            self._why_not = f"tf2's Python package is not installed ({error})"

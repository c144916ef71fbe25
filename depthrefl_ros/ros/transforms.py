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

"""Where frames stand in one another, by tf2 where it is installed; nothing needs it to be.

tf2's Python package comes with a ROS installation and is not on PyPI.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from builtin_interfaces.msg import Time as Stamp
from rclpy.node import Node
from rclpy.time import Time

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.ros.sensors import seconds_of

_POLL_S = 0.005  # between two looks at a buffer that the executor fills
# A link that was looked up for this long, at this many times, and never moved is fixed.
_FIXED_AFTER_S = 2.0
_FIXED_AFTER_LOOKS = 20
# A link of which nothing new came for so long is not waited for.
_SILENT_S = 3.0
# tf2 interpolates between two transforms, which leaves rounding where both are the same.
_ROUNDING = 1e-9  # metres, and of a unit quaternion


class TransformError(Exception):
    """There is no transform between two frames at this time; says between which and why.

    Attributes:
        is_known: TF has answered for these two frames before, so nothing may stand in for it.
    """

    def __init__(self, message: str, is_known: bool = False):
        super().__init__(message)
        self.is_known = is_known


def open_tf2_buffer(node: Node) -> tuple[Any, Callable[[], None]]:
    """Begin to listen to /tf and /tf_static.

    Returns:
        The ``tf2_ros.Buffer``, and what ends the listening.

    Raises:
        ImportError: tf2's Python package is not installed.
    """
    from tf2_ros import Buffer, TransformListener

    buffer = Buffer()  # without a node: it would offer a service and follow the clock itself
    return buffer, TransformListener(buffer, node).unregister


@dataclass
class _Link:
    """What is remembered of two frames: how they stood last, since when, how often looked at.

    Attributes:
        numbers: quaternion and shift when they were first seen, or moved last, so that a slow drift
            counts as well.
        newest_s: stamp of the newest transform when it was last asked for, 0 where unknown.
        came_s: when that was seen to be a new one, by ``time.monotonic``.
        held_s: how much older than the last find's time the transform was that it gave.
    """

    numbers: tuple[float, ...]
    pose: Pose
    since_s: float
    looks: int = 1
    has_moved: bool = False
    newest_s: float = 0.0
    came_s: float = -math.inf
    held_s: float = 0.0

    def is_fixed(self, now_s: float) -> bool:
        """Tell whether the two have been seen long enough, and never moved."""
        is_old = now_s - self.since_s >= _FIXED_AFTER_S and self.looks >= _FIXED_AFTER_LOOKS
        return is_old and not self.has_moved


class Transforms:
    """Listens to TF from the start, and looks transforms up for one thread.

    Args:
        node: that listens.
        open_buffer: gives a buffer with tf2's ``lookup_transform`` and ``clear``; called by the
            thread of the executor, since only that may make subscriptions.

    Attributes:
        missing: why TF cannot be listened to; empty where it is.
    """

    def __init__(self, node: Node, open_buffer: Callable = open_tf2_buffer):
        self.missing = ""
        self._buffer: Any = None
        self._stop_listening: Callable[[], None] = lambda: None
        self._links: dict[tuple[str, str], _Link] = {}
        self._answered: set[tuple[str, str]] = set()
        try:
            self._buffer, self._stop_listening = open_buffer(node)
        except ImportError as error:
            self.missing = f"tf2's Python package is not installed ({error})"

    def find(
        self,
        target: str,
        source: str,
        stamp: Stamp,
        deadline_s: float = 0.0,
        may_be_fixed: bool = True,
    ) -> Pose:
        """Look up the source frame in the target frame at a time.

        A fixed link whose newest transform is older than the stamp holds at the stamp, too. A link
        that moves is waited for, as long as its transforms come.

        Args:
            target: frame name.
            source: frame name.
            stamp: 0 is the newest.
            deadline_s: until when a transform that comes later than its image is waited for, by
                ``time.monotonic``. One look at several links has one deadline.
            may_be_fixed: False for two frames of which one drives: that it stands does not say that
                it stands still.

        Returns:
            target_from_source.

        Raises:
            TransformError: frames are unknown or not connected, the time is not covered (in the
                future, or too old), or tf2 is not installed.
        """
        if self._buffer is None:
            raise self._error(target, source, self.missing)
        while True:
            try:
                pose, _ = self._looked_up(target, source, Time.from_msg(stamp))
            except Exception as error:  # tf2's own kinds are known only where it is installed
                held = self._held(target, source, stamp)
                if held is not None and may_be_fixed:
                    return held
                link = self._links.get((target, source))
                now_s = time.monotonic()
                is_hopeless = link is None or now_s - link.came_s > _SILENT_S
                if is_hopeless or now_s >= deadline_s:
                    raise self._error(target, source, error) from error
            else:
                self._links[target, source].held_s = 0.0
                return pose
            time.sleep(_POLL_S)

    def held_s(self, target: str, source: str) -> float:
        """Return how much older than its time a transform was that ``find`` gave last, seconds.

        0 where TF covered the time, does not say how old the transform is, or still sends new ones:
        then the clocks differ, which a fixed link does not mind.
        """
        link = self._links.get((target, source))
        if link is None or time.monotonic() - link.came_s <= _SILENT_S:
            return 0.0
        return link.held_s

    def _looked_up(self, target: str, source: str, when: Time) -> tuple[Pose, float]:
        """Look up once, and remember how the two frames stand; returns also the stamp, seconds."""
        found = self._buffer.lookup_transform(target, source, when)
        shift, turn = found.transform.translation, found.transform.rotation
        numbers = (turn.x, turn.y, turn.z, turn.w, shift.x, shift.y, shift.z)
        link = self._links.get((target, source))
        if link is None:
            pose = Pose.from_quaternion(*numbers[:4], numbers[4:])
            link = self._links[target, source] = _Link(numbers, pose, time.monotonic())
            self._answered.add((target, source))
        elif not _are_same(link.numbers, numbers):
            link.pose = Pose.from_quaternion(*numbers[:4], numbers[4:])
            link.numbers, link.has_moved = numbers, True
        else:
            link.looks += 1
        return link.pose, seconds_of(found.header.stamp)

    def _held(self, target: str, source: str, stamp: Stamp) -> Pose | None:
        """Return the newest transform of a link that never moves; None for any other.

        The newest is looked up in any case: it tells that TF knows the two frames, and whether
        anything has come.
        """
        try:
            newest, newest_s = self._looked_up(target, source, Time())
        except Exception:  # not known at all
            return None
        link = self._links[target, source]
        if link.newest_s != newest_s:
            link.newest_s, link.came_s = newest_s, time.monotonic()
        if not link.is_fixed(time.monotonic()):
            return None
        link.held_s = seconds_of(stamp) - newest_s if newest_s else 0.0
        return newest

    def _error(self, target: str, source: str, why: object) -> TransformError:
        return TransformError(
            f"no transform from {source!r} to {target!r}: {why}",
            (target, source) in self._answered,
        )

    def forget(self) -> None:
        """Forget what moves, after a jump of the clock; tf2 keeps what is fixed.

        That TF knows two frames still holds.
        """
        self._links.clear()
        if self._buffer is not None:
            self._buffer.clear()

    def close(self) -> None:
        """End the listening."""
        self._stop_listening()
        self._buffer, self._stop_listening = None, lambda: None


def _are_same(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Tell whether two poses, x, y, z, w and the shift, differ by rounding alone; q is -q."""
    sign = math.copysign(1.0, sum(a * b for a, b in zip(one[:4], other[:4], strict=True)))
    other = (*(sign * value for value in other[:4]), *other[4:])
    return all(abs(a - b) <= _ROUNDING for a, b in zip(one, other, strict=True))

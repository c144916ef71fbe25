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

"""Where frames stood in one another while a recording was made: /tf and /tf_static, without tf2."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field

import numpy as np

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.tools.recordings import Recording, stamp_ns

TF_TYPE = "tf2_msgs/msg/TFMessage"
# How far a transform may lie outside the times of those that were recorded, as at both ends of a
# recording. Longer than the period of any usual odometry.
LARGEST_GAP_NS = 200_000_000


class TransformMissingError(Exception):
    """Nothing says how two frames stood in one another; says between which and why.

    Attributes:
        is_of_time: they are connected, but not at the time that was asked for.
    """

    def __init__(self, message: str, is_of_time: bool = False):
        super().__init__(message)
        self.is_of_time = is_of_time


@dataclass
class _Link:
    """A frame in its parent: once for all, or over time.

    Attributes:
        parent: frame.
        is_static: of /tf_static.
        stamps: nanoseconds, ascending once ``sorted`` was called.
        numbers: x, y, z, w of the rotation, then metres, as many as stamps.
    """

    parent: str
    is_static: bool
    stamps: list[int] = field(default_factory=list)
    numbers: list[tuple[float, ...]] = field(default_factory=list)

    def sort(self) -> None:
        """Bring the transforms into the order of their stamps."""
        order = np.argsort(self.stamps, kind="stable")
        self.stamps = [self.stamps[place] for place in order]
        self.numbers = [self.numbers[place] for place in order]

    def at(self, time_ns: int, child: str) -> Pose:
        """Return the frame in its parent, between two transforms by both."""
        if self.is_static:
            return _pose(np.array(self.numbers[-1]))
        place = bisect.bisect_left(self.stamps, time_ns)
        around = self.stamps[max(place - 1, 0) : place + 1]
        gap_ns = min(abs(stamp - time_ns) for stamp in around)
        if gap_ns > LARGEST_GAP_NS:
            raise TransformMissingError(
                f"/tf has {child!r} in {self.parent!r} only {gap_ns / 1e9:.2f} s apart",
                is_of_time=True,
            )
        after = min(place, len(self.stamps) - 1)
        before = max(place - 1, 0) if self.stamps[after] > time_ns else after
        first, second = np.array(self.numbers[before]), np.array(self.numbers[after])
        span = self.stamps[after] - self.stamps[before]
        share = min(max((time_ns - self.stamps[before]) / span, 0.0), 1.0) if span else 0.0
        if first[:4] @ second[:4] < 0:
            second[:4] *= -1.0  # the same rotation, the short way round
        # Normalised linear interpolation: over the few degrees between two transforms the same as
        # along the sphere.
        return _pose((1.0 - share) * first + share * second)


def _pose(numbers: np.ndarray) -> Pose:
    turn = numbers[:4] / np.linalg.norm(numbers[:4])
    return Pose.from_quaternion(*turn, numbers[4:])


class RecordedTransforms:
    """The tree of frames of a recording.

    Args:
        recording: that is open.

    Attributes:
        frames: all names, of children and parents.
    """

    def __init__(self, recording: Recording):
        self._links: dict[str, _Link] = {}
        topics = [topic for topic, kind in recording.topics.items() if kind == TF_TYPE]
        for topic, message in recording.messages(*topics):
            for one in message.transforms:
                self._add(one, topic.endswith("tf_static"))
        for link in self._links.values():
            link.sort()
        self.frames = {*self._links, *(link.parent for link in self._links.values())}

    def _add(self, message: object, is_static: bool) -> None:
        child = message.child_frame_id.lstrip("/")
        parent = message.header.frame_id.lstrip("/")
        shift, turn = message.transform.translation, message.transform.rotation
        numbers = (turn.x, turn.y, turn.z, turn.w, shift.x, shift.y, shift.z)
        if not np.isfinite(numbers).all() or not np.linalg.norm(numbers[:4]) > 0.5:
            return  # an unset message, as some drivers send first
        link = self._links.get(child)
        if link is None or link.parent != parent:
            # A frame that got another parent: the newest holds, as in tf2.
            link = self._links[child] = _Link(parent, is_static)
        link.stamps.append(stamp_ns(message))
        link.numbers.append(numbers)

    def above(self, frame: str) -> list[str]:
        """Return a frame and what it hangs on, up to the root."""
        chain = [frame.lstrip("/")]
        while (link := self._links.get(chain[-1])) is not None and link.parent not in chain:
            chain.append(link.parent)
        return chain

    def called(self, name: str, frame: str) -> str | None:
        """Return the frame above another that has a name, as it is or behind a robot's prefix."""
        name = name.lstrip("/")
        above = self.above(frame)
        with_prefix = [one for one in above if one.rsplit("/", 1)[-1] == name]
        return name if name in above else with_prefix[0] if with_prefix else None

    def moves(self, target: str, source: str) -> bool:
        """Return whether two frames may move in one another."""
        up, down = self.above(target), self.above(source)
        between = {*up, *down} - ({*up} & {*down})
        return any(not self._links[one].is_static for one in between if one in self._links)

    def find(self, target: str, source: str, time_ns: int) -> Pose:
        """Return target_from_source at a time.

        Raises:
            TransformMissingError: a frame is unknown, both are not connected, or the time is not
                covered.
        """
        target, source = target.lstrip("/"), source.lstrip("/")
        if target == source:
            return Pose.identity()
        for frame in (target, source):
            if frame not in self.frames:
                known = ", ".join(sorted(self.frames)) or "nothing"
                raise TransformMissingError(f"frame {frame!r} is not on TF, which has {known}")
        up, down = self.above(target), self.above(source)
        common = next((frame for frame in down if frame in up), None)
        if common is None:
            raise TransformMissingError(
                f"frames {target!r} and {source!r} are not connected on TF: one hangs on "
                f"{up[-1]!r}, the other on {down[-1]!r}"
            )
        return self._in(common, up, time_ns).inverse() @ self._in(common, down, time_ns)

    def across(
        self, target: str, target_ns: int, source: str, source_ns: int, fixed: str | None
    ) -> Pose:
        """Return target_from_source of two times, between which both may have moved.

        Args:
            target: frame.
            target_ns: when it is looked at.
            source: frame.
            source_ns: when it was looked from.
            fixed: frame in which both move; None where nothing says how they do.

        Raises:
            TransformMissingError: as ``find``.
        """
        if fixed is None or target_ns == source_ns:
            return self.find(target, source, source_ns)
        here, there = self.find(fixed, target, target_ns), self.find(fixed, source, source_ns)
        return here.inverse() @ there

    def _in(self, ancestor: str, chain: list[str], time_ns: int) -> Pose:
        pose = Pose.identity()
        for frame in chain[: chain.index(ancestor)]:
            pose = self._links[frame].at(time_ns, frame) @ pose
        return pose

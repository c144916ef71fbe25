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

"""Images and depth of one time out of a recording, read once and without keeping it in memory."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from typing import Any

from depthrefl_ros.tools.recorded_infos import RecordedInfos
from depthrefl_ros.tools.recording_source import RecordingSource
from depthrefl_ros.tools.recordings import Recording, header_stamp, stamp_ns
from depthrefl_ros.tools.source_frame import SourceFrame


class RecordedPairs:
    """The images of a camera that have depth of nearly the same stamp, and no other image nearer.

    Args:
        recording: that is open.
        source: of the colour camera.
        depth_topic: of any message that begins with a header.
        largest_gap_s: between the stamps of an image and its depth, seconds.

    Attributes:
        images: number of images there are.
        depths: number of depth messages there are.
    """

    def __init__(
        self, recording: Recording, source: RecordingSource, depth_topic: str, largest_gap_s: float
    ):
        self._source, self._depth_topic = source, depth_topic
        images: list[int] = []
        depths: list[int] = []
        for topic, _, data in recording.serialised(source.image_topic, depth_topic):
            (images if topic == source.image_topic else depths).append(header_stamp(data))
        info_topic = source.info_topic
        self._infos = RecordedInfos(recording, info_topic) if info_topic else None
        self.images, self.depths = len(images), len(depths)
        self._depth_of = mutually_nearest(images, depths, round(largest_gap_s * 1e9))

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._depth_of)

    def read(
        self, recording: Recording, wants: Callable[[int], bool]
    ) -> Iterator[tuple[SourceFrame, Any]]:
        """Yield each pair: the image as a frame, and the depth's message.

        Args:
            recording: the same, open.
            wants: whether an image of this stamp is read at all; asked once for each, in order.
        """
        image_topic = self._source.image_topic
        image_of = {depth: image for image, depth in self._depth_of.items()}
        refused: set[int] = set()
        frames: dict[int, SourceFrame] = {}
        depths: dict[int, Any] = {}
        number = -1
        for topic, time_ns, message in recording.timed_messages(image_topic, self._depth_topic):
            stamp = stamp_ns(message)
            if topic == image_topic:
                number += 1
                if stamp not in self._depth_of:
                    continue
                frame = None
                if wants(stamp):
                    info = self._infos and self._infos.at(stamp)
                    frame = self._source.frame(message, info, str(number), time_ns)
                if frame is None:
                    refused.add(stamp)
                    depths.pop(self._depth_of[stamp], None)
                    continue
                frames[stamp] = frame
                image = stamp
            else:
                image = image_of.get(stamp)
                if image is None or image in refused:
                    continue
                depths[stamp] = message
            depth = self._depth_of[image]
            if image in frames and depth in depths:
                yield frames.pop(image), depths.pop(depth)


def mutually_nearest(first: list[int], second: list[int], largest_gap: int) -> dict[int, int]:
    """Return pairs of two lists of numbers, each the other's nearest, no farther than a gap."""

    def nearest(ordered: list[int], value: int) -> int | None:
        place = bisect.bisect_left(ordered, value)
        around = ordered[max(place - 1, 0) : place + 1]
        return min(around, key=lambda one: abs(one - value), default=None)

    ones, others = sorted(set(first)), sorted(set(second))
    pairs = {}
    for one in ones:
        other = nearest(others, one)
        if other is not None and abs(other - one) <= largest_gap and nearest(ones, other) == one:
            pairs[one] = other
    return pairs

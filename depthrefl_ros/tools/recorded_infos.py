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

"""The CameraInfo of a recorded camera over time; zoom and a late calibration change it."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from typing import Any

from depthrefl_ros.ros.convert.camera_info import info_key
from depthrefl_ros.tools.command_line import UnreadableError
from depthrefl_ros.tools.recordings import Recording, stamp_ns


class RecordedInfos:
    """The messages of a CameraInfo topic, without those that repeat the one before.

    Args:
        recording: that is open.
        topic: of its CameraInfo, with a message at least.
    """

    def __init__(self, recording: Recording, topic: str):
        changes: list[tuple[int, Any]] = []
        key = None
        for _, message in recording.messages(topic):
            before, key = key, info_key(message)
            if key != before:
                changes.append((stamp_ns(message), message))
        changes.sort(key=lambda change: change[0])
        self._stamps = [stamp for stamp, _ in changes]
        self._messages = [message for _, message in changes]

    def at(self, time_ns: int) -> Any:
        """Return the newest CameraInfo that is not after a stamp; the first where none is before.

        Args:
            time_ns: stamp of the image, nanoseconds.
        """
        return self._messages[max(bisect.bisect_right(self._stamps, time_ns) - 1, 0)]

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the different messages in the order of their stamps."""
        return iter(self._messages)

    def is_any_usable(self, check: Callable[[Any], object]) -> bool:
        """Return whether a check passes for any of the messages.

        Args:
            check: of one message; raises UnreadableError where it cannot be used.
        """
        for message in self:
            try:
                check(message)
            except UnreadableError:
                continue
            return True
        return False

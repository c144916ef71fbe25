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

"""True depth that comes with a source, for comparing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from depthrefl_ros.image_files import home_expanded, list_images_below, stem_of
from depthrefl_ros.tools.bag_files import is_recording
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.recordings import Recording, depth_from_message, stamp_ns

MILLIMETRES_PER_METRE = 1000.0


class Truth(ABC):
    """True depth images of a source."""

    @abstractmethod
    def depth_m(self, frame: dict[str, Any]) -> np.ndarray | None:
        """Return the truth of a frame.

        Args:
            frame: ``source_stamp_ns`` and ``name``, as ``camera_source --json`` reports them.

        Returns:
            (H, W) float32 metres, NaN where unknown; None if there is none for this frame.
        """


def find_truth(source: str) -> Truth | None:
    """Return the truth that a source brings along, or None.

    Args:
        source: as ``camera_source`` takes it. Recordings have it on ``.../depth_truth`` (raw or
            compressed), folders in ``depth/NAME.png`` (16 bit millimetres).
    """
    path = home_expanded(source)
    if is_recording(path):
        with Recording(path) as recording:
            topic = recording.truth_topic()
        return RecordedTruth(path, topic) if topic else None
    return FolderTruth(path / "depth") if (path / "depth").is_dir() else None


class RecordedTruth(Truth):
    """Truth on a topic of a recording, matched by the stamp."""

    def __init__(self, path: Path, topic: str):
        self._topic = topic
        with Recording(path) as recording:
            # Kept as recorded, mostly as PNG: decoded, a minute of video would fill the memory.
            self._messages = {
                stamp_ns(message): message for _, message in recording.messages(topic)
            }

    def depth_m(self, frame: dict[str, Any]) -> np.ndarray | None:
        """Return the truth with the frame's stamp."""
        message = self._messages.get(frame["source_stamp_ns"])
        return None if message is None else depth_from_message(message, self._topic)


class FolderTruth(Truth):
    """Truth as PNG files, matched by the name."""

    def __init__(self, folder: Path):
        # As the images are named: umlauts composed, suffixes in any case.
        files = list_images_below(folder, (".png",))
        self._paths = {stem_of(path.relative_to(folder)): path for path in files}

    def depth_m(self, frame: dict[str, Any]) -> np.ndarray | None:
        """Return the truth with the frame's name."""
        path = self._paths.get(frame["name"])
        if path is None:
            return None
        millimetres = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if millimetres is None or millimetres.dtype != np.uint16 or millimetres.ndim != 2:
            raise ToolError(f"{path}: is no 16 bit PNG of one channel (millimetres)")
        metres = millimetres.astype(np.float32) / np.float32(MILLIMETRES_PER_METRE)
        metres[millimetres == 0] = np.nan
        return metres

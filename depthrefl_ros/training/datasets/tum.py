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

"""TUM RGB-D (Sturm et al., IROS 2012): one sequence folder with ``rgb.txt`` and ``depth.txt``.

The depth images are registered to the colour images; 5000 is one metre, 0 is unknown. Freiburg 1
and 2 have some lens distortion in colour and depth alike, which is not removed here.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.training.datasets.file_pairs import read_pair
from depthrefl_ros.training.datasets.image_folder import (
    DatasetError,
    ImageFolder,
    Sample,
    read_lines,
    read_names,
)
from depthrefl_ros.training.datasets.plain import INTRINSICS_FILE, CameraFile

STEPS_PER_METRE = 5000
LARGEST_GAP_S = 0.02  # between a colour image and its depth, as the benchmark's tool has it
SIZE = (640, 480)  # width, height
# fx, fy, cx, cy of the colour cameras, "Intrinsic Camera Calibration of the Kinect" of the
# benchmark's site; Freiburg 3 is published undistorted.
PUBLISHED = {
    "freiburg1": (517.3, 516.5, 318.6, 255.3),
    "freiburg2": (520.9, 521.0, 325.1, 249.7),
    "freiburg3": (535.4, 539.2, 320.1, 247.6),
}


class TumRgbd(ImageFolder):
    """A sequence; names are the colour images' stamps as written in ``rgb.txt``.

    The intrinsics are the published ones of the freiburg1, 2 or 3 in the folder's name, unless
    the folder has an ``intrinsics.yaml`` as a plain folder has.
    """

    kind = "tum"

    def __init__(self, root: str | Path, list_file: str | Path | None = None):
        root = Path(root)
        colour, depth = read_stamped(root / "rgb.txt"), read_stamped(root / "depth.txt")
        self._pairs = {
            colour_stamp: (root / colour[colour_stamp], root / depth[depth_stamp])
            for colour_stamp, depth_stamp in associate(list(colour), list(depth))
        }
        own = root / INTRINSICS_FILE
        self._cameras = CameraFile(own) if own.exists() else None
        self._published = published_camera(root)
        if self._cameras is None and self._published is None:
            raise DatasetError(
                f"{root}: the name tells no freiburg1, 2 or 3, and there is no {INTRINSICS_FILE}"
            )
        super().__init__(root, read_names(list_file) if list_file else list(self._pairs))
        if list_file is None:
            self.without_depth = [stamp for stamp in colour if stamp not in self._pairs]
        for name in self.names:
            if name not in self._pairs:
                raise DatasetError(
                    f"{list_file}: {name!r} is no stamp of {root / 'rgb.txt'} with a depth image "
                    f"within {LARGEST_GAP_S} s"
                )

    def load(self, name: str) -> Sample:
        """Decode one image with its depth in metres."""
        camera = self._cameras.of(name) if self._cameras else self._published
        return read_pair(name, self._pairs[name], camera, STEPS_PER_METRE)

    def files_of(self, name: str) -> list[Path]:
        """Return colour, depth, and the intrinsics if the folder has its own."""
        return [*self._pairs[name], *([self._cameras.path] if self._cameras else [])]


def published_camera(root: Path) -> Camera | None:
    """Return the published camera of a sequence folder by its name, or None."""
    found = re.search(r"freiburg[123]", root.resolve().name)
    return Camera.pinhole(*SIZE, *PUBLISHED[found.group()]) if found else None


def read_stamped(path: Path) -> dict[str, str]:
    """Return stamp to relative path from ``rgb.txt`` or ``depth.txt``, in order of time.

    Raises:
        DatasetError: the file is missing or a line is not ``stamp path``.
    """
    entries = {}
    for line in read_lines(path):
        fields = line.split()
        try:
            float(fields[0])
            entries[fields[0]] = fields[1]
        except (ValueError, IndexError) as error:
            raise DatasetError(f"{path}: {line!r} is not 'stamp path'") from error
    return dict(sorted(entries.items(), key=lambda entry: float(entry[0])))


def associate(first: list[str], second: list[str]) -> list[tuple[str, str]]:
    """Return the pairs of stamps that belong together, in the order of ``first``.

    The closest two are paired first, and each stamp at most once, as in the benchmark's
    ``associate.py``; stamps more than ``LARGEST_GAP_S`` apart are not paired.

    Args:
        first: stamps in seconds as text, ascending.
        second: likewise.
    """
    times, others = np.array(first, np.float64), np.array(second, np.float64)
    candidates = []
    for index, time in enumerate(times):
        low, high = np.searchsorted(others, [time - LARGEST_GAP_S, time + LARGEST_GAP_S])
        candidates += [(abs(time - others[other]), index, other) for other in range(low, high)]
    pairs: dict[int, int] = {}
    taken = set()
    for _, index, other in sorted(candidates):
        if index not in pairs and other not in taken:
            pairs[index] = other
            taken.add(other)
    return [(first[index], second[pairs[index]]) for index in sorted(pairs)]

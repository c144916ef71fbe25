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

"""Pairs of files of one name: colour in ``rgb/``, true depth in ``depth/``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.lens import undistortion_maps
from depthrefl_ros.image_files import list_images_below, natural_key, read_image, stem_of
from depthrefl_ros.training.datasets.depth_files import read_depth
from depthrefl_ros.training.datasets.image_folder import (
    DatasetError,
    Sample,
    check_size,
    listed_names,
)

COLOUR_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm")


def read_pair(
    name: str,
    files: tuple[Path, Path],
    camera: Camera | tuple[float, float, float, float],
    factor: float | None,
) -> Sample:
    """Return the sample that a colour file and a depth file hold.

    Args:
        name: of the sample.
        files: colour and depth, registered to each other.
        camera: of both; of (fx, fy, cx, cy) the image is as large as it happens to be.
        factor: units of the depth file a metre, as for ``read_depth``.

    Raises:
        DatasetError: a file cannot be read, or is of another size.
    """
    colour_file, depth_file = files
    image, depth_m = read_image(colour_file), read_depth(depth_file, factor)
    if not isinstance(camera, Camera):
        camera = Camera.pinhole(image.shape[1], image.shape[0], *camera)
    for path, plane in ((colour_file, image), (depth_file, depth_m)):
        check_size(path, plane, (camera.height, camera.width))
    return pinhole_sample(name, image, depth_m, camera)


def pinhole_sample(name: str, image: np.ndarray, depth_m: np.ndarray, camera: Camera) -> Sample:
    """Return a sample without lens distortion; depth along the axis stays what it is.

    Args:
        name: of the image.
        image: (H, W, 3) uint8 RGB.
        depth_m: (H, W) float32 metres, registered to the image.
        camera: of both; its size is theirs.
    """
    if camera.is_distorted:
        x, y = _maps(camera)
        image = cv2.remap(image, x, y, cv2.INTER_LINEAR)
        # Nearest: a mean of two surfaces lies on neither. Outside of the raw image is unknown.
        depth_m = cv2.remap(depth_m, x, y, cv2.INTER_NEAREST, borderValue=0)
        camera = camera.rectified()
    return Sample(name, image, depth_m, (camera.fx, camera.fy, camera.cx, camera.cy))


@lru_cache(maxsize=8)
def _maps(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    return undistortion_maps(camera, camera.rectified().K, (camera.width, camera.height))


class FilePairs:
    """The images of a folder that have both.

    Names are paths without suffix: ``0001``, or ``kitchen/0001`` in subfolders, which tell the
    bootstrap what shows one scene (``bootstrap.blocks_of``).

    Attributes:
        without_depth: names in ``rgb/`` that ``depth/`` lacks, in natural order.

    Args:
        root: holds ``rgb`` and ``depth``.
        depth_suffixes: of depth files; where a name has several, the first in this order counts.

    Raises:
        DatasetError: one of the two folders is missing, or no name is in both.
    """

    def __init__(self, root: Path, depth_suffixes: Collection[str]):
        self.root = root
        self._colour = _by_name(root / "rgb", COLOUR_SUFFIXES)
        self._depth = _by_name(root / "depth", depth_suffixes)
        self._complete = [name for name in self._colour if name in self._depth]
        self.without_depth = [name for name in self._colour if name not in self._depth]
        if not self._complete:
            raise DatasetError(
                f"{root}: no images that have colour and depth: "
                f"{_found(root / 'rgb', COLOUR_SUFFIXES, self._colour)}, "
                f"{_found(root / 'depth', depth_suffixes, self._depth)}; "
                "rgb/NAME.jpg and depth/NAME.png belong together by their name"
            )

    def names(self, list_file: str | Path | None = None) -> list[str]:
        """Return the names that a list file asks for, or all that are complete, in natural order.

        Raises:
            DatasetError: the list cannot be read, or names an image that is not complete.
        """
        if list_file is None:
            return list(self._complete)
        names = listed_names(list_file, self._colour.keys(), self.root / "rgb")
        missing = [name for name in names if name not in self._depth]
        if missing:
            raise DatasetError(
                f"{list_file}: {missing[0]!r} has no depth in {self.root / 'depth'}"
                + (f", nor have {len(missing) - 1} others of the list" if missing[1:] else "")
            )
        self.without_depth = []
        return names

    def of(self, name: str) -> tuple[Path, Path]:
        """Return the colour and the depth file of an image."""
        return self._colour[name], self._depth[name]


def _by_name(folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    """Return the files of a folder by their names, in natural order; the first suffix wins."""
    if not folder.is_dir():
        raise DatasetError(f"{folder}: missing; a data set has rgb/ and depth/")
    order = list(suffixes)
    files = list_images_below(folder, suffixes)
    files.sort(key=lambda path: order.index(path.suffix.lower()))
    chosen: dict[str, Path] = {}
    for path in files:
        chosen.setdefault(stem_of(path.relative_to(folder)), path)
    return dict(sorted(chosen.items(), key=lambda item: natural_key(item[0])))


def _found(folder: Path, suffixes: Collection[str], chosen: dict[str, Path]) -> str:
    """Say what a folder holds: how many files are wanted ones, and which others there are."""
    others = Counter(
        path.suffix.lower() or path.name
        for path in folder.iterdir()
        if path.suffix.lower() not in suffixes and not path.name.startswith(".")
    )
    found = f"{folder.name}/ has {len(chosen)} of {' '.join(suffixes)}"
    listed = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(3))
    return f"{found} (and {listed})" if listed else found

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

"""KITTI (Geiger et al. 2013) with the annotated depth of Uhrig et al. 2017, as it unpacks.

The depth lies in ``[data_depth_annotated/]{train,val}/DRIVE/proj_depth/groundtruth/image_02/``
as 16-bit PNG (256 is one metre, 0 unknown), the colour images in
``[raw/]DATE/DRIVE/image_02/data/`` beside ``DATE/calib_cam_to_cam.txt``, DRIVE being
``DATE_drive_NNNN_sync``. ``image_03``, the right camera, works too.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from depthrefl_ros.training.datasets.file_pairs import read_pair
from depthrefl_ros.training.datasets.image_folder import (
    DatasetError,
    ImageFolder,
    Sample,
    read_lines,
)

STEPS_PER_METRE = 256
# Where archives are unpacked to: the official folders, or all in one place.
DEPTH_PLACES = ("data_depth_annotated/train", "data_depth_annotated/val", "train", "val", ".")
RAW_PLACES = ("raw", ".")
COLOUR_SUFFIXES = (".png", ".jpg")  # official, and as many keep it to save space
DRIVE = re.compile(r"(\d{4}_\d\d_\d\d)_drive_\d{4}_sync")
FRAME = re.compile(rf"{DRIVE.pattern}/.*image_0([23])/(?:data/)?(\d{{10}})")


class KittiDepth(ImageFolder):
    """Images with annotated depth; names are ``DRIVE/image_02/NNNNNNNNNN``.

    Args:
        root: where the archives are unpacked.
        list_file: one image a line, as ``COLOUR DEPTH FOCAL`` (the files of the Eigen split; DEPTH
            may be None, and the image is then left out) or as one path to a depth or a colour
            image. Without it every image of the left camera that has depth is taken.
    """

    kind = "kitti"

    def __init__(self, root: str | Path, list_file: str | Path | None = None):
        root = Path(root)
        names = names_in_list(Path(list_file)) if list_file else names_with_depth(root)
        super().__init__(root, names)

    def load(self, name: str) -> Sample:
        """Decode one image with its depth in metres; the sizes differ from drive to drive."""
        colour_file, depth_file, camera_file = self.files_of(name)
        camera = name.split("/")[1].removeprefix("image_")
        intrinsics = rectified_intrinsics(camera_file, camera)
        return read_pair(name, (colour_file, depth_file), intrinsics, STEPS_PER_METRE)

    def files_of(self, name: str) -> list[Path]:
        """Return colour, depth and calibration; raises DatasetError if one is not there."""
        drive, camera, frame = name.split("/")
        date = DRIVE.fullmatch(drive).group(1)
        colour = [
            f"{place}/{date}/{drive}/{camera}/data/{frame}{suffix}"
            for place in RAW_PLACES
            for suffix in COLOUR_SUFFIXES
        ]
        depth = [
            f"{place}/{drive}/proj_depth/groundtruth/{camera}/{frame}.png" for place in DEPTH_PLACES
        ]
        calibration = [f"{place}/{date}/calib_cam_to_cam.txt" for place in RAW_PLACES]
        return [self._first(places) for places in (colour, depth, calibration)]

    def _first(self, places: list[str]) -> Path:
        for place in places:
            path = self.root / place
            if path.is_file():
                return path
        raise DatasetError(f"{self.root}: none of {', '.join(places)}")


def name_in(text: str) -> str | None:
    """Return the name of the image that a path belongs to, or None if it is none of KITTI's."""
    found = FRAME.search(text)
    if found is None:
        return None
    return f"{DRIVE.search(text).group()}/image_0{found.group(2)}/{found.group(3)}"


def names_in_list(path: Path) -> list[str]:
    """Return the names of the images with depth in a list file, in its order.

    Raises:
        DatasetError: the file is missing, or a line is of another format, or none has depth.
    """
    names = []
    for line in read_lines(path):
        fields = line.split()
        if len(fields) == 3 and fields[1] == "None":
            continue
        name = name_in(fields[0])
        if len(fields) not in (1, 3) or name is None:
            raise DatasetError(
                f"{path}: {line!r} is neither 'COLOUR DEPTH FOCAL' nor the path of an image"
            )
        names.append(name)
    if not names:
        raise DatasetError(f"{path}: none of its images has depth")
    return names


def names_with_depth(root: Path) -> list[str]:
    """Return the names of all images of the left camera that have depth, sorted."""
    pattern = "*_sync/proj_depth/groundtruth/image_02/*.png"
    files = [path for place in DEPTH_PLACES for path in (root / place).glob(pattern)]
    return sorted({name for path in files if (name := name_in(path.as_posix()))})


@cache
def rectified_intrinsics(path: Path, camera: str) -> tuple[float, float, float, float]:
    """Return (fx, fy, cx, cy) of ``P_rect_02`` or ``P_rect_03`` in ``calib_cam_to_cam.txt``.

    Raises:
        DatasetError: the file has no such line of twelve numbers.
    """
    key = f"P_rect_{camera}"
    for line in path.read_text().splitlines():
        if line.startswith(f"{key}:"):
            values = line.split(":")[1].split()
            if len(values) == 12:
                p = [float(value) for value in values]
                return p[0], p[5], p[2], p[6]
    raise DatasetError(f"{path}: has no line '{key}:' with twelve numbers")

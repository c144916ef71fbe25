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

"""The plain folder: what ``render`` makes, and the simplest form for data of one's own."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from depthrefl_ros.geometry.calibration_file import CalibrationError, load_calibration
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.training.datasets.depth_files import (
    DEPTH_SUFFIXES,
    usual_factor,
)
from depthrefl_ros.training.datasets.file_pairs import FilePairs, read_pair
from depthrefl_ros.training.datasets.image_folder import (
    DatasetError,
    ImageFolder,
    Sample,
    TextLoader,
    read_text,
)
from depthrefl_ros.training.datasets.mounts import MOUNTS_FILE, read_mounts

INTRINSICS_FILE = "intrinsics.yaml"
# Where libyaml is there, ten thousand cameras are read four times as fast.
_PINHOLE = ("fx", "fy", "cx", "cy")


class CameraFile:
    """The cameras in ``intrinsics.yaml``.

    ``camera: {width, height, fx, fy, cx, cy}`` for all images, or ``images: {NNNN: {...}}`` with
    one entry an image. An entry may have ``distortion_model`` and ``distortion`` as a CameraInfo
    has them, and the file ``depth_factor``: units of the depth files a metre. Or a calibration in
    one of the forms of ``calibration_formats``, for all images.

    Attributes:
        depth_factor: None where the file says nothing.

    Raises:
        DatasetError: the file is missing or holds neither.
    """

    def __init__(self, path: Path):
        self.path = path
        if not path.is_file():
            raise DatasetError(f"{path}: missing; it must hold 'camera' or 'images'")
        try:
            content = yaml.load(read_text(path), Loader=TextLoader)
        except yaml.YAMLError:
            content = None  # perhaps a calibration in a form of its own
        self._calibrated: Camera | None = None
        if not isinstance(content, dict) or not {"camera", "images"} & content.keys():
            self._calibrated, content = calibrated_camera(path), content or {}
        self._shared: dict[str, Any] | None = content.get("camera") or None
        images = content.get("images")
        self._own: dict[str, Any] = images if isinstance(images, dict) else {}
        if self._calibrated is None and self._shared is None and not self._own:
            raise DatasetError(f"{path}: 'camera' and 'images' are empty; one of both is needed")
        self.depth_factor = None
        if "depth_factor" in content:
            self.depth_factor = checked_factor(content["depth_factor"], f"{path}: depth_factor")

    def knows(self, name: str) -> bool:
        """Return whether there is a camera for image ``name``."""
        return (self._calibrated or self._shared) is not None or name in self._own

    def of(self, name: str) -> Camera:
        """Return the camera of image ``name``; raises DatasetError for an incomplete entry."""
        if not self.knows(name):
            raise DatasetError(f"{self.path}: no entry for image '{name}'")
        if self._calibrated is not None:
            return self._calibrated
        entry = self._own.get(name, self._shared)
        try:
            size = (int(entry["width"]), int(entry["height"]))
            fx, fy, cx, cy = (float(entry[key]) for key in _PINHOLE)
            if min(*size, fx, fy) <= 0:
                raise ValueError("sizes and focal lengths are positive")
            matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)
            model = str(entry.get("distortion_model", ""))
            return Camera(*size, matrix, np.array(entry.get("distortion", ()), np.float64),
                          distortion_model=model)  # fmt: skip
        except KeyError as error:
            raise DatasetError(f"{self.path}: image '{name}' has no {error}") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise DatasetError(f"{self.path}: image '{name}' has {entry}: {error}") from error


def calibrated_camera(path: Path) -> Camera:
    """Return the camera of a calibration file; raises DatasetError where it is none."""
    try:
        return load_calibration(str(path))
    except CalibrationError as error:
        raise DatasetError(
            f"{path}: needs 'camera: {{...}}' or 'images: {{NNNN: {{...}}}}', or a calibration, "
            f"which it is not: {' '.join(str(error).split())}"
        ) from error


def checked_factor(value: object, what: str) -> float:
    """Return a depth factor; raises DatasetError, beginning with ``what``, for no such number."""
    try:
        factor = float(value)
    except (TypeError, ValueError):
        factor = float("nan")
    if not 0 < factor < float("inf"):
        raise DatasetError(f"{what} is {value!r}; it must be a number above 0, units a metre")
    return factor


class PlainFolder(ImageFolder):
    """``rgb/NAME.jpg``, ``depth/NAME.png`` and ``intrinsics.yaml``; other suffixes work too.

    Depth is along the optical axis, 0 where unknown: whole numbers in millimetres, fractions in
    metres, unless ``depth_factor`` says otherwise (``depth_files``). Without a list file every
    image that has colour, depth and intrinsics is taken (a renderer may still be adding to the
    folder). ``mounts.yaml`` says where the camera stood (``mounts``), where there is one.

    Args:
        root: of the folder.
        list_file: the images to use, one a line.
        depth_factor: units of the depth files a metre; None for what ``intrinsics.yaml`` says, or
            the file's kind.
    """

    kind = "plain"

    def __init__(
        self,
        root: str | Path,
        list_file: str | Path | None = None,
        depth_factor: float | None = None,
    ):
        root = Path(root)
        self._cameras = CameraFile(root / INTRINSICS_FILE)
        self._pairs = FilePairs(root, DEPTH_SUFFIXES)
        self.depth_factor = depth_factor or self._cameras.depth_factor
        names = self._pairs.names(list_file)
        if list_file is None:
            self.without_camera = [name for name in names if not self._cameras.knows(name)]
            names = [name for name in names if self._cameras.knows(name)]
        super().__init__(root, names)
        self.without_depth = self._pairs.without_depth
        if (root / MOUNTS_FILE).is_file():
            self.mounts = read_mounts(root / MOUNTS_FILE)

    def load(self, name: str) -> Sample:
        """Decode one image with its depth in metres and its own intrinsics."""
        return read_pair(name, self._pairs.of(name), self._cameras.of(name), self.depth_factor)

    def camera_of(self, name: str) -> Camera:
        """Return the camera of an image as it lies in the folder, with its lens's distortion."""
        return self._cameras.of(name)

    def files_of(self, name: str) -> list[Path]:
        """Return colour, depth and the intrinsics."""
        return [*self._pairs.of(name), self._cameras.path]

    def units_per_metre(self) -> float | None:
        """Return how the depth is read, units a metre; None where kinds of files differ in it."""
        units = {factor for factor, _ in self._kinds().values()}
        return units.pop() if len(units) == 1 else None

    def describe_depth(self) -> str:
        """Return in words which depth files there are and how they are read."""
        by_unit: dict[float, list[str]] = {}
        for suffix, (factor, count) in self._kinds().items():
            by_unit.setdefault(factor, []).append(f"{count} {suffix}")
        return "; ".join(
            f"{', '.join(kinds)}, read as {factor:g} units a metre"
            for factor, kinds in by_unit.items()
        )

    def _kinds(self) -> dict[str, tuple[float, int]]:
        """Return units a metre and number of the depth files, by suffix.

        The first file of a suffix that can be read stands for the others: a folder's files come
        from one tool.
        """
        files: dict[str, list[Path]] = {}
        for name in self.names:
            path = self._pairs.of(name)[1]
            files.setdefault(path.suffix.lower(), []).append(path)
        return {
            suffix: (self.depth_factor or _factor_of_any(paths), len(paths))
            for suffix, paths in files.items()
        }


def _factor_of_any(paths: list[Path]) -> float:
    """Return ``usual_factor`` of the first file that can be read; raises DatasetError for none."""
    *others, last = paths
    for path in others:
        with contextlib.suppress(DatasetError):
            return usual_factor(path)
    return usual_factor(last)

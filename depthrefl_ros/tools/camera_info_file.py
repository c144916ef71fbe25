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

"""Intrinsics from where cameras keep them: a YAML file, or a field of view."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthrefl_ros.geometry.camera import Camera, CameraError
from depthrefl_ros.tools.command_line import ToolError, UnreadableError, positive_float

if TYPE_CHECKING:
    from depthrefl_ros.training.datasets.plain import CameraFile

INTRINSICS_FILE = "intrinsics.yaml"
OF_TURNED = ", before EXIF turns a photograph upright"  # for the help where photographs are read


def add_camera_arguments(
    parser: argparse.ArgumentParser, whose: str = "the camera", note: str = ""
) -> None:
    """Add --hfov and --camera-info, which stand in for CameraInfo; see ``Intrinsics.of``.

    Args:
        parser: of the command.
        whose: camera it is, for the help.
        note: what else there is to say of it, for the help.
    """
    parser.add_argument(
        "--hfov",
        type=positive_float,
        metavar="DEGREES",
        help=f"horizontal field of view of {whose}{note}",
    )
    parser.add_argument(
        "--camera-info",
        type=Path,
        metavar="FILE",
        help=f"calibration of {whose}, instead of --hfov: YAML of camera_calibration, or another "
        "supported format",
    )


class NoCameraInfoError(ToolError):
    """Nothing is known about a source's camera."""


class CameraInfoError(UnreadableError):
    """The CameraInfo of an image cannot be used; that of a later one may."""


@dataclass(frozen=True)
class Intrinsics:
    """What the user says about a camera whose images come without CameraInfo.

    Attributes:
        file: YAML as camera_calibration writes it (``camera_matrix``, ``distortion_model``, ...),
            or a plain folder's ``intrinsics.yaml`` (``training.datasets.plain.CameraFile``).
        horizontal_fov_deg: used where there is no file: a pinhole of square pixels. It is
            along the sensor's rows, also where a photograph was turned upright.
    """

    file: Path | None = None
    horizontal_fov_deg: float | None = None

    @classmethod
    def of(cls, args: argparse.Namespace) -> Intrinsics:
        """Return what the arguments of ``add_camera_arguments`` say."""
        return cls(args.camera_info, args.hfov)

    @property
    def are_given(self) -> bool:
        """Whether the user says anything."""
        return self.file is not None or self.horizontal_fov_deg is not None

    def camera(
        self, width: int, height: int, name: str, source: str, is_turned: bool = False
    ) -> Camera:
        """Return the camera of an image.

        Args:
            width: of the image, pixels.
            height: of the image, pixels.
            name: the image's name, for files with one entry an image.
            source: what the images come from; named in errors.
            is_turned: its rows are columns of the sensor, see ``image_files.is_turned``.

        Raises:
            UnreadableError: what is known is not of this image.
            ToolError: nothing is known, or it cannot be read.
        """
        try:
            camera = self._camera(width, height, name, source, is_turned)
        except CameraError as error:
            raise ToolError(f"{self.file or source}: {error}") from error
        if (camera.width, camera.height) != (width, height):
            raise UnreadableError(
                f"{self.file}: is of an image of {camera.width}x{camera.height}, but {source} "
                f"has {width}x{height}"
            )
        return camera

    def _camera(self, width: int, height: int, name: str, source: str, is_turned: bool) -> Camera:
        if self.file is not None:
            return read_camera(self.file, name)
        if self.horizontal_fov_deg is not None:
            fov_rad = math.radians(self.horizontal_fov_deg)
            if not is_turned:
                return Camera.from_horizontal_fov(width, height, fov_rad)
            focal_px = Camera.from_horizontal_fov(height, width, fov_rad).fx
            middle = (width - 1) / 2.0, (height - 1) / 2.0
            return Camera.pinhole(width, height, focal_px, focal_px, *middle)
        raise NoCameraInfoError(
            f"{source}: no camera info, and metric depth needs it; give --camera-info FILE "
            "(YAML of camera_calibration) or --hfov DEGREES"
        )


def read_camera(path: Path, name: str = "") -> Camera:
    """Read one camera from a YAML file.

    Args:
        path: as ``Intrinsics.file``.
        name: the image, where the file has one entry an image.

    Raises:
        UnreadableError: no entry for the image, or one that describes no camera.
        ToolError: missing file, or no such YAML.
    """
    try:
        cameras = _camera_file(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise ToolError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    except ValueError as error:
        raise ToolError(" ".join(str(error).split())) from error
    try:
        return cameras.of(name)
    except ValueError as error:
        raise UnreadableError(" ".join(str(error).split())) from error


def recorded_camera(
    info: Any,
    name: str,
    is_rectified: bool = False,
    instead: str = "give --camera-info FILE or --hfov DEGREES",
) -> Camera:
    """Return the camera of a recorded CameraInfo.

    Args:
        info: the message.
        name: of its image, for errors.
        is_rectified: its images are rectified, so P alone will do.
        instead: what the user can do about one that cannot be used, for errors; "" for nothing.

    Raises:
        CameraInfoError: a field cannot be true; ends with ``instead``.
    """
    from depthrefl_ros.ros.convert.camera_info import MessageError, camera_from_info

    advice = f"; {instead}" if instead else ""
    if not any(info.k) and not (is_rectified and any(info.p)):
        raise CameraInfoError(
            f"{name}: K of its camera info is all zero, so the camera is not calibrated{advice}"
        )
    try:
        return camera_from_info(info, name, is_rectified)
    except MessageError as error:
        raise CameraInfoError(f"{error}{advice}") from error


@lru_cache(maxsize=8)
def _camera_file(path: Path, _changed_ns: int) -> CameraFile:
    """Return the cameras of a file, read once: it may have one for each of ten thousand images."""
    from depthrefl_ros.training.datasets.plain import CameraFile

    return CameraFile(path)

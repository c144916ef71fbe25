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

"""Calibration files as ``camera_calibration`` writes them, for cameras without CameraInfo."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
import yaml

from depthrefl_ros.geometry.calibration_formats import calibration_fields
from depthrefl_ros.geometry.camera import Camera, CameraError
from depthrefl_ros.text_files import decoded_text

_LARGEST_BYTES = 1 << 20


class CalibrationError(ValueError):
    """A calibration file that cannot be used; names the file, the field and what is right."""


def load_calibration(url: str, resolve_package: Callable[[str], str] | None = None) -> Camera:
    """Return the camera that a calibration file describes.

    Args:
        url: ``file:///path/camera.yaml``, ``package://name/path``, or the path itself.
        resolve_package: gives the share folder of a ROS package, for ``package://``.

    Raises:
        CalibrationError: no file, no calibration, or one that cannot be true.
    """
    try:
        path = _path_of(url, resolve_package)
    except (LookupError, RuntimeError, OSError) as error:  # no such package, home or workspace
        raise CalibrationError(f"camera_info_url {url!r} leads nowhere: {error}") from error
    try:
        content = calibration_fields(_text_of(path))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        words = " ".join(str(error).split())
        raise CalibrationError(f"camera_info_url {url!r} cannot be read: {words}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise CalibrationError(f"camera_info_url {url!r} {error}") from error
    try:
        return Camera(
            width=_pixels(content, "image_width"),
            height=_pixels(content, "image_height"),
            K=_matrix(content, "camera_matrix", 3, 3),
            D=_values(content, "distortion_coefficients"),
            R=_matrix(content, "rectification_matrix", 3, 3),
            P=_matrix(content, "projection_matrix", 3, 4),
            distortion_model=str(content["distortion_model"]),
        )
    except KeyError as error:
        raise CalibrationError(f"{path} lacks the field {error}") from error
    except (CameraError, OverflowError, TypeError, ValueError) as error:
        raise CalibrationError(f"{path}: {error}") from error


def _path_of(url: str, resolve_package: Callable[[str], str] | None) -> Path:
    parts = urlparse(url)
    if parts.scheme == "package" and resolve_package is not None:
        return Path(resolve_package(parts.netloc)) / unquote(parts.path).lstrip("/")
    if parts.scheme == "":
        return Path(url).expanduser()
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise CalibrationError(
            f"camera_info_url is {url!r}; file:///path/to/camera.yaml or a path is needed"
        )
    return Path(unquote(parts.path))


def _text_of(path: Path) -> str:
    """Return the text of a file that can be a calibration: no device, and not so large.

    Raises:
        OSError: it is no such file.
    """
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no file")
    size = path.stat().st_size
    if size > _LARGEST_BYTES:
        raise OSError(f"{path} has {size} bytes; a calibration has no more than {_LARGEST_BYTES}")
    return decoded_text(path.read_bytes())


def _pixels(content: dict[str, Any], name: str) -> int:
    value = content[name]
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not number.is_integer():
        raise CalibrationError(f"{name} is {value!r}; a whole number of pixels is needed")
    return int(number)


def _values(content: dict[str, Any], name: str) -> np.ndarray:
    """Return the numbers of a matrix: under ``data``, as a list, or as a list of rows."""
    field = content[name]
    data = field.get("data") if isinstance(field, dict) else field
    try:
        return np.array([] if data is None else data, np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise CalibrationError(f"{name} is {str(data)[:80]}; numbers are needed") from error


def _matrix(content: dict[str, Any], name: str, rows: int, columns: int) -> np.ndarray:
    values = _values(content, name)
    if values.size != rows * columns:
        raise CalibrationError(f"{name} has {values.size} values; {rows}x{columns} are needed")
    return values.reshape(rows, columns)

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

"""Where the camera stood: ``mounts.yaml``, how high above the floor and how inclined by image."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.training.datasets.image_folder import DatasetError, TextLoader, read_text

MOUNTS_FILE = "mounts.yaml"
_FIELDS = ("height_m", "pitch_rad", "roll_rad")


def read_mounts(path: Path) -> dict[str, Pose]:
    """Return base_from_camera by image; z = 0 of the base is the floor.

    The file has ``NAME: {height_m, pitch_rad, roll_rad}``, as ``Pose.from_mount`` takes them, for
    some or all images, perhaps below ``images``.

    Raises:
        DatasetError: the file cannot be read, or an entry is incomplete or impossible.
    """
    try:
        content = yaml.load(read_text(path), Loader=TextLoader)
    except yaml.YAMLError as error:
        raise DatasetError(f"{path}: no YAML: {' '.join(str(error).split())}") from error
    entries = content.get("images", content) if isinstance(content, dict) else content
    if not isinstance(entries, dict):
        raise DatasetError(f"{path}: entries NAME: {{{', '.join(_FIELDS)}}} are needed")
    return {name: _pose(path, name, entry) for name, entry in entries.items()}


def mount_of(base_from_camera: Pose) -> dict[str, float]:
    """Return the arguments of ``Pose.from_mount`` that make a pose, up to where it looks about z.

    Metres and radians.
    """
    right, down, ahead = -base_from_camera.up_in_source
    return {
        "height_m": round(float(base_from_camera.translation[2]), 4),
        "pitch_rad": round(math.asin(max(-1.0, min(1.0, float(ahead)))), 5),
        "roll_rad": round(math.atan2(float(right), float(down)), 5),
    }


def mount_numbers(base_from_camera: Pose | None) -> dict[str, float] | None:
    """Return a pose as ``mounts.yaml`` has it, None for None."""
    return None if base_from_camera is None else mount_of(base_from_camera)


def _pose(path: Path, name: str, entry: Any) -> Pose:
    try:
        values = [float(entry[field]) for field in _FIELDS]
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{path}: image '{name}' has {entry}; {', '.join(_FIELDS)} are needed, all numbers"
        ) from error
    height, *angles = values
    try:
        return Pose.from_mount(height, *angles)
    except ValueError as error:
        raise DatasetError(
            f"{path}: image '{name}' has {entry}; a height above 0 and angles within pi are needed "
            f"({error})"
        ) from error

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

"""Which files are a recording, by their names and rosbag2's metadata, without opening them."""

from __future__ import annotations

from pathlib import Path

import yaml

from depthrefl_ros.image_files import list_images, natural_key
from depthrefl_ros.tools.command_line import ToolError

METADATA = "metadata.yaml"
COMPRESSED = (".zstd", ".zst")  # what follows the name of a file that is compressed as a whole
_STORED = (".mcap", ".db3")


def is_recording(path: Path) -> bool:
    """Tell whether a path looks like a recording: .mcap, .db3, one of them compressed, or a folder.

    A folder whose metadata names no files is one if it holds such files; without metadata it must
    hold no images either.
    """
    if path.is_dir():
        if named_in_metadata(path):
            return True
        has_metadata = (path / METADATA).is_file()
        return bool(_stored_files(path)) and (has_metadata or not list_images(path))
    return _is_stored(path) or path.suffix.lower() == ".bag"


def storage_files(path: Path) -> list[Path]:
    """Return the files of a recording in their order.

    Args:
        path: a file, or a folder whose metadata.yaml says the order. Without it, or where it
            cannot be read (a recorder that was killed), the numbers in the names do.

    Raises:
        ToolError: there is none, or one that the metadata names is missing.
    """
    if not path.is_dir():
        return [path]
    named = named_in_metadata(path)
    missing = [file.name for file in named if not file.is_file()]
    if missing:
        raise ToolError(f"{path}: {METADATA} names {', '.join(missing)}, which is not there")
    found = named or _stored_files(path)
    if not found:
        raise ToolError(f"{path}: no .mcap or .db3 file")
    return found


def named_in_metadata(folder: Path) -> list[Path]:
    """Return the files that a folder's metadata.yaml names; none where it cannot be read."""
    try:
        content = yaml.safe_load((folder / METADATA).read_text(encoding="utf-8"))
        names = content["rosbag2_bagfile_information"]["relative_file_paths"]
        return [folder / Path(name).name for name in names]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return []


def _is_stored(path: Path) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes = suffixes[:-1]
    return bool(suffixes) and suffixes[-1] in _STORED


def _stored_files(folder: Path) -> list[Path]:
    files = [
        file
        for file in folder.iterdir()
        if file.is_file() and not file.name.startswith(".") and _is_stored(file)
    ]
    return sorted(files, key=lambda file: natural_key(file.name))

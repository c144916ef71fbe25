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

"""Files appear whole, and those that belong together at once: a full disk leaves what was there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

ASIDE = "writing"  # folder that files are written into before they are put in their place


def write_file(path: Path, data: bytes) -> None:
    """Write a file beside its place, with the suffix ``.part``, and put it there when it is whole.

    Args:
        path: of the file; its folder is made where it is missing, one of before is replaced.
        data: what it holds.

    Raises:
        OSError: it cannot be written; what was there before still is, and nothing else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Write a folder aside, down to the disk, and put it in its place when it is complete.

    Args:
        path: of the folder; one that is there already is replaced.
        write: writes the files into the folder that it is given.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    aside = _written_aside(path.parent, write)
    shutil.rmtree(path, ignore_errors=True)
    aside.rename(path)


def write_together(folder: Path, write: Callable[[Path], None]) -> None:
    """Write files of a folder aside, down to the disk, and replace those there by them.

    Args:
        folder: what else is in it stays.
        write: writes the files into the folder that it is given.

    Raises:
        OSError: they cannot be written; those of before are as they were.
    """
    aside = _written_aside(folder, write)
    for file in sorted(aside.iterdir()):
        os.replace(file, folder / file.name)
    aside.rmdir()


def _written_aside(folder: Path, write: Callable[[Path], None]) -> Path:
    aside = folder / ASIDE
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        write(aside)
        for file in aside.iterdir():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return aside

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

"""Folders that commands write to: new, empty, or made by the same command before."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from depthrefl_ros.tools.command_line import ToolError


def check_output_folder(path: Path, is_ours: Callable[[Path], bool]) -> None:
    """Check, before the work starts, that a folder may be written and holds nothing of others.

    Args:
        path: the folder; it need not exist.
        is_ours: whether a folder that is not empty is what the command itself makes.

    Raises:
        ToolError: it is a file, holds something else, or cannot be written.
    """
    if path.exists() and not path.is_dir():
        raise ToolError(f"{path} is a file; a folder is needed")
    if path.is_dir() and not is_ours(path):
        found = next(iter(sorted(path.iterdir())), None)
        if found is not None:
            raise ToolError(
                f"{path} holds other things ({found.name}), which stay as they are: give a folder "
                "that is new or empty"
            )
    parent = path
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise ToolError(f"{path} cannot be made: {parent} is a file")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ToolError(f"{path} cannot be written: {parent} is not writable for this user")

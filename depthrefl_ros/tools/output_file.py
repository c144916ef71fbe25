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

"""Files that commands write at the end of their work: checked before it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from depthrefl_ros.tools.command_line import ToolError


def check_output_files(*paths: Path | None) -> None:
    """Check that files can be written, without making them or changing what is there.

    Args:
        paths: of the files; folders that lack are made when they are written. None is passed over.

    Raises:
        ToolError: one is a folder, or cannot be written; names it.
    """
    for path in paths:
        if path is None:
            continue
        if path.is_dir():
            raise ToolError(f"{path}: cannot be written: it is a folder")
        parent = path.parent
        while not parent.exists():
            parent = parent.parent
        try:
            if path.is_file():
                path.open("ab").close()
            elif not path.exists():
                tempfile.TemporaryFile(dir=parent).close()
        except OSError as error:
            raise ToolError(f"{path}: cannot be written: {error.strerror}") from error

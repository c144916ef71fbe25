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

"""Whether a file can be written is known before the work, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.output_file import check_output_files


def test_what_can_be_written_is_neither_made_nor_changed(tmp_path):
    old = tmp_path / "old.json"
    old.write_text("{}")
    check_output_files(None, old, tmp_path / "new.json", tmp_path / "later" / "new.json")
    assert list(tmp_path.iterdir()) == [old] and old.read_text() == "{}"


def test_what_cannot_be_written_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for path in (tmp_path, file / "report.json", Path("/proc/nothing/report.json")):
        with pytest.raises(ToolError, match=f"^{path}: cannot be written"):
            check_output_files(path)

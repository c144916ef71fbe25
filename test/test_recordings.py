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

"""Damaged recordings end in one line that names the file, whatever byte is wrong."""

import pytest

pytest.importorskip("rclpy")

from recording_files import camera_recording

from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.record import main as record
from depthrefl_ros.tools.recordings import Recording


def read_all(path):
    with Recording(path) as recording:
        return sum(1 for _ in recording.messages(*recording.topics))


@pytest.mark.parametrize("kept", [8, 60, 0.5, 0.99])
def test_a_recording_cut_short_is_named(tmp_path, kept):
    path = camera_recording(tmp_path / "a.mcap", 3, compressed=False)
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(ToolError, match=r"a\.mcap"):
        read_all(path)


def test_flipped_bytes_raise_nothing_but_the_tools_error(tmp_path):
    path = camera_recording(tmp_path / "a.mcap", 3, compressed=False)
    content = path.read_bytes()
    assert read_all(path) == 6
    for place in range(len(content) - 400, len(content) - 8, 9):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        path.write_bytes(bytes(damaged))
        try:
            read_all(path)
        except ToolError as error:
            assert "a.mcap" in str(error)


def test_a_foreign_recordings_metadata_is_not_replaced(tmp_path, capsys):
    (tmp_path / "metadata.yaml").write_text("of another recording")
    assert record(["--output", str(tmp_path), "--name", "mine"]) == 2
    assert "metadata.yaml: exists" in capsys.readouterr().err
    assert (tmp_path / "metadata.yaml").read_text() == "of another recording"

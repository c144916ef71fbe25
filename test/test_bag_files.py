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

"""Which files are a recording, and in which order they come, by names and metadata alone."""

import pytest

from depthrefl_ros.tools.bag_files import is_recording, named_in_metadata, storage_files
from depthrefl_ros.tools.command_line import ToolError


@pytest.mark.parametrize(
    "name",
    ["a.mcap", "a.db3", "a.b.mcap", "a.db3.zstd", "a.mcap.zst", "a.bag", "gone/a.mcap"]
    + ["A.MCAP", "a.Db3", "a.DB3.ZSTD", "a.BAG"],
)
def test_a_recording_is_told_by_its_name(tmp_path, name):
    assert is_recording(tmp_path / name)
    assert storage_files(tmp_path / name) == [tmp_path / name]


@pytest.mark.parametrize("name", ["a.mp4", "mcap", "a.zst", "a.mcap.txt", "a.mat", "gone"])
def test_other_names_are_no_recording(tmp_path, name):
    assert not is_recording(tmp_path / name)


def test_split_recordings_come_in_the_order_of_their_numbers(tmp_path):
    for number in (0, 1, 2, 10):
        (tmp_path / f"drive_{number}.mcap").touch()
    (tmp_path / "._drive_0.mcap").touch()
    names = [path.name for path in storage_files(tmp_path)]
    assert names == [f"drive_{number}.mcap" for number in (0, 1, 2, 10)]
    (tmp_path / "metadata.yaml").write_text(
        "rosbag2_bagfile_information: {relative_file_paths: [/old/drive_2.mcap, drive_1.mcap]}"
    )
    assert [path.name for path in storage_files(tmp_path)] == ["drive_2.mcap", "drive_1.mcap"]
    (tmp_path / "drive_1.mcap").unlink()
    with pytest.raises(ToolError, match=r"names drive_1\.mcap, which is not there"):
        storage_files(tmp_path)


def test_a_folder_without_a_recording_is_told(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ToolError, match=r"no \.mcap or \.db3 file"):
        storage_files(tmp_path)
    assert not is_recording(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"a: [", b"rosbag2_bagfile_information: {}", b"[1, 2]", b"\xff"]
)
def test_metadata_that_cannot_be_read_names_nothing(tmp_path, content):
    (tmp_path / "metadata.yaml").write_bytes(content)
    (tmp_path / "a.mcap").touch()
    assert named_in_metadata(tmp_path) == []
    assert is_recording(tmp_path) and storage_files(tmp_path) == [tmp_path / "a.mcap"]
    (tmp_path / "a.mcap").unlink()
    (tmp_path / "1.jpg").touch()
    assert not is_recording(tmp_path)  # photographs with a file of that name


def test_images_beside_a_stray_file_are_a_folder_of_images(tmp_path):
    (tmp_path / "stray.mcap").touch()
    assert is_recording(tmp_path)
    (tmp_path / "1.JPG").touch()
    assert not is_recording(tmp_path)

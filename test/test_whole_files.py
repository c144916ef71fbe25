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

"""A file appears whole or not at all, also on a disk that is really full."""

import errno

import pytest
from mounted_disk import mounted_disk

from depthrefl_ros.training.whole_files import write_file


def test_a_file_is_written_and_replaced_in_a_folder_that_is_made(tmp_path):
    path = tmp_path / "run" / "data.json"
    write_file(path, b"first")
    write_file(path, b"next")
    assert path.read_bytes() == b"next"
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_the_file_of_before_and_nothing_else(tmp_path):
    with mounted_disk(tmp_path / "disk", megabytes=1) as disk:
        path = disk / "data.json"
        write_file(path, b"before")
        with pytest.raises(OSError) as caught:
            write_file(path, bytes(1 << 21))
        assert caught.value.errno == errno.ENOSPC
        assert path.read_bytes() == b"before"
        assert list(disk.iterdir()) == [path]

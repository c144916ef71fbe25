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

"""No command writes over what it did not make."""

import os

import pytest
from bundle_copies import copy_bundle

from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.output_folder import check_bundle_folder, check_output_folder


def is_ours(path):
    return (path / "ours").exists()


def test_new_empty_and_own_folders_are_taken(tmp_path):
    empty, own = tmp_path / "empty", tmp_path / "own"
    for folder in (empty, own):
        folder.mkdir()
    (own / "ours").touch()
    for folder in (tmp_path / "new" / "deep", empty, own):
        check_output_folder(folder, is_ours)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "own"]


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "photos.txt").write_text("dear to somebody")
    with pytest.raises(ToolError, match=f"{tmp_path} holds other things .photos.txt."):
        check_output_folder(tmp_path, is_ours)


def test_a_file_is_no_folder(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ToolError, match="file is a file; a folder is needed"):
        check_output_folder(file, is_ours)
    with pytest.raises(ToolError, match="below cannot be made: .*file is a file"):
        check_output_folder(file / "below", is_ours)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(ToolError, match=f"new cannot be written: {tmp_path} is not writable"):
        check_output_folder(tmp_path / "new", is_ours)


def test_a_bundle_of_others_is_replaced_only_where_that_is_asked_for(tmp_path):
    copy_bundle(tmp_path / "keep", {})
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.txt").touch()

    def check(name, is_own, overwrite):
        check_bundle_folder(tmp_path / name, "convert", lambda told: is_own, overwrite)

    with pytest.raises(ToolError, match="keep is a bundle that convert did not make, .*--overwr"):
        check("keep", False, False)
    for given in (("keep", True, False), ("keep", False, True), ("new", False, False)):
        check(*given)
    with pytest.raises(ToolError, match="photos holds other things"):
        check("photos", False, True)

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

"""The folder that a renderer fills: what is kept, and when it is gone on with."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from dataset_folders import rendered_frames, write_rendered_folder

from depthrefl_ros.training.synth.folder import FolderError, RenderedFolder


def test_a_folder_keeps_images_depth_and_intrinsics(tmp_path):
    _, image, depth, camera = write_rendered_folder(tmp_path, 2)
    folder = RenderedFolder(tmp_path)
    assert folder.names() == ["0000", "0001"] and "0001" in folder and "0002" not in folder
    jpeg, png, read_camera = next(rendered_frames(tmp_path))
    colour = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(colour[24, 8].astype(int) - image[24, 8, ::-1]).max() < 12
    millimetres = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert millimetres.dtype == np.uint16 and not millimetres[0, :4].any()
    assert np.abs(millimetres[1:] / 1000.0 - depth[1:]).max() <= 0.0005001
    np.testing.assert_array_equal(read_camera.K, camera.K)
    assert not list(tmp_path.rglob("*.part"))


def test_a_drive_s_folder_keeps_the_mounts(tmp_path):
    folder, image, depth, camera = write_rendered_folder(tmp_path, 1)
    with pytest.raises(FolderError, match="mounts.yaml is missing"):
        folder.mounts()
    mount = {"height_m": 0.4, "pitch_rad": 0.1, "roll_rad": -0.02}
    folder.add("0000", image, depth, camera, mount)
    assert RenderedFolder(tmp_path).mounts() == {"0000": mount}


def test_a_folder_is_only_gone_on_with_in_the_same_way(tmp_path):
    folder, *_ = write_rendered_folder(tmp_path / "old", 1)
    with pytest.raises(FolderError, match="files that `render` did not make"):
        folder.claim({"seed": 1})
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "notes.txt").write_text("mine")
    with pytest.raises(FolderError, match="files that `render` did not make"):
        RenderedFolder(tmp_path / "theirs").claim({"seed": 1})
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["notes.txt"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FolderError, match="file is a file; a folder"):
        RenderedFolder(tmp_path / "file").claim({"seed": 1})
    new = RenderedFolder(tmp_path / "new")
    new.claim({"seed": 1, "width": 320})
    new.claim({"seed": 1, "width": 320})
    with pytest.raises(FolderError, match="has width: 320; 640 was asked for"):
        new.claim({"seed": 1, "width": 640})


@pytest.mark.parametrize(
    "noted, asked, message",
    [
        ({"kinds": ["corridor"]}, {}, r"has kinds \(--kind\): \['corridor'\], which was not asked"),
        ({"photographs": True}, {}, "has photographs: True, which was not asked for"),
        ({"photographs": "2 files"}, {"photographs": "3 files"}, "has photographs: 2 files; 3 fil"),
        ({}, {"views": 4}, "lacks views; 4 was asked for"),
        ({"furniture": True}, {"furniture": False}, "has furniture: True; False was asked for"),
    ],
)
def test_options_that_are_left_out_or_new_are_named(tmp_path, noted, asked, message):
    RenderedFolder(tmp_path).claim({"seed": 1, **noted})
    with pytest.raises(FolderError, match=message):
        RenderedFolder(tmp_path).claim({"seed": 1, **asked})


def test_a_folder_of_an_older_version_noted_only_that_there_was_furniture(tmp_path):
    RenderedFolder(tmp_path).claim({"furniture": True})
    RenderedFolder(tmp_path).claim({"furniture": "2 files, digest 0123456789ab"})

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

"""Videos and image files as users have them: cut short, turned, oddly named."""

import cv2
import numpy as np
import pytest
from recording_files import image_folder
from test_image_files import encoded, with_exif

from depthrefl_ros.tools.camera_info_file import Intrinsics
from depthrefl_ros.tools.frame_sources import VideoFile, open_source

FRAMES = 20


@pytest.fixture
def video(tmp_path):
    """Return a Motion JPEG video whose frames take about the same space each."""
    path = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (160, 120))
    for number in range(FRAMES):
        noise = np.random.default_rng(number).integers(0, 255, (120, 160, 3))
        writer.write(noise.astype(np.uint8))
    writer.release()
    return path


def read(path) -> tuple[VideoFile, int]:
    source = VideoFile(path, Intrinsics(horizontal_fov_deg=60.0))
    return source, sum(1 for _ in source.frames())


def test_a_whole_video_is_read_without_a_word(video, capsys):
    assert read(video)[1] == FRAMES
    assert capsys.readouterr().err == ""


def test_a_video_that_is_cut_short_is_told_once(video, capsys):
    content = video.read_bytes()
    video.write_bytes(content[: len(content) // 2])
    source, decoded = read(video)
    assert 5 < decoded < 15
    told = f"{video}: only {decoded} of {FRAMES} frames can be decoded; the file is cut short"
    assert told in capsys.readouterr().err
    assert sum(1 for _ in source.frames()) == decoded  # as a loop does
    assert capsys.readouterr().err == ""


def test_a_video_with_damaged_bytes_is_told(video, capsys):
    content = bytearray(video.read_bytes())
    third = len(content) // 3
    content[third : third + 60_000] = bytes(60_000)
    video.write_bytes(content)
    _, decoded = read(video)
    assert 0 < decoded < FRAMES - 1
    assert f"only {decoded} of {FRAMES} frames" in capsys.readouterr().err


def test_what_a_tool_leaves_out_of_a_folder_counts_as_read(tmp_path):
    source = open_source(str(image_folder(tmp_path / "photos", 2)), Intrinsics())
    for frame in source.frames():
        source.skip(frame.name)
    assert source.skipped == ["0000", "0001"]


@pytest.mark.parametrize(("orientation", "width"), [(1, 64), (3, 64), (6, 48), (8, 48)])
def test_the_field_of_view_is_across_the_picture_before_it_is_turned(tmp_path, orientation, width):
    path = tmp_path / "phone.jpg"
    path.write_bytes(with_exif(encoded(".jpg"), orientation))
    (frame,) = open_source(str(path), Intrinsics(horizontal_fov_deg=90.0)).frames()
    camera = frame.camera
    assert (frame.width, camera.width, camera.height) == (width, width, 112 - width)
    assert camera.fx == camera.fy == pytest.approx(32.0)  # of 64 columns, whichever way they lie
    assert (camera.cx, camera.cy) == ((width - 1) / 2, (111 - width) / 2)


def test_a_photograph_may_begin_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("~no user.png", np.zeros((48, 64, 3), np.uint8))
    source = open_source("~no user.png", Intrinsics(horizontal_fov_deg=60.0))
    assert [frame.name for frame in source.frames()] == ["~no user"]

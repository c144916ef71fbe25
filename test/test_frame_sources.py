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
import yaml
from recording_files import HEIGHT, WIDTH, image_folder, picture
from test_image_files import encoded, with_exif

from depthrefl_ros.tools.camera_info_file import Intrinsics
from depthrefl_ros.tools.command_line import ToolError
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


def without_a_camera(folder, what, numbers):
    """Take the camera of some images of a folder away, or their size."""
    path = folder / "intrinsics.yaml"
    content = yaml.safe_load(path.read_text())
    for number in numbers:
        if what == "size":
            cv2.imwrite(str(folder / "rgb" / f"{number:04d}.png"), picture(number, 32, 24))
        else:
            del content["images"][f"{number:04d}"]
    path.write_text(yaml.safe_dump(content))


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("size", "is of an image of 64x48, but {folder}/rgb/0000.png has 32x24"),
        ("entry", "no entry for image '0000'"),
    ],
)
def test_an_image_without_a_camera_is_named_and_left_out(tmp_path, capsys, what, told):
    folder = image_folder(tmp_path / "f", 4)
    without_a_camera(folder, what, (0, 2))
    source = open_source(str(folder), Intrinsics())
    assert [frame.name for frame in source.frames()] == ["0001", "0003"]
    reason = f"{folder}/intrinsics.yaml: {told.format(folder=folder)}"
    assert source.skipped[0] == reason and len(source.skipped) == 2
    assert capsys.readouterr().err.startswith(f"skipped: {reason}\n")
    cv2.imwrite(str(folder / "rgb" / "0001.png"), picture(1, 32, 24))
    cv2.imwrite(str(folder / "rgb" / "0003.png"), picture(3, 32, 24))
    with pytest.raises(ToolError, match="/f: none of 4 images can be used: .*0000"):
        list(source.frames())
    assert capsys.readouterr().err == ""  # one line says it


def test_images_in_subfolders_are_called_after_them(tmp_path):
    for name in ("kitchen/0002", "kitchen/0010", "hall/0001"):
        (tmp_path / "rgb" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "rgb" / f"{name}.png"), picture(0))
    entry = {"width": WIDTH, "height": HEIGHT, "fx": 50.0, "fy": 50.0, "cx": 31.5, "cy": 23.5}
    cameras = {"hall/0001": {**entry, "fx": 70.0}, "kitchen/0002": entry, "kitchen/0010": entry}
    (tmp_path / "intrinsics.yaml").write_text(yaml.safe_dump({"images": cameras}))
    frames = list(open_source(str(tmp_path), Intrinsics()).frames())
    assert [frame.name for frame in frames] == list(cameras)
    assert [frame.camera.K[0, 0] for frame in frames] == [70.0, 50.0, 50.0]


def test_a_photograph_may_begin_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("~no user.png", np.zeros((48, 64, 3), np.uint8))
    source = open_source("~no user.png", Intrinsics(horizontal_fov_deg=60.0))
    assert [frame.name for frame in source.frames()] == ["~no user"]

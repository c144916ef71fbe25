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

"""A recording with depth in it: of every camera, at its stamps, and nothing else is changed."""

import json
import subprocess
import sys

import numpy as np
import pytest
from recording_files import (
    FIRST_NS,
    HEIGHT,
    PERIOD_NS,
    WIDTH,
    camera_recording,
    image_message,
    info_message,
    jpeg_message,
    recording_with_one_bad,
    write_recording,
)
from test_predict import without_ros  # noqa: F401

from depthrefl_ros.tools.annotate import find_cameras, main
from depthrefl_ros.tools.camera_info_file import Intrinsics
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.recordings import Recording, depth_from_message, stamp_ns

MODEL = ("--model", "indoor_nano")
UNKNOWN = Intrinsics()


def two_cameras(path, extra=None):
    """Front raw and compressed, right compressed, a thermal one, one without camera info."""
    numbers = range(3)
    topics = {
        "/front/image_raw": [image_message(n) for n in numbers],
        "/front/image_raw/compressed": [jpeg_message(n) for n in numbers],
        "/front/camera_info": [info_message(n) for n in numbers],
        "/right/image_raw/compressed": [jpeg_message(n) for n in numbers],
        "/right/camera_info": [info_message(n) for n in numbers],
        "/thermal/image_raw": [image_message(n) for n in numbers],
        "/thermal/camera_info": [info_message(n) for n in numbers],
        "/door/image_raw": [image_message(n) for n in numbers],
    }
    for message in topics["/door/image_raw"]:
        message.header.frame_id = "door"
    return write_recording(path, {**topics, **(extra or {})})


def test_every_camera_gets_depth_and_nothing_else_changes(tmp_path, capsys):
    source, target = two_cameras(tmp_path / "in.mcap"), tmp_path / "out.mcap"
    assert main([str(source), str(target), *MODEL]) == 0
    captured = capsys.readouterr()
    line = json.loads(captured.out)
    assert {name: (one["depth"], one["frames"]) for name, one in line["cameras"].items()} == {
        "/front/image_raw": ("/front/depth/image", 3),
        "/right/image_raw/compressed": ("/right/depth/image", 3),
    }
    assert "/thermal/image_raw: no colour camera" in captured.err
    assert "/door/image_raw: no camera info" in captured.err
    assert "adding at most 0 MB of depth of /front/image_raw, /right/image_raw" in captured.err
    with Recording(source) as before, Recording(target) as after:
        assert list(before.serialised(*before.topics)) == list(after.serialised(*before.topics))
        for camera in ("front", "right"):
            depths = list(after.timed_messages(f"/{camera}/depth/image"))
            assert [time_ns for _, time_ns, _ in depths] == [
                FIRST_NS + n * PERIOD_NS for n in range(3)
            ]
            for topic, time_ns, message in depths:
                assert stamp_ns(message) == time_ns
                assert message.header.frame_id == "camera_optical_frame"
                depth = depth_from_message(message, topic)
                assert depth.shape == (HEIGHT, WIDTH) and np.isfinite(depth).any()
            info = after.first(f"/{camera}/depth/camera_info")
            assert (info.width, info.height, stamp_ns(info)) == (WIDTH, HEIGHT, FIRST_NS)
            assert info.k[0] == pytest.approx(60.0)


def test_rosbag2_folders_without_ros_and_in_millimetres(tmp_path, without_ros):  # noqa: F811
    camera_recording(tmp_path / "bag" / "bag.mcap", 3)
    command = [sys.executable, "-m", "depthrefl_ros", "annotate", str(tmp_path / "bag")]
    command += [str(tmp_path / "out"), "--format", "16UC1", *MODEL]
    done = subprocess.run(command, env=without_ros, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "metadata.yaml").is_file()
    with Recording(tmp_path / "out") as recording:
        assert recording.count("/camera/depth/image") == 3
        assert recording.first("/camera/depth/image").encoding == "16UC1"


def test_depth_that_is_there_already_is_not_mixed_with_ours(tmp_path):
    source = two_cameras(tmp_path / "in.mcap", {"/front/depth/image": [image_message(0)]})
    with Recording(source) as recording:
        cameras = find_cameras(recording, UNKNOWN, None)
        assert cameras["/front/image_raw"].depth_topic == "/front/depthrefl/depth/image"
        chosen = find_cameras(recording, Intrinsics(None, 60.0), ["/door/image_raw"])
        assert list(chosen) == ["/door/image_raw"]
        with pytest.raises(ToolError, match="no image topic /none"):
            find_cameras(recording, UNKNOWN, ["/none"])
        with pytest.raises(ToolError, match="no camera of which depth can be estimated"):
            find_cameras(recording, UNKNOWN, ["/door/image_raw"])


def test_pictures_that_cannot_be_read_are_left_out_and_counted(tmp_path, capsys):
    pictures = [jpeg_message(number) for number in range(3)]
    pictures[1].data = bytes(pictures[1].data)[:-200]
    topics = {"/a/image/compressed": pictures, "/a/camera_info": [info_message(0)]}
    source = write_recording(tmp_path / "in.mcap", topics)
    assert main([str(source), str(tmp_path / "out.mcap"), *MODEL]) == 0
    (camera,) = json.loads(capsys.readouterr().out)["cameras"].values()
    assert (camera["frames"], camera["left_out"]) == (2, 1)


@pytest.mark.parametrize("what", ["image", "camera info"])
def test_one_bad_message_is_named_and_left_out(tmp_path, capsys, what):
    source = recording_with_one_bad(what, tmp_path / "in.mcap", "/a")
    assert main([str(source), str(tmp_path / "out.mcap"), *MODEL]) == 0
    captured = capsys.readouterr()
    (camera,) = json.loads(captured.out)["cameras"].values()
    assert (camera["frames"], camera["left_out"]) == (3, 1)
    (told,) = [line for line in captured.err.splitlines() if line.startswith("skipped: ")]
    assert told.startswith(f"skipped: {source}: frame 2: /a/image_raw")
    if what == "camera info":
        assert "give --camera-info FILE or --hfov DEGREES" in told


def test_cameras_that_are_not_calibrated_are_told_at_once(tmp_path, capsys):
    infos = [info_message(n) for n in range(3)]
    for message in infos:
        message.k, message.p = [0.0] * 9, [0.0] * 12
    source = two_cameras(tmp_path / "in.mcap", {"/right/camera_info": infos})
    assert main([str(source), str(tmp_path / "out.mcap"), *MODEL]) == 0
    captured = capsys.readouterr()
    assert list(json.loads(captured.out)["cameras"]) == ["/front/image_raw"]
    reason = "/right/image_raw/compressed: K of its camera info is all zero"
    assert captured.err.count(reason) == 1 and "skipped: " not in captured.err
    command = [str(source), str(tmp_path / "other.mcap"), "--image-topic", "/right/image_raw"]
    assert main([*command, *MODEL]) == 2
    told = capsys.readouterr().err
    assert f"error: {source}: {reason}" in told and "--hfov" in told
    assert main([*command, "--hfov", "60", *MODEL]) == 0


def test_images_before_the_calibration_has_loaded_are_left_out(tmp_path, capsys):
    infos = [info_message(n) for n in range(3)]
    infos[0].k, infos[0].p = [0.0] * 9, [0.0] * 12
    topics = {"/a/camera_info": infos, "/a/image_raw": [image_message(n) for n in range(3)]}
    source = write_recording(tmp_path / "in.mcap", topics)
    assert main([str(source), str(tmp_path / "out.mcap"), *MODEL]) == 0
    captured = capsys.readouterr()
    (camera,) = json.loads(captured.out)["cameras"].values()
    assert (camera["frames"], camera["left_out"]) == (2, 1)
    assert f"skipped: {source}: frame 0: /a/image_raw: K of its camera info" in captured.err


def test_a_recording_of_which_no_image_can_be_used_is_an_error_with_the_reason(tmp_path, capsys):
    images = [image_message(n) for n in range(3)]
    for message in images:
        message.data = message.data[:100]
    topics = {"/a/camera_info": [info_message(0)], "/a/image_raw": images}
    source = write_recording(tmp_path / "in.mcap", topics)
    assert main([str(source), str(tmp_path / "out.mcap"), *MODEL]) == 2
    assert "none of 3 images can be used: frame 0: /a/image_raw" in capsys.readouterr().err


def test_what_exists_is_not_replaced(tmp_path, capsys):
    source = two_cameras(tmp_path / "in.mcap")
    before = source.read_bytes()
    assert main([str(source), str(source), *MODEL]) == 2
    assert "in.mcap: exists; choose another name" in capsys.readouterr().err
    assert source.read_bytes() == before

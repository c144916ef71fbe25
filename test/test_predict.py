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

"""Depth of photographs, folders and recordings as files, without ROS."""

import json
import os
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest
from conftest import ROOT
from mounted_disk import mounted_disk
from recording_files import (
    camera_recording,
    image_message,
    info_message,
    picture,
    recording_with_one_bad,
    write_recording,
)

from depthrefl_ros.tools import predict as tool
from depthrefl_ros.tools.predict import main, to_millimetres

RECORDING = ROOT / "test" / "data" / "corridor.mcap"
MODEL = ("--model", "indoor_nano")


def lines_of(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def without_ros(tmp_path_factory):
    """Return an environment in which importing ROS fails."""
    folder = tmp_path_factory.mktemp("without_ros")
    for name in ("rclpy", "sensor_msgs", "std_msgs", "builtin_interfaces", "cv_bridge"):
        (folder / f"{name}.py").write_text(f"raise ImportError('{name} is not here')\n")
    path = os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}


def test_a_photograph_becomes_picture_png_array_and_cloud(tmp_path, capsys):
    photo = tmp_path / "Küche 1.JPG"
    photo.write_bytes(cv2.imencode(".jpg", picture(1, 320, 240))[1].tobytes())
    out = tmp_path / "out"
    assert main([str(photo), "--hfov", "70", "--output", str(out), *MODEL]) == 0
    (line,) = lines_of(capsys.readouterr().out)
    assert (line["image"], line["width"], line["height"]) == ("Küche 1", 320, 240)
    assert (line["hfov_deg"], line["hfov_is_assumed"]) == (70.0, False)
    depth = np.load(out / line["files"]["npy"])
    assert depth.shape == (240, 320) and depth.dtype == np.float32
    known = depth[np.isfinite(depth)]
    assert line["median_m"] == pytest.approx(float(np.median(known)), abs=1e-3)
    assert line["known"] == pytest.approx(known.size / depth.size, abs=1e-4)
    millimetres = cv2.imread(str(out / line["files"]["png"]), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(millimetres, to_millimetres(depth))
    shown = cv2.imread(str(out / line["files"]["picture"]))
    assert np.abs(shown[:, :320].astype(int) - picture(1, 320, 240)).mean() < 6
    header = (out / line["files"]["ply"]).read_bytes().split(b"end_header")[0]
    assert f"element vertex {known.size}".encode() in header
    assert json.loads((out / "predict.jsonl").read_text()) == line


def test_unknown_depth_is_0_millimetres():
    depth = np.array([[1.2345, np.nan, np.inf, -np.inf, 70.0, 0.0]], np.float32)
    np.testing.assert_array_equal(
        to_millimetres(depth), np.array([[1234, 0, 0, 0, 0, 0]], np.uint16)
    )


def test_a_folder_without_camera_info_is_assumed_and_told(tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a_10.png", "a_2.png", "a_2.jpg"):
        cv2.imwrite(str(folder / name), picture(2))
    (folder / "a_3.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    arguments = [str(folder), "--output", str(out), "--write", "npy", *MODEL]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    lines = lines_of(captured.out)
    assert [line["files"] for line in lines] == [
        {"npy": name} for name in ("a_2_depth.npy", "a_2_2_depth.npy", "a_10_depth.npy")
    ]
    assert all(line["hfov_is_assumed"] and line["hfov_deg"] == 60.0 for line in lines)
    assert "a field of view of" in captured.err.replace("horizontal ", "")
    assert "a_3.png" in captured.err
    assert main([*arguments, "--frames", "1"]) == 0  # its own folder may be written to again


def test_images_in_subfolders_keep_them(tmp_path, capsys):
    folder, out = tmp_path / "rooms", tmp_path / "out"
    for name in ("kitchen/0001", "hall/0001"):
        (folder / "rgb" / name).parent.mkdir(parents=True)
        cv2.imwrite(str(folder / "rgb" / f"{name}.png"), picture(2))
    arguments = [str(folder), "--hfov", "60", "--output", str(out), "--write", "npy,ply", *MODEL]
    assert main(arguments) == 0
    lines = lines_of(capsys.readouterr().out)
    assert [line["image"] for line in lines] == ["hall/0001", "kitchen/0001"]
    assert lines[1]["files"]["npy"] == "kitchen/0001_depth.npy"
    assert all((out / file).is_file() for line in lines for file in line["files"].values())
    (folder / "rgb" / "hall" / "0001.png").unlink()
    assert main(arguments) == 0
    assert sorted(path.name for path in out.iterdir()) == ["kitchen", "predict.jsonl"]


def test_recordings_need_no_ros(tmp_path, without_ros):
    command = [sys.executable, "-m", "depthrefl_ros", "predict", str(RECORDING), *MODEL]
    command += ["--every", "30", "--output", str(tmp_path / "out"), "--write", "npy"]
    done = subprocess.run(command, env=without_ros, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [line["image"] for line in lines_of(done.stdout)] == ["0", "30", "60"]
    assert (tmp_path / "out" / "frame_000030_depth.npy").is_file()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_told_with_how_far_it_came(tmp_path, capsys, monkeypatch, number):
    source = str(camera_recording(tmp_path / "a.mcap", 4))
    add = tool.ResultFolder.add

    def add_and_stop(self, line):
        if line["image"] == "1":
            os.kill(os.getpid(), number)
        return add(self, line)

    monkeypatch.setattr(tool.ResultFolder, "add", add_and_stop)
    out = ["--output", str(tmp_path / "out"), "--write", "npy", *MODEL]
    assert main([source, *out]) == 130
    captured = capsys.readouterr()
    assert "stopped after 2 of 4 images" in captured.err and len(lines_of(captured.out)) == 2
    assert main([source, *out, "--frames", "2"]) == 0  # it was the last: nothing is missing


@pytest.mark.parametrize("what", ["image", "camera info"])
def test_one_bad_message_is_named_and_left_out(tmp_path, capsys, what):
    path = recording_with_one_bad(what, tmp_path / "a.mcap", "/camera")
    assert main([str(path), "--output", str(tmp_path / "out"), "--write", "npy", *MODEL]) == 0
    captured = capsys.readouterr()
    assert [line["image"] for line in lines_of(captured.out)] == ["0", "1", "3"]
    (told,) = [line for line in captured.err.splitlines() if line.startswith("skipped: ")]
    assert told.startswith(f"skipped: {path}: frame 2: ") and "frame_0" not in told
    assert "left out: 1 images" in captured.err
    if what == "camera info":
        assert "give --camera-info FILE or --hfov DEGREES" in told and "_url" not in told


def test_a_recording_of_which_no_image_can_be_used_is_an_error(tmp_path, capsys):
    images = [image_message(n) for n in range(3)]
    for message in images:
        message.data = message.data[:100]
    topics = {"/camera/camera_info": [info_message(0)], "/camera/image_raw": images}
    path = write_recording(tmp_path / "a.mcap", topics)
    assert main([str(path), "--output", str(tmp_path / "out"), *MODEL]) == 2
    assert "none of 3 images can be used: frame 0: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def not_calibrated(number):
    message = info_message(number)
    message.k, message.p = [0.0] * 9, [0.0] * 12
    return message


def test_a_camera_that_is_not_calibrated_is_told_at_once(tmp_path, capsys):
    topics = {
        "/camera/camera_info": [not_calibrated(n) for n in range(3)],
        "/camera/image_raw": [image_message(n) for n in range(3)],
    }
    path = write_recording(tmp_path / "a.mcap", topics)
    assert main([str(path), "--output", str(tmp_path / "out"), *MODEL]) == 2
    told = capsys.readouterr().err
    assert f"error: {path}: /camera/image_raw: K of its camera info is all zero" in told
    assert "give --camera-info FILE or --hfov DEGREES" in told and "skipped: " not in told
    assert not (tmp_path / "out").exists()


def test_images_before_the_calibration_has_loaded_are_left_out(tmp_path, capsys):
    topics = {
        "/camera/camera_info": [not_calibrated(0), not_calibrated(1), info_message(2)],
        "/camera/image_raw": [image_message(n) for n in range(3)],
    }
    path = write_recording(tmp_path / "a.mcap", topics)
    assert main([str(path), "--output", str(tmp_path / "out"), "--write", "npy", *MODEL]) == 0
    captured = capsys.readouterr()
    assert [line["image"] for line in lines_of(captured.out)] == ["2"]
    told = [line for line in captured.err.splitlines() if line.startswith("skipped: ")]
    assert [line.split(": K of its")[0] for line in told] == [
        f"skipped: {path}: frame {number}" for number in (0, 1)
    ]


def test_a_camera_info_of_another_image_is_told_at_once(tmp_path, capsys):
    info = info_message(0)
    info.width = 3 * info.width
    topics = {
        "/camera/camera_info": [info],
        "/camera/image_raw": [image_message(n) for n in (0, 1)],
    }
    path = write_recording(tmp_path / "a.mcap", topics)
    assert main([str(path), "--output", str(tmp_path / "out"), *MODEL]) == 2
    told = capsys.readouterr().err
    assert f"error: {path}: /camera/image_raw: " in told and "skipped: " not in told


def test_a_stop_comes_before_images_that_cannot_be_used(tmp_path, capsys, monkeypatch):
    images = [image_message(n) for n in range(3)]
    for message in images:
        message.data = message.data[:100]
    topics = {"/camera/camera_info": [info_message(0)], "/camera/image_raw": images}
    path = write_recording(tmp_path / "a.mcap", topics)
    skip = tool.FrameSource.skip

    def skip_and_stop(self, reason):
        skip(self, reason)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(tool.FrameSource, "skip", skip_and_stop)
    assert main([str(path), "--output", str(tmp_path / "out"), *MODEL]) == 130
    assert "stopped after 1 of 3 images" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["npy", "ply"])
def test_a_full_disk_is_named_with_the_file(tmp_path, capsys, kind):
    photo = tmp_path / "a.png"
    cv2.imwrite(str(photo), picture(0, 640, 480))
    with mounted_disk(tmp_path / "disk", megabytes=1) as disk:
        out = disk / "out"
        how = ["--hfov", "60", "--output", str(out), "--write", kind, *MODEL]
        assert main([str(photo), *how]) == 2
        (told,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
        assert told.endswith(": cannot be written: No space left on device")
        assert str(out / "a_") in told
        assert [path.name for path in out.iterdir()] == ["predict.jsonl"]


def test_photographs_of_one_name_do_not_replace_each_other(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x/photo.jpg", "y/photo.png"):
        (tmp_path / name).parent.mkdir()
        cv2.imwrite(str(tmp_path / name), picture(0))
    how = ["--hfov", "60", "--write", "npy", *MODEL]
    assert main(["x/photo.jpg", *how]) == 0
    before = (tmp_path / "photo_depth" / "predict.jsonl").read_bytes()
    assert main(["y/photo.png", *how]) == 2
    assert "photo_depth holds the results of " in capsys.readouterr().err
    assert (tmp_path / "photo_depth" / "predict.jsonl").read_bytes() == before


def test_it_ends_quietly_where_nobody_reads_on(tmp_path):
    source = camera_recording(tmp_path / "a.mcap", 30)
    command = [sys.executable, "-m", "depthrefl_ros", "predict", str(source), *MODEL]
    command += ["--output", str(tmp_path / "out"), "--write", "npy"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.stdout.close()
    told = process.stderr.read()
    assert process.wait(timeout=60) == 1
    assert "rror" not in told and "ipe" not in told, told


def test_what_is_written_is_bounded(tmp_path, capsys):
    source = str(camera_recording(tmp_path / "a.mcap", 4))
    out = tmp_path / "out"
    assert main([source, "--output", str(out), "--max-gigabytes", "1e-9", *MODEL]) == 0
    captured = capsys.readouterr()
    assert len(lines_of(captured.out)) == 1
    assert "are written: ending (--max-gigabytes)" in captured.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--write", "npy,exr"], "--write 'npy,exr': known are picture, png, npy, ply"),
        (["--model", "no_such"], "model is 'no_such'"),
        (["--hfov", "181"], "horizontal field of view"),
    ],
)
def test_errors_are_one_line(tmp_path, capsys, arguments, told):
    cv2.imwrite(str(tmp_path / "a.png"), picture(0))
    code = main([str(tmp_path / "a.png"), "--output", str(tmp_path / "out"), *arguments])
    assert code == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("depthrefl predict: error: ")
    assert told in message


def test_a_folder_of_the_users_is_left_alone(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "a.png"), picture(0))
    assert main([str(tmp_path / "a.png"), "--output", str(tmp_path)]) == 2
    assert "holds other things (a.png), which stay as they are" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]

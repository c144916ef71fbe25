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

"""Where a source's camera stands, and that predict and annotate tell it to a model that asks."""

import argparse
import json
import math

import cv2
import numpy as np
import pytest
from drive_recording import BASE_FROM_COLOUR, COLOUR, Drive
from exact_bundle import encoded, exact_bundle
from recording_files import FIRST_NS, picture

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.floor_plane import camera_floor_depth
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.tools import annotate, predict
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.recordings import Recording, depth_from_message
from depthrefl_ros.tools.source_mounts import SourceMounts, add_mount_arguments, said_mount

PHOTO = Camera.from_horizontal_fov(64, 48, math.radians(60.0))


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Return the bundle of a network that believes its mount wholly."""
    return str(exact_bundle(tmp_path_factory.mktemp("models") / "told", COLOUR, trust=1.0))


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    return Drive(3, with_depth=False).write(tmp_path_factory.mktemp("bags") / "drive.mcap")


def is_floor_of(depth: np.ndarray, camera: Camera, mount: Pose) -> bool:
    """Tell whether depth is the floor's where a floor is in view, as exactly as bytes say it."""
    floor_m = camera_floor_depth(camera, mount)
    seen = (floor_m > 0.2) & (floor_m < 8.0) & np.isfinite(depth)
    return seen.mean() > 0.1 and bool(np.abs(depth[seen] / floor_m[seen] - 1.0).max() < 0.04)


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_mount_arguments(parser, "for a test")
    return parser.parse_args(words)


def test_the_users_word_is_a_height_and_two_angles():
    assert said_mount(arguments()) is None
    given = arguments("--camera-height", "0.5", "--camera-pitch", "4", "--camera-roll", "-2")
    assert said_mount(given) == Pose.from_mount(0.5, math.radians(4), math.radians(-2))
    with pytest.raises(SystemExit):
        arguments("--camera-height", "-1")


@pytest.mark.parametrize(
    ("name", "value", "limit"),
    [
        ("pitch", "nan", 90),
        ("pitch", "90.5", 90),
        ("pitch", "-inf", 90),
        ("pitch", "steep", 90),
        ("roll", "inf", 180),
        ("roll", "nan", 180),
    ],
)
def test_angles_that_no_camera_has_are_refused(capsys, name, value, limit):
    with pytest.raises(SystemExit):
        arguments("--camera-height", "0.5", f"--camera-{name}={value}")
    told = capsys.readouterr().err
    assert f"--camera-{name}: {value!r} must be -{limit} to {limit} degrees" in told


@pytest.mark.parametrize("name", ["pitch", "roll"])
def test_an_angle_without_the_height_is_refused(name):
    with pytest.raises(ToolError, match=f"--camera-{name} has no effect without --camera-height"):
        said_mount(arguments(f"--camera-{name}", "4"))


def test_a_recordings_tf_says_where_the_camera_stands(drive):
    mounts = SourceMounts(None, drive)
    found = mounts.at("colour", FIRST_NS)
    assert found.translation == pytest.approx(BASE_FROM_COLOUR.translation)
    assert found.rotation == pytest.approx(BASE_FROM_COLOUR.rotation, abs=1e-6)
    assert mounts.at("mast_camera", FIRST_NS) is None
    assert SourceMounts(None, drive, "base_link").at("colour", FIRST_NS) is None
    said = Pose.from_mount(0.7)
    assert SourceMounts(said, drive).at("colour", FIRST_NS) is said
    assert SourceMounts(None, None).at("colour", FIRST_NS) is None


def test_annotate_tells_the_model_the_mount_on_tf(drive, told, tmp_path, capsys):
    target = tmp_path / "out.mcap"
    assert annotate.main([str(drive), str(target), "--model", told]) == 0
    (camera,) = json.loads(capsys.readouterr().out)["cameras"].values()
    assert camera["mount"] == BASE_FROM_COLOUR.mount_in_words()
    with Recording(target) as recording:
        for topic, message in recording.messages(camera["depth"]):
            assert is_floor_of(depth_from_message(message, topic), COLOUR, BASE_FROM_COLOUR)


def test_annotate_takes_the_users_word_before_tf(drive, told, tmp_path, capsys):
    target, words = tmp_path / "out.mcap", ["--camera-height", "0.8", "--camera-pitch", "20"]
    assert annotate.main([str(drive), str(target), "--model", told, *words]) == 0
    (camera,) = json.loads(capsys.readouterr().out)["cameras"].values()
    assert camera["mount"] == "0.80 m up, looking 20.0 degrees down"
    with Recording(target) as recording:
        depth = depth_from_message(recording.first(camera["depth"]), "depth")
    assert is_floor_of(depth, COLOUR, Pose.from_mount(0.8, math.radians(20)))


def test_predict_tells_the_model_the_mount_of_a_photograph_and_of_a_recording(
    drive, told, tmp_path, capsys
):
    photo, out = tmp_path / "a.png", tmp_path / "out"
    cv2.imwrite(str(photo), encoded(np.full((48, 64), 2.0))[..., ::-1])
    how = ["--model", told, "--output", str(out), "--write", "npy"]
    words = ["--hfov", "60", "--camera-height", "0.5", "--camera-pitch", "20"]
    assert predict.main([str(photo), *words, *how]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["mount"] == "0.50 m up, looking 20.0 degrees down"
    depth = np.load(out / line["files"]["npy"])
    assert is_floor_of(depth, PHOTO, Pose.from_mount(0.5, math.radians(20)))

    of_drive = tmp_path / "of_drive"
    assert predict.main([str(drive), "--frames", "1", *how, "--output", str(of_drive)]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["mount"] == BASE_FROM_COLOUR.mount_in_words()
    assert is_floor_of(np.load(of_drive / line["files"]["npy"]), COLOUR, BASE_FROM_COLOUR)

    assert predict.main([str(photo), "--hfov", "60", *how]) == 0
    assert json.loads(capsys.readouterr().out)["mount"] is None


def test_a_model_that_takes_no_mount_is_named(tmp_path, capsys):
    photo = tmp_path / "a.png"
    cv2.imwrite(str(photo), picture(0))
    untold = str(exact_bundle(tmp_path / "untold", COLOUR))
    how = ["--hfov", "60", "--camera-height", "0.5", "--model", untold, "--write", "npy"]
    assert predict.main([str(photo), "--output", str(tmp_path / "out"), *how]) == 0
    captured = capsys.readouterr()
    said = "exact does not take the mount: --camera-height has no effect"
    assert said in captured.err
    assert json.loads(captured.out)["mount"] is None

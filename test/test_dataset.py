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

"""Recordings become a folder to train on: registered, thinned, with mounts."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy")

from corridor_drive import corridor_frames
from corridor_recording import corridor_recording
from drive_recording import BASE_FROM_COLOUR, COLOUR, Drive, error_of
from exact_bundle import FINE, exact_bundle
from recording_files import camera_recording

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.tools import dataset as tool
from depthrefl_ros.tools.weight_terms import terms_of_bundle, terms_of_folder
from depthrefl_ros.training.datasets import open_dataset


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    """Return a drive with a depth camera beside the colour camera, and a lidar."""
    description = Drive(with_lidar=True)
    return description, description.write(tmp_path_factory.mktemp("drive") / "drive.mcap")


def made(*arguments: object) -> int:
    return tool.main([str(one) for one in arguments])


def test_depth_of_another_camera_is_registered_through_tf(drive, tmp_path):
    description, bag = drive
    assert made(bag, tmp_path / "out", "--all", "--depth-topic", "/depth/image_rect_raw") == 0
    samples = open_dataset(tmp_path / "out")
    assert samples.kind == "plain" and len(samples) == 8
    for number, sample in enumerate(samples):
        truth = description.true_depth(number)
        assert sample.intrinsics == pytest.approx((COLOUR.fx, COLOUR.fy, COLOUR.cx, COLOUR.cy))
        assert (sample.depth_m > 0).mean() > 0.9
        error = error_of(sample.depth_m, truth)
        assert np.median(error) < 0.005 and (error < 0.05).mean() > 0.97


def test_without_registration_the_same_depth_is_wrong(drive, tmp_path):
    """Guards the test above: taken as it is, the second camera's view does not fit."""
    description, bag = drive
    command = ("--all", "--registered", "--depth-topic", "/depth/image_rect_raw")
    assert made(bag, tmp_path / "out", *command) == 0
    sample = open_dataset(tmp_path / "out")[0]
    assert (error_of(sample.depth_m, description.true_depth(0)) < 0.05).mean() < 0.85


def test_a_lidar_is_projected_where_the_robot_was_at_the_images_time(drive, tmp_path):
    description, bag = drive
    assert made(bag, tmp_path / "out", "--all", "--depth-topic", "/lidar/points") == 0
    samples = open_dataset(tmp_path / "out")
    assert len(samples) == 8
    for number, sample in enumerate(samples):
        known = sample.depth_m > 0
        assert 0.02 < known.mean() < 0.3
        error = error_of(sample.depth_m, description.true_depth(number))
        assert np.median(error) < 0.01 and (error < 0.05).mean() > 0.95


def test_mounts_come_from_the_floor_frame(drive, tmp_path):
    _, bag = drive
    assert made(bag, tmp_path / "out", "--all", "--depth-topic", "/depth/image_rect_raw") == 0
    mounts = yaml.safe_load((tmp_path / "out" / "mounts.yaml").read_text())["images"]
    assert len(mounts) == 8
    for mount in mounts.values():
        pose = Pose.from_mount(**mount)
        np.testing.assert_allclose(pose.rotation, BASE_FROM_COLOUR.rotation, atol=1e-4)
        assert mount["height_m"] == 0.5
    # A frame that is not there: told where it was asked for, left out where it was not.
    assert made(bag, tmp_path / "no", "--floor-frame", "ground") == 2
    assert not (tmp_path / "no").exists()


def test_frames_are_thinned_by_odometry_and_without_it_by_the_pictures(tmp_path, capsys):
    moving = Drive(count=13).write(tmp_path / "moving.mcap")  # 25 mm and 0.86 degrees a frame
    assert made(moving, tmp_path / "by_tf", "--min-travel", "0.095", "--min-turn", "90") == 0
    assert open_dataset(tmp_path / "by_tf").names == ["000000", "000004", "000008", "000012"]
    assert "thinned by TF" in capsys.readouterr().err
    blind = Drive(count=13, with_odometry=False).write(tmp_path / "blind.mcap")
    assert made(blind, tmp_path / "by_picture", "--min-change", "0.1") == 0
    said = capsys.readouterr()
    assert "thinned by the pictures" in said.err and "alike" in said.out
    assert 2 <= len(open_dataset(tmp_path / "by_picture")) < 13


def test_several_recordings_become_one_folder_with_a_scene_each(drive, tmp_path, capsys):
    _, bag = drive
    other = camera_recording(tmp_path / "desk.mcap", 3, truth_m=2.0)
    report = tmp_path / "report.json"
    assert made(bag, other, tmp_path / "out", "--all", "--json", report) == 0
    names = open_dataset(tmp_path / "out").names
    assert names[:4] == ["desk/000000", "desk/000001", "desk/000002", "drive/000000"]
    figures = json.loads(report.read_text())
    assert figures["kept"] == 11 and figures["stopped"] is False
    assert [one["kept"] for one in figures["recordings"]] == [8, 3]
    assert figures["recordings"][0]["depth_topic"] == "/depth/image_rect_raw"  # before the lidar
    assert "train --finetune indoor_tiny --data" in capsys.readouterr().out


def test_it_makes_its_own_folder_anew_and_touches_no_other(tmp_path, capsys):
    bag = camera_recording(tmp_path / "a.mcap", 3, truth_m=2.0)
    out = tmp_path / "out"
    assert made(bag, out, "--all") == 0
    (out / "rgb" / "mine.jpg").write_text("kept")
    shorter = camera_recording(tmp_path / "b.mcap", 2, truth_m=3.0)
    assert made(shorter, out, "--all") == 0
    samples = open_dataset(out)
    assert samples.names == ["000000", "000001"] and samples[0].depth_m.max() == 3.0
    assert (out / "rgb" / "mine.jpg").read_text() == "kept"
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("years of work")
    assert made(bag, tmp_path / "thesis") == 2
    assert "thesis holds other things (thesis.txt)" in capsys.readouterr().err


def test_a_run_that_keeps_nothing_leaves_the_earlier_folder(tmp_path, capsys):
    out = tmp_path / "out"
    assert made(camera_recording(tmp_path / "a.mcap", 3, truth_m=2.0), out, "--all") == 0
    far = camera_recording(tmp_path / "far.mcap", 3, truth_m=9.0)
    assert made(far, out, "--max-depth", "3") == 2
    assert "nothing to train on" in capsys.readouterr().err
    assert open_dataset(out)[0].depth_m.max() == 2.0


def test_what_was_kept_before_an_error_can_be_used(tmp_path, capsys):
    good = camera_recording(tmp_path / "a.mcap", 3, truth_m=2.0)
    bad = Drive(2, with_mounts=False).write(tmp_path / "b.mcap")
    assert made(good, bad, tmp_path / "out", "--all") == 2
    assert "frame 'colour' is not on TF" in capsys.readouterr().err
    assert open_dataset(tmp_path / "out").names == ["a/000000", "a/000001", "a/000002"]


def test_motion_needs_no_depth_sensor_and_hands_on_the_terms_of_the_model(tmp_path, capsys):
    bag, report = corridor_recording(tmp_path / "drive.mcap"), tmp_path / "report.json"
    out = tmp_path / "out"
    assert made(bag, out, "--motion", "--engine", "openvino", "--json", report) == 0
    said = capsys.readouterr()
    assert "with depth by its motion in odom, 16 images" in said.err
    assert "depthrefl train --finetune indoor_tiny --data" in said.out
    samples = open_dataset(out)
    assert len(samples) == json.loads(report.read_text())["kept"] == 8
    for name in samples.names:
        sample, frame = samples[samples.names.index(name)], corridor_frames()[int(name)]
        known = sample.depth_m > 0
        assert known.mean() > 0.3
        off = np.abs(sample.depth_m[known] / frame.true_m[known] - 1.0)
        assert np.median(off) < 0.06
        assert samples.mounts[name].translation[2] == pytest.approx(0.5, abs=1e-3)
    [terms] = terms_of_folder(out)
    assert terms == terms_of_bundle(Bundle.load("indoor_tiny"))
    # A folder of the same name by a sensor has nothing of the model's.
    other = camera_recording(tmp_path / "desk.mcap", 3, truth_m=2.0)
    assert made(other, out, "--all") == 0
    assert terms_of_folder(out) == []


@pytest.mark.parametrize("read", [4, 20])
def test_a_stop_ends_motion_while_it_reads_and_while_it_writes(tmp_path, capsys, monkeypatch, read):
    bag, looks = corridor_recording(tmp_path / "drive.mcap"), []

    class Stopped(tool.StopRequest):
        def __bool__(self):
            looks.append(1)  # once for every image that is read, and for every one that is done
            return len(looks) > read

    monkeypatch.setattr(tool, "StopRequest", Stopped)
    assert made(bag, tmp_path / "out", "--motion", "--all", "--engine", "openvino") == 130
    kept = max(0, read - 16)
    said = capsys.readouterr()
    assert f"stopped after {kept} of 16 images" in said.err
    assert f"{kept} of 16 images kept; {16 - kept} not looked at" in said.out


def test_what_motion_cannot_use_is_told(tmp_path, capsys):
    bag = Drive(3).write(tmp_path / "drive.mcap")
    command = (bag, tmp_path / "out", "--motion")
    assert made(*command, "--registered", "--depth-topic", "/depth/image_rect_raw") == 2
    assert "takes no depth of a sensor: leave out --depth-topic, --reg" in capsys.readouterr().err
    assert made(bag, tmp_path / "out", "--model", "indoor_nano") == 2
    assert "--model has no effect without --motion" in capsys.readouterr().err
    assert made(*command, "--model", "no_such_model") == 2
    assert "no_such_model" in capsys.readouterr().err
    relative = exact_bundle(
        tmp_path / "relative", COLOUR, ("relative",), FINE, kind="inverse_relative",
        focal_px=None, calibration=None,
    )  # fmt: skip
    assert made(*command, "--model", relative) == 2
    assert "gives relative depth; --motion needs metres" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_told_and_what_was_kept_can_be_used(tmp_path, capsys, monkeypatch, number):
    bag, report = camera_recording(tmp_path / "a.mcap", 5, truth_m=2.0), tmp_path / "report.json"
    add = tool.DatasetFolder.add

    def add_and_stop(self, name, *rest):
        add(self, name, *rest)
        if name == "000001":
            os.kill(os.getpid(), number)

    monkeypatch.setattr(tool.DatasetFolder, "add", add_and_stop)
    assert made(bag, tmp_path / "out", "--all", "--json", report) == 130
    assert "stopped after 2 of 5 images" in capsys.readouterr().err
    assert open_dataset(tmp_path / "out").names == ["000000", "000001"]
    figures = json.loads(report.read_text())
    assert figures["stopped"] is True and figures["kept"] == 2


def test_far_depth_is_left_out_and_images_without_any_with_it(tmp_path, capsys):
    bag = camera_recording(tmp_path / "a.mcap", 3, truth_m=4.0)
    assert made(bag, tmp_path / "out", "--all", "--max-depth", "3.5") == 2
    assert "nothing to train on" in (said := capsys.readouterr().err)
    assert "0 of 3 images kept; 3 without depth in view" in said


def test_a_recording_of_several_that_gives_nothing_is_named(tmp_path, capsys):
    near = camera_recording(tmp_path / "near.mcap", 3, truth_m=2.0)
    far = camera_recording(tmp_path / "far.mcap", 3, truth_m=4.0)
    assert made(near, far, tmp_path / "out", "--all", "--max-depth", "3") == 0
    said = capsys.readouterr()
    assert f"warning: nothing is kept of {far}" in said.err and f"of {near}" not in said.err
    assert made(far, far, tmp_path / "none", "--all", "--max-depth", "3") == 2
    assert capsys.readouterr().err.count("0 of 3 images kept; 3 without depth in view") == 2


@pytest.mark.parametrize(
    "drive_of, arguments, complaint",
    [
        (Drive(2, with_depth=False), [], "neither depth images nor points; topics: /colour/"),
        (Drive(2, with_mounts=False), ["--all"], "frame 'colour' is not on TF, which has base_f"),
        (Drive(2), ["--depth-topic", "/nothing"], "no topic /nothing of depth images or points"),
        (Drive(2), ["--image-topic", "/nothing"], "no image topic /nothing"),
        (Drive(2), ["--fixed-frame", "earth"], "earth is not above colour on TF"),
        (Drive(2, with_lidar=True), ["--depth-topic", "/lidar/points", "--max-gap", "0.001"],
         "none of 2 images on /colour/image_raw is within 0.001 s of one of 2 stamps on /lidar"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_in_one_line(tmp_path, capsys, drive_of, arguments, complaint):
    bag = drive_of.write(tmp_path / "drive.mcap")
    assert made(bag, tmp_path / "out", *arguments) == 2
    [line] = [one for one in capsys.readouterr().err.splitlines() if "error: " in one]
    assert complaint in line and "drive.mcap" in line

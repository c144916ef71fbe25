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

"""A drive with a depth sensor: what of it is kept, and why the rest is not."""

import math

import pytest

pytest.importorskip("rclpy")

from drive_recording import Drive
from recording_files import image_message, info_message, truth_message, write_recording

from depthrefl_ros.tools.camera_info_file import Intrinsics
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.keyframes import KeyframeSettings
from depthrefl_ros.tools.recorded_drive import DriveSettings
from depthrefl_ros.tools.sensor_drive import SensorDrive


def test_what_is_left_out_is_counted_by_its_reason(tmp_path):
    bag = Drive(count=13).write(tmp_path / "drive.mcap")  # 25 mm and 0.86 degrees a frame
    keyframes = KeyframeSettings(travel_m=0.095, turn_rad=math.pi / 2)
    steps = []
    drive = SensorDrive(bag, DriveSettings(keyframes=keyframes))
    assert "13 pairs, thinned by TF, mounts from base_footprint" in drive.plan()
    names = [name for name, _, mount in drive.samples(steps.append) if mount]
    assert names == ["000000", "000004", "000008", "000012"] and len(steps) == len(drive) == 13
    figures = drive.figures()
    assert (figures["kept"], figures["left_out"]) == (4, {"alike": 9})
    assert "4 of 13 images kept; 9 alike" in drive.told()


def test_every_frame_is_kept_where_nothing_is_thinned(tmp_path):
    bag = Drive(count=3).write(tmp_path / "drive.mcap")
    drive = SensorDrive(bag, DriveSettings(keyframes=None, max_depth_m=3.0))
    assert "thinned not at all" in drive.plan()
    samples = [sample for _, sample, _ in drive.samples(lambda done: None)]
    assert len(samples) == 3 and max(one.depth_m.max() for one in samples) <= 3.0


def standing(path, pictures=None, truths=None, infos=None):
    """Return a recording of six images of one picture, with depth of two metres."""
    pictures = pictures or [image_message(0) for _ in range(6)]
    truths = truths or [truth_message(n, 2.0) for n in range(6)]
    infos = infos or [info_message(n) for n in range(6)]
    for number, message in enumerate(pictures):
        message.header = infos[number].header
    topics = {
        "/camera/camera_info": infos,
        "/camera/image_raw": pictures,
        "/camera/depth_truth/compressed": truths,
    }
    return write_recording(path, topics)


def test_an_image_without_depth_makes_no_other_look_alike(tmp_path):
    truths = [truth_message(n, 2.0 if n else 0.0) for n in range(6)]
    drive = SensorDrive(standing(tmp_path / "a.mcap", truths=truths), DriveSettings())
    assert [name for name, _, _ in drive.samples(lambda done: None)] == ["000001"]
    assert drive.figures()["left_out"] == {"without depth in view": 1, "alike": 4}


def test_a_pose_without_depth_makes_no_other_look_alike(tmp_path):
    bag = Drive(count=5).write(tmp_path / "drive.mcap")
    drive = SensorDrive(bag, DriveSettings(keyframes=KeyframeSettings(100.0, 3.0)))
    taken, sample_of = [], drive._depth.sample

    def without_the_first(message, colour):
        taken.append(colour.name)
        sample = sample_of(message, colour)
        if len(taken) == 1:
            sample.depth_m[:] = 0
        return sample

    drive._depth.sample = without_the_first
    assert [name for name, _, _ in drive.samples(lambda done: None)] == ["000001"]
    assert taken == ["0", "1"]


def test_a_zoom_lens_is_followed_with_its_depth(tmp_path):
    infos = [info_message(n) for n in range(6)]
    for number, info in enumerate(infos):
        info.k[0] = info.k[4] = info.p[0] = info.p[5] = 60.0 + 20 * number
    bag = standing(tmp_path / "a.mcap", infos=infos)
    drive = SensorDrive(bag, DriveSettings(keyframes=None))
    for number, (_, sample, _) in enumerate(drive.samples(lambda done: None)):
        assert sample.intrinsics[0] == 60.0 + 20 * number
        assert (sample.depth_m[0] == 0).all() and (sample.depth_m[1:] == 2.0).all()
    assert drive.figures()["kept"] == 6


def not_calibrated(numbers):
    infos = [info_message(n) for n in range(6)]
    for number in numbers:
        infos[number].k, infos[number].p = [0.0] * 9, [0.0] * 12
    return infos


def test_images_before_the_calibration_has_loaded_are_left_out(tmp_path, capsys):
    bag = standing(tmp_path / "a.mcap", infos=not_calibrated([0, 1]))
    drive = SensorDrive(bag, DriveSettings(keyframes=None))
    names = [name for name, _, _ in drive.samples(lambda done: None)]
    assert names == ["000002", "000003", "000004", "000005"]
    assert drive.figures()["left_out"] == {"unreadable": 2}
    assert f"skipped: {bag}: frame 1: /camera/image_raw: K of its" in capsys.readouterr().err


def test_a_camera_that_is_not_calibrated_is_told_before_the_work(tmp_path):
    bag = standing(tmp_path / "a.mcap", infos=not_calibrated(range(6)))
    with pytest.raises(ToolError, match="all zero.*; give --camera-info FILE or --hfov DEGREES$"):
        SensorDrive(bag, DriveSettings())
    given = DriveSettings(Intrinsics(horizontal_fov_deg=60.0), keyframes=None)
    samples = [sample for _, sample, _ in SensorDrive(bag, given).samples(lambda done: None)]
    assert len(samples) == 6 and (samples[0].depth_m[1:] == 2.0).all()


def test_a_depth_camera_without_calibration_is_told_with_what_helps(tmp_path):
    topics = {
        "/camera/camera_info": [info_message(n) for n in range(6)],
        "/camera/image_raw": [image_message(n) for n in range(6)],
        "/depth/camera_info": not_calibrated(range(6)),
        "/depth/image": [truth_message(n, 2.0) for n in range(6)],
    }
    bag = write_recording(tmp_path / "a.mcap", topics)
    drive = SensorDrive(bag, DriveSettings(keyframes=None))
    with pytest.raises(ToolError, match="/depth/image: K of its .*; give --registered where"):
        list(drive.samples(lambda done: None))
    topics["/depth/camera_info"] = not_calibrated([0])
    bag = write_recording(tmp_path / "b.mcap", topics)
    drive = SensorDrive(bag, DriveSettings(keyframes=None))
    assert len(list(drive.samples(lambda done: None))) == 5


@pytest.mark.parametrize("what", ["depth", "empty depth", "image", "camera info"])
def test_one_bad_message_is_named_and_left_out(tmp_path, capsys, what):
    truths = [truth_message(n, 2.0) for n in range(6)]
    pictures, infos = [image_message(n) for n in range(6)], [info_message(n) for n in range(6)]
    if what == "image":
        pictures[3].data = pictures[3].data[:100]
    elif what == "camera info":
        infos[3].k, infos[3].p = [0.0] * 9, [0.0] * 12
    else:
        truths[3].data = truths[3].data[:40] if what == "depth" else b""
    bag = standing(tmp_path / "a.mcap", pictures, truths, infos)
    drive = SensorDrive(bag, DriveSettings(keyframes=None))
    names = [name for name, _, _ in drive.samples(lambda done: None)]
    assert names == ["000000", "000001", "000002", "000004", "000005"]
    assert drive.figures()["left_out"] == {"unreadable": 1}
    assert "1 unreadable" in drive.told()
    assert f"skipped: {bag}: frame 3: " in capsys.readouterr().err

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

"""A recorded drive: what of it is kept, and why the rest is not."""

import math

import pytest

pytest.importorskip("rclpy")

from drive_recording import Drive

from depthrefl_ros.tools.keyframes import KeyframeSettings
from depthrefl_ros.tools.recorded_drive import DriveSettings, RecordedDrive


def test_what_is_left_out_is_counted_by_its_reason(tmp_path):
    bag = Drive(count=13).write(tmp_path / "drive.mcap")  # 25 mm and 0.86 degrees a frame
    keyframes = KeyframeSettings(travel_m=0.095, turn_rad=math.pi / 2)
    steps = []
    drive = RecordedDrive(bag, DriveSettings(keyframes=keyframes))
    assert "13 pairs, thinned by TF, mounts from base_footprint" in drive.plan()
    names = [name for name, _, mount in drive.samples(lambda: steps.append(1)) if mount]
    assert names == ["000000", "000004", "000008", "000012"] and len(steps) == len(drive) == 13
    figures = drive.figures()
    assert (figures["kept"], figures["left_out"]) == (4, {"alike": 9})
    assert "4 of 13 images kept; 9 alike" in drive.told()


def test_every_frame_is_kept_where_nothing_is_thinned(tmp_path):
    bag = Drive(count=3).write(tmp_path / "drive.mcap")
    drive = RecordedDrive(bag, DriveSettings(keyframes=None, max_depth_m=3.0))
    assert "thinned not at all" in drive.plan()
    samples = [sample for _, sample, _ in drive.samples(lambda: None)]
    assert len(samples) == 3 and max(one.depth_m.max() for one in samples) <= 3.0

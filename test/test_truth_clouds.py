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

"""True depth through the gates and clouds: what is marked, what is cleared, what is published."""

from __future__ import annotations

import math
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
from box_scene import true_depth
from conftest import ROOT, RunningProcess
from sensor_msgs.msg import PointCloud2

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.gates import GateSettings
from depthrefl_ros.geometry.pose import Pose, mount_rotation
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.truth_clouds import FIELDS, TruthClouds, main, quaternion

CORRIDOR = ROOT / "test" / "data" / "corridor.mcap"
CAMERA = Camera.from_horizontal_fov(640, 480, math.radians(70))
MOUNT = Pose.from_mount(0.5, math.radians(5))
GATES = GateSettings(min_range_m=0.4, max_range_m=10.0)
BOX = ((2.0, -0.4, 0.0), (2.5, 0.4, 0.5))
WALL = ((5.0, -8.0, 0.0), (5.1, 8.0, 3.0))


def clouds(*boxes, gates=GATES):
    """Return marking and clearing of a scene in the base frame, (n, 3) metres each."""
    builder = TruthClouds(CAMERA, (256, 192), gates, MOUNT)
    points = builder.build(true_depth(CAMERA, MOUNT, boxes))
    return MOUNT.apply(points.marking[:, :3]), MOUNT.apply(points.clearing[:, :3])


def ahead(points: np.ndarray) -> np.ndarray:
    """Return the points in the box's own strip, away from its edges."""
    return points[np.abs(points[:, 1]) < 0.3]


def test_a_box_is_marked_where_it_stands_and_the_floor_before_it_is_cleared():
    marking, clearing = clouds(BOX, WALL)
    face = ahead(marking)[:, 0].min()
    assert abs(face - 2.0) < 0.05
    assert ((marking[:, 2] > 0.05) & (marking[:, 2] < 1.85)).all()
    floor = ahead(clearing)
    floor = floor[floor[:, 2] < 0.05]
    assert len(floor) > 10 and floor[:, 0].min() < 1.2
    assert ahead(clearing)[:, 0].max() < 2.0 + 0.05  # no ray that passes over the box


def test_without_the_box_the_rays_clear_where_it_stood():
    marking, clearing = clouds(WALL)
    assert ahead(marking)[:, 0].min() > 4.9
    assert ahead(clearing)[:, 0].max() > 4.5


def test_a_wall_beyond_the_validated_range_is_not_marked():
    far = ((11.0, -20.0, 0.0), (11.1, 20.0, 3.0))
    marking, _ = clouds(far)
    assert len(marking) == 0
    near, _ = clouds(((9.0, -20.0, 0.0), (9.1, 20.0, 3.0)))
    assert len(near) > 100


def test_unknown_truth_marks_and_clears_nothing():
    builder = TruthClouds(CAMERA, (256, 192), GATES, MOUNT)
    for nothing in (np.nan, 0.0):
        points = builder.build(np.full((480, 640), nothing, np.float32))
        assert len(points.marking) == len(points.clearing) == 0


def test_another_aspect_is_padded_and_the_padding_says_nothing():
    wide = Camera.from_horizontal_fov(640, 360, math.radians(70))
    builder = TruthClouds(wide, (256, 192), GATES, MOUNT)
    points = builder.build(true_depth(wide, MOUNT, [BOX, WALL]))
    marking = MOUNT.apply(points.marking[:, :3])
    assert abs(ahead(marking)[:, 0].min() - 2.0) < 0.05
    above = points.marking[:, 1] / points.marking[:, 2]
    assert above.min() > -(wide.cy + 1.0) / wide.fy


def test_a_distorted_camera_is_refused():
    bent = Camera(
        width=640, height=480, K=CAMERA.K, D=np.array([0.1, 0.0, 0.0, 0.0, 0.0]), R=np.eye(3),
        P=CAMERA.P, distortion_model="plumb_bob",
    )  # fmt: skip
    with pytest.raises(ToolError, match="distortion is .*0.1"):
        TruthClouds(bent, (256, 192), GATES, MOUNT)


@pytest.mark.parametrize("angles", [(0, 0), (0.3, -0.2), (math.pi / 2, 0.1), (math.pi, 0)])
def test_the_quaternion_turns_as_the_matrix_does(angles):
    rotation = mount_rotation(*angles)
    back = Pose.from_quaternion(*quaternion(rotation))
    np.testing.assert_allclose(back.rotation, rotation, atol=1e-9)


def test_a_recording_comes_out_as_both_clouds(peer, tmp_path):
    marking = peer.collect(PointCloud2, "points/marking")
    clearing = peer.collect(PointCloud2, "points/clearing")
    running = RunningProcess(
        tmp_path / "log.txt",
        "depthrefl_ros.tools.truth_clouds",
        *(str(CORRIDOR), "--camera-height", "0.5", "--camera-pitch", "4", "--loop"),
    )
    try:
        assert peer.spin_until(lambda: len(marking) > 3 and len(clearing) > 3, 30), running.output()
    finally:
        code = running.stop()
    assert code == 0, running.output()
    assert re.search(r"truth_clouds: \d+ frames, \d+ marking, \d+ clearing", running.output())
    message = marking[-1]
    assert message.header.frame_id == "camera_optical_frame"
    assert message.header.stamp.sec > 0
    assert tuple(field.name for field in message.fields) == FIELDS
    assert 100 < message.width and message.width * message.point_step <= 192 * 1024
    assert len(message.data) == message.width * message.point_step
    # Both clouds of a frame have its stamp; the newest of one may have come before the other's.
    stamps = [
        {(one.header.stamp.sec, one.header.stamp.nanosec) for one in clouds}
        for clouds in (marking, clearing)
    ]
    assert len(stamps[0] & stamps[1]) >= 3


@pytest.mark.parametrize("angle", ["--camera-pitch=nan", "--camera-roll=inf"])
def test_angles_that_no_camera_has_are_refused(capsys, angle):
    with pytest.raises(SystemExit) as ended:
        main([str(CORRIDOR), "--camera-height", "0.5", angle])
    assert ended.value.code == 2 and "degrees" in capsys.readouterr().err


def test_a_source_without_truth_is_refused(tmp_path, capsys):
    (tmp_path / "rgb").mkdir()
    cv2.imwrite(str(tmp_path / "rgb" / "0.png"), np.zeros((48, 64, 3), np.uint8))
    assert main([str(tmp_path), "--camera-height", "0.5"]) == 2
    assert "no true depth" in capsys.readouterr().err


def test_truth_of_no_image_ends_the_tool(tmp_path):
    for name in ("rgb", "depth"):
        (tmp_path / name).mkdir()
    cv2.imwrite(str(tmp_path / "rgb" / "0.png"), np.zeros((48, 64, 3), np.uint8))
    camera = "camera: {width: 64, height: 48, fx: 50, fy: 50, cx: 31.5, cy: 23.5}\n"
    (tmp_path / "intrinsics.yaml").write_text(camera)
    command = [sys.executable, "-m", "depthrefl_ros.tools.truth_clouds", str(tmp_path)]
    ended = subprocess.run(
        [*command, "--camera-height", "0.5"], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2
    assert "none of its images has a true depth" in ended.stderr

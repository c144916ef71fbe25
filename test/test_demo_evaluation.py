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

"""A demo's recording against the truth: its depth, and its marks."""

import numpy as np
import pytest

pytest.importorskip("rclpy")

from recording_files import (
    FIRST_NS,
    HEIGHT,
    WIDTH,
    header_at,
    info_message,
    write_recording,
)
from sensor_msgs.msg import PointCloud2, PointField

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose, mount_rotation
from depthrefl_ros.ros.convert.camera_info import camera_to_info
from depthrefl_ros.tools.demo_evaluation import (
    DEPTH_INFO,
    INFO,
    MARKING,
    as_seen_in,
    evaluate,
    judge_marks,
)
from depthrefl_ros.tools.recordings import Recording
from depthrefl_ros.tools.truth import Truth


def test_without_truth_nothing_is_compared(tmp_path):
    evaluation = evaluate(tmp_path / "never_read.mcap", [], None)
    assert evaluation.frames == {}
    assert evaluation.note == "the source has no true depth"


def test_truth_is_compared_as_the_depths_camera_sees_it(tmp_path):
    """Depth of the network's size has padding above and below, and another focal length."""
    half = Camera.pinhole(WIDTH // 2, HEIGHT // 2 + 8, 30.0, 30.5, 15.5, 15.5)
    topics = {INFO: [info_message(0)], DEPTH_INFO: [camera_to_info(half, info_message(0).header)]}
    truth = np.tile(np.arange(HEIGHT, dtype=np.float32)[:, None], (1, WIDTH))
    with Recording(write_recording(tmp_path / "a.mcap", topics)) as recording:
        assert as_seen_in(truth, truth.shape, recording) is truth
        seen = as_seen_in(truth, (HEIGHT // 2 + 8, WIDTH // 2), recording)
    assert seen.shape == (HEIGHT // 2 + 8, WIDTH // 2)
    rows = (np.arange(HEIGHT // 2 + 8) - 15.5) * 61.0 / 30.5 + 23.5
    np.testing.assert_allclose(seen[:, 5], np.clip(rows, 0, HEIGHT - 1), atol=0.51)


def test_marks_are_judged_by_the_first_cloud_of_a_stamp(tmp_path):
    """The camera stands on the floor and looks ahead: z is forward, y down."""
    fields = [PointField(name=n, offset=4 * i, datatype=7, count=1) for i, n in enumerate("xyz")]
    clouds = []
    for points in ([(0.0, -0.5, 2.0), (1.0, -0.5, 4.0)], []):
        cloud = PointCloud2(header=header_at(0), height=1, width=len(points), fields=fields)
        cloud.point_step, cloud.row_step = 12, 12 * len(points)
        cloud.data = np.array(points, np.float32).tobytes()
        clouds.append(cloud)
    path = write_recording(tmp_path / "a.mcap", {MARKING: clouds, INFO: [info_message(0)]})

    class Wall(Truth):
        def depth_m(self, frame):
            return np.full((HEIGHT, WIDTH), 2.0, np.float32)

    published = [{"stamp_ns": FIRST_NS}]
    mount = Pose(mount_rotation(0.0, 0.0), np.zeros(3))
    assert judge_marks(path, published, Wall(), mount) == {
        "marks_per_frame": 2.0,
        "marks_wrong": 0.5,
    }
    assert judge_marks(path, published, None, mount) == {
        "marks_per_frame": 2.0,
        "marks_wrong": None,
    }
    assert set(judge_marks(path, published, Wall(), None).values()) == {None}

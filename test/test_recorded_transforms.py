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

"""TF of a recording, without tf2: in between, across time, and what is missing."""

import numpy as np
import pytest
from drive_recording import (
    BASE_FROM_COLOUR,
    BASE_FROM_LIDAR,
    Drive,
    odometry,
    tf_message,
)
from recording_files import FIRST_NS, PERIOD_NS

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.tools.recorded_transforms import RecordedTransforms, TransformMissingError
from depthrefl_ros.tools.recording_writer import RecordingWriter
from depthrefl_ros.tools.recordings import Recording


@pytest.fixture(scope="module")
def transforms(tmp_path_factory):
    path = Drive(count=5).write(tmp_path_factory.mktemp("tf") / "drive.mcap")
    with Recording(path) as recording:
        return RecordedTransforms(recording)


def same(found: Pose, expected: Pose, atol: float = 1e-6) -> bool:
    return np.allclose(found.rotation, expected.rotation, atol=atol) and np.allclose(
        found.translation, expected.translation, atol=atol
    )


def test_fixed_and_moving_frames_are_found_in_between(transforms):
    now = FIRST_NS + round(1.3 * PERIOD_NS)
    assert same(transforms.find("base_footprint", "colour", now), BASE_FROM_COLOUR)
    expected = BASE_FROM_COLOUR.inverse() @ BASE_FROM_LIDAR
    assert same(transforms.find("/colour", "lidar", now), expected)
    moved = odometry(1.3 * PERIOD_NS / 1e9)
    assert same(transforms.find("odom", "base_footprint", now), moved, atol=1e-4)
    assert same(transforms.find("colour", "odom", now), (moved @ BASE_FROM_COLOUR).inverse(), 1e-4)
    assert transforms.moves("odom", "colour") and not transforms.moves("base_footprint", "colour")


def test_two_frames_at_two_times(transforms):
    first, second = FIRST_NS, FIRST_NS + 3 * PERIOD_NS
    found = transforms.across("colour", first, "lidar", second, "odom")
    there = odometry(3 * PERIOD_NS / 1e9) @ BASE_FROM_LIDAR
    assert same(found, BASE_FROM_COLOUR.inverse() @ there)
    blind = transforms.across("colour", first, "lidar", second, None)
    assert same(blind, BASE_FROM_COLOUR.inverse() @ BASE_FROM_LIDAR)


def test_what_is_missing_is_told(transforms):
    with pytest.raises(
        TransformMissingError, match="'rear' is not on TF, which has base_"
    ) as error:
        transforms.find("rear", "colour", FIRST_NS)
    assert not error.value.is_of_time
    with pytest.raises(TransformMissingError, match="only 9.7. s apart") as error:
        transforms.find("odom", "colour", FIRST_NS + 10**10)
    assert error.value.is_of_time


def write(path, messages):
    writer = RecordingWriter(path)
    for topic in ("/tf", "/tf_static"):
        writer.add_topic(topic, "tf2_msgs/msg/TFMessage")
    for topic, *transform in messages:
        writer.write(topic, transform[-1], tf_message(*transform))
    writer.close()
    with Recording(path) as recording:
        return RecordedTransforms(recording)


def test_frames_with_a_robots_prefix_and_trees_apart(tmp_path):
    one = Pose.from_mount(1.0)
    found = write(
        tmp_path / "a.mcap",
        [
            ("/tf", "r1/odom", "r1/base_footprint", one, 1),
            ("/tf_static", "/r1/base_footprint", "/r1/cam", one, 1),
            ("/tf_static", "other", "alone", one, 1),
        ],
    )
    assert found.above("r1/cam") == ["r1/cam", "r1/base_footprint", "r1/odom"]
    assert found.called("base_footprint", "r1/cam") == "r1/base_footprint"
    assert found.called("odom", "alone") is None
    with pytest.raises(TransformMissingError, match="hangs on 'other', the other on 'r1/odom'"):
        found.find("alone", "r1/cam", 1)


def test_a_half_turn_is_taken_the_short_way(tmp_path):
    def turned(degrees):
        angle = np.radians(degrees)
        return Pose(
            [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]],
            np.zeros(3),
        )

    found = write(
        tmp_path / "a.mcap",
        [("/tf", "odom", "base", turned(175), 0), ("/tf", "odom", "base", turned(-175), 10**8)],
    )
    assert same(found.find("odom", "base", 5 * 10**7), turned(180))

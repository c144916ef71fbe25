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

"""What else is known of distances: ranger and points, on real messages."""

import math

import numpy as np
import pytest
from robot_bench import FOOTPRINT, FRAME, NOW_S, Bench, header, imu_message
from sensor_msgs.msg import Range
from transform_buffer import transform

from depthrefl_ros.geometry.correction import CorrectionSettings
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.ros import robot as module
from depthrefl_ros.ros.convert.clouds import cloud_message
from depthrefl_ros.ros.sensors import needed_sensors, seconds_of

WALL_M = 2.0


@pytest.fixture
def bench(peer):
    bench = Bench(peer.node)
    yield bench
    bench.robot.close()


def range_message(metres=WALL_M, frame_id=FRAME, seconds: float = NOW_S) -> Range:
    message = Range(header=header(seconds, frame_id))
    message.min_range, message.max_range, message.field_of_view = 0.1, 5.0, 0.2
    message.range = metres
    return message


def cloud(points, frame_id=FRAME, seconds: float = NOW_S, fields=("x", "y", "z")):
    message = cloud_message(np.asarray(points, np.float32), fields)
    message.header = header(seconds, frame_id)
    return message


def test_each_reading_of_a_ranger_is_taken_once(bench):
    bench.robot.take("range", range_message())
    found = bench.at(scale_correction="range")
    assert found.reading.range_m == WALL_M
    assert found.reading.min_range_m == pytest.approx(0.1)
    assert found.reading.max_range_m == pytest.approx(5.0)
    assert found.reading.field_of_view_rad == pytest.approx(0.2)
    assert found.camera_from_ranger == Pose.identity()
    assert bench.at(scale_correction="range").reading is None
    bench.robot.take("range", range_message(1.5))
    assert bench.at(scale_correction="auto").reading.range_m == 1.5
    assert not found.problems


def test_a_ranger_in_the_robots_frame_is_placed_by_the_mount(bench):
    bench.robot.take("range", range_message(frame_id=FOOTPRINT))
    found = bench.at(scale_correction="range", camera_height=0.4)
    ahead = found.camera_from_ranger.apply(np.array([WALL_M, 0.0, 0.0]))
    assert ahead == pytest.approx([0.0, 0.4, WALL_M])


@pytest.mark.parametrize("metres", [math.inf, -math.inf, math.nan, 9.0])
def test_a_reading_that_is_no_distance_is_handed_on(bench, metres):
    bench.robot.take("range", range_message(metres))
    found = bench.at(scale_correction="range").reading
    assert not found.is_distance and str(found.range_m) == str(metres)


def test_points_are_brought_into_the_cameras_frame(bench):
    points = np.random.default_rng(2).uniform(-1.0, 1.0, (20, 3))
    bench.robot.take("reference_points", cloud(points))
    found = bench.at(scale_correction="reference_points")
    np.testing.assert_allclose(found.points, points, atol=1e-6)
    bench.known["lidar", FRAME] = transform((0.0, 0.0, 0.5))
    bench.robot.take("reference_points", cloud(points, "lidar"))
    for height_m in (0.5, 0.7):  # the same message, and where it is seen from changes
        bench.known["lidar", FRAME] = transform((0.0, 0.0, height_m))
        found = bench.at(scale_correction="auto")
        np.testing.assert_allclose(found.points, points - [0, 0, height_m], atol=1e-6)
    assert not found.problems


def test_the_cloud_nearest_in_time_is_taken(bench):
    for seconds, metres in ((-0.2, 1.0), (0.0, 2.0), (0.1, 3.0), (0.25, 4.0)):
        bench.robot.take("reference_points", cloud([[0, 0, metres]], seconds=NOW_S + seconds))
    for ahead_s, metres in ((0.0, 2.0), (0.12, 3.0), (-0.19, 1.0), (0.4, 4.0)):
        found = bench.at(NOW_S + ahead_s, scale_correction="reference_points")
        assert found.points[:, 2] == pytest.approx([metres])
        assert not found.problems


def test_beside_an_image_without_a_stamp_sensors_are_of_now(bench):
    now_s = seconds_of(bench.robot.moment(header(0)))
    for seconds, message in ((now_s - 900, 1.0), (now_s, WALL_M), (now_s - 800, 1.0)):
        bench.robot.take("reference_points", cloud([(0, 0, message)], seconds=seconds))
    found = bench.at(0, scale_correction="reference_points")
    assert not found.problems
    assert found.points[0] == pytest.approx([0.0, 0.0, WALL_M])
    bench.robot.take("range", range_message(seconds=now_s - 900))
    found = bench.at(0, scale_correction="range")
    assert found.reading is None and "range is 900" in found.problems["range"]


def test_points_in_the_robots_frame_are_placed_by_the_mount(bench):
    bench.robot.take("reference_points", cloud([[WALL_M, 0.3, 0.5]], FOOTPRINT))
    found = bench.at(scale_correction="reference_points", camera_height=0.5)
    np.testing.assert_allclose(found.points, [[-0.3, 0.0, WALL_M]], atol=1e-6)


@pytest.mark.parametrize(
    "topic, broken",
    [("range", "RangeReading"), ("reference_points", "Sensors"), ("imu", "up_from_acceleration")],
)
def test_whatever_a_bad_message_raises_costs_that_sensor_alone(bench, monkeypatch, topic, broken):
    def fail(*_arguments):
        raise MemoryError("Unable to allocate 24.0 GiB")

    place = (module.Sensors, "points_of") if broken == "Sensors" else (module, broken)
    monkeypatch.setattr(*place, fail)
    messages = {
        "range": range_message(),
        "reference_points": cloud([[0, 0, 2]]),
        "imu": imu_message((0.0, -9.81, 0.0)),
    }
    for name, message in messages.items():
        bench.robot.take(name, message)
    found = bench.at(scale_correction="auto", camera_roll=5.0)
    said = f"{topic} cannot be used: MemoryError: Unable to allocate 24.0 GiB"
    assert found.problems == {topic: said}
    assert (found.reading is None) == (topic == "range")
    assert (found.points is None) == (topic == "reference_points")
    assert (abs(found.up[0]) > 0.01) == (topic == "imu")  # the parameters' roll stands in


@pytest.mark.parametrize("sensor", ["imu", "range", "reference_points"])
def test_a_sensor_that_is_no_longer_listened_to_is_forgotten(bench, sensor):
    anchor = "ground" if sensor == "imu" else sensor
    for name, message in (
        ("range", range_message()),
        ("reference_points", cloud([[0, 0, 2]])),
        ("imu", imu_message((9.81, 0.0, 0.0))),
    ):
        bench.robot.take(name, message)

    def used():
        found = bench.at(scale_correction="auto")
        points, turned = found.points is not None, abs(found.up[0]) > 0.5
        return {"imu": turned, "range": found.reading is not None, "reference_points": points}

    bench.robot.follow_anchors((anchor,))
    assert used() == {name: name == sensor for name in ("imu", "range", "reference_points")}
    bench.robot.follow_anchors(())
    assert not any(used().values())


def test_an_imu_that_nobody_needs_any_more_is_no_matter(bench):
    bench.robot.take("imu", imu_message((9.81, 0.0, 0.0), seconds=NOW_S - 29))
    assert "imu is 29.0 s older" in bench.at(scale_correction="ground").problems["imu"]
    for scale_correction in ("none", "range"):
        found = bench.at(scale_correction=scale_correction)
        assert not found.problems and found.up == pytest.approx([0, -1, 0])


@pytest.mark.parametrize("topic", ["range", "reference_points"])
def test_an_unknown_frame_is_told(bench, topic):
    message = range_message(frame_id="mast") if topic == "range" else cloud([[0, 0, 2]], "mast")
    bench.robot.take(topic, message)
    found = bench.at(scale_correction=topic)
    assert found.reading is None and found.points is None
    assert f"{topic} cannot measure the scale: no transform" in found.problems[topic]
    assert "'mast'" in found.problems[topic]


def test_a_cloud_without_z_is_told(bench):
    bench.robot.take("reference_points", cloud(np.zeros((3, 2)), fields=("x", "y")))
    found = bench.at(scale_correction="reference_points")
    assert found.points is None
    assert "reference_points: field 'z' is missing" in found.problems["reference_points"]


@pytest.mark.parametrize(
    "seconds, complaint",
    [
        (NOW_S + 0.29, ""),
        (NOW_S - 0.29, ""),
        (NOW_S - 3.0, "is 3.0 s older than the image: not used"),
        (NOW_S + 0.4, "is 0.4 s newer than the image: not used"),
    ],
)
@pytest.mark.parametrize("topic", ["range", "reference_points"])
def test_what_tells_of_another_moment_is_not_used(bench, topic, seconds, complaint):
    if topic == "range":
        bench.robot.take(topic, range_message(seconds=seconds))
    else:
        bench.robot.take(topic, cloud([[0, 0, 2]], seconds=seconds))
    found = bench.at(scale_correction=topic)
    used = found.reading if topic == "range" else found.points
    assert (used is None) == bool(complaint)
    assert found.problems == ({topic: f"{topic} {complaint}"} if complaint else {})


@pytest.mark.parametrize(
    "scale_correction, topics",
    [
        ("none", set()),
        ("ground", {"imu"}),
        ("range", {"range"}),
        ("reference_points", {"reference_points"}),
        ("reference_depth", {"reference_depth"}),
        ("auto", {"imu", "range", "reference_points", "reference_depth"}),
    ],
)
def test_only_what_the_scale_correction_needs_is_looked_at(bench, scale_correction, topics):
    how = CorrectionSettings(scale_correction=scale_correction)
    assert needed_sensors(how.anchors) == topics
    bench.robot.take("range", range_message())
    bench.robot.take("reference_points", cloud([[0, 0, 2]]))
    found = bench.at(scale_correction=scale_correction)
    assert (found.reading is not None) == ("range" in topics)
    assert (found.points is not None) == ("reference_points" in topics)


def test_after_a_jump_of_the_clock_the_sensors_are_forgotten(bench):
    bench.robot.take("range", range_message())
    bench.robot.take("reference_points", cloud([[0, 0, 2]]))
    bench.robot.take("imu", imu_message((9.81, 0.0, 0.0)))
    bench.robot.forget()
    found = bench.at(scale_correction="auto")
    assert (found.reading, found.points) == (None, None)
    assert found.up == pytest.approx([0, -1, 0])
    assert bench.buffer.was_cleared

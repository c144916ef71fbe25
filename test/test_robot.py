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

"""One look at the robot: TF, mount parameters, IMU, ranger and points, on real messages."""

import math
import re
import time
from array import array

import numpy as np
import pytest
from builtin_interfaces.msg import Time as Stamp
from sensor_msgs.msg import Image, Imu, Range
from std_msgs.msg import Header, String
from transform_buffer import TransformBuffer, transform

from depthrefl_ros.geometry.correction import CorrectionSettings
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.ros.convert.clouds import cloud_message
from depthrefl_ros.ros.convert.images import MessageError
from depthrefl_ros.ros.parameters import Parameters
from depthrefl_ros.ros.robot import Robot, needed_sensors
from depthrefl_ros.settings import changed

FRAME, FOOTPRINT, BODY = "camera_optical_frame", "base_footprint", "base_link"
NOW_S = 50
WALL_M = 2.0


def at_time(seconds: float) -> Stamp:
    return Stamp(sec=int(seconds), nanosec=round(1e9 * (seconds % 1)))


def header(seconds: float = NOW_S, frame_id: str = FRAME) -> Header:
    return Header(stamp=at_time(seconds), frame_id=frame_id)


class Bench:
    """A robot and what its TF knows: by (target, source) frame."""

    def __init__(self, node):
        self.known: dict = {}
        self.buffer = TransformBuffer(self.known)
        self.robot = Robot(node, self.buffer.open)

    def at(self, seconds: float = NOW_S, **changes):
        parameters = changed(Parameters(), changes)
        return self.robot.at(header(seconds), float(seconds), parameters)


@pytest.fixture
def bench(peer):
    bench = Bench(peer.node)
    yield bench
    bench.robot.close()


# Where the camera stands.


def test_tf_comes_before_the_mount_parameters(bench):
    bench.known[FOOTPRINT, FRAME] = transform((0.1, 0.0, 0.5), (-0.5, 0.5, -0.5, 0.5))
    found = bench.at(camera_height=0.9)
    assert (found.pose_source, found.pose_problem, found.problems) == ("TF", "", {})
    assert found.base_from_camera.translation == pytest.approx([0.1, 0.0, 0.5])
    assert found.up == pytest.approx([0, -1, 0])
    assert (found.base_frame, found.time_s) == (FOOTPRINT, NOW_S)


def test_once_tf_has_answered_nothing_stands_in_for_it(bench):
    bench.known[FOOTPRINT, FRAME] = transform((0.0, 0.0, 0.5))
    how = {"camera_height": 0.9, "transform_timeout": 0.05}
    assert bench.at(**how).pose_source == "TF"
    bench.buffer.last_s = NOW_S - 1.0  # the frame is from the future now
    found = bench.at(**how)
    assert (found.base_from_camera, found.pose_source) == (None, "")
    assert "extrapolation into the future" in found.pose_problem
    assert not found.may_fit_floor and not found.awaits_transforms
    bench.known.clear()  # nor where TF has forgotten it
    found = bench.at(**how)
    assert found.base_from_camera is None and not found.may_fit_floor
    bench.robot.forget()  # nor after a jump of the clock
    assert bench.at(**how).base_from_camera is None


def test_the_mount_parameters_stand_in_where_tf_has_never_answered(bench):
    found = bench.at(camera_height=0.9, camera_pitch=10.0)
    assert found.pose_source == "parameters"
    assert found.base_from_camera == Pose.from_mount(0.9, math.radians(10.0), 0.0)
    assert found.up == pytest.approx(found.base_from_camera.up_in_source)
    nothing = bench.at(camera_pitch=10.0)
    assert (nothing.base_from_camera, nothing.pose_source) == (None, "")
    assert nothing.pose_problem.startswith(f"no transform from {FRAME!r} to {FOOTPRINT!r}: ")
    assert nothing.pose_problem.endswith("; camera_height is not given either")
    assert nothing.may_fit_floor and not nothing.awaits_transforms
    assert nothing.up == pytest.approx(found.up)


def test_the_mount_parameters_are_degrees_down_and_clockwise(bench):
    down = bench.at(camera_height=1.0, camera_pitch=90.0).base_from_camera
    assert down.apply(np.array([0.0, 0.0, 1.0])) == pytest.approx([0, 0, 0])
    over = bench.at(camera_height=1.0, camera_roll=180.0).base_from_camera
    assert over.up_in_source == pytest.approx([0, 1, 0])


def test_while_tf_is_only_beginning_to_arrive_nothing_stands_in_for_it(peer, bench):
    peer.node.create_publisher(String, "/tf_static", 1)
    assert peer.spin_until(lambda: peer.node.count_publishers("/tf_static"))
    bench.robot._listens_since_s = time.monotonic()
    found = bench.at(camera_height=0.9)
    assert found.base_from_camera is None and not found.may_fit_floor
    assert found.awaits_transforms and "TF is only beginning to arrive" in found.pose_problem
    bench.robot._listens_since_s -= 1.1
    assert bench.at(camera_height=0.9).pose_source == "parameters"


def test_without_tf2_tf_is_not_waited_for(peer):
    def missing(_node):
        raise ImportError("no module named 'tf2_ros'")

    peer.node.create_publisher(String, "/tf_static", 1)
    assert peer.spin_until(lambda: peer.node.count_publishers("/tf_static"))
    robot = Robot(peer.node, missing)
    parameters = changed(Parameters(), {"camera_height": 0.9})
    assert robot.at(header(), 50.0, parameters).pose_source == "parameters"
    found = robot.at(header(), 50.0, Parameters())
    assert "tf2's Python package is not installed" in found.pose_problem
    assert found.may_fit_floor
    robot.close()


def test_base_link_stands_in_for_base_footprint_and_that_is_told(bench):
    bench.known[BODY, FRAME] = transform((0.0, 0.0, 0.3))
    found = bench.at()
    assert (found.base_frame, found.scan_frame, found.pose_source) == (BODY, BODY, "TF")
    assert found.base_from_camera.translation[2] == 0.3
    assert found.scan_from_camera is found.base_from_camera
    assert found.problems["base_frame"] == (
        "base_frame is 'base_footprint', which TF does not know; 'base_link' stands in for it: "
        "its z = 0 must be the floor, or set base_frame"
    )
    bench.known[FOOTPRINT, FRAME] = transform((0.0, 0.0, 0.4))
    found = bench.at()
    assert (found.base_frame, found.base_from_camera.translation[2]) == (FOOTPRINT, 0.4)
    assert not found.problems


def test_base_link_does_not_stand_in_for_a_footprint_that_is_only_late(bench):
    bench.known.update({(FOOTPRINT, FRAME): transform((0.0, 0.0, 0.4)), (BODY, FRAME): transform()})
    assert bench.at().base_frame == FOOTPRINT
    bench.buffer.last_s = NOW_S - 1.0
    found = bench.at(transform_timeout=0.0)
    assert found.base_from_camera is None and not found.problems
    assert f"to {FOOTPRINT!r}" in found.pose_problem


@pytest.mark.parametrize("frame, source", [(BODY, "TF"), ("mast", "parameters")])
def test_a_base_frame_that_the_user_names_is_taken_as_it_is(bench, frame, source):
    bench.known[BODY, FRAME] = transform((0.0, 0.0, 0.3))
    found = bench.at(base_frame=frame, camera_height=0.9)
    assert (found.base_frame, found.pose_source, found.problems) == (frame, source, {})


def test_the_scan_has_its_own_frame_and_needs_it_in_tf(bench):
    bench.known.update(
        {(FOOTPRINT, FRAME): transform((0, 0, 0.5)), ("lidar", FRAME): transform((1.0, 2.0, 3.0))}
    )
    found = bench.at(scan_frame="lidar")
    assert (found.scan_frame, found.scan_problem) == ("lidar", "")
    assert found.scan_from_camera.translation.tolist() == [1, 2, 3]
    assert found.base_from_camera.translation[2] == 0.5
    assert bench.at(scan_frame=FRAME).scan_from_camera == Pose.identity()
    missing = bench.at(scan_frame="nowhere")
    assert missing.scan_from_camera is None and missing.pose_source == "TF"
    assert "from 'camera_optical_frame' to 'nowhere'" in missing.scan_problem


@pytest.mark.parametrize("tilt_deg, is_told", [(1.0, False), (25.0, True)])
def test_a_scan_frame_that_is_not_level_is_told(bench, tilt_deg, is_told):
    half = math.radians(tilt_deg) / 2.0
    leaning = transform((0, 0, 0.5), (math.sin(half), 0.0, 0.0, math.cos(half)))
    bench.known.update({(FOOTPRINT, FRAME): transform((0, 0, 0.5)), ("lidar", FRAME): leaning})
    problems = bench.at(scan_frame="lidar").problems
    assert ("scan_frame" in problems) is is_told
    if is_told:
        assert "scan_frame 'lidar' is tilted by 25 degrees" in problems["scan_frame"]


def test_a_scan_in_the_base_frame_goes_by_the_mount_parameters(bench):
    found = bench.at(camera_height=0.9)
    assert found.scan_frame == FOOTPRINT
    assert found.scan_from_camera is found.base_from_camera
    nothing = bench.at()
    assert nothing.scan_from_camera is None
    assert nothing.scan_problem == nothing.pose_problem != ""


# What a network that takes the mount is told of it.


def test_the_network_is_told_where_tf_has_the_camera(bench):
    bench.known[FOOTPRINT, FRAME] = transform((0.1, 0.0, 0.5), (-0.5, 0.5, -0.5, 0.5))
    found = bench.at(camera_height=0.9)
    assert found.mount is found.base_from_camera and found.mount_problem == ""
    bench.known[FOOTPRINT, FRAME] = transform((0.1, 0.0, 0.6), (-0.5, 0.5, -0.5, 0.5))
    assert bench.at().mount.translation[2] == 0.6  # a mast that is driven up


def test_without_tf_the_network_is_told_the_mount_parameters(bench):
    found = bench.at(camera_height=0.9, camera_pitch=10.0, camera_roll=5.0)
    assert found.mount.translation[2] == 0.9
    assert found.mount.up_in_source == pytest.approx(found.base_from_camera.up_in_source)
    assert bench.at(camera_height=0.9, camera_pitch=10.0, camera_roll=5.0).mount == found.mount


def test_an_imu_knows_the_angle_better_than_the_parameters_but_no_height(bench):
    up = Pose.from_mount(0.9, 0.3).up_in_source
    bench.robot.take("imu", imu_message(9.81 * up))
    found = bench.at(camera_height=0.9)
    assert found.mount.up_in_source == pytest.approx(up)
    assert found.mount.translation[2] == 0.9
    found = bench.at()
    assert found.mount is None and "camera_height is not given" in found.mount_problem


def test_the_network_is_told_nothing_that_may_not_be_the_floor(bench):
    found = bench.at(camera_height=0.9, use_mount=False)
    assert (found.mount, found.mount_problem) == (None, "use_mount is off")
    assert found.base_from_camera is not None
    bench.known[BODY, FRAME] = transform((0.0, 0.0, 0.3))
    found = bench.at()
    assert found.mount is None and "'base_link' stands in for it" in found.mount_problem
    assert bench.at(base_frame=BODY).mount is not None  # the user says that it is
    bench.known[FOOTPRINT, FRAME] = transform((0.0, 0.0, -0.1))
    found = bench.at()
    problem = "the camera is 0.10 m below z = 0 of 'base_footprint'"
    assert (found.mount, found.mount_problem) == (None, problem)


def test_a_frame_without_tf_at_its_time_is_told_nothing(bench):
    bench.known[FOOTPRINT, FRAME] = transform((0.0, 0.0, 0.5))
    assert bench.at().mount is not None
    bench.buffer.last_s = NOW_S - 1.0
    found = bench.at(camera_height=0.9, transform_timeout=0.0)
    assert found.mount is None and "extrapolation into the future" in found.mount_problem


# What is up.


def imu_message(acceleration, frame_id=FRAME, seconds: float = NOW_S) -> Imu:
    message = Imu(header=header(seconds, frame_id))
    vector = message.linear_acceleration
    vector.x, vector.y, vector.z = (float(value) for value in acceleration)
    return message


def test_up_is_where_an_imu_at_rest_pushes_against_gravity(bench):
    pitch = math.radians(30.0)
    up = np.array([0.0, -math.cos(pitch), -math.sin(pitch)])
    bench.robot.take("imu", imu_message(9.81 * up))
    found = bench.at(camera_pitch=10.0)
    assert found.up == pytest.approx(up, abs=1e-6)
    assert not found.problems
    bench.robot.forget_messages()
    by_parameters = Pose.from_mount(0.0, math.radians(10.0)).up_in_source
    assert bench.at(camera_pitch=10.0).up == pytest.approx(by_parameters)


def test_an_imu_in_the_base_frame_is_turned_by_the_mount_parameters(bench):
    bench.robot.take("imu", imu_message((0.0, 0.0, 9.81), FOOTPRINT))
    found = bench.at(camera_pitch=10.0, camera_height=1.0)
    assert found.up == pytest.approx(Pose.from_mount(1.0, math.radians(10.0)).up_in_source)
    assert not found.problems


def test_vibration_of_an_imu_cancels_over_its_readings(bench):
    """Neither the first nor the last reading alone is within 20 degrees of up."""
    for sideways in (8.0, -2.0, -6.0, 6.0, 2.0, -8.0):
        bench.robot.take("imu", imu_message((sideways, -9.81, sideways / 2)))
        assert abs(math.degrees(math.atan2(sideways, 9.81))) > 11.0
    assert bench.at().up == pytest.approx([0.0, -1.0, 0.0], abs=1e-9)
    # It is a mean, not the middle one: one more reading moves it by a seventh.
    bench.robot.take("imu", imu_message((7.0, -9.81, 0.0)))
    up = bench.at().up
    assert up[0] / -up[1] == pytest.approx(1.0 / 9.81)


def test_an_imu_says_nothing_where_tf_says_how_the_camera_stands(bench):
    bench.known[FOOTPRINT, FRAME] = transform((0.0, 0.0, 0.5), (-0.5, 0.5, -0.5, 0.5))
    bench.robot.take("imu", imu_message((9.81, 0.0, 0.0)))
    assert bench.at().up == pytest.approx([0, -1, 0])


@pytest.mark.parametrize(
    "message, complaint",
    [
        (imu_message((0.0, 0.0, 0.0)), r"imu reads \[0.0, 0.0, 0.0\] m/s2, which is not gravity"),
        (imu_message((0.0, -9.81, 0.0), "mast"), "imu cannot tell what is up: .*'mast'"),
        (imu_message((9.81, 0.0, 0.0), seconds=47), "imu is 3.0 s older than the image: not used"),
    ],
)
def test_an_imu_that_cannot_tell_leaves_it_to_the_mount_parameters(bench, message, complaint):
    bench.robot.take("imu", message)
    found = bench.at(camera_roll=5.0)
    assert found.up == pytest.approx(Pose.from_mount(0.0, 0.0, math.radians(5.0)).up_in_source)
    assert re.search(complaint, found.problems["imu"])


# True distances.


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


def test_points_in_the_robots_frame_are_placed_by_the_mount(bench):
    bench.robot.take("reference_points", cloud([[WALL_M, 0.3, 0.5]], FOOTPRINT))
    found = bench.at(scale_correction="reference_points", camera_height=0.5)
    np.testing.assert_allclose(found.points, [[-0.3, 0.0, WALL_M]], atol=1e-6)


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


# A depth camera beside the image.


def depth_image(seconds: float = NOW_S, frame_id=FRAME, millimetres=1500, size=(4, 3)) -> Image:
    width, height = size
    message = Image(header=header(seconds, frame_id), encoding="16UC1")
    message.width, message.height, message.step = width, height, 2 * width
    pixels = np.full((height, width), millimetres, np.uint16)
    pixels[0, 0] = 0
    message.data = array("B", pixels.tobytes())
    return message


def reference(bench, seconds: float = NOW_S, **changes):
    parameters = changed(Parameters(), changes)
    return bench.robot.reference_depth(header(seconds), (4, 3), parameters)


def test_the_depth_image_nearest_in_time_is_taken(bench):
    assert reference(bench) is None
    for count in range(8):
        bench.robot.take("reference_depth", depth_image(NOW_S + 0.03 * count, FRAME, 1000 + count))
    found = reference(bench, NOW_S + 0.15)
    assert found[1, 1] == pytest.approx(1.005) and math.isnan(found[0, 0])
    assert reference(bench, NOW_S + 0.25)[1, 1] == pytest.approx(1.007)
    bench.robot.forget_messages()
    assert reference(bench) is None


@pytest.mark.parametrize(
    "message, complaint",
    [
        (depth_image(NOW_S - 0.2), "is 0.20 s older than the image: not used .reference_depth_t"),
        (depth_image(NOW_S + 0.06), "is 0.06 s newer than the image: not used"),
        (depth_image(frame_id="ir"), "is 4x3 in frame 'ir', the image is 4x3 in 'camera_optical"),
        (depth_image(size=(8, 6)), "is 8x6 in frame 'camera_optical_frame', the image is 4x3"),
    ],
)
def test_a_depth_image_that_does_not_go_with_the_image_is_told(bench, message, complaint):
    bench.robot.take("reference_depth", message)
    with pytest.raises(MessageError, match=complaint):
        reference(bench)


def test_stamps_within_the_tolerance_and_the_frame_that_is_set_go_with_the_image(bench):
    bench.robot.take("reference_depth", depth_image(NOW_S - 0.2))
    assert reference(bench, reference_depth_tolerance=0.25) is not None
    bench.robot.take("reference_depth", depth_image(frame_id="lens"))
    assert reference(bench, optical_frame_id="lens") is not None


def test_distances_that_are_none_are_unknown(bench):
    message = depth_image()
    values = np.array([[0.0, -1.0, math.inf, math.nan]] * 2 + [[1.0, 2.0, 3.0, 4.0]], np.float32)
    message.encoding, message.step, message.data = "32FC1", 16, array("B", values.tobytes())
    bench.robot.take("reference_depth", message)
    found = reference(bench)
    assert np.isnan(found[:2]).all() and (found[2] == values[2]).all()

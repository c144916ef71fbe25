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

"""Where the camera stands: TF, mount parameters and IMU, on real messages."""

import math
import re
import time

import numpy as np
import pytest
from robot_bench import BODY, FOOTPRINT, FRAME, NOW_S, Bench, header, imu_message
from sensor_msgs.msg import PointCloud2, Range
from std_msgs.msg import String
from transform_buffer import transform

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.ros import transforms as transforms_module
from depthrefl_ros.ros.parameters import Parameters
from depthrefl_ros.ros.robot import Robot
from depthrefl_ros.ros.transforms import TransformError
from depthrefl_ros.settings import changed


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
    found = bench.at(scan_frame=FOOTPRINT)  # of which TF still knows nothing
    assert found.scan_from_camera is None
    assert "no transform from 'camera_optical_frame' to 'base_footprint'" in found.scan_problem
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


def test_all_frames_of_one_look_share_one_wait(bench):
    """Depth waits for the whole look, whatever is missed in it."""
    frames = (FOOTPRINT, "lidar", "sonar", "mast")
    bench.known.update({(frame, FRAME): transform((0, 0, 0.5)) for frame in frames})
    how = {"scan_frame": "lidar", "scale_correction": "auto", "transform_timeout": 0.3}
    assert not bench.at(**how).scan_problem
    bench.buffer.last_s = NOW_S - 1.0
    bench.robot.take("range", Range(header=header(NOW_S, "sonar"), range=1.0, max_range=4.0))
    bench.robot.take("reference_points", PointCloud2(header=header(NOW_S, "mast")))
    start_s = time.monotonic()
    found = bench.at(**how)
    waited_s = time.monotonic() - start_s
    assert 0.3 <= waited_s < 0.5
    told = (found.pose_problem, found.scan_problem)
    assert all("extrapolation into the future" in one for one in told)
    assert "no transform" in found.problems["range"] + found.problems["reference_points"]


def test_a_link_that_holds_without_new_transforms_is_doubted(bench, monkeypatch):
    """A fixed mount on /tf whose publisher has died looks the same as one that stands still."""
    monkeypatch.setattr(transforms_module, "_FIXED_AFTER_S", 0.0)
    bench.known[FOOTPRINT, FRAME] = transform((0.0, 0.0, 0.5))
    bench.buffer.last_s = NOW_S
    for _ in range(30):
        bench.at()
    for seconds in (NOW_S, NOW_S + 4):
        found = bench.at(seconds)
        assert found.pose_source == "TF" and not found.problems
    assert not bench.at(NOW_S + 600).problems  # until now it came: the clocks may differ
    monkeypatch.setattr(transforms_module, "_SILENT_S", 0.0)
    found = bench.at(NOW_S + 600)
    assert found.pose_source == "TF"
    assert list(found.problems.values()) == [
        "the newest transform from 'camera_optical_frame' to 'base_footprint' is 600 s older than "
        "the image; it never moved, so it is used: check that its publisher still runs, and "
        "publish fixed transforms on /tf_static"
    ]


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
    found = bench.at(camera_height=0.9, scale_correction="ground")
    assert found.mount.up_in_source == pytest.approx(up)
    assert found.mount.translation[2] == 0.9
    found = bench.at(scale_correction="ground")
    assert found.mount is None and "camera_height is not given" in found.mount_problem


def test_the_network_is_told_nothing_that_may_not_be_the_floor(bench):
    found = bench.at(camera_height=0.9, use_mount=False)
    assert (found.mount, found.mount_problem) == (None, "use_mount is off")
    assert found.base_from_camera is not None
    bench.known[BODY, FRAME] = transform((0.0, 0.0, 0.3))
    found = bench.at()
    assert found.mount is None and "'base_link' stands in for it" in found.mount_problem
    assert bench.at(base_frame=BODY).mount is not None  # the user says that it is
    bench.known[FOOTPRINT, FRAME] = transform((0.0, 0.0, 0.0))
    assert bench.at().mount_problem == "the camera is at z = 0 of 'base_footprint'"
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


def test_up_is_where_an_imu_at_rest_pushes_against_gravity(bench):
    pitch = math.radians(30.0)
    up = np.array([0.0, -math.cos(pitch), -math.sin(pitch)])
    bench.robot.take("imu", imu_message(9.81 * up))
    found = bench.at(camera_pitch=10.0, scale_correction="ground")
    assert found.up == pytest.approx(up, abs=1e-6)
    assert not found.problems
    bench.robot.forget_messages()
    by_parameters = Pose.from_mount(1.0, math.radians(10.0)).up_in_source
    assert bench.at(camera_pitch=10.0, scale_correction="ground").up == pytest.approx(by_parameters)


def test_an_imu_in_the_base_frame_is_turned_by_the_mount_parameters(bench):
    bench.robot.take("imu", imu_message((0.0, 0.0, 9.81), FOOTPRINT))
    found = bench.at(camera_pitch=10.0, camera_height=1.0, scale_correction="ground")
    assert found.up == pytest.approx(Pose.from_mount(1.0, math.radians(10.0)).up_in_source)
    assert not found.problems


def test_vibration_of_an_imu_cancels_over_its_readings(bench):
    """Neither the first nor the last reading alone is within 20 degrees of up."""
    for sideways in (8.0, -2.0, -6.0, 6.0, 2.0, -8.0):
        bench.robot.take("imu", imu_message((sideways, -9.81, sideways / 2)))
        assert abs(math.degrees(math.atan2(sideways, 9.81))) > 11.0
    assert bench.at(scale_correction="ground").up == pytest.approx([0.0, -1.0, 0.0], abs=1e-9)
    # It is a mean, not the middle one: one more reading moves it by a seventh.
    bench.robot.take("imu", imu_message((7.0, -9.81, 0.0)))
    up = bench.at(scale_correction="ground").up
    assert up[0] / -up[1] == pytest.approx(1.0 / 9.81)


def test_an_imu_says_nothing_where_tf_says_how_the_camera_stands(bench):
    bench.known[FOOTPRINT, FRAME] = transform((0.0, 0.0, 0.5), (-0.5, 0.5, -0.5, 0.5))
    bench.robot.take("imu", imu_message((9.81, 0.0, 0.0)))
    assert bench.at(scale_correction="ground").up == pytest.approx([0, -1, 0])


@pytest.mark.parametrize(
    "message, complaint",
    [
        (imu_message((0.0, 0.0, 0.0)), r"imu reads \[0.0, 0.0, 0.0\] m/s2, which is not gravity"),
        (imu_message((0.0, -9.81, 0.0), "mast"), "imu cannot tell which way is up: .*'mast'"),
        (imu_message((9.81, 0.0, 0.0), seconds=47), "imu is 3.0 s older than the image: not used"),
    ],
)
def test_an_imu_that_cannot_tell_leaves_it_to_the_mount_parameters(bench, message, complaint):
    bench.robot.take("imu", message)
    found = bench.at(camera_roll=5.0, scale_correction="ground")
    assert found.up == pytest.approx(Pose.from_mount(1.0, 0.0, math.radians(5.0)).up_in_source)
    assert re.search(complaint, found.problems["imu"])


def test_readings_of_an_imu_that_are_not_finite_are_told_beside_what_else_is_wrong(bench):
    bench.robot.take("imu", imu_message((9.81, 0.0, 0.0)))
    bench.robot.take("imu", imu_message((math.nan, 0.0, 0.0)))
    said = "1 of 2 imu readings are not finite: not used"
    found = bench.at(scale_correction="ground")
    assert found.problems["imu"] == said and found.up == pytest.approx([1, 0, 0])
    found = bench.at(NOW_S + 3, scale_correction="ground")
    assert found.problems["imu"] == f"{said}; imu is 3.0 s older than the image: not used"


# Where odometry has the camera.


def asked(scale_correction="motion", **changes) -> Parameters:
    return changed(Parameters(), {"scale_correction": scale_correction, **changes})


def test_odometry_has_the_camera_at_the_time_of_an_image(bench):
    bench.known["odom", FRAME] = transform((3.0, 1.0, 0.5))
    bench.known["map", FRAME] = transform((4.0, 1.0, 0.5))
    for parameters, x in ((asked(), 3.0), (asked("auto"), 3.0), (asked(odom_frame="map"), 4.0)):
        found = bench.robot.odometry(header(), parameters)
        assert found.translation == pytest.approx([x, 1.0, 0.5])


def test_a_robot_that_stood_long_is_not_taken_to_stand_still(bench, monkeypatch):
    bench.known["odom", FRAME] = transform((3.0, 1.0, 0.5))
    monkeypatch.setattr(transforms_module, "_FIXED_AFTER_S", 0.0)
    for count in range(30):
        bench.robot.odometry(header(NOW_S + 0.1 * count), asked())
    bench.buffer.last_s = NOW_S + 3.0
    with pytest.raises(TransformError, match="extrapolation into the future") as caught:
        bench.robot.odometry(header(NOW_S + 4.0), asked(transform_timeout=0.02))
    assert caught.value.is_known


@pytest.mark.parametrize("how, waits", [("motion", True), ("auto", False)])
def test_late_odometry_is_waited_for_only_by_who_asked_for_it(bench, how, waits):
    bench.known["odom", FRAME] = transform((3.0, 1.0, 0.5))
    bench.robot.odometry(header(), asked(how))
    bench.buffer.last_s = float(NOW_S)
    start = time.monotonic()
    with pytest.raises(TransformError):
        bench.robot.odometry(header(NOW_S + 1), asked(how, transform_timeout=0.3))
    assert (time.monotonic() - start >= 0.3) is waits


@pytest.mark.parametrize("frame", [FRAME, FOOTPRINT])
def test_an_odometry_frame_that_moves_with_the_robot_is_none(bench, frame):
    bench.known[frame, FRAME] = transform((0.0, 0.0, 0.5))
    with pytest.raises(
        TransformError, match=f"odom_frame is '{frame}', which moves with the robot"
    ):
        bench.robot.odometry(header(), asked(odom_frame=frame))


def test_images_without_a_stamp_have_no_place_in_odometry(bench):
    bench.known["odom", FRAME] = transform((3.0, 1.0, 0.5))
    with pytest.raises(TransformError, match="images have no stamp"):
        bench.robot.odometry(header(0), asked())

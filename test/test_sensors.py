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

"""The messages of the robot's other sensors: kept, averaged, found by time and forgotten."""

import math
from array import array

import numpy as np
import pytest
from robot_bench import FRAME, NOW_S, header, imu_message
from sensor_msgs.msg import Image

from depthrefl_ros.ros import sensors as module
from depthrefl_ros.ros.convert.images import MessageError
from depthrefl_ros.ros.parameters import Parameters
from depthrefl_ros.ros.sensors import Sensors
from depthrefl_ros.settings import changed


@pytest.fixture
def sensors():
    return Sensors()


def take_imu(sensors, *readings, frame_id=FRAME):
    for reading in readings:
        sensors.take("imu", imu_message(reading, frame_id))


def test_the_acceleration_is_the_mean_of_the_last_fifty_readings(sensors):
    assert sensors.acceleration()[0] is None
    take_imu(sensors, *[(100.0, 0.0, 0.0)] * 10, *[(0.0, -9.0, 0.0), (0.0, -10.0, 1.0)] * 25)
    newest, mean, doubt = sensors.acceleration()
    assert (newest.frame_id, mean.tolist(), doubt) == (FRAME, [0.0, -9.5, 0.5], "")


def test_readings_of_long_ago_are_not_averaged(sensors):
    for index in range(50):
        sensors.take("imu", imu_message((9.0, 0.0, 0.0), FRAME, NOW_S - 99.0 + 0.02 * index))
    for index in range(11):
        sensors.take("imu", imu_message((0.0, -9.0, 0.0), FRAME, NOW_S + 0.02 * index))
    assert sensors.acceleration()[1].tolist() == [0.0, -9.0, 0.0]
    for index in range(30):  # a slow IMU: ten readings of the last second
        sensors.take("imu", imu_message((0.0, -9.0, float(index)), FRAME, NOW_S + 1.0 + index / 10))
    assert sensors.acceleration()[1].tolist() == pytest.approx([0.0, -9.0, 24.0], abs=0.6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_reading_that_is_not_finite_is_left_out_and_told_while_it_is_kept(sensors, bad):
    take_imu(sensors, (0.0, -9.0, 0.0), (bad, -9.0, 0.0), (0.0, -10.0, 0.0))
    _, mean, doubt = sensors.acceleration()
    assert mean.tolist() == [0.0, -9.5, 0.0]
    assert doubt == "1 of 3 imu readings are not finite: not used"
    take_imu(sensors, *[(0.0, -9.0, 0.0)] * 49)
    assert sensors.acceleration()[2] == ""
    sensors.forget()
    take_imu(sensors, (0.0, bad, 0.0))
    newest, _, doubt = sensors.acceleration()
    assert newest is None and "1 of 1 imu readings" in doubt


def test_readings_of_two_frames_are_not_averaged(sensors):
    take_imu(sensors, (0.0, 0.0, 9.0), (0.0, 0.0, 10.0), frame_id="base_link")
    take_imu(sensors, (0.0, -9.0, 0.0))
    newest, mean, _ = sensors.acceleration()
    assert (newest.frame_id, mean.tolist()) == (FRAME, [0.0, -9.0, 0.0])
    take_imu(sensors, (math.nan, 0.0, 0.0), frame_id="base_link")
    assert sensors.acceleration()[1].tolist() == [0.0, -9.0, 0.0]


def depth_image(seconds: float = NOW_S, frame_id=FRAME, millimetres=1500, size=(4, 3)) -> Image:
    width, height = size
    message = Image(header=header(seconds, frame_id), encoding="16UC1")
    message.width, message.height, message.step = width, height, 2 * width
    pixels = np.full((height, width), millimetres, np.uint16)
    pixels[0, 0] = 0
    message.data = array("B", pixels.tobytes())
    return message


def reference(sensors, seconds: float = NOW_S, **changes):
    parameters = changed(Parameters(), changes)
    return sensors.reference_depth(header(seconds), (4, 3), parameters)


def test_the_depth_image_nearest_in_time_is_taken(sensors):
    assert reference(sensors) is None
    for count in range(8):
        sensors.take("reference_depth", depth_image(NOW_S + 0.03 * count, FRAME, 1000 + count))
    found = reference(sensors, NOW_S + 0.15)
    assert found[1, 1] == pytest.approx(1.005) and math.isnan(found[0, 0])
    assert reference(sensors, NOW_S + 0.25)[1, 1] == pytest.approx(1.007)
    sensors.keep_only(frozenset({"reference_depth"}))
    assert reference(sensors, NOW_S + 0.25) is not None
    sensors.keep_only(frozenset({"imu", "range"}))
    assert reference(sensors) is None


@pytest.mark.parametrize(
    "message, complaint",
    [
        (depth_image(NOW_S - 0.2), "is 0.20 s older than the image: not used .reference_depth_t"),
        (depth_image(NOW_S + 0.06), "is 0.06 s newer than the image: not used"),
        (depth_image(frame_id="ir"), "is 4x3 in frame 'ir', the image is 4x3 in 'camera_optical"),
        (depth_image(size=(8, 6)), "is 8x6 in frame 'camera_optical_frame', the image is 4x3"),
    ],
)
def test_a_depth_image_that_does_not_go_with_the_image_is_told(sensors, message, complaint):
    sensors.take("reference_depth", message)
    with pytest.raises(MessageError, match=complaint):
        reference(sensors)


def test_stamps_within_the_tolerance_and_the_frame_that_is_set_go_with_the_image(sensors):
    sensors.take("reference_depth", depth_image(NOW_S - 0.2))
    assert reference(sensors, reference_depth_tolerance=0.25) is not None
    sensors.take("reference_depth", depth_image(frame_id="lens"))
    assert reference(sensors, optical_frame_id="lens") is not None


def test_distances_that_are_none_are_unknown(sensors):
    message = depth_image()
    values = np.array([[0.0, -1.0, math.inf, math.nan]] * 2 + [[1.0, 2.0, 3.0, 4.0]], np.float32)
    message.encoding, message.step, message.data = "32FC1", 16, array("B", values.tobytes())
    sensors.take("reference_depth", message)
    found = reference(sensors)
    assert np.isnan(found[:2]).all() and (found[2] == values[2]).all()


def test_whatever_a_bad_depth_image_raises_is_told_as_a_message_that_cannot_be_read(
    sensors, monkeypatch
):
    def fail(*_arguments):
        raise MemoryError("Unable to allocate 24.0 GiB")

    monkeypatch.setattr(module, "depth_image_to_metres", fail)
    sensors.take("reference_depth", depth_image())
    with pytest.raises(MessageError, match="reference_depth cannot be read: MemoryError: Unable"):
        reference(sensors)

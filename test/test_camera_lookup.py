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

import math

import pytest
from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.ros.camera_lookup import CameraLookup, NoCameraError, view_doubts
from depthrefl_ros.ros.convert.camera_info import camera_to_info
from depthrefl_ros.ros.convert.images import MessageError

TOPIC = "/front/camera_info"


def at(sec=0, nanosec=0, frame_id=""):
    """Return the header of an image."""
    return Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=frame_id)


def info(focal, seconds, width=64, height=48, nanoseconds=0, frame_id=""):
    camera = Camera.pinhole(width, height, focal, focal, 31.5, 23.5)
    return camera_to_info(camera, at(seconds, nanoseconds, frame_id))


@pytest.fixture
def cameras():
    return CameraLookup(TOPIC)


def test_the_info_with_the_images_stamp_is_preferred_and_else_the_newest(cameras):
    for focal, seconds in ((50.0, 1), (60.0, 2), (70.0, 3)):
        cameras.add(info(focal, seconds))
    found = [cameras.find(at(sec=seconds), 64, 48).camera.fx for seconds in (1, 2, 3, 9)]
    assert found == [50, 60, 70, 70]


def test_stamps_are_compared_to_the_nanosecond(cameras):
    """A camera that zooms at 30 Hz: three descriptions within one second."""
    for focal, nanoseconds in ((50.0, 0), (60.0, 33_333_333), (70.0, 66_666_667)):
        cameras.add(info(focal, 7, nanoseconds=nanoseconds))
    found = [
        cameras.find(at(sec=7, nanosec=nanoseconds), 64, 48).camera.fx
        for nanoseconds in (0, 33_333_333, 66_666_667, 33_333_334)
    ]
    assert found == [50, 60, 70, 70]
    assert cameras.find(at(sec=8, nanosec=33_333_333), 64, 48).camera.fx == 70


def test_of_two_infos_of_one_stamp_the_newer_one_holds(cameras):
    for focal in (50.0, 60.0):
        cameras.add(info(focal, 1))
    cameras.add(info(70.0, 2))
    assert cameras.find(at(sec=1), 64, 48).camera.fx == 60


@pytest.mark.parametrize("frames", [("left", "right"), ("right", "left")])
def test_of_two_cameras_on_one_topic_each_image_finds_its_own(cameras, frames):
    focals = {"left": 50.0, "right": 70.0}
    for seconds in (1, 2):  # synchronized: both have the same stamps
        for frame in frames:
            cameras.add(info(focals[frame] + seconds, seconds, frame_id=frame))
    for frame, focal in focals.items():
        found = [cameras.find(at(sec, frame_id=frame), 64, 48) for sec in (1, 2, 9)]
        assert [one.camera.fx for one in found] == [focal + 1, focal + 2, focal + 2]
        assert all(one.doubts == () for one in found)


def test_an_info_of_another_frame_is_a_doubt_that_names_both(cameras):
    cameras.add(info(50.0, 1, frame_id="right"))
    found = cameras.find(at(1, frame_id="left"), 64, 48)
    assert found.camera.fx == 50.0
    assert found.doubts == (
        f"{TOPIC}: its frame_id is 'right' and that of the images 'left': does it belong to "
        "another camera? If not, set optical_frame_id to 'right'",
    )
    assert cameras.find(at(1, frame_id="left"), 64, 48, optical_frame_id="right").doubts == ()
    assert cameras.find(at(1, frame_id="right"), 64, 48).doubts == ()
    assert cameras.find(at(1), 64, 48).doubts == ()
    cameras.add(info(60.0, 2))  # without a frame it may be this one's
    cameras.add(info(70.0, 3, frame_id="right"))
    found = cameras.find(at(3, frame_id="left"), 64, 48)
    assert (found.camera.fx, found.doubts) == (60.0, ())


def test_the_same_calibration_is_the_same_object(cameras):
    cameras.add(info(50.0, 1))
    first = cameras.find(at(sec=1), 64, 48)
    cameras.add(info(50.0, 2))
    assert cameras.find(at(sec=2), 64, 48).camera is first.camera
    assert (first.source, first.is_assumed) == (TOPIC, False)


def test_a_calibration_that_never_rests_does_not_fill_the_memory(cameras):
    for index in range(200):
        cameras.add(info(50.0 + index, index))
        cameras.find(at(sec=index), 64, 48)
    assert len(cameras._found) <= 16


def test_without_info_the_topic_and_the_ways_out_are_named(cameras):
    with pytest.raises(NoCameraError, match=f"{TOPIC}.*camera_info_url.*assumed_horizontal_fov"):
        cameras.find(at(), 64, 48)


def test_info_of_another_size_is_refused_with_both_sizes(cameras):
    cameras.add(info(50.0, 1))
    with pytest.raises(MessageError, match=f"{TOPIC}: .*64x48.*the image is 32x32"):
        cameras.find(at(), 32, 32)


def test_info_of_a_rescaled_stream_is_scaled_and_its_source_and_a_doubt_say_so(cameras):
    cameras.add(info(50.0, 1))
    found = cameras.find(at(), 32, 24)
    assert found.camera.fx == 25.0
    assert found.source == f"{TOPIC}, scaled from 64x48 to the image's 32x24"
    assert f"camera from {found.source}" in found.doubts
    own = cameras.find(at(), 64, 48)
    assert own.source == TOPIC
    assert not any("scaled" in doubt for doubt in own.doubts)


@pytest.mark.parametrize("has_info", [False, True])
def test_assumed_fov_stands_in_for_missing_or_unusable_info(cameras, has_info):
    if has_info:
        message = info(50.0, 1)
        message.k = [0.0] * 9
        cameras.add(message)
    found = cameras.find(at(), 64, 48, assumed_fov_deg=90.0)
    assert found.is_assumed and "scale is a guess" in found.source
    assert found.camera.fx == pytest.approx(32.0 / math.tan(math.radians(45.0)))


def test_an_image_that_no_camera_takes_is_refused_with_an_assumed_fov_too(cameras):
    with pytest.raises(MessageError, match="assumed_horizontal_fov 60 deg: .*40000"):
        cameras.find(at(), 40000, 2, assumed_fov_deg=60.0)


def test_good_info_comes_before_assumptions(cameras):
    cameras.add(info(50.0, 1))
    assert not cameras.find(at(), 64, 48, assumed_fov_deg=90.0).is_assumed


def test_a_calibration_file_comes_before_info(cameras):
    cameras.add(info(50.0, 1))
    calibration = Camera.pinhole(64, 48, 77, 77, 31.5, 23.5)
    found = cameras.find(at(), 64, 48, calibration)
    assert (found.camera.fx, found.source) == (77, "camera_info_url")
    with pytest.raises(MessageError, match="camera_info_url: .*32x32"):
        cameras.find(at(), 32, 32, calibration)


def test_a_calibration_file_may_change(cameras):
    for focal in (77.0, 78.0):
        calibration = Camera.pinhole(64, 48, focal, focal, 31.5, 23.5)
        assert cameras.find(at(), 64, 48, calibration).camera.fx == focal


def test_what_can_hardly_be_true_of_a_camera_is_doubted(cameras):
    cameras.add(info(0.8, 1))
    (doubt,) = cameras.find(at(), 64, 48).doubts
    assert "/front/camera_info: K has a focal length of 0.8 px" in doubt
    cameras.add(info(50.0, 2))
    assert cameras.find(at(), 64, 48).doubts == ()


def test_a_rectified_stream_may_have_a_projection_alone(cameras):
    message = info(50.0, 1)
    message.k = [0.0] * 9
    cameras.add(message)
    with pytest.raises(MessageError, match="K is all zero"):
        cameras.find(at(), 64, 48)
    assert cameras.find(at(), 64, 48, is_rectified=True).camera.fx == 50.0


def test_a_lens_that_a_metric_network_was_not_trained_for_is_told():
    camera = Camera.from_horizontal_fov(640, 480, math.radians(100.0))
    assert view_doubts(camera, None) == view_doubts(camera, 90.0) == []
    (doubt,) = view_doubts(camera, 60.0)
    assert "of 60 degrees and this camera has 100" in doubt

import math

import numpy as np
import pytest
import yaml
from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.ros.calibration_file import CalibrationError, load_calibration
from depthrefl_ros.ros.cameras import CameraSources, NoCameraError
from depthrefl_ros.ros.convert.camera_info import camera_to_info
from depthrefl_ros.ros.convert.images import MessageError

TOPIC = "/front/camera_info"


def info(focal, seconds, width=64, height=48):
    camera = Camera.pinhole(width, height, focal, focal, 31.5, 23.5)
    return camera_to_info(camera, Header(stamp=Time(sec=seconds)))


@pytest.fixture
def sources():
    return CameraSources(TOPIC)


def test_the_info_with_the_images_stamp_is_preferred_and_else_the_newest(sources):
    for focal, seconds in ((50.0, 1), (60.0, 2), (70.0, 3)):
        sources.add(info(focal, seconds))
    found = [sources.find(Time(sec=seconds), 64, 48).camera.fx for seconds in (1, 2, 3, 9)]
    assert found == [50, 60, 70, 70]


def test_the_same_calibration_is_the_same_object(sources):
    sources.add(info(50.0, 1))
    first = sources.find(Time(sec=1), 64, 48)
    sources.add(info(50.0, 2))
    assert sources.find(Time(sec=2), 64, 48).camera is first.camera
    assert (first.source, first.is_assumed) == (TOPIC, False)


def test_a_calibration_that_never_rests_does_not_fill_the_memory(sources):
    for index in range(200):
        sources.add(info(50.0 + index, index))
        sources.find(Time(sec=index), 64, 48)
    assert len(sources._cameras) <= 16


def test_without_info_the_topic_and_the_ways_out_are_named(sources):
    with pytest.raises(NoCameraError, match=f"{TOPIC}.*camera_info_url.*assumed_horizontal_fov"):
        sources.find(Time(), 64, 48)


def test_info_of_another_size_is_refused_with_both_sizes(sources):
    sources.add(info(50.0, 1))
    with pytest.raises(MessageError, match=f"{TOPIC}: .*64x48.*the image is 32x32"):
        sources.find(Time(), 32, 32)


def test_info_of_a_rescaled_stream_is_scaled_and_its_source_says_so(sources):
    sources.add(info(50.0, 1))
    found = sources.find(Time(), 32, 24)
    assert found.camera.fx == 25.0
    assert found.source == f"{TOPIC}, scaled from 64x48 to the image's 32x24"
    assert sources.find(Time(), 64, 48).source == TOPIC


@pytest.mark.parametrize("has_info", [False, True])
def test_assumed_fov_stands_in_for_missing_or_unusable_info(sources, has_info):
    if has_info:
        message = info(50.0, 1)
        message.k = [0.0] * 9
        sources.add(message)
    found = sources.find(Time(), 64, 48, assumed_fov_deg=90.0)
    assert found.is_assumed and "scale is a guess" in found.source
    assert found.camera.fx == pytest.approx(32.0 / math.tan(math.radians(45.0)))


def test_good_info_comes_before_assumptions(sources):
    sources.add(info(50.0, 1))
    assert not sources.find(Time(), 64, 48, assumed_fov_deg=90.0).is_assumed


def test_a_calibration_file_comes_before_info(sources):
    sources.add(info(50.0, 1))
    calibration = Camera.pinhole(64, 48, 77, 77, 31.5, 23.5)
    found = sources.find(Time(), 64, 48, calibration)
    assert (found.camera.fx, found.source) == (77, "camera_info_url")
    with pytest.raises(MessageError, match="camera_info_url: .*32x32"):
        sources.find(Time(), 32, 32, calibration)


def calibration_content():
    def matrix(rows, columns, data):
        return {"rows": rows, "cols": columns, "data": data}

    return {
        "image_width": 640,
        "image_height": 480,
        "camera_name": "front",
        "camera_matrix": matrix(3, 3, [500, 0, 320, 0, 501, 240, 0, 0, 1]),
        "distortion_model": "plumb_bob",
        "distortion_coefficients": matrix(1, 5, [0.1, -0.2, 0.001, 0.002, 0.03]),
        "rectification_matrix": matrix(3, 3, [1, 0, 0, 0, 1, 0, 0, 0, 1]),
        "projection_matrix": matrix(3, 4, [490, 0, 321, 0, 0, 491, 241, 0, 0, 0, 1, 0]),
    }


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_calibration_file_is_read(tmp_path, prefix):
    path = tmp_path / "front camera.yaml"
    path.write_text(yaml.safe_dump(calibration_content()))
    url = f"{prefix}{path}".replace(" ", "%20" if prefix else " ")
    camera = load_calibration(url)
    assert (camera.width, camera.K[1, 1], camera.fx, camera.D[4]) == (640, 501, 490, 0.03)
    np.testing.assert_array_equal(camera.R, np.eye(3))


@pytest.mark.parametrize(
    "change, complaint",
    [
        (lambda content: content.pop("camera_matrix"), "lacks the field 'camera_matrix'"),
        (lambda content: content["camera_matrix"].update(data=[1, 2]), "2 values; 3x3"),
        (lambda content: content["camera_matrix"].update(data=[0] * 9), "K is all zero"),
        (lambda content: content.update(distortion_model="warped"), "'warped'"),
    ],
)
def test_bad_calibration_files_are_named(tmp_path, change, complaint):
    content = calibration_content()
    change(content)
    path = tmp_path / "camera.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(CalibrationError, match=f"camera.yaml.*{complaint}"):
        load_calibration(str(path))


@pytest.mark.parametrize(
    "url", ["/nowhere/camera.yaml", "file:///nowhere/camera.yaml", "http://host/camera.yaml"]
)
def test_urls_that_lead_nowhere_are_named(url):
    with pytest.raises(CalibrationError, match=url):
        load_calibration(url)


def test_a_file_that_is_no_mapping_is_refused(tmp_path):
    path = tmp_path / "camera.yaml"
    path.write_text("just words")
    with pytest.raises(CalibrationError, match="no mapping"):
        load_calibration(str(path))

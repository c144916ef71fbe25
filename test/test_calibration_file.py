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

import numpy as np
import pytest
import yaml

from depthrefl_ros.geometry.calibration_file import CalibrationError, load_calibration


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


def test_a_file_in_a_package_is_found_where_packages_are_known(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "front camera.yaml").write_text(yaml.safe_dump(calibration_content()))

    def share_of(package: str) -> str:
        if package != "my_robot":
            raise LookupError(f"no package {package}")
        return str(tmp_path)

    url = "package://my_robot/config/front%20camera.yaml"
    assert load_calibration(url, share_of).fx == 490
    with pytest.raises(CalibrationError, match="package://your_robot.*no package your_robot"):
        load_calibration("package://your_robot/camera.yaml", share_of)
    with pytest.raises(CalibrationError, match="package://my_robot"):
        load_calibration(url)

    def without_workspace(package: str) -> str:  # as ament_index_python does
        raise OSError("Environment variable 'AMENT_PREFIX_PATH' is not set or empty")

    with pytest.raises(CalibrationError, match="leads nowhere: .*AMENT_PREFIX_PATH"):
        load_calibration(url, without_workspace)


def test_the_home_of_a_user_that_there_is_not_is_named():
    with pytest.raises(CalibrationError, match="~nosuchuser/camera.yaml"):
        load_calibration("~nosuchuser/camera.yaml")


@pytest.mark.parametrize("field", ["image_width", "image_height"])
@pytest.mark.parametrize("value", [float("inf"), float("nan"), "wide", None])
def test_a_size_that_is_none_is_refused_with_the_file(tmp_path, field, value):
    path = tmp_path / "camera.yaml"
    path.write_text(yaml.safe_dump({**calibration_content(), field: value}))
    with pytest.raises(
        CalibrationError, match=f"camera.yaml: {field} is {value!r}; a whole number"
    ):
        load_calibration(str(path))


@pytest.mark.parametrize(
    "content, named",
    [
        ("a: " + "[1," * 20000 + "]" * 20000, "cannot be read: .*recursion"),
        ("#" + "x" * (1 << 20), "1048577 bytes; a calibration has no more than 1048576"),
        ("a: !!python/object/apply:os.system [exit]", "cannot be read: .*constructor.*line 1"),
    ],
)
def test_what_no_calibration_holds_is_refused_in_one_line(tmp_path, content, named):
    path = tmp_path / "camera.yaml"
    path.write_text(content)
    with pytest.raises(CalibrationError, match=named) as caught:
        load_calibration(str(path))
    assert "\n" not in str(caught.value) and "camera.yaml" in str(caught.value)


@pytest.mark.parametrize("path", ["/dev/zero", "/"])
def test_a_device_or_a_folder_is_no_file(path):
    with pytest.raises(CalibrationError, match=f"'{path}' cannot be read: {path} is no file"):
        load_calibration(path)


@pytest.mark.parametrize(
    "matrix", [[490, 0, 320, 0, 490, 240, 0, 0, 1], [[490, 0, 320], [0, 490, 240], [0, 0, 1]]]
)
def test_a_matrix_may_be_a_list_or_rows(tmp_path, matrix):
    path = tmp_path / "camera.yaml"
    content = {"image_width": 640, "image_height": 480, "camera_matrix": matrix}
    path.write_text(yaml.safe_dump({**content, "distortion_coefficients": None}))
    assert load_calibration(str(path)).fx == 490
    path.write_text(yaml.safe_dump({**content, "camera_matrix": ["wide"] * 9}))
    with pytest.raises(CalibrationError, match="camera_matrix is .*wide.*numbers are needed"):
        load_calibration(str(path))

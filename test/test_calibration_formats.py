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

"""Calibrations in the forms that people have at hand, all of the same camera."""

import numpy as np
import pytest
import yaml

from depthrefl_ros.geometry.calibration_file import CalibrationError, load_calibration
from depthrefl_ros.geometry.calibration_formats import calibration_fields

ROS = """image_width: 320
image_height: 240
camera_name: front
camera_matrix: {rows: 3, cols: 3, data: [260.0, 0.0, 159.5, 0.0, 2.6e+02, 119.5, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.1, 0.02, 0.001, 2e-3, 0.0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [250.0, 0, 159.5, 0, 0, 250, 119.5, 0, 0, 0, 1, 0]}
"""
MINIMAL = "\n".join(ROS.splitlines()[:-2])
OPENCV = """%YAML:1.0
---
image_width: 320
image_height: 240
camera_matrix: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 2.6e+02, 0., 1.595e+02, 0., 2.6e+02, 1.195e+02, 0., 0., 1. ]
distortion_coefficients: !!opencv-matrix
   rows: 1
   cols: 5
   dt: d
   data: [ -0.1, 0.02, 0.001, 0.002, 0. ]
"""
OPENCV_SAMPLE = OPENCV.replace("image_width", "image_Width").replace(
    "distortion_coefficients", "Distortion_Coefficients"
)
OPENCV_SAMPLE = OPENCV_SAMPLE.replace("image_height", "image_Height").replace(
    "camera_matrix", "Camera_Matrix"
)
ECHO = """header:
  stamp: {sec: 1, nanosec: 2}
  frame_id: front
height: 240
width: 320
distortion_model: plumb_bob
d: [-0.1, 0.02, 0.001, 0.002, 0.0]
k: [260.0, 0.0, 159.5, 0.0, 260.0, 119.5, 0.0, 0.0, 1.0]
r: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
p: [250.0, 0.0, 159.5, 0.0, 0.0, 250.0, 119.5, 0.0, 0.0, 0.0, 1.0, 0.0]
binning_x: 0
binning_y: 0
roi: {x_offset: 0, y_offset: 0, height: 0, width: 0, do_rectify: false}
---
"""
ECHO_OF_ROS_1 = ECHO
for small in "dkrp":
    ECHO_OF_ROS_1 = ECHO_OF_ROS_1.replace(f"\n{small}: ", f"\n{small.upper()}: ")
KALIBR = """cam0:
  camera_model: pinhole
  distortion_coeffs: [-0.1, 0.02, 0.001, 0.002]
  distortion_model: radtan
  intrinsics: [260.0, 260.0, 159.5, 119.5]
  resolution: [320, 240]
"""
OST = """# oST version 5.0 parameters

[image]

width
320

height
240

[narrow_stereo]

camera matrix
260.000000 0.000000 159.500000
0.000000 2.6e+02 119.500000
0.000000 0.000000 1.000000

distortion
-0.1 0.02 0.001 2e-3 0.000000

rectification
1.0 0.0 0.0
0.0 1.0 0.0
0.0 0.0 1.0

projection
250.0 0.0 159.5 0.0
0.0 250.0 119.5 0.0
0.0 0.0 1.0 0.0
"""


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(
    ("text", "projected"),
    [
        (ROS, 250.0),
        (MINIMAL, 260.0),
        (OPENCV, 260.0),
        (OPENCV_SAMPLE, 260.0),
        (ECHO, 250.0),
        (ECHO_OF_ROS_1, 250.0),
        (KALIBR, 260.0),
        (OST, 250.0),
    ],
    ids=["ROS", "minimal", "OpenCV", "OpenCV's sample", "echo", "echo of ROS 1", "Kalibr", "ost"],
)
def test_every_form_describes_the_same_camera(tmp_path, text, projected, mark, ending):
    path = tmp_path / "my camera ü.yaml"
    path.write_bytes((mark + text.replace("\n", ending)).encode())
    camera = load_calibration(str(path))
    assert (camera.width, camera.height, camera.distortion_model) == (320, 240, "plumb_bob")
    np.testing.assert_allclose(
        camera.K, [[260.0, 0.0, 159.5], [0.0, 260.0, 119.5], [0.0, 0.0, 1.0]]
    )
    np.testing.assert_allclose(np.resize(camera.D, 4), [-0.1, 0.02, 0.001, 0.002])
    np.testing.assert_array_equal(camera.R, np.eye(3))
    assert camera.fx == projected


@pytest.mark.parametrize(
    ("model", "count", "read_as"),
    [
        ("fisheye", 4, "equidistant"),
        ("equi", 4, "equidistant"),
        ("PLUMB_BOB", 5, "plumb_bob"),
        (None, 4, "plumb_bob"),
        (None, 8, "rational_polynomial"),
        ("none", 0, "plumb_bob"),
    ],
)
def test_the_distortion_model_by_its_other_names_or_its_coefficients(model, count, read_as):
    content = yaml.safe_load(ROS)
    content["distortion_coefficients"]["data"] = [0.01] * count
    content["distortion_model"] = model
    if model is None:
        del content["distortion_model"]
    assert calibration_fields(yaml.safe_dump(content))["distortion_model"] == read_as


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_editors_of_windows_may_have_saved_it(tmp_path, encoding):
    path = tmp_path / "camera.yaml"
    path.write_bytes(ROS.replace("front", "Tür").encode(encoding))
    assert load_calibration(str(path)).width == 320


def test_an_echoed_roi_may_be_the_whole_image(tmp_path):
    path = tmp_path / "camera.yaml"
    path.write_text(ECHO.replace("height: 0, width: 0", "height: 240, width: 320"))
    assert load_calibration(str(path)).width == 320
    path.write_text(ECHO.replace("height: 0, width: 0", "height: 240, width: 160"))
    with pytest.raises(CalibrationError, match="roi .* of the whole image is needed"):
        load_calibration(str(path))


@pytest.mark.parametrize(("fisheye", "read_as"), [("0", "plumb_bob"), ("1", "equidistant")])
def test_opencv_says_of_a_lens_that_it_is_a_fisheye(tmp_path, fisheye, read_as):
    """As OpenCV's calibration sample writes it; its models have four coefficients, too."""
    path = tmp_path / "camera.yaml"
    text = OPENCV.replace("cols: 5", "cols: 4").replace("0.002, 0. ]", "0.002 ]")
    path.write_text(text.replace("camera_matrix:", f"fisheye_model: {fisheye}\ncamera_matrix:"))
    camera = load_calibration(str(path))
    assert camera.distortion_model == read_as
    np.testing.assert_array_equal(camera.D[:4], [-0.1, 0.02, 0.001, 0.002])
    path.write_text(f"{path.read_text()}distortion_model: plumb_bob\n")
    assert load_calibration(str(path)).distortion_model == "plumb_bob"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (KALIBR + KALIBR.replace("cam0", "cam1"), "holds the cameras cam0, cam1; leave one"),
        (KALIBR.replace("pinhole", "omni"), "camera_model is 'omni'; pinhole is needed"),
        (ECHO.replace("binning_x: 0", "binning_x: 2"), "binning 2 and roi .* of the whole image"),
        ("just words", "holds no mapping; camera_calibration's YAML or ost.txt"),
        ("a: [", "cannot be read"),
        ("<?xml version='1.0'?>", "holds no mapping|cannot be read"),
        (OST.replace("camera matrix", "matrix"), "lacks the field 'camera_matrix'"),
    ],
)
def test_what_cannot_be_read_is_told_with_the_file(tmp_path, text, told):
    path = tmp_path / "camera.yaml"
    path.write_text(text)
    with pytest.raises(CalibrationError, match=f"camera.yaml.*({told})"):
        load_calibration(str(path))

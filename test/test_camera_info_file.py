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

"""Calibration files of sources without CameraInfo."""

import subprocess
import sys

import numpy as np
import pytest
from recording_files import HEIGHT, WIDTH, image_folder

from depthrefl_ros.tools.camera_info_file import Intrinsics, read_camera
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.frame_sources import open_source

ENTRY = f"{{width: {WIDTH}, height: {HEIGHT}, fx: 50, fy: 51, cx: 31.5, cy: 23.5"


def test_a_folders_lens_distortion_reaches_who_reads_it_as_a_source(tmp_path):
    folder = image_folder(tmp_path / "f", 2, with_intrinsics=False)
    lens = "distortion_model: plumb_bob, distortion: [-0.35, 0.12, 0, 0, 0]"
    (folder / "intrinsics.yaml").write_text(f"camera: {ENTRY}, {lens}}}\n")
    info = next(open_source(str(folder), Intrinsics()).frames()).camera_info
    np.testing.assert_array_equal(info.d, [-0.35, 0.12, 0, 0, 0])
    assert (info.distortion_model, info.k[0], info.k[4]) == ("plumb_bob", 50.0, 51.0)


def test_names_of_digits_need_no_quotes(tmp_path):
    path = tmp_path / "intrinsics.yaml"
    path.write_text(f"images:\n  0000: {ENTRY}}}\n  0010: {ENTRY.replace('50', '60')}}}\n")
    assert (read_camera(path, "0000").fx, read_camera(path, "0010").fx) == (50.0, 60.0)


def test_a_file_that_changed_is_read_again(tmp_path):
    path = tmp_path / "intrinsics.yaml"
    path.write_text(f"camera: {ENTRY}}}\n")
    assert read_camera(path).fx == 50.0
    path.write_text(f"camera: {ENTRY.replace('50', '70')}}}\n")
    assert read_camera(path).fx == 70.0


def test_a_source_is_read_without_torch(tmp_path):
    folder = image_folder(tmp_path / "f", 1)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from depthrefl_ros.tools.frame_sources import Intrinsics, open_source\n"
        f"print(next(open_source({str(folder)!r}, Intrinsics()).frames()).camera.fx)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "50.0"), done.stderr


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read"),
        (f"images:\n  0000: {ENTRY}}}\n", "no entry for image '0007'"),
        (f"camera: {ENTRY.replace('fx', 'f')}}}\n", "image '0007' has no 'fx'"),
        (f"camera: {ENTRY}, distortion: [0.1]}}\n", "D has 1 coefficients"),
        ("- 1\n", "or a calibration, which it is not"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_file(tmp_path, content, complaint):
    path = tmp_path / "intrinsics.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ToolError, match="intrinsics.yaml") as error:
        read_camera(path, "0007")
    assert complaint in str(error.value) and len(str(error.value).splitlines()) == 1

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

"""The benchmark of wrong mounts, on a network that believes what it is told and nothing else."""

from __future__ import annotations

import json
import math

import cv2
import mount
import pytest
from box_scene import true_depth
from exact_bundle import encoded, exact_bundle

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.training.synth.folder import RenderedFolder

CAMERA = Camera.from_horizontal_fov(160, 120, 1.2)
TRUE = {"height_m": 0.5, "pitch_rad": math.radians(15), "roll_rad": 0.0}


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    """Return a drive of twenty frames over an empty floor, whose depth is in the picture."""
    pytest.importorskip("openvino")
    folder = RenderedFolder(tmp_path_factory.mktemp("drives") / "drive")
    truth = true_depth(CAMERA, Pose.from_mount(**TRUE), [])
    picture = encoded(truth)
    for number in range(20):
        name = f"{number:04d}"
        folder.add(name, picture, truth, CAMERA, TRUE)
        (folder.root / "rgb" / f"{name}.jpg").unlink()  # which would not keep the depth
        cv2.imwrite(str(folder.root / "rgb" / f"{name}.png"), picture[..., ::-1])
    folder.flush()
    return folder.root


def test_what_a_gullible_network_hides_is_found_untold(drive, tmp_path, capsys):
    bundle, figures = exact_bundle(tmp_path / "told", CAMERA, trust=1.0), tmp_path / "figures.json"
    options = ["--model", str(bundle), "--source", str(drive), "--json", str(figures)]
    assert mount.main(options) == 0
    rows = json.loads(figures.read_text())["mounts"]
    assert list(rows) == [mount.UNTOLD, *mount.WRONG_MOUNTS]
    assert rows[mount.UNTOLD]["abs_rel"] < 0.01 and rows["right"]["abs_rel"] < 0.02
    assert rows["right"]["passed_told"] == rows["right"]["passed_untold"] == 1.0
    wrong = rows["height over 2"]
    assert wrong["ratio"] < 0.6 and wrong["abs_rel"] > 0.3
    assert wrong["passed_told"] == 1.0
    assert (wrong["passed_untold"], wrong["first_refused_untold"]) == (0.2, 4)
    shown = capsys.readouterr().out
    assert "| height over 2 |" in shown and "| 100 % | 20 % | 4 |" in shown


def test_a_model_that_takes_no_mount_is_named(drive, tmp_path, capsys):
    untold = exact_bundle(tmp_path / "untold", CAMERA)
    assert mount.main(["--model", str(untold), "--source", str(drive)]) == 2
    assert "exact does not take the mount" in capsys.readouterr().err

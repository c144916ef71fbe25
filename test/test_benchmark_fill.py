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

"""The benchmark of a depth camera's holes, on drives whose panes are known."""

from __future__ import annotations

import json
import math

import cv2
import fill
import numpy as np
import pytest
from room_depth import CAMERA, room_depth, room_picture
from scale import Step

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.training.synth.folder import FolderError, RenderedFolder

MOUNT = {"height_m": 0.9, "pitch_rad": math.radians(14.0), "roll_rad": 0.0}
TRUTH = room_depth(Pose.from_mount(**MOUNT))
PANE = np.zeros(TRUTH.shape, bool)
PANE[10:40, 30:80] = True


def step(predicted_m: np.ndarray) -> Step:
    return Step(predicted_m, TRUTH, CAMERA, MOUNT, 0.0, "0000")


@pytest.fixture
def drive(tmp_path):
    folder = RenderedFolder(tmp_path / "drive")
    picture = room_picture(Pose.from_mount(**MOUNT), TRUTH)
    for number in range(2):
        folder.add(f"{number:04d}", picture, TRUTH, CAMERA, MOUNT, PANE)
    return folder


def test_only_what_the_network_has_in_the_hole_counts():
    """The network is a quarter too near all over, or also looks through the pane, twice as far."""
    uniform = step(TRUTH * np.float32(0.75))
    through = step(np.where(PANE, 2.0, 1.0).astype(np.float32) * uniform.predicted_m)
    found = fill.measure([uniform] * 3, [PANE] * 3)
    assert found["share"] == pytest.approx(PANE.mean())
    assert found["network"] == pytest.approx(0.25, abs=1e-5)
    assert found["holes"] < 0.01 and found["all"] < 0.01
    assert found["rim_holes"] < 0.01 and found["rim_all"] < 0.02
    found = fill.measure([through] * 3, [PANE] * 3)
    assert found["network"] == pytest.approx(0.5, abs=1e-5)
    assert found["holes"] == pytest.approx(1.0, abs=0.05)  # no fill can know of the pane
    assert found["rim_holes"] == pytest.approx(math.log(2.0), abs=0.05)


def test_a_hole_that_is_never_seen_has_no_figures():
    found = fill.measure([step(TRUTH)], [np.zeros_like(PANE)])
    assert found["share"] == 0.0 and math.isnan(found["holes"]) and math.isnan(found["rim_all"])


def test_the_panes_of_a_drive_are_measured(drive, tmp_path, capsys):
    pytest.importorskip("openvino")
    figures = tmp_path / "figures.json"
    options = ["--source", str(drive.root), "--model", "indoor_nano", "--json", str(figures)]
    assert fill.main(options) == 0
    rows = {row["hole"]: row for row in json.loads(figures.read_text())["rows"]}
    assert list(rows) == ["glare", "glass", "range", "panes"]
    assert rows["panes"]["share"] == pytest.approx(PANE[::2, ::2].mean())
    assert 0.0 < rows["panes"]["holes"] < 2.0
    assert "| panes | 12 % |" in capsys.readouterr().out
    (drive.root / "glass" / "0001.png").unlink()
    assert fill.main(options) == 2
    assert "glass/0001.png is missing" in capsys.readouterr().err


def test_a_folder_keeps_its_panes_and_names_a_file_that_is_none(drive):
    np.testing.assert_array_equal(drive.glass("0001"), PANE)
    assert drive.glass("0007") is None
    assert fill.panes_of(str(drive.root.parent), []) == []
    cv2.imwrite(str(drive.root / "glass" / "0001.png"), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(FolderError, match="glass/0001.png: is no PNG of one channel"):
        drive.glass("0001")
    cv2.imwrite(str(drive.root / "glass" / "0000.png"), np.zeros((4, 4), np.uint8))
    with pytest.raises(fill.ToolError, match="glass/0000.png has not the size of its depth"):
        fill.panes_of(str(drive.root), [step(TRUTH[::2, ::2])])

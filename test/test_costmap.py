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

"""The costmap benchmark: what counts as a mark, and what the gates do for a blurred scene."""

from __future__ import annotations

import json
import math

import costmap
import cv2
import numpy as np
import pytest
import scale
from box_scene import true_depth
from costmap_picture import VIEW_HEIGHT
from exact_bundle import encoded, exact_bundle

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.gates import GateSettings
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.tools import occupancy, top_down
from depthrefl_ros.training.synth.folder import FolderError, RenderedFolder

RECORDING = str(scale.RECORDING)

CAMERA = Camera.from_horizontal_fov(320, 240, math.radians(70))
NETWORK = Camera.from_horizontal_fov(256, 192, math.radians(70))
MOUNT = Pose.from_mount(0.5, math.radians(4))
# Lower and upper corner of each box on the floor, metres in the base frame.
BOXES = [
    ((2.0, -0.6, 0.0), (2.4, -0.2, 0.5)),
    ((2.8, 0.4, 0.0), (3.1, 1.0, 0.9)),
    ((4.0, -4.0, 0.0), (4.2, 4.0, 2.5)),  # the wall
]


def scene(truth: np.ndarray) -> costmap.Scene:
    """Return the scene as a network sees it that errs by its resolution only, sure of itself."""
    shape = (NETWORK.height, NETWORK.width)
    return costmap.Scene(
        truth_m=truth,
        camera=CAMERA,
        depth_m=costmap.blur(truth, CAMERA, NETWORK),
        sigma=np.full(shape, 0.02, np.float32),
        confidence=np.ones(shape, np.float32),
        network_camera=NETWORK,
        base_from_camera=MOUNT,
        image_bgr=np.zeros((*truth.shape, 3), np.uint8),
    )


def test_ours_cuts_false_marks_by_six_at_five_points_of_recall(tmp_path):
    """The shipped model on the shipped recording, as the benchmark itself compares them.

    Recall counts beyond chance: marks all over the floor find whatever there is.
    """
    pytest.importorskip("openvino")
    figures = tmp_path / "figures.json"
    assert costmap.main([RECORDING, "--every", "4", "--json", str(figures)]) == 0
    rows = json.loads(figures.read_text())["all"]
    raw, ours = rows["raw depth"], rows["ours"]
    assert raw["false"] > 3000 and raw["true"] > 1000
    assert ours["false"] * 6 <= raw["false"]
    assert ours["recall"] - ours["by_chance"] >= raw["recall"] - raw["by_chance"] - 0.05
    assert ours["recall"] > 0.76
    assert ours["false"] * 3 <= rows["raw depth, thinned"]["false"]


def test_tight_gates_cut_floating_marks_by_six_and_lose_next_to_nothing():
    drive = (
        scene(
            true_depth(CAMERA, MOUNT, [tuple((x - way, y, z) for x, y, z in box) for box in BOXES])
        )
        for way in np.linspace(0.0, 1.0, 6)
    )
    tallies = costmap.compare(drive, costmap.Rows(GateSettings(edge_ratio=1.08), math.inf))
    raw, ours = tallies["raw depth"], tallies["ours"]
    assert raw.false > 1000  # the ramps between boxes and wall
    assert ours.false * 6 <= raw.false
    assert ours.recall >= raw.recall - 0.02
    assert tallies["blurred truth, ours"].false * 6 <= tallies["blurred truth"].false


def test_thinning_keeps_as_many_points_as_it_is_told():
    points = occupancy.all_points(true_depth(CAMERA, MOUNT, BOXES), CAMERA, MOUNT)
    few = costmap.thinned(points, 500)
    assert len(few) == 500 and occupancy.in_view(few).all()
    assert len(np.unique(few, axis=0)) == 500


def test_confidence_removes_what_is_not_believed():
    unsure = scene(true_depth(CAMERA, MOUNT, BOXES))
    unsure.sigma[:, : NETWORK.width // 2] = 0.5
    rows = costmap.Rows(GateSettings(), 0.2)
    points = rows.points(unsure)
    assert points["ours"][:, 1].max() < 0.1  # y is to the left
    assert points["ours without confidence"][:, 1].max() > 0.4


def test_the_sum_over_drives():
    one = {name: occupancy.Tally(4, 1, 10, 5, 3) for name in costmap.ROWS}
    both = costmap.total([one, one])
    assert both["ours"] == occupancy.Tally(8, 2, 20, 10, 6)
    assert "50.0%" in costmap.table(both)


def test_a_folder_that_is_no_drive_is_named(tmp_path):
    RenderedFolder(tmp_path / "rooms")
    with pytest.raises(FolderError, match=r"rooms/mounts.yaml is missing"):
        RenderedFolder(tmp_path / "rooms").mounts()
    assert costmap.main([str(tmp_path / "nowhere")]) == 2
    assert not (tmp_path / "nowhere").exists()


def test_a_network_that_takes_the_mount_is_compared_told_and_not_told(tmp_path, capsys):
    """In the picture the floor is 0.15 m up; a network that believes its mount does not see it."""
    pytest.importorskip("openvino")
    bundle = exact_bundle(tmp_path / "told", NETWORK, trust=1.0)
    folder = RenderedFolder(tmp_path / "drive")
    truth = true_depth(NETWORK, MOUNT, [])
    mount = {"height_m": 0.5, "pitch_rad": math.radians(4), "roll_rad": 0.0}
    raised = true_depth(NETWORK, Pose.from_mount(0.35, math.radians(4)), [])
    folder.add("0000", encoded(raised), truth, NETWORK, mount)
    figures = tmp_path / "figures.json"
    assert costmap.main([str(folder.root), "--model", str(bundle), "--json", str(figures)]) == 0
    found = json.loads(figures.read_text())
    name = str(folder.root)
    words = ", not told the mount"
    assert list(found) == [name, "all", f"{name}{words}", f"all{words}"]
    assert found["all"]["raw depth"]["false"] == 0
    assert found[f"all{words}"]["raw depth"]["false"] > 100  # the floor, 0.15 m up
    assert f"{name}{words}\n" in capsys.readouterr().out


def test_the_command_compares_drives_and_draws(tmp_path, capsys):
    pytest.importorskip("openvino")
    folder = RenderedFolder(tmp_path / "drive")
    truth = true_depth(CAMERA, MOUNT, BOXES)
    grey = np.clip(truth * 30, 0, 255).astype(np.uint8)
    names = ["0000", "0001"]
    mount = {"height_m": 0.5, "pitch_rad": math.radians(4), "roll_rad": 0.0}
    for name in names:
        folder.add(name, np.dstack([grey] * 3), truth, CAMERA, mount)
    figures, picture = tmp_path / "figures.json", tmp_path / "costmaps.jpg"
    assert costmap.main([str(folder.root), "--json", str(figures)]) == 0
    rows = json.loads(figures.read_text())["all"]
    assert set(rows) == set(costmap.ROWS)
    assert rows["blurred truth, ours"]["recall"] > 0.9
    assert rows["ours"]["marks"] <= rows["raw depth"]["marks"]
    assert "raw depth, thinned" in capsys.readouterr().out
    drawing = [str(folder.root), "--picture", str(picture), "--frames"]
    assert costmap.main([*drawing, "1", "0"]) == 0
    drawn = cv2.imread(str(picture))
    assert drawn.shape[0] > 2 * VIEW_HEIGHT
    # The true box is grey, marks on it are blue, and the floor before it is cleared.
    for colour in (top_down.RIGHT, top_down.CLEARED, top_down.ROBOT):
        assert (np.abs(drawn.astype(int) - colour).max(axis=-1) < 24).sum() > 50, colour
    assert costmap.main([*drawing, "2"]) == 2
    assert "--frames has 2; " in (said := capsys.readouterr().err) and "frames 0 to 1" in said

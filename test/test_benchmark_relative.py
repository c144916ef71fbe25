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

"""The benchmark of relative depth: when a case counts as within 2 points, and when as never."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import relative
from room_depth import CAMERA, monocular, room_depth, room_picture
from scale import Step

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.training.synth.folder import RenderedFolder

FRAMES = 17


def drive(noise: float = 0.0) -> list[Step]:
    """Return a drive of 9 cm a frame towards a box; the prediction is the truth with an error."""
    steps = []
    for number in range(FRAMES):
        mount = {
            "height_m": 0.5,
            "pitch_rad": math.radians(8 + 0.5 * math.sin(number)),
            "roll_rad": 0.0,
        }
        boxes = [((3.5 - 0.09 * number, -1.0, 0.0), (4.0 - 0.09 * number, 1.0, 0.9))]
        truth = room_depth(Pose.from_mount(**mount), boxes)
        predicted = monocular(truth, number, noise) if noise else truth
        steps.append(Step(predicted, truth, CAMERA, mount, 0.1 * number, f"{number:04d}"))
    return steps


@pytest.mark.parametrize("case", ["reference_depth", "reference_points", "ground"])
@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_what_tells_both_numbers_is_as_good_as_the_true_ones(case, noise):
    for seed in range(2):
        found = relative.play(drive(noise), case, seed)
        assert found["frames"] <= 6 and found["metric"] >= 0.7
        assert found["within"] == 1.0
        assert found["corrected"] < found["true_affine"] + relative.ALLOWED_POINTS
    assert (found["true_affine"] > 0.01) == (noise > 0.0)


def test_a_wrong_pitch_or_no_metres_never_counts():
    wrong = relative.play(drive(), "ground, 1 degree", 0)
    assert wrong["corrected"] > relative.ALLOWED_POINTS and math.isnan(wrong["frames"])
    first = drive()[0]  # a wall that comes no nearer
    still = [replace(first, stamp_s=0.1 * number) for number in range(FRAMES)]
    nothing = relative.play(still, "range", 0)
    assert nothing["metric"] == nothing["within"] == 0.0
    assert math.isnan(nothing["frames"]) and math.isnan(nothing["corrected"])


def test_a_rendered_drive_is_played(tmp_path, capsys):
    pytest.importorskip("openvino")
    folder, figures = RenderedFolder(tmp_path / "drive"), tmp_path / "figures.json"
    for step in drive():
        picture = room_picture(Pose.from_mount(**step.mount), step.truth_m)
        folder.add(step.name, picture, step.truth_m, CAMERA, step.mount)
    options = ["--source", str(folder.root), "--model", "indoor_nano", "--seeds", "1"]
    assert relative.main([*options, "--json", str(figures)]) == 0
    found = json.loads(figures.read_text())
    assert found["frames"] == FRAMES and len(found["rows"]) == 2 * 2 * (len(relative.CASES) - 1)
    first = found["rows"][0]
    assert (first["prediction"], first["anchor"]) == ("truth", "reference_depth")
    assert first["frames"] <= 6 and first["corrected"] < 0.02
    assert "| truth | reference_depth | stay | 0.000 |" in capsys.readouterr().out
    assert relative.main([*options, "--frames", "15"]) == 2
    assert "15 frames; more than 15 are needed" in capsys.readouterr().err


def test_what_is_too_near_for_the_model_is_not_far():
    steps = drive()
    for step in steps:
        step.predicted_m = step.predicted_m.copy()
        step.predicted_m[80:, 50:80] = -np.inf
    found = relative.play(steps, "reference_depth", 0)
    assert found["corrected"] < 0.001 and found["within"] == 1.0


def test_half_a_frame_sees_the_same():
    step = drive()[0]
    half = relative.halved(step)
    assert (half.camera.width, half.camera.height) == (CAMERA.width // 2, CAMERA.height // 2)
    np.testing.assert_array_equal(half.truth_m, step.truth_m[::2, ::2])

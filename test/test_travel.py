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

"""The travel exam: what it must cover so that its figures mean something."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rays import image_rays
from depthrefl_ros.tools.evaluate import main as evaluate

TRAVEL = Path(__file__).parent / "data" / "travel"
KINDS = {
    "living", "bedroom", "office", "kitchen", "bathroom", "corridor", "classroom", "lobby", "hall",
    "warehouse", "workshop", "stairs",
}  # fmt: skip


@pytest.fixture(scope="module")
def exam() -> dict[str, tuple[np.ndarray, Camera, dict[str, float]]]:
    """Depth (m), camera and mount of each image."""
    cameras, mounts = (
        yaml.safe_load((TRAVEL / f"{name}.yaml").read_text())["images"]
        for name in ("intrinsics", "mounts")
    )
    return {
        name: (
            cv2.imread(str(TRAVEL / "depth" / f"{name}.png"), cv2.IMREAD_UNCHANGED) / 1000.0,
            Camera.pinhole(**cameras[name]),
            mounts[name],
        )
        for name in cameras
    }


def test_it_is_small_and_covers_all_kinds_of_space(exam):
    files = [path for path in TRAVEL.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 12e6
    assert len(exam) == 300 and len({name.split("/")[0] for name in exam}) == 150
    assert {name.split("/")[0].split("_")[1] for name in exam} == KINDS
    assert {str(p.relative_to(TRAVEL / "rgb"))[:-4] for p in TRAVEL.glob("rgb/*/*")} == set(exam)


def test_it_has_near_and_far_views_of_low_and_high_cameras(exam):
    medians = np.array([np.median(depth) for depth, _, _ in exam.values()])
    shares = np.histogram(medians, [0.25, 0.7, 1.4, 2.8, 12.0])[0] / len(medians)
    assert shares.sum() == pytest.approx(1) and shares.min() > 0.1, shares
    heights = np.array([mount["height_m"] for _, _, mount in exam.values()])
    assert (heights < 0.35).sum() >= 50 and (heights > 1.0).sum() >= 50
    fov = [2 * np.arctan(camera.width / 2 / camera.fx) for _, camera, _ in exam.values()]
    assert np.degrees(min(fov)) < 55 and np.degrees(max(fov)) > 95


def test_its_mounts_say_where_the_floor_is(exam):
    """Points are on or over the floor z = 0, but for what is seen down the stairs."""
    with_floor = 0
    for name, (depth, camera, mount) in exam.items():
        assert (depth > 0).mean() > 0.97
        heights = Pose.from_mount(**mount).apply(image_rays(camera) * depth[..., None])[..., 2]
        heights = heights[depth > 0]
        assert heights.min() > -0.02 or "stairs" in name, name
        with_floor += np.mean(np.abs(heights) < 0.005) > 0.05
    assert with_floor >= 100


# What the shipped models reached when they were measured last, told the mount or not: AbsRel, 80 %
# coverage, slope, and the ratio of predicted to true depth below 0.7 m and beyond 7 m.
REACHED = {
    ("indoor_tiny", True): (0.231, 0.792, 0.965, 1.050, 1.000),
    ("indoor_tiny", False): (0.271, 0.711, 0.959, 1.086, 0.946),
    ("indoor_nano", True): (0.283, 0.754, 0.949, 1.060, 0.968),
    ("indoor_nano", False): (0.319, 0.709, 0.949, 1.088, 0.914),
}


@pytest.mark.parametrize(("model", "is_told"), REACHED)
def test_the_shipped_models_are_no_worse_on_it_than_when_measured(model, is_told, tmp_path):
    pytest.importorskip("openvino")
    report = tmp_path / "figures.json"
    options = ["--model", model, "--data", str(TRAVEL), "--cap", "14", "--json", str(report)]
    assert evaluate([*options, *(["--mount"] if is_told else [])]) == 0
    figures = json.loads(report.read_text())
    error, covered, slope, near, far = REACHED[model, is_told]
    assert figures["abs_rel"] < error + 0.004
    assert figures["coverage_80"] > covered - 0.01
    assert figures["slope_log_median"] > slope - 0.005
    assert figures["bands"]["0.3-0.7"]["ratio"] < near + 0.01
    assert figures["bands"]["7-12"]["ratio"] > far - 0.008

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

"""The files for RViz and Foxglove: they show what the node publishes, from where it makes sense."""

import json
import math
import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy")

from depthrefl_ros.ros.publishers import TYPES

CONFIG = Path(__file__).resolve().parents[1] / "config"
RESULTS = {f"/{topic}" for topic in TYPES}


def rviz() -> dict:
    return yaml.safe_load((CONFIG / "depthrefl.rviz").read_text())["Visualization Manager"]


def foxglove() -> dict:
    return json.loads((CONFIG / "depthrefl_foxglove.json").read_text())


def looks_from(view: dict) -> tuple[float, float, float]:
    """Return the direction of RViz's orbit camera from its focal point; z is upright."""
    yaw, pitch = view["Yaw"], view["Pitch"]
    side = math.cos(pitch)
    return math.cos(yaw) * side, math.sin(yaw) * side, math.sin(pitch)


def along(first, second) -> float:
    return sum(a * b for a, b in zip(first, second, strict=True))


def test_rviz_looks_from_behind_and_above_in_either_frame():
    views = rviz()["Views"]
    camera, robot = views["Saved"]
    for key in ("Pitch", "Yaw", "Distance", "Focal Point"):
        assert views["Current"][key] == camera[key]
    for view, forward, up in ((camera, (0, 0, 1), (0, -1, 0)), (robot, (1, 0, 0), (0, 0, 1))):
        assert along(looks_from(view), forward) < -0.5
        assert along(looks_from(view), up) > 0.5
        focal = [view["Focal Point"][axis] for axis in "XYZ"]
        assert along(focal, forward) > 0


def test_rviz_shows_the_camera_and_results():
    topics = {one["Topic"]["Value"] for one in rviz()["Displays"] if "Topic" in one}
    assert "/image" in topics and topics - {"/image"} <= RESULTS
    assert {"/depth/preview", "/points", "/points/marking", "/points/clearing"} <= topics


def test_foxglove_shows_results_as_the_recordings_have_them():
    panels = json.dumps(foxglove()["configById"])
    shown = set(re.findall(r'"(/(?:camera|depth|points|scan|diagnostics)[/\w]*)"', panels))
    assert shown == {
        *("/camera/image_raw/compressed", "/depth/preview/compressed", "/diagnostics"),
        *("/points", "/points/marking", "/points/clearing", "/scan"),
    }


def test_every_panel_of_foxglove_is_placed_once():
    layout = foxglove()
    placed = re.findall(r'"(\w+!\w+)"', json.dumps(layout["layout"]))
    assert sorted(placed) == sorted(layout["configById"])

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

"""The benchmark runs and its figures add up; how fast it is, is for an idle machine to say."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("rclpy")

from conftest import ROOT


def test_figures_of_one_start(tmp_path):
    report = tmp_path / "start_time.json"
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmark" / "start_time.py"), "--runs", "1"]
        + ["--json", str(report)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(report.read_text())
    assert 0.2 < figures["start_to_depth_s"] < 60.0
    assert figures["start_to_depth_s_runs"] == [figures["start_to_depth_s"]]
    # numpy, OpenCV, rclpy and OpenVINO: never nothing, and never all of it.
    assert 0.05 < figures["import_s"] and 0.05 < figures["import_share"] < 0.95
    assert figures["start_to_depth_cpu_s"] > 0.2
    assert figures["model"] == "indoor_tiny" and figures["cpus"] >= 1


def test_a_node_that_does_not_start_is_told(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmark" / "start_time.py"), "--engine", "abacus"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "gave no depth image" in done.stderr and "engine is 'abacus'" in done.stderr

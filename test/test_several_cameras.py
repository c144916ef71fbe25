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

"""The benchmark of several cameras in one process beside a process each."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("rclpy")

from conftest import ROOT
from recording_files import camera_recording


def test_figures_of_a_short_run(tmp_path):
    source = camera_recording(tmp_path / "a.mcap", 10)
    report = tmp_path / "cameras.json"
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmark" / "several_cameras.py"), "--cameras", "2"]
        + ["--source", str(source), "--rate", "10", "--frames", "60", "--runs", "1"]
        + ["--json", str(report)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(report.read_text())["median"]
    assert set(figures) == {"one process", "a process each"}
    for one in figures.values():
        assert 0.0 < one["clouds_per_s_slowest"] <= one["clouds_per_s"] < 21.0
        assert 0.0 < one["latency_ms_p50"] <= one["latency_ms_p99"]
        assert one["cpu_s"] > 0.0
    assert 50.0 < figures["one process"]["memory_mb"] < figures["a process each"]["memory_mb"]

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
from recording_files import camera_recording

FRAMES = 240  # at 30 Hz: on a busy machine an engine opens while the first ones come


def test_figures_of_a_short_run(tmp_path):
    source = camera_recording(tmp_path / "a.mcap", 10)
    report = tmp_path / "throughput.json"
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmark" / "node_throughput.py")]
        + ["--source", str(source), "--frames", str(FRAMES), "--json", str(report)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(report.read_text())
    assert figures["frames_in"] == FRAMES
    assert figures["lost"] == figures["published"] - figures["received"] == 0
    # Every frame is accounted for: published, dropped by the node, or never got there.
    dropped = sum(figures["dropped"].values())
    assert figures["published"] + dropped + figures["lost_before_node"] == FRAMES
    assert 0.0 < figures["clouds_per_s"] < 31.0
    assert 0.0 < figures["latency_ms_p50"] <= figures["latency_ms_p99"]
    assert figures["engine_ms"] > 0.0
    assert {"to_network", "gates", "upsample", "cloud", "publish"} <= set(figures["node_ms"])
    assert 50.0 < figures["rss_mb_start"] < 2000.0
    assert figures["rss_mb_end"] > 50.0
    assert figures["cpus"] >= 1 and len(figures["load_average_before"]) == 3

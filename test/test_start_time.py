# SPDX-License-Identifier: Apache-2.0
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

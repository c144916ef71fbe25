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

"""The engine benchmarks run and their figures add up; how fast things are, an idle machine says."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("openvino")

import engines
import flagship_overhead
from conftest import ROOT


def run_benchmark(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmark" / f"{name}.py"), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Return the figures and the Markdown of a short run on the small model."""
    folder = tmp_path_factory.mktemp("engines")
    figures, markdown = folder / "engines.json", folder / "engines.md"
    options = ["--models", "indoor_tiny", "--flagship", "10x10", "--frames", "3"]
    options += ["--rounds", "20", "--seconds", "1"]
    run_benchmark("engines", *options, "--json", str(figures), "--markdown", str(markdown))
    return json.loads(figures.read_text()), markdown.read_text()


def row(figures: dict, engine: str, precision: str) -> dict:
    (found,) = (
        one for one in figures["rows"] if (one["engine"], one["precision"]) == (engine, precision)
    )
    return found


def test_every_engine_has_a_row_that_measures_or_says_why_not(measured):
    figures, markdown = measured
    rows = [one for one in figures["rows"] if one["model"] == "indoor_tiny"]
    assert [(one["engine"], one["precision"]) for one in rows] == list(engines.CANDIDATES)
    for one in rows:
        assert ("median_ms" in one) != ("refused" in one), one
        assert f"{one['engine']} {one['precision']}" in markdown
    assert markdown.count("| indoor_tiny |") == sum("median_ms" in r for r in figures["rows"])


def test_a_model_that_cannot_be_made_is_named_and_the_others_are_measured(measured):
    figures, markdown = measured
    (refused,) = (one for one in figures["rows"] if one["model"] == "flagship_10x10")
    assert "'10x10' cannot be made" in refused["refused"]
    assert "flagship_10x10" in markdown and "median_ms" in row(figures, "openvino", "fp32")


def test_a_process_that_hangs_is_a_row_too(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "WITHIN_S", 0.05)
    report = engines._process({"report": str(tmp_path / "report.json")}, rounds=1)
    assert report == {"refused": "not done within 0.05 s"}


def test_a_stopped_benchmark_says_what_it_has_measured(tmp_path):
    report = tmp_path / "engines.json"
    options = ["--models", "indoor_tiny", "--flagship", "--frames", "3", "--rounds", "1"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "benchmark" / "engines.py"), *options, "--json", str(report)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 120.0
    while not report.exists() and time.monotonic() < end:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said, complaint = process.communicate(timeout=120)
    assert process.returncode != 0 and "stopped after 1 rows" in complaint
    (found,) = json.loads(report.read_text())["rows"]
    assert (found["engine"], found["precision"]) == engines.REFERENCE and "median_ms" in found
    assert "| indoor_tiny | torch cpu fp32 |" in said


def test_openvino_is_measured_and_judged_by_torch(measured):
    figures, _ = measured
    fp32 = row(figures, "openvino", "fp32")
    assert 0.0 < fp32["median_ms"] <= fp32["p99_ms"]
    assert fp32["timed_frames"] == 20
    assert 50.0 < fp32["memory_mb"] < 2000.0
    # Each step is a part of the whole start.
    assert fp32["import_s"] + fp32["open_s"] + fp32["self_test_s"] < fp32["first_depth_s"]
    assert "self_test_failure" not in fp32
    # Not exactly equal, or it would be torch that was measured.
    assert 0.0 < fp32["error"]["depth_median"] < 1e-4
    assert fp32["error"]["sigma_p99"] < 1e-2
    judge = row(figures, *engines.REFERENCE)["error"]
    assert set(judge.values()) == {0.0}


def test_half_the_precision_costs_accuracy(measured):
    if "bf16" not in flagship_overhead.precisions():
        pytest.skip("this processor does not compute in bf16")
    fp32, bf16 = (row(measured[0], "openvino", name) for name in ("fp32", "bf16"))
    assert bf16["error"]["depth_median"] > 100 * fp32["error"]["depth_median"]


def test_what_builds_without_a_gpu_is_built(measured):
    pytest.importorskip("tensorrt_rtx")
    found = row(measured[0], "tensorrt_rtx", "fp16")
    if "refused" not in found:
        assert found["first_depth_cached_s"] < found["first_depth_s"]
    assert found["build_s"] > 0.0 and found["size_mb"] > 1.0


def test_the_frames_are_the_recordings():
    frames = engines.recorded_frames(engines.RECORDING, 3)
    assert frames.shape == (3, 480, 640, 3) and frames.dtype == np.uint8
    assert np.abs(frames[0].astype(int) - frames[2]).mean() > 1.0
    with pytest.raises(engines.ToolError, match="64 frames; --frames is 65"):
        engines.recorded_frames(engines.RECORDING, 65)


def test_the_reflectors_share_is_what_it_adds_within_a_round():
    rng = np.random.default_rng(0)
    # A machine that is up to three times slower in some rounds: the columns' medians would do, but
    # only differences within a round find the 5 ms.
    slowness = rng.uniform(1.0, 3.0, (200, 1))
    times = slowness * np.array([[80.0, 100.0, 105.0]]) + rng.normal(0.0, 0.5, (200, 3))
    figures = flagship_overhead.summarise(times)
    assert figures["over_neck"] == pytest.approx(5.0 / 80.0, rel=0.1)
    assert figures["over_stage1"] == pytest.approx(5.0 / 100.0, rel=0.1)
    assert figures["over_neck_low"] < figures["over_neck"] < figures["over_neck_high"]


def test_the_flagships_overhead_is_measured(tmp_path):
    pytest.importorskip("transformers")
    report = tmp_path / "overhead.json"
    said = run_benchmark(
        "flagship_overhead", "--rounds", "3", "--sizes", "84x112", "--json", str(report)
    )
    figures = json.loads(report.read_text())
    assert list(figures["sizes"]["84x112"]) == flagship_overhead.precisions()
    for one in figures["sizes"]["84x112"].values():
        assert all(one[f"{name}_ms"] > 0.0 for name in flagship_overhead.GRAPHS)
        assert one["over_neck"] == pytest.approx(one["added_ms"] / one["neck_ms"])
    assert said.count("| 84x112 |") == len(flagship_overhead.precisions())

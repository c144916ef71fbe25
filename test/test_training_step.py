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

"""The timing of training steps, run through on a CPU."""

import json

import pytest
import training_step


def test_a_dry_run_times_what_a_cpu_can(tmp_path, capsys):
    report, text = tmp_path / "steps.json", tmp_path / "steps.md"
    options = ["--device", "cpu", "--models", "indoor_nano", "--batches", "2", "--rounds", "2"]
    assert training_step.main([*options, "--json", str(report), "--markdown", str(text)]) == 0
    (row,) = json.loads(report.read_text())["rows"]
    assert row["way"] == "launched" and len(row["losses"]) == training_step.FEW_STEPS
    assert row["images_per_s"] == pytest.approx(2 / row["median_ms"] * 1e3)
    # Golden depth is what the network answers: it errs by little more than its batch statistics.
    assert all(0 < loss < 20 for loss in row["losses"])
    assert "| indoor_nano, launched | 2 |" in text.read_text()


def test_losses_that_differ_are_an_error():
    assert training_step.difference([2.0, 4.0], [2.0, 5.0]) == pytest.approx(0.25)


def test_a_machine_without_cuda_is_told_so(capsys):
    if __import__("torch").cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert training_step.main(["--models", "indoor_nano"]) == 2
    assert "--device is cuda; torch finds no CUDA device here" in capsys.readouterr().err

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

"""The acceptance of a CUDA machine, run through on a CPU."""

import importlib.util
import json
from importlib.util import find_spec

import gpu_acceptance as acceptance
import pytest


def test_a_dry_run_measures_what_a_cpu_has_and_says_what_it_has_not(tmp_path, capsys):
    report, text = tmp_path / "gpu.json", tmp_path / "gpu.md"
    options = ["--device", "cpu", "--models", "indoor_nano", "--batches", "1", "2", "--rounds", "2"]
    options += ["--threads", "1"]
    options += ["--minutes", "1.5", "--json", str(report), "--markdown", str(text)]
    assert acceptance.main(options) == 0
    figures = json.loads(report.read_text())
    rows = {(row["engine"], row.get("batch")): row for row in figures["rows"]}
    for batch in (1, 2):
        row = rows["torch fp32", batch]
        assert row["timed"] == 2 and "self_test_failure" not in row
        assert row["images_per_s"] == pytest.approx(batch / row["median_ms"] * 1e3)
        assert 0.0 < row["split_ms"]["compute"] and 0.0 < acceptance.share(row) < 1.5
    # indoor_nano multiplies and adds about a thousand million times for 160 x 192 pixels.
    assert 2e8 < rows["torch fp32", 1]["operations"] < 5e9
    assert rows["torch fp32", 2]["operations"] == 2 * rows["torch fp32", 1]["operations"]
    assert "on CUDA only" in rows["torch fp16", None]["refused"]
    assert "no time left of 1.5 minutes" in rows["torch compiled fp32", None]["refused"]
    for flavour in acceptance.FLAVOURS:
        words = "no time left" if find_spec(flavour) else f"{flavour} is not installed"
        assert words in rows[f"{flavour} fp16", None]["refused"]
    table = text.read_text()
    assert "| indoor_nano | torch fp32 | 2 |" in table and "- indoor_nano, torch fp16" in table
    assert table.splitlines()[0].startswith("CPU, torch ")


def test_int8_is_tried_on_tensorrt_where_a_bundle_has_it(tmp_path):
    args = acceptance._parser().parse_args(["--models", "indoor_nano", "indoor_tiny"])
    rows = acceptance._rows(args, tmp_path, {}, ends_s=0.0)
    tried = [(row["model"], row["engine"]) for row in rows if "int8" in row["engine"]]
    assert tried == [("indoor_tiny", "tensorrt int8"), ("indoor_tiny", "tensorrt_rtx int8")]


def test_the_flagships_shape_needs_no_exporter(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setattr(acceptance, "FLAGSHIP_SIZE", (56, 84))
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    monkeypatch.setitem(__import__("sys").modules, "depthrefl_ros.engine.export", None)
    bundle = acceptance._bundle(acceptance.FLAGSHIP, tmp_path)
    assert "model.onnx" not in bundle.files and bundle.height == 56
    engine = acceptance.TorchEngine(bundle, device="cpu")
    figures = acceptance.measure(engine, bundle, 1, 1, 0.0)
    assert figures["timed"] == 1 and "self_test" in figures


def test_a_machine_without_cuda_is_told_so(capsys):
    if importlib.util.find_spec("torch") and __import__("torch").cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert acceptance.main(["--models", "indoor_nano"]) == 2
    assert "--device is cuda; torch finds no CUDA device here" in capsys.readouterr().err

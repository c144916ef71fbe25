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

"""Building ahead of time, on the shipped model; TensorRT-RTX builds without a GPU."""

import json
import os
import signal
import subprocess
import sys

import pytest

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.tensorrt.api import find_flavour
from depthrefl_ros.tools.build_engine import main

RTX = find_flavour("tensorrt_rtx")
needs_rtx = pytest.mark.skipif(not RTX.can_build, reason=f"TensorRT-RTX: {RTX.reason}")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "depthrefl_ros"


def read(path):
    return json.loads(path.read_text())


@needs_rtx
def test_a_plan_is_built_once_and_listed_in_words(tmp_path, cache, capsys):
    report, plan = tmp_path / "report.json", tmp_path / "tiny.plan"
    command = ["--engine", "tensorrt_rtx", "--output", str(plan), "--json", str(report)]
    assert main(command) == 0
    figures = read(report)
    assert not figures["is_cached"] and figures["bytes"] == plan.stat().st_size > 5e6
    assert figures["build_s"] > 0 and figures["memory_bytes"] > figures["bytes"]
    assert figures["layers"]["fp16"] > figures["layers"]["fp32"]
    assert (cache / next(cache.glob("*.plan")).name).read_bytes() == plan.read_bytes()
    shown = capsys.readouterr().out
    tiny = Bundle.load("indoor_tiny")
    size = f"{tiny.width}x{tiny.height}"
    assert f"indoor_tiny {size} fp16, batch 1, tensorrt_rtx" in shown
    assert f"{figures['layers']['fp16']} in fp16" in shown and "self-test" in shown

    assert main(command) == 0
    assert read(report)["is_cached"] and "it is in the cache" in capsys.readouterr().out
    assert main(["--list", "--json", str(report)]) == 0
    shown = capsys.readouterr().out
    assert f"1 plans in {cache}" in shown and "tensorrt_rtx" in shown and "MB" in shown
    assert [engine["problem"] for engine in read(report)["engines"]] == [""]


@needs_rtx
def test_precision_and_targets_make_other_engines_and_clear_removes_all(cache, capsys):
    base = ["--engine", "tensorrt_rtx"]
    for options in ([], ["--precision", "fp32"], ["--target", "sm86,sm89"]):
        assert main([*base, *options]) == 0
    shown = capsys.readouterr().out
    assert "targets sm86, sm89" in shown and "not made: built for other GPUs" in shown
    assert len(list(cache.glob("*.plan"))) == 3
    assert main(["--clear"]) == 0
    assert "3 plans removed" in capsys.readouterr().out
    assert not list(cache.glob("*.plan"))


@needs_rtx
def test_int8_is_built_where_the_bundle_has_it(tmp_path, cache, capsys):
    report = tmp_path / "report.json"
    command = ["--engine", "tensorrt_rtx", "--precision", "int8"]
    assert main([*command, "--batch", "2", "--json", str(report)]) == 0
    layers = read(report)["layers"]
    assert layers["int8"] > 50 and layers["fp16"] > 50
    shown = capsys.readouterr().out
    assert f"{layers['int8']} in int8" in shown and " int8, batch 2, tensorrt_rtx" in shown
    assert main([*command, "--model", "indoor_nano"]) == 2
    error = capsys.readouterr().err
    assert "indoor_nano has no model_int8.onnx: `depthrefl export_bundle" in error
    assert len(list(cache.glob("*.plan"))) == 1


@needs_rtx
def test_a_damaged_engine_is_listed_as_such_and_built_again(tmp_path, cache, capsys):
    report = tmp_path / "report.json"
    command = ["--engine", "tensorrt_rtx", "--json", str(report)]
    main(command)
    path = next(cache.glob("*.plan"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    main(["--list"])
    assert "will be built again" in capsys.readouterr().out
    assert main(command) == 0 and not read(report)["is_cached"]
    assert "truncated or altered" in capsys.readouterr().err
    assert len(path.read_bytes()) == len(whole)


@needs_rtx
@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_ctrl_c_ends_a_build_in_order(cache):
    process = subprocess.Popen(
        [sys.executable, "-m", "depthrefl_ros.tools.build_engine", "--engine", "tensorrt_rtx"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "indoor_tiny" in process.stdout.readline()  # the build begins
    process.send_signal(signal.SIGINT)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 2 and words.strip().endswith("build_engine: error: stopped")
    assert not list(cache.glob("*.plan"))


def test_openvino_is_compiled_and_tested(tmp_path, capsys):
    report, blob = tmp_path / "report.json", tmp_path / "tiny.blob"
    assert main(["--engine", "openvino", "--output", str(blob), "--json", str(report)]) == 0
    figures = read(report)
    assert figures["bytes"] == blob.stat().st_size > 5e6 and figures["build_s"] > 0
    assert figures["layers"]["fp32"] > 100 and "fp16" not in figures["layers"]
    assert "none: it is compiled at every start" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options, words",
    [
        ([], "--engine is missing"),
        (["--engine", "openvino", "--batch", "2"], "--batch and --target are for TensorRT"),
        (["--engine", "openvino", "--model", "nowhere"], "shipped models are"),
        (["--engine", "tensorrt_rtx", "--precision", "bf16"], "TensorRT has fp32, fp16, int8"),
        (["--engine", "tensorrt_rtx", "--device", "NPU"], "--device is 'NPU'; engine tensorrt_rtx"),
        (["--engine", "openvino", "--device", "GPU.9"], "device is 'GPU.9'; OpenVINO finds"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(options, words, capsys):
    assert main(options) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


@needs_rtx
def test_an_unknown_target_is_said_with_those_that_are_known(cache, capsys):
    assert main(["--engine", "tensorrt_rtx", "--target", "sm86,sm99"]) == 2
    assert "'sm99'; tensorrt_rtx knows" in capsys.readouterr().err
    assert not list(cache.glob("*.plan"))


@pytest.mark.skipif(find_flavour("tensorrt").can_build, reason="TensorRT can build here")
def test_tensorrt_that_cannot_build_here_says_why(capsys):
    assert main(["--engine", "tensorrt"]) == 2
    assert find_flavour("tensorrt").reason in capsys.readouterr().err


def test_the_file_is_checked_before_the_build_and_its_folder_is_made(tmp_path, capsys):
    base = ["--engine", "openvino", "--model", "indoor_nano"]
    (tmp_path / "a_file").write_text("")
    assert main([*base, "--output", str(tmp_path / "a_file" / "x.blob")]) == 2
    shown = capsys.readouterr()
    assert "a_file/x.blob: cannot be written" in shown.err and shown.out == ""
    assert main([*base, "--output", str(tmp_path / "new" / "x.blob")]) == 0
    assert (tmp_path / "new" / "x.blob").stat().st_size > 1e6

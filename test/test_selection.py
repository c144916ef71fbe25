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

"""Which engine is taken, and what is said about those that are not."""

import errno
import sys
from pathlib import Path

import pytest
from bundle_copies import copy_bundle, copy_weights, onnx_with_wrong_weights, whole_onnx

from depthrefl_ros.engine import selection
from depthrefl_ros.engine.base import EngineError, EngineMissingError
from depthrefl_ros.engine.bundle import BundleError
from depthrefl_ros.engine.selection import EngineChoice, open_engine
from depthrefl_ros.engine.tensorrt import store
from depthrefl_ros.engine.tensorrt.api import find_flavour
from depthrefl_ros.engine.tensorrt.int8 import int8_network
from depthrefl_ros.engine.tensorrt.plan import ONNX_FILES, plan_key
from depthrefl_ros.engine.tensorrt.store import PlanStore

_rtx = find_flavour("tensorrt_rtx")
needs_rtx = pytest.mark.skipif(
    not _rtx.version or _rtx.can_run, reason="needs tensorrt_rtx on a machine without a GPU"
)


@pytest.fixture(autouse=True)
def without_nvidia(monkeypatch, tmp_path):
    monkeypatch.setattr(selection, "_NVIDIA_DEVICES", ())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_auto_says_what_it_tried_and_what_it_took(bundle):
    opened = open_engine(bundle)
    assert (opened.engine.name, opened.engine.precision) == ("openvino", "fp32")
    heads = ("tensorrt: ", "tensorrt_rtx: ", "torch on CUDA: ", "openvino fp32: chosen, on ")
    assert len(opened.steps) == len(heads)
    for step, head in zip(opened.steps, heads, strict=True):
        assert step.startswith(head)
    assert opened.steps[2] == "torch on CUDA: no NVIDIA device file is present"
    assert opened.problems == []


@needs_rtx
def test_auto_builds_nothing_where_the_device_has_no_driver(bundle, monkeypatch):
    monkeypatch.setattr(selection, "_NVIDIA_DEVICES", ("/dev/null",))
    opened = open_engine(bundle)
    assert opened.engine.name == "openvino"
    assert opened.steps[1].startswith("tensorrt_rtx: CUDA")
    assert opened.steps[2] == "torch on CUDA: device is 'cuda:0' but torch finds no CUDA device"
    assert opened.problems == [] and PlanStore().entries() == []


@needs_rtx
def test_an_engine_asked_for_by_name_is_built_and_the_next_one_taken(bundle):
    told = []
    choice = EngineChoice("tensorrt_rtx", falls_back=True)
    opened = open_engine(bundle, choice, on_step=lambda *step: told.append(step))
    assert opened.engine.name == "openvino"
    built, refused, torch, chosen = opened.steps
    assert built.startswith("tensorrt_rtx fp16: built, ")
    assert refused.startswith("tensorrt_rtx: CUDA")
    assert torch.startswith("torch on CUDA: ") and chosen.startswith("openvino fp32: chosen")
    assert opened.problems == ["engine tensorrt_rtx was asked for; openvino runs"]
    assert told == [(step, False) for step in opened.steps]
    assert "tensorrt_rtx fp16: from the cache" in open_engine(bundle, choice).steps[0]


@needs_rtx
def test_what_is_wrong_with_the_cache_is_told(bundle):
    PlanStore().folder.mkdir(mode=0o700)
    PlanStore().folder.chmod(0o777)
    opened = open_engine(bundle, EngineChoice("tensorrt_rtx", falls_back=True))
    (problem, _) = opened.problems
    assert "used from memory" in problem and "may be written by others" in problem


def test_a_precision_that_fails_gives_way_to_fp32(bundle):
    opened = open_engine(bundle, EngineChoice("torch", precision="fp16"))
    assert (opened.engine.name, opened.engine.precision) == ("torch", "fp32")
    assert "precision fp16 was asked for; fp32 runs" in opened.problems


def test_bf16_runs_only_where_depth_and_sigma_pass(bundle):
    opened = open_engine(bundle, EngineChoice("openvino", precision="bf16"))
    assert opened.engine.precision in ("bf16", "fp32")
    if opened.engine.precision == "fp32":
        assert opened.steps[0].startswith("openvino bf16: ")
        assert "self-test" in opened.steps[0] or "does not compute" in opened.steps[0]
        assert opened.problems == [opened.steps[0], "precision bf16 was asked for; fp32 runs"]
    else:
        assert opened.report.p99["sigma"] <= 0.02 and opened.problems == []


def test_int8_runs_where_it_is_asked_for_and_the_bundle_has_it(bundle):
    opened = open_engine(bundle, EngineChoice("openvino", precision="int8"))
    assert (opened.engine.precision, opened.problems) == ("int8", [])
    assert opened.steps[0].startswith("openvino int8: chosen, on ")
    assert open_engine(bundle, "openvino").engine.precision == "fp32"


def test_int8_that_the_bundle_lacks_gives_way_to_fp32(tmp_path):
    without = copy_bundle(tmp_path / "without", {})
    del without.files["model_int8.onnx"]
    opened = open_engine(without, EngineChoice("openvino", precision="int8"))
    assert opened.engine.precision == "fp32"
    why, instead = opened.problems
    assert f"openvino int8: {without.folder} has no model_int8.onnx: `depthrefl" in why
    assert instead == "precision int8 was asked for; fp32 runs"


def test_auto_falls_back_where_openvino_is_missing(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    opened = open_engine(bundle)
    assert (opened.engine.name, opened.engine.device) == ("torch", "CPU")
    assert opened.steps[3].startswith("openvino: openvino is not installed")
    assert opened.problems == []


def test_when_nothing_works_every_reason_is_given(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EngineError, match="no engine works for model indoor_tiny.*pip install"):
        open_engine(bundle, EngineChoice("openvino", falls_back=True))


def test_an_engine_that_alone_was_asked_for_is_named_with_what_else_there_is(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    words = "engine openvino does not work for model indoor_tiny: .*pip install.*; installed here:"
    with pytest.raises(EngineError, match=f"^{words} .*torch; engine auto takes the first"):
        open_engine(bundle, "openvino")


def test_an_unknown_engine_is_named(bundle):
    with pytest.raises(ValueError, match="engine is 'abacus'"):
        open_engine(bundle, "abacus")
    for field in ("precision", "build"):
        with pytest.raises(ValueError, match=f"{field} is 'abacus'; it must be one of"):
            EngineChoice(**{field: "abacus"})


def test_threads_are_passed_on(bundle):
    opened = open_engine(bundle, EngineChoice("openvino", threads=1))
    assert opened.engine._compiled.get_property("INFERENCE_NUM_THREADS") == 1


def test_auto_survives_a_runtime_that_breaks_in_its_own_way(bundle, monkeypatch):
    def breaks(*arguments, **more):
        raise OSError("libtbb.so.12: cannot open shared object file")

    monkeypatch.setattr(selection, "OpenVinoEngine", breaks)
    opened = open_engine(bundle)
    assert opened.engine.name == "torch"
    assert "openvino fp32: libtbb.so.12" in opened.steps[3]
    assert opened.problems == [opened.steps[3]]


@pytest.mark.parametrize("device", ["/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/dxg"])
def test_any_of_nvidias_device_files_will_do(bundle, monkeypatch, device):
    monkeypatch.undo()
    monkeypatch.setattr(Path, "exists", lambda path: str(path) == device)
    selection._need_nvidia("json")
    monkeypatch.setattr(Path, "exists", lambda path: False)
    with pytest.raises(EngineMissingError, match="no NVIDIA device file"):
        selection._need_nvidia("json")


def test_a_file_that_one_engine_lacks_is_no_matter_to_the_others(bundle, tmp_path):
    model = copy_bundle(tmp_path / "model", {})
    del model.files["model.safetensors"]
    opened = open_engine(model, EngineChoice("torch", falls_back=True))
    assert opened.engine.name == "openvino"
    assert "model.yaml lists no model.safetensors" in opened.problems[0]
    del model.files["golden.npz"]
    with pytest.raises(BundleError, match="golden.npz"):
        open_engine(model)


# Devices


def test_a_device_is_passed_on(bundle):
    opened = open_engine(bundle, EngineChoice("openvino", device="auto"))
    assert opened.engine.device.startswith("AUTO: ") and opened.rung == "openvino on AUTO"
    assert opened.steps[0].startswith("openvino on AUTO fp32: chosen") and opened.problems == []
    cpu = open_engine(bundle, EngineChoice(device="CPU"))
    assert (cpu.engine.name, cpu.rung, len(cpu.steps)) == ("openvino", "openvino", 1)
    assert open_engine(bundle, EngineChoice("torch", device="cpu")).engine.device == "CPU"


@pytest.mark.parametrize(
    "engine, how, words",
    [
        ("openvino", {"device": "GPU.7"}, r"openvino on GPU\.7: .*OpenVINO finds CPU.* here"),
        ("torch", {"device": "9"}, "torch on cuda:9: no NVIDIA device file is present"),
        pytest.param("tensorrt_rtx", {}, "tensorrt_rtx fp16: built.*tensorrt_rtx: CUDA",
                     marks=needs_rtx),
        pytest.param("tensorrt_rtx", {"build": "never"},
                     "tensorrt_rtx fp16: not in the cache .*build is never", marks=needs_rtx),
    ],
)  # fmt: skip
def test_who_does_not_fall_back_hears_why(bundle, engine, how, words):
    with pytest.raises(EngineError, match=words):
        open_engine(bundle, EngineChoice(engine, **how))


def test_who_falls_back_gets_another_device_and_is_told(bundle):
    opened = open_engine(bundle, EngineChoice("openvino", device="GPU.7", falls_back=True))
    assert opened.rung == "openvino"
    assert opened.problems == ["device GPU.7 was asked for; openvino runs"]


def test_a_device_that_the_engine_does_not_know_is_no_choice():
    with pytest.raises(ValueError, match="device is 'NPU'; engine tensorrt takes the index"):
        EngineChoice("tensorrt", device="NPU")


# Rungs that failed while they ran


def test_a_rung_that_failed_is_skipped_and_the_next_one_taken(bundle):
    first = open_engine(bundle)
    assert first.rung == "openvino"
    first.engine.close()
    again = open_engine(bundle)  # the same may be opened once more
    assert again.rung == "openvino"
    second = open_engine(bundle, skip=frozenset({"openvino"}))
    assert second.rung == "torch on CPU"
    skipped = "openvino: not tried again, it failed while it ran"
    assert skipped in second.steps and skipped in second.problems


def test_where_every_rung_failed_that_is_said(bundle):
    with pytest.raises(EngineError, match="openvino does not work.*openvino: not tried again"):
        open_engine(bundle, "openvino", skip=frozenset({"openvino"}))


# TensorRT that runs, against the stand-in: a plan is an ONNX file.


@pytest.fixture
def gpu(monkeypatch, request):
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    from cuda_stand_in import stand_in

    return stand_in(monkeypatch, getattr(request, "param", "tensorrt"), max_batch=1)


@pytest.fixture
def keep(gpu, bundle):
    """Put a plan into the cache, or what goes for one."""

    def keep(precision, plan):
        key = plan_key(bundle, gpu.flavour, precision)
        PlanStore().find_or_build(key, lambda: plan)

    return keep


@pytest.fixture(scope="module")
def plans(bundle):
    return {name: whole_onnx(bundle.path(ONNX_FILES[name])) for name in ("fp32", "fp16")}


@pytest.fixture(scope="module")
def wrong(bundle):
    files = {name: bundle.path(ONNX_FILES[name]) for name in ("fp32", "fp16")}
    return {name: onnx_with_wrong_weights(path) for name, path in files.items()}


@pytest.mark.parametrize("gpu", ["tensorrt", "tensorrt_rtx"], indirect=True)
def test_a_plan_that_passes_is_taken_and_its_version_told(bundle, gpu, keep, plans):
    keep("fp16", plans["fp16"])
    opened = open_engine(bundle, gpu.flavour)
    version = {"tensorrt": "10.3.0", "tensorrt_rtx": "1.7.1"}[gpu.flavour]
    cached, chosen = opened.steps
    assert cached.startswith(f"{gpu.flavour} fp16: from the cache, ")
    assert chosen.startswith(
        f"{gpu.flavour} fp16: chosen, on Stand-in ({gpu.flavour} {version}); self-test depth "
    )
    assert opened.problems == [] and "10.14" not in chosen
    opened.engine.close()
    assert not gpu.live


def test_tensorrt_in_int8_runs_where_it_is_asked_for(bundle, gpu, keep, plans, tmp_path):
    paths = bundle.path("model_fp16.onnx"), bundle.path("model_int8.onnx")
    copy_weights(bundle, tmp_path)
    (tmp_path / "model.onnx").write_bytes(int8_network(*paths))
    keep("int8", whole_onnx(tmp_path / "model.onnx"))
    keep("fp16", plans["fp16"])
    opened = open_engine(bundle, EngineChoice("tensorrt", precision="int8"))
    assert (opened.engine.precision, opened.problems) == ("int8", [])
    assert opened.report.median["depth"] > 0.0005  # it is not float32 itself
    opened.engine.close()
    opened = open_engine(bundle, "tensorrt")
    assert opened.engine.precision == "fp16"
    opened.engine.close()


def test_fp16_that_fails_the_self_test_gives_way_to_fp32(bundle, gpu, keep, plans, wrong):
    keep("fp16", wrong["fp16"])
    keep("fp32", plans["fp32"])
    opened = open_engine(bundle, "tensorrt")
    assert (opened.engine.name, opened.engine.precision) == ("tensorrt", "fp32")
    opened.engine.close()
    assert not gpu.live  # the refused engine was closed
    cached, failed, cached_32, chosen = opened.steps
    assert failed.startswith("tensorrt fp16: tensorrt on Stand-in fails the self-test: depth ")
    assert "(tensorrt 10.3.0; TensorRT 10.3 (JetPack 6.1" in failed
    assert chosen.startswith("tensorrt fp32: chosen") and "JetPack" not in chosen
    assert opened.problems == [failed]


def test_tensorrt_that_fails_in_both_precisions_gives_way_to_the_next(bundle, gpu, keep, wrong):
    keep("fp16", wrong["fp16"])
    keep("fp32", wrong["fp32"])
    told = []
    choice = EngineChoice("tensorrt", falls_back=True)
    opened = open_engine(bundle, choice, on_step=lambda *step: told.append(step))
    assert opened.engine.name == "openvino" and not gpu.live
    assert [step.split(": ")[0] for step in opened.steps] == [
        *("tensorrt fp16", "tensorrt fp16", "tensorrt fp32", "tensorrt fp32"),
        *("tensorrt_rtx", "torch on CUDA", "openvino fp32"),
    ]
    half, single, other = opened.problems
    for problem in (half, single):
        assert "fails the self-test" in problem and "10.14 and later are right" in problem
    assert other == "engine tensorrt was asked for; openvino runs"
    assert [step for step, is_problem in told if is_problem] == [half, single]


def test_the_hint_is_not_given_where_nothing_has_run(bundle, gpu):
    with pytest.raises(EngineError, match=r"build is never \(tensorrt 10\.3\.0\)") as caught:
        open_engine(bundle, EngineChoice("tensorrt", build="never"))
    assert "10.14" not in str(caught.value)


def test_a_cached_plan_that_the_runtime_refuses_can_be_forced(bundle, gpu, keep, plans):
    keep("fp16", b"a plan of another world")
    keep("fp32", plans["fp32"])
    opened = open_engine(bundle, "tensorrt")
    (problem,) = opened.problems
    assert problem.startswith("tensorrt fp16: ") and "from the cache: try build:=force" in problem
    assert opened.engine.precision == "fp32"


@pytest.mark.parametrize("gpu", ["tensorrt_rtx"], indirect=True)
def test_kernels_that_cannot_be_kept_are_told_of_once(bundle, gpu, keep, plans, monkeypatch):
    keep("fp16", plans["fp16"])

    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "write_whole", full)
    opened = open_engine(bundle, "tensorrt_rtx")
    (problem,) = opened.problems
    assert problem.startswith("tensorrt_rtx fp16: ") and "No space left" in problem
    assert opened.engine.name == "tensorrt_rtx"


@pytest.fixture
def installed(monkeypatch):
    """Make this a machine with NVIDIA's device files and every module."""
    monkeypatch.setattr(selection, "_NVIDIA_DEVICES", ("/dev/null",))
    monkeypatch.setattr(selection.importlib.util, "find_spec", lambda module: module)


def test_a_second_gpu_has_its_own_plan_and_runs_it(bundle, gpu, plans, installed):
    gpu.names.append("Other stand-in")
    key = plan_key(bundle, "tensorrt", "fp16", gpu=1)
    assert key.digest() != plan_key(bundle, "tensorrt", "fp16").digest()
    PlanStore().find_or_build(key, lambda: plans["fp16"])
    opened = open_engine(bundle, EngineChoice("tensorrt", device="1"))
    assert opened.engine.device == "Other stand-in" and opened.rung == "tensorrt on cuda:1"
    assert opened.steps[0].startswith("tensorrt on cuda:1 fp16: from the cache, ")
    opened.engine.close()
    assert not gpu.live


def test_a_gpu_that_is_not_there_is_not_built_for(bundle, gpu, installed):
    words = "tensorrt on cuda:3: device cuda:3 does not exist: cuda:0"
    with pytest.raises(EngineError, match=words):
        open_engine(bundle, EngineChoice("tensorrt", device="3"))

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

"""Running plans, proven against ``cuda_stand_in`` only: no GPU is at hand here."""

import threading

import numpy as np
import pytest
from bundle_copies import whole_onnx
from onnx_graphs import CAST, DOUBLE, network_file
from told_bundle import told_bundle

from depthrefl_ros.engine.base import EngineError
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.self_test import self_test
from depthrefl_ros.engine.tensorrt import run
from depthrefl_ros.engine.tensorrt.api import find_flavour, load_runtime
from depthrefl_ros.engine.tensorrt.cuda import CudaStream
from depthrefl_ros.engine.tensorrt.run import TensorRTEngine

RTX = find_flavour("tensorrt_rtx")
needs_rtx = pytest.mark.skipif(not RTX.can_build, reason=f"TensorRT-RTX: {RTX.reason}")


@pytest.fixture(scope="module")
def size(bundle):
    """Return what an engine must be told of the network, apart from the batch."""
    return bundle.height, bundle.width, bundle.outputs


# Of the shipped model, in single precision.
FORM = {"precision": "fp32", "channels": Bundle.load("indoor_tiny").channels}
both_flavours = pytest.mark.parametrize("machine", ["tensorrt", "tensorrt_rtx"], indirect=True)


@pytest.fixture
def engine(machine, bundle, size):
    plan = whole_onnx(bundle.path("model.onnx"))
    opened = TensorRTEngine(plan, machine.flavour, *size, 2, **FORM)
    yield opened
    opened.close()
    assert not machine.live


@both_flavours
def test_an_engine_passes_the_self_test(engine, bundle):
    report = self_test(engine, bundle)
    assert engine.device == "Stand-in" and report.p99["depth"] < 1e-4 and report.repeat == 0


@both_flavours
def test_a_frame_is_one_upload_one_graph_and_one_download(engine, bundle, machine):
    images = bundle.golden().images
    engine.infer(images[:1])
    machine.copies.clear()
    machine.calls.clear()
    engine.infer(images[1:2])
    pixels = bundle.height * bundle.width
    sent, received = bundle.channels * pixels, len(bundle.outputs) * 4 * pixels
    assert machine.copies == [("HostToDevice", sent), ("DeviceToHost", received)]
    # TensorRT's graph has the copies in it; RTX's own, which it keeps to itself, has not.
    launches = {"tensorrt": {"cudaGraphLaunch": 1}, "tensorrt_rtx": {"cudaMemcpyAsync": 2}}
    once = {"cudaSetDevice": 1, "cudaStreamSynchronize": 1}
    assert machine.calls == {**once, **launches[engine.name]}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    return told_bundle(tmp_path_factory.mktemp("models") / "told")


@both_flavours
def test_a_network_that_takes_the_mount_gets_four_bytes_a_pixel(machine, told):
    plan = whole_onnx(told.path("model.onnx"))
    size = (told.height, told.width, told.outputs)
    with pytest.raises(EngineError, match=r"takes \(2, 64, 64, 4\) at most; \(2, 64, 64, 3\)"):
        TensorRTEngine(plan, machine.flavour, *size, 2, precision="fp32")
    engine = TensorRTEngine(plan, machine.flavour, *size, 2, precision="fp32", channels=4)
    assert self_test(engine, told).p99["depth"] < 1e-3
    machine.copies.clear()
    engine.infer(told.golden().images[:1])
    assert machine.copies[0] == ("HostToDevice", 4 * 64 * 64)
    with pytest.raises(ValueError, match=r"\(N, 64, 64, 4\) uint8 is needed"):
        engine.infer(told.golden().images[..., :3])
    engine.close()
    assert not machine.live


@both_flavours
def test_an_engine_that_does_not_wait_is_refused(engine, bundle, monkeypatch):
    monkeypatch.setattr(CudaStream, "synchronise", lambda stream: None)
    with pytest.raises(EngineError, match="fails the self-test"):
        self_test(engine, bundle)


@both_flavours
def test_a_second_gpu_is_used_whichever_thread_asks(machine, bundle, size):
    machine.names.append("Second")
    plan = whole_onnx(bundle.path("model.onnx"))
    engine = TensorRTEngine(plan, machine.flavour, *size, 2, **FORM, gpu=1)
    assert engine.device == "Second" and machine.stream_device == 1
    found = []
    # CUDA's current device is a thread's own; the stand-in refuses work on the wrong one.
    thread = threading.Thread(target=lambda: found.append(self_test(engine, bundle)))
    thread.start()
    thread.join()
    assert found[0].p99["depth"] < 1e-4
    engine.close()
    assert not machine.live


def test_an_engine_whose_gpu_fails_can_be_closed_and_opened_again(machine, bundle, size):
    from cuda.bindings import runtime as real

    plan, images = whole_onnx(bundle.path("model.onnx")), bundle.golden().images[:1]
    engine = TensorRTEngine(plan, "tensorrt", *size, 2, **FORM)
    machine.fault = real.cudaError_t.cudaErrorIllegalAddress
    with pytest.raises(EngineError, match="cudaErrorIllegalAddress"):
        engine.infer(images)
    engine.close()
    assert not machine.live
    machine.fault = real.cudaError_t.cudaSuccess
    again = TensorRTEngine(plan, "tensorrt", *size, 2, **FORM)
    assert self_test(again, bundle).repeat == 0.0
    again.close()


@pytest.mark.parametrize("machine", ["tensorrt_rtx"], indirect=True)
def test_compiled_kernels_can_be_kept_for_the_next_start(machine, bundle, size):
    plan = whole_onnx(bundle.path("model.onnx"))
    shape = (*size, 2)
    first = TensorRTEngine(plan, "tensorrt_rtx", *shape, **FORM)
    kept = first.runtime_cache()
    first.close()
    second = TensorRTEngine(plan, "tensorrt_rtx", *shape, **FORM, runtime_cache=kept)
    assert second.runtime_cache() == kept + b"!"
    second.close()


@both_flavours
def test_batches_run_in_parts_each_with_its_own_graph(engine, bundle, machine):
    images = bundle.golden().images[:3]
    together = engine.infer(images)
    # Of two images and of one; RTX does so by itself.
    assert machine.calls.get("cudaGraphInstantiate", 0) == {"tensorrt": 2}.get(engine.name, 0)
    again = engine.infer(images)
    alone = [engine.infer(image[None]) for image in images]
    for name, plane in together.items():
        assert plane.shape == (3, 1, bundle.height, bundle.width)
        np.testing.assert_array_equal(plane, again[name])
        np.testing.assert_array_equal(plane, np.concatenate([row[name] for row in alone]))


def test_results_are_the_callers_own(engine, bundle):
    images = bundle.golden().images
    first = engine.infer(images[:1])["depth"]
    kept = first.copy()
    engine.infer(images[1:2])
    np.testing.assert_array_equal(first, kept)


def test_without_graphs_it_runs_call_by_call_and_says_so_once(engine, bundle, machine, caplog):
    machine.can_capture = False
    images = bundle.golden().images
    expected = engine.infer(images[:3])
    assert "without CUDA graphs" in caplog.text and "CaptureInvalidated" in caplog.text
    caplog.clear()
    machine.copies.clear()
    found = engine.infer(images[:3])  # two sizes in turn, each with its own context
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])
    assert len(machine.copies) == 4 and not caplog.text


def test_the_profile_names_the_three_parts(engine, bundle):
    seconds = engine.profile(bundle.golden().images[:1])
    assert list(seconds) == ["upload_s", "compute_s", "download_s"]
    assert seconds["compute_s"] > seconds["upload_s"] > 0


def test_a_plan_of_another_shape_or_network_is_refused(machine, bundle, size, tmp_path):
    plan = whole_onnx(bundle.path("model.onnx"))
    height, width, outputs = size
    channels = bundle.channels
    takes = rf"takes \(2, {height}, {width}, {channels}\) at most; \(2, {height + 32}, {width}, "
    with pytest.raises(EngineError, match=takes):
        TensorRTEngine(plan, "tensorrt", height + 32, width, outputs, 2, **FORM)
    other = network_file(tmp_path / "other.onnx", [CAST, DOUBLE]).read_bytes()
    with pytest.raises(EngineError, match=r"tensors are \['depth', 'images'\]"):
        TensorRTEngine(other, "tensorrt", 8, 8, outputs, 2, **FORM)


def test_memory_that_the_gpu_does_not_have_is_said_and_the_rest_given_back(machine, bundle, size):
    from cuda.bindings import runtime as real

    machine.cudaMalloc = lambda _bytes: (real.cudaError_t.cudaErrorMemoryAllocation, None)
    plan = whole_onnx(bundle.path("model.onnx"))
    images = 2 * bundle.channels * bundle.height * bundle.width
    with pytest.raises(EngineError, match=rf"{images} bytes on the GPU: cudaErrorMemoryAllocation"):
        TensorRTEngine(plan, "tensorrt", *size, 2, **FORM)
    assert not machine.live


def test_a_plan_for_one_image_runs_batches_one_by_one(machine, bundle, size):
    run.load_runtime("tensorrt").max_batch = 1
    plan = whole_onnx(bundle.path("model.onnx"))
    engine = TensorRTEngine(plan, "tensorrt", *size, **FORM)
    depth = engine.infer(bundle.golden().images[:3])["depth"]
    assert depth.shape == (3, 1, bundle.height, bundle.width)
    assert [kind for kind, _ in machine.copies] == ["HostToDevice", "DeviceToHost"] * 4
    engine.close()


@needs_rtx
def test_the_stand_in_has_tensorrts_names(machine):
    import cuda_stand_in as ours

    trt = load_runtime("tensorrt_rtx")  # the real one: only the modules that use it are patched
    pairs = [
        (ours._Context, trt.IExecutionContext),
        (ours._Plan, trt.ICudaEngine),
        (ours._RuntimeConfig, trt.IRuntimeConfig),
        (ours._RuntimeCache, trt.IRuntimeCache),
        (ours.StandInTensorRT, trt),
    ]
    for stood_in, real in pairs:
        public = {name for name in vars(stood_in) if not name.startswith("_")}
        public.discard("device_memory_size")  # TensorRT 10.0's name
        assert public and all(hasattr(real, name) for name in public), real
    assert hasattr(trt.Runtime, "deserialize_cuda_engine")
    assert hasattr(trt.ICudaEngine, "device_memory_size_v2")
    assert trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    assert trt.DynamicShapesKernelSpecializationStrategy.EAGER

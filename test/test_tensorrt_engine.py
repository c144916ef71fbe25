"""TensorRT: real plans by TensorRT-RTX, which builds without a GPU, and how a plan is run.

No GPU is at hand here: running is proven against ``cuda_stand_in`` only, and says so.
"""

import inspect
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from depthrefl_ros.engine import device_memory, tensorrt_api, tensorrt_engine
from depthrefl_ros.engine.base import EngineError, EngineMissingError, self_test
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.tensorrt_api import find_flavour, flavours, load_runtime
from depthrefl_ros.engine.tensorrt_engine import TensorRTEngine
from depthrefl_ros.engine.tensorrt_plan import ONNX_FILES, build_plan

RTX = find_flavour("tensorrt_rtx")
needs_rtx = pytest.mark.skipif(not RTX.can_build, reason=f"TensorRT-RTX: {RTX.reason}")
HAS_GPU = RTX.can_run or find_flavour("tensorrt").can_run


@pytest.fixture(scope="module")
def bundle():
    return Bundle.load("indoor_tiny")


@pytest.fixture(scope="module")
def size(bundle):
    return bundle.height, bundle.width


@pytest.fixture(scope="module")
def plans(bundle):
    return {
        precision: build_plan("tensorrt_rtx", bundle.path(name), precision=precision)
        for precision, name in ONNX_FILES.items()
    }


# Building, really


@needs_rtx
def test_the_shipped_model_builds_in_both_precisions(plans):
    assert len(plans["fp16"].plan) < 0.75 * len(plans["fp32"].plan)
    # Shapes, of a file whose batch is free, are whole numbers.
    assert plans["fp32"].layers.keys() - {"int64"} == {"fp32", "bool"}
    # The bins stay in float32, the backbone does not.
    assert plans["fp16"].layers["fp16"] > plans["fp16"].layers["fp32"] > 50
    for built in plans.values():
        assert built.seconds > 0 and built.timing_cache == b""


@needs_rtx
def test_the_memory_estimate_is_weights_and_the_widest_moment(plans, bundle):
    for precision, bytes_each in (("fp16", 2), ("fp32", 4)):
        activations = plans[precision].memory_bytes - len(plans[precision].plan)
        # The stem's second block: 96 channels at half the input's resolution, and its outcome.
        widest = 96 * (bundle.height // 2) * (bundle.width // 2) * bytes_each
        assert widest < activations < 3 * widest, activations


@needs_rtx
@pytest.mark.skipif(HAS_GPU, reason="there is a GPU")
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_without_a_gpu_a_plan_is_read_up_to_the_driver(plans, size, precision):
    plan = plans[precision].plan
    with pytest.raises(EngineError, match=r"(no NVIDIA driver|cuda-python).*cudaError 35"):
        TensorRTEngine(plan, "tensorrt_rtx", *size, precision=precision)
    with pytest.raises(EngineError, match="header.size"):
        TensorRTEngine(plan[:-1], "tensorrt_rtx", *size, precision=precision)
    with pytest.raises(EngineError, match="magicTag"):
        TensorRTEngine(b"plan" + plan[4:], "tensorrt_rtx", *size, precision=precision)


@needs_rtx
@pytest.mark.skipif(not RTX.can_run, reason=RTX.reason)
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_on_a_gpu_a_plan_passes_the_self_test(plans, bundle, size, precision):
    engine = TensorRTEngine(plans[precision].plan, "tensorrt_rtx", *size, precision=precision)
    self_test(engine, bundle)
    assert all(seconds > 0 for seconds in engine.profile(bundle.golden().images[:1]).values())
    assert engine.runtime_cache()
    engine.close()


@needs_rtx
def test_progress_only_grows(bundle):
    shares = []
    build_plan(
        "tensorrt_rtx",
        bundle.path("model_fp16.onnx"),
        precision="fp16",
        progress=lambda phase, share: shares.append(share),
    )
    assert shares == sorted(shares) and 0 <= shares[0] < 0.1 and 0.8 < shares[-1] <= 1


@needs_rtx
def test_what_progress_raises_stops_the_build(bundle):
    calls = []

    def stop(phase, share):
        calls.append(share)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        path = bundle.path("model.onnx")
        build_plan("tensorrt_rtx", path, precision="fp32", progress=stop)
    assert len(calls) < 10


@needs_rtx
def test_a_plan_can_be_for_certain_gpus(bundle, plans):
    path = bundle.path("model_fp16.onnx")
    one = build_plan("tensorrt_rtx", path, precision="fp16", targets=("sm86",))
    assert one.plan != plans["fp16"].plan
    with pytest.raises(EngineError, match=r"'sm99'; tensorrt_rtx knows .*'sm89'"):
        build_plan("tensorrt_rtx", path, precision="fp16", targets=("sm86", "sm99"))


def network_file(path, nodes, batch="batch"):
    """A small network from bytes to one plane."""
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, [batch, 8, 8, 3])
    depth = helper.make_tensor_value_info("depth", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "network", [images], [depth])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


CAST = helper.make_node("Cast", ["images"], ["x"], to=TensorProto.FLOAT)
DOUBLE = helper.make_node("Add", ["x", "x"], ["depth"])


@needs_rtx
def test_an_unsupported_layer_is_named(tmp_path):
    determinant = helper.make_node("Det", ["x"], ["depth"], name="volume")
    path = network_file(tmp_path / "model.onnx", [CAST, determinant])
    with pytest.raises(EngineError, match=r"model\.onnx: node 'volume' \(Det\) is UNSUPPORTED"):
        build_plan("tensorrt_rtx", path, precision="fp32")


@needs_rtx
def test_bytes_must_be_cast_before_they_are_transposed(tmp_path):
    transpose = helper.make_node("Transpose", ["images"], ["y"], perm=[0, 3, 1, 2], name="first")
    cast = helper.make_node("Cast", ["y"], ["depth"], to=TensorProto.FLOAT)
    path = network_file(tmp_path / "model.onnx", [transpose, cast])
    with pytest.raises(EngineError, match=r"'first' \(Transpose\).*UInt8"):
        build_plan("tensorrt_rtx", path, precision="fp32")


@needs_rtx
def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(EngineError, match=r"model\.onnx.*MODEL_DESERIALIZE_FAILED"):
        build_plan("tensorrt_rtx", path, precision="fp32")


@needs_rtx
def test_batches_are_a_profile_where_the_file_leaves_them_open(tmp_path):
    path = network_file(tmp_path / "open.onnx", [CAST, DOUBLE])
    one, three = (build_plan("tensorrt_rtx", path, batch=n, precision="fp32") for n in (1, 3))
    assert one.plan != three.plan
    # x and depth live at once.
    activations = [built.memory_bytes - len(built.plan) for built in (one, three)]
    assert activations == [2 * 4 * 8 * 8 * 3, 3 * 2 * 4 * 8 * 8 * 3]


@needs_rtx
def test_a_file_for_one_image_is_not_built_for_more(tmp_path):
    path = network_file(tmp_path / "fixed.onnx", [CAST, DOUBLE], batch=1)
    assert build_plan("tensorrt_rtx", path, precision="fp32").plan
    with pytest.raises(EngineError, match=r"fixed\.onnx is for batches of 1 only, not of 1 to 3"):
        build_plan("tensorrt_rtx", path, batch=3, precision="fp32")


def test_an_unknown_precision_is_named(bundle):
    with pytest.raises(ValueError, match="'int8'"):
        build_plan("tensorrt_rtx", bundle.path("model.onnx"), precision="int8")


# What a machine has


def test_both_flavours_are_told_of_wherever_we_are():
    assert [flavour.name for flavour in flavours()] == ["tensorrt", "tensorrt_rtx"]
    for flavour in flavours():
        assert flavour.can_run or flavour.reason
        assert bool(flavour.version) or not flavour.can_build


def test_a_flavour_that_is_not_installed_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(tensorrt_api, "load_runtime", load_runtime.__wrapped__)  # uncached
    monkeypatch.setattr(tensorrt_api.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineMissingError, match="pip install tensorrt-rtx"):
        tensorrt_api.load_runtime("tensorrt_rtx")
    assert find_flavour("tensorrt").reason == (
        "tensorrt is not installed: it comes with JetPack 6.1 or later, or pip install tensorrt"
    )


def test_an_unknown_flavour_is_named():
    with pytest.raises(ValueError, match="'abacus'"):
        find_flavour("abacus")


# Running, against the stand-in


@pytest.fixture(params=["tensorrt"])
def machine(monkeypatch, request):
    """A machine with a GPU and a TensorRT, both stood in for."""
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    from cuda_stand_in import stand_in

    return stand_in(monkeypatch, request.param, max_batch=2)


both_flavours = pytest.mark.parametrize("machine", ["tensorrt", "tensorrt_rtx"], indirect=True)


@pytest.fixture
def engine(machine, bundle, size):
    plan = bundle.path("model.onnx").read_bytes()
    opened = TensorRTEngine(plan, machine.flavour, *size, 2, precision="fp32")
    yield opened
    opened.close()
    assert not machine.live


@both_flavours
def test_an_engine_passes_the_self_test(engine, bundle):
    report = self_test(engine, bundle)
    assert engine.device == "Stand-in" and report.depth_p99 < 1e-4 and report.repeat == 0


@both_flavours
def test_a_frame_is_one_upload_one_graph_and_one_download(engine, bundle, machine):
    images = bundle.golden().images
    engine.infer(images[:1])
    machine.copies.clear()
    machine.calls.clear()
    engine.infer(images[1:2])
    pixels = bundle.height * bundle.width
    assert machine.copies == [("HostToDevice", 3 * pixels), ("DeviceToHost", 3 * 4 * pixels)]
    # TensorRT's graph has the copies in it; RTX's own, which it keeps to itself, has not.
    launches = {"tensorrt": {"cudaGraphLaunch": 1}, "tensorrt_rtx": {"cudaMemcpyAsync": 2}}
    assert machine.calls == {"cudaStreamSynchronize": 1, **launches[engine.name]}


@pytest.mark.parametrize("machine", ["tensorrt_rtx"], indirect=True)
def test_compiled_kernels_can_be_kept_for_the_next_start(machine, bundle, size):
    plan = bundle.path("model.onnx").read_bytes()
    shape = (*size, 2)
    first = TensorRTEngine(plan, "tensorrt_rtx", *shape, precision="fp32")
    kept = first.runtime_cache()
    first.close()
    second = TensorRTEngine(plan, "tensorrt_rtx", *shape, precision="fp32", runtime_cache=kept)
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
    plan = bundle.path("model.onnx").read_bytes()
    height, width = size
    takes = rf"takes \(2, {height}, {width}, 3\) at most; \(2, {height + 32}, {width}, 3\)"
    with pytest.raises(EngineError, match=takes):
        TensorRTEngine(plan, "tensorrt", height + 32, width, 2, precision="fp32")
    other = network_file(tmp_path / "other.onnx", [CAST, DOUBLE]).read_bytes()
    with pytest.raises(EngineError, match=r"tensors are \['depth', 'images'\]"):
        TensorRTEngine(other, "tensorrt", 8, 8, 2, precision="fp32")


def test_memory_that_the_gpu_does_not_have_is_said_and_the_rest_given_back(machine, bundle, size):
    from cuda.bindings import runtime as real

    machine.cudaMalloc = lambda _bytes: (real.cudaError_t.cudaErrorMemoryAllocation, None)
    plan = bundle.path("model.onnx").read_bytes()
    images = 2 * 3 * bundle.height * bundle.width
    with pytest.raises(EngineError, match=rf"{images} bytes on the GPU: cudaErrorMemoryAllocation"):
        TensorRTEngine(plan, "tensorrt", *size, 2, precision="fp32")
    assert not machine.live


def test_a_plan_for_one_image_runs_batches_one_by_one(machine, bundle, size):
    tensorrt_engine.load_runtime("tensorrt").max_batch = 1
    plan = bundle.path("model.onnx").read_bytes()
    engine = TensorRTEngine(plan, "tensorrt", *size, precision="fp32")
    assert engine.infer(bundle.golden().images[:3])["depth"].shape == (3, 1, *size)
    assert [kind for kind, _ in machine.copies] == ["HostToDevice", "DeviceToHost"] * 4
    engine.close()


@pytest.mark.parametrize(
    "line, driver",
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 2023",
            "535.129.03; CUDA 12.6",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0", "540.4.0; CUDA 12.6"),
    ],
)
def test_the_drivers_version_is_read(machine, monkeypatch, tmp_path, line, driver):
    file = tmp_path / "version"
    monkeypatch.setattr(device_memory, "_DRIVER_FILE", file)
    assert device_memory.find_gpu().driver == "CUDA 12.6"
    file.write_text(line + "\nGCC version: gcc version 12.3.0\n")
    gpu = device_memory.find_gpu()
    assert gpu.driver == driver
    assert (gpu.name, gpu.compute_capability, gpu.memory_bytes) == ("Stand-in", "8.7", 1 << 33)


def test_known_faults_are_said(machine):
    found = find_flavour("tensorrt")
    assert (found.version, found.can_build, found.can_run) == ("10.3.0", True, True)
    assert "10.14" in found.known_fault


def test_the_stand_in_has_cudas_names_and_arguments(machine):
    from cuda.bindings import runtime as real

    stood_in = [name for name in vars(type(machine)) if name.startswith("cuda")]
    assert len(stood_in) > 15
    for name in stood_in:
        signature = re.match(rf"{name}\((.*)\)", getattr(real, name).__doc__)
        theirs = [part.split()[-1] for part in signature[1].split(", ") if part]
        ours = list(inspect.signature(getattr(machine, name)).parameters)
        assert len(ours) == len(theirs), f"{name}: {theirs}"


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

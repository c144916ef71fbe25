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

"""Building plans: real ones by TensorRT-RTX, which builds without a GPU."""

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_graphs import CAST, DOUBLE, network_file

from depthrefl_ros.engine.base import EngineError
from depthrefl_ros.engine.self_test import self_test
from depthrefl_ros.engine.tensorrt import build
from depthrefl_ros.engine.tensorrt.api import find_flavour, load_runtime
from depthrefl_ros.engine.tensorrt.build import build_plan
from depthrefl_ros.engine.tensorrt.int8 import int8_network
from depthrefl_ros.engine.tensorrt.plan import ONNX_FILES
from depthrefl_ros.engine.tensorrt.run import TensorRTEngine

RTX = find_flavour("tensorrt_rtx")
needs_rtx = pytest.mark.skipif(not RTX.can_build, reason=f"TensorRT-RTX: {RTX.reason}")
HAS_GPU = RTX.can_run or find_flavour("tensorrt").can_run


@pytest.fixture(scope="module")
def size(bundle):
    """Return what an engine must be told of the network, apart from the batch."""
    return bundle.height, bundle.width, bundle.outputs


@pytest.fixture(scope="module")
def plans(bundle):
    return {
        precision: build_plan("tensorrt_rtx", bundle.path(name), precision=precision)
        for precision, name in ONNX_FILES.items()
    }


@needs_rtx
def test_the_shipped_model_builds_in_every_precision(plans, bundle):
    assert len(plans["fp16"].plan) < 0.75 * len(plans["fp32"].plan)
    # Shapes, of a file whose batch is free, are whole numbers.
    assert plans["fp32"].layers.keys() - {"int64"} == {"fp32", "bool"}
    # The bins stay in float32, the backbone does not.
    assert plans["fp16"].layers["fp16"] > plans["fp16"].layers["fp32"] > 50
    # Each convolution whose weights are quantised, but the reflector's, and fp16 between them.
    file = onnx.load(bundle.path("model_int8.onnx"), load_external_data=False)
    made = {node.output[0]: node.op_type for node in file.graph.node}
    weights = [node.input[1] for node in file.graph.node if node.op_type == "Conv"]
    weights = [name for name in weights if "reflector." not in name]
    count = [made.get(name) for name in weights].count("DequantizeLinear")
    assert plans["int8"].layers["int8"] == count > 50
    assert plans["int8"].layers["fp16"] == plans["fp16"].layers["fp16"] - count
    for built in plans.values():
        assert built.seconds > 0 and built.timing_cache == b""


@needs_rtx
def test_the_builder_keeps_int8_weights_as_they_are(plans, bundle):
    """It would hold what they stand for if it computed in floating point."""
    paths = bundle.path("model_fp16.onnx"), bundle.path("model_int8.onnx")
    graph = onnx.load_model_from_string(int8_network(*paths)).graph
    stored = {t.name: t for t in graph.initializer if not t.external_data}
    plan, dense = plans["int8"].plan, 0
    for name in [name for name in stored if name.endswith("_codes")][::6]:
        codes = numpy_helper.to_array(stored[name])
        scales = numpy_helper.to_array(stored[name.replace("_codes", "_scale")])
        if codes.shape[2:] == (1, 1) and codes.shape[1] >= 32:
            first = codes[0].ravel()[:32]  # its channels lie side by side
            dense += 1
            assert first.tobytes() in plan, name
            for kind in (np.float16, np.float32):
                assert (first * scales[0].astype(kind)).astype(kind).tobytes() not in plan, name
    assert dense > 5


@needs_rtx
def test_the_memory_estimate_is_weights_and_the_widest_moment(plans, bundle):
    for precision, bytes_each in (("fp16", 2), ("fp32", 4), ("int8", 2)):
        activations = plans[precision].memory_bytes - len(plans[precision].plan)
        # The stem's second block: 96 channels at half the input's resolution, and its outcome.
        widest = 96 * (bundle.height // 2) * (bundle.width // 2) * bytes_each
        assert widest < activations < 3 * widest, activations


@needs_rtx
@pytest.mark.skipif(HAS_GPU, reason="there is a GPU")
@pytest.mark.parametrize("precision", ONNX_FILES)
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
@pytest.mark.parametrize("precision", ONNX_FILES)
def test_on_a_gpu_a_plan_passes_the_self_test(plans, bundle, size, precision):
    form = {"precision": precision, "channels": bundle.channels}
    engine = TensorRTEngine(plans[precision].plan, "tensorrt_rtx", *size, **form)
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
def test_float32_is_not_tf32(tmp_path, monkeypatch):
    """TF32 has ten bits of mantissa, too few for what the self-test asks of fp32."""
    runtime, configs = load_runtime("tensorrt_rtx"), []
    take = build.set_timing_cache
    monkeypatch.setattr(
        build, "set_timing_cache", lambda *given: (configs.append(given[1]), take(*given))
    )
    path = network_file(tmp_path / "model.onnx", [CAST, DOUBLE])
    for precision in ("fp32", "fp16"):
        build_plan("tensorrt_rtx", path, precision=precision)
    flags = [config.get_flag(runtime.BuilderFlag.TF32) for config in configs]
    assert flags == [False, True]  # the runtime's default is to use it


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
    with pytest.raises(ValueError, match="'bf16'"):
        build_plan("tensorrt_rtx", bundle.path("model.onnx"), precision="bf16")


@needs_rtx
def test_the_unsigned_file_itself_is_refused_in_the_builders_words(bundle):
    """Which is why ``int8_network`` is there."""
    with pytest.raises(EngineError, match=r"\(QuantizeLinear\).*Non-zero zero point"):
        build_plan("tensorrt_rtx", bundle.path("model_int8.onnx"), precision="fp32")


@needs_rtx
def test_int8_without_onnx_says_what_to_install(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "depthrefl_ros.engine.tensorrt.int8", None)
    with pytest.raises(EngineError, match="int8 for TensorRT needs onnx .*: pip install onnx"):
        build_plan("tensorrt_rtx", bundle.path("model_int8.onnx"), precision="int8")

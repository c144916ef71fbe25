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

"""The network in int8 for TensorRT, run by ONNX Runtime: how far from float32, what is refused."""

import numpy as np
import onnx
import onnxruntime
import pytest
from bundle_copies import copy_weights
from onnx import TensorProto, helper, numpy_helper

from depthrefl_ros.engine.base import Engine, EngineError
from depthrefl_ros.engine.self_test import self_test
from depthrefl_ros.engine.tensorrt import int8
from depthrefl_ros.engine.tensorrt.int8 import int8_network


class OnnxEngine(Engine):
    """A serialised ONNX model that computes in int8."""

    name, device, precision = "onnxruntime", "CPU", "int8"

    def __init__(self, network, bundle):
        self.height, self.width, self.channels = bundle.height, bundle.width, bundle.channels
        # It would quantise biases by products of scales in half precision, too small for that.
        disabled = ["WeightBiasQuantization"]
        self._session = onnxruntime.InferenceSession(network, disabled_optimizers=disabled)

    def _run(self, images):
        names = [output.name for output in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, {"images": images}), strict=True))

    def close(self):
        self._session = None


def whole_network(bundle, folder):
    """Return the network in int8 with all its weights in it, in another folder than they are."""
    paths = bundle.path("model_fp16.onnx"), bundle.path("model_int8.onnx")
    path = folder / "network.onnx"
    path.write_bytes(int8_network(*paths))
    copy_weights(bundle, folder)
    onnx.checker.check_model(str(path))
    return onnx.load(path)


def test_the_shipped_model_is_within_the_self_tests_bounds_of_float32(bundle, tmp_path):
    engine = OnnxEngine(whole_network(bundle, tmp_path).SerializeToString(), bundle)
    report = self_test(engine, bundle)
    assert report.median["depth"] > 1e-4  # it is not float32 itself


def test_unsigned_scales_taken_for_signed_ones_fail(bundle, tmp_path, monkeypatch):
    """So would a builder that reads the unsigned file as signed bytes: half the range is lost."""
    monkeypatch.setattr(int8, "_symmetric", lambda scale, zero_point: scale)
    engine = OnnxEngine(whole_network(bundle, tmp_path).SerializeToString(), bundle)
    with pytest.raises(EngineError, match="onnxruntime on CPU fails the self-test: depth "):
        self_test(engine, bundle)


def test_every_quantiser_is_signed_symmetric_and_constant(bundle, tmp_path):
    graph = whole_network(bundle, tmp_path).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {node.output[0]: node for node in graph.node}
    quantisers = [node for node in graph.node if node.op_type.lower().endswith("quantizelinear")]
    for node in quantisers:
        scale, zero_point = (stored[name] for name in node.input[1:])
        assert zero_point.dtype == np.int8 and not zero_point.any()
        assert scale.dtype == np.float16 and (scale > 0).all()
    pairs = [node.input[0] for node in quantisers if node.op_type == "QuantizeLinear"]
    assert len(pairs) == len(set(pairs))  # convolutions of one input share its codes
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    computed = [n for n in convolutions if n.input[0] in makers and n.input[1] in makers]
    assert len(computed) > 0.6 * len(convolutions)
    kept = [node.input[1] for node in convolutions if node not in computed]
    elsewhere = [
        n for n in kept if not any(part in n for part in ("encoder", "mount", "error_head"))
    ]
    assert all("reflector" in name for name in elsewhere)
    assert sum("reflector" in name for name in kept) > 10
    for node in computed:
        activation, weights = (makers[name] for name in node.input[:2])
        assert activation.op_type == weights.op_type == "DequantizeLinear"
        codes, scales, _ = (stored[name] for name in weights.input)
        assert codes.dtype == np.int8 and scales.shape == (len(codes),)
        assert np.abs(codes.astype(int)).max() in range(120, 128)


@pytest.mark.parametrize(
    "scale, zero_point, symmetric",
    [
        (0.5, np.uint8(0), 0.5 * 255 / 127),
        (0.5, np.uint8(128), 0.5),
        (0.5, np.uint8(255), 0.5 * 255 / 128),
        (0.5, np.int8(0), 0.5),
        (0.5, np.int8(-128), 0.5 * 255 / 127),
    ],
)
def test_signed_bytes_span_what_the_others_did(scale, zero_point, symmetric):
    assert int8._symmetric(scale, np.asarray(zero_point)) == pytest.approx(symmetric)


def test_scales_in_half_precision_are_never_smaller_and_never_0():
    scales = np.geomspace(1e-12, 1e3, 500, dtype=np.float32)
    half = int8._rounded_up(scales, np.dtype(np.float16))
    assert half.dtype == np.float16 and (half > 0).all() and (half >= scales).all()
    is_normal = scales > 2.0**-14
    np.testing.assert_allclose(half[is_normal], scales[is_normal], rtol=2.0**-10)


# ---- Files that are not of one network ----------------------------------------------------------


def save(path, nodes, **tensors):
    """Write a network of one input and one output with these tensors."""
    kind = TensorProto.FLOAT16 if "half" in path.name else TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(name, kind, None) for name in ("x", "y")]
    stored = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


def half_file(folder, name="conv", channels=2, **tensors):
    weights = np.ones((channels, 3, 1, 1), np.float16)
    inputs = ["x", "weights", *tensors]
    return save(
        folder / "half.onnx",
        [helper.make_node("Conv", inputs, ["y"], name=name)],
        weights=weights,
        **tensors,
    )


def int8_file(folder, zero_point=0):
    scalar, zero = np.float32(0.1).reshape(()), np.zeros((), np.uint8)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["codes"]),
        helper.make_node("DequantizeLinear", ["codes", "scale", "zero"], ["x_again"]),
        helper.make_node("DequantizeLinear", ["w", "scales", "zeros"], ["weights"], axis=0),
        helper.make_node("Conv", ["x_again", "weights"], ["y"], name="conv"),
    ]
    return save(
        folder / "int8.onnx",
        nodes,
        scale=scalar,
        zero=zero,
        w=np.ones((2, 3, 1, 1), np.int8),
        scales=np.full(2, 0.01, np.float32),
        zeros=np.full(2, zero_point, np.int8),
    )


def test_a_small_network_is_quantised_by_hand(tmp_path):
    model = onnx.load_model_from_string(int8_network(half_file(tmp_path), int8_file(tmp_path)))
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    kinds = [node.op_type for node in model.graph.node]
    assert kinds == ["QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "Conv"]
    np.testing.assert_array_equal(stored["weights_codes"], np.full((2, 3, 1, 1), 100))
    assert stored["x_int8_0_scale"] == pytest.approx(0.1 * 255 / 127, rel=1e-3)
    assert "weights" not in stored and model.opset_import[0].version == 19


@pytest.mark.parametrize(
    "half",
    [{"name": "other"}, {"channels": 3}, {"bias": np.ones(2, np.float16)}],
)
def test_files_of_two_networks_are_refused(tmp_path, half):
    paths = half_file(tmp_path, **half), int8_file(tmp_path)
    with pytest.raises(EngineError, match=r"int8\.onnx quantises 'conv', which .*half\.onnx does"):
        int8_network(*paths)


def test_weights_with_a_zero_point_are_refused(tmp_path):
    paths = half_file(tmp_path), int8_file(tmp_path, zero_point=3)
    with pytest.raises(EngineError, match=r"int8\.onnx quantises weights of 'conv' with a zero po"):
        int8_network(*paths)


def test_a_file_that_quantises_nothing_is_refused(bundle):
    with pytest.raises(EngineError, match=r"model\.onnx quantises no convolution"):
        int8_network(bundle.path("model_fp16.onnx"), bundle.path("model.onnx"))

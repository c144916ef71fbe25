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

"""The half-precision copy: kept where it passes the self-test, left out where it does not."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from depthrefl_ros.conversion.converter import convert_network
from depthrefl_ros.conversion.half_precision import halve, worst_half_error
from depthrefl_ros.conversion.meaning import Meaning

HEIGHT, WIDTH = 48, 64
MEANING = Meaning(kind="metric", licence="MIT", range_m=(0.3, 10.0), outputs=("depth",))


def network(inner_gain):
    """Depth is one plus local brightness; within, numbers are inner_gain times as large."""
    weights = {
        "first": np.full((1, 3, 3, 3), inner_gain / 9.0, np.float32),
        "second": np.full((1, 1, 1, 1), 1.0 / inner_gain, np.float32),
        "one": np.float32([1.0]),
    }
    nodes = [
        helper.make_node("Conv", ["image", "first"], ["large"], pads=[1] * 4),
        helper.make_node("Conv", ["large", "second"], ["small"]),
        helper.make_node("Add", ["small", "one"], ["depth"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("depth", TensorProto.FLOAT, [1, 1, HEIGHT, WIDTH])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_weights_become_half_and_the_ends_stay():
    graph = network(1.0)
    half = halve(graph)
    kinds = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert kinds["first"] == TensorProto.FLOAT16
    ends = [*half.graph.input, *half.graph.output]
    assert {end.type.tensor_type.elem_type for end in ends} == {TensorProto.FLOAT}
    onnx.checker.check_model(half)
    assert graph.graph.initializer[0].data_type == TensorProto.FLOAT  # the first stays as it was


def test_shapes_are_inferred_without_the_weights(monkeypatch):
    """With 2 GiB of weights nothing that holds them can be serialised, not even counted."""
    sizes = []
    infer = onnx.shape_inference.infer_shapes

    def counted(graph):
        sizes.append(graph.ByteSize())
        return infer(graph)

    monkeypatch.setattr("onnx.shape_inference.infer_shapes", counted)
    graph = network(1.0)
    channels = 400
    for tensor in graph.graph.initializer[:2]:  # 3 to many, many to 1
        values = numpy_helper.to_array(tensor)
        wide = values.repeat(channels, 0 if tensor.name == "first" else 1) / np.float32(20.0)
        tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
    half = halve(graph)
    assert graph.ByteSize() > 40_000 and len(sizes) == 1 and sizes[0] < 2000
    shapes = {value.name: value.type.tensor_type.shape for value in half.graph.value_info}
    assert [dim.dim_value for dim in shapes["large"].dim] == [1, channels, HEIGHT, WIDTH]


@pytest.mark.parametrize("gain, is_kept", [(1.0, True), (1e6, False)])
def test_it_is_part_of_the_bundle_where_it_passes(tmp_path, gain, is_kept):
    done = convert_network(network(gain), MEANING, tmp_path / "out", {"n.onnx": "0" * 64})
    assert ("model_fp16.onnx" in done.bundle.files) == is_kept
    told = [note for note in done.notes if "no half-precision graph" in note]
    assert bool(told) != is_kept


def test_the_worst_picture_counts():
    truth = {"depth": np.ones((3, 1, 4, 4), np.float32)}
    assert worst_half_error(truth, truth) is None
    found = {"depth": truth["depth"].copy()}
    found["depth"][2] *= 1.01
    assert "depth would be 0.01 off" in worst_half_error(truth, found)

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

"""Small ONNX networks for tests, and the checks that every exported graph must pass."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper


def network_file(path, nodes, batch="batch"):
    """Return a small network from bytes to one plane."""
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, [batch, 8, 8, 3])
    depth = helper.make_tensor_value_info("depth", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "network", [images], [depth])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


CAST = helper.make_node("Cast", ["images"], ["x"], to=TensorProto.FLOAT)
DOUBLE = helper.make_node("Add", ["x", "x"], ["depth"])


def shape_of(value):
    """Return lengths, or the names of those that vary."""
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def faults(model, bins):
    """Return what a graph must not have: what engines do slowly or not at all, and wide planes."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    height, width = shape_of(graph.input[0])[1:3]
    found = [
        f"{node.domain}::{node.op_type}"
        for node in graph.node
        if node.domain or node.op_type in {"TopK", "Unique", "NonZero", "Loop", "Scan", "If"}
    ]
    shapes = {v.name: shape_of(v) for v in (*graph.value_info, *graph.output)}
    made = {name for node in graph.node for name in node.output}
    found += [f"{name} has no known shape" for name in made - shapes.keys()]
    for name, shape in shapes.items():
        if shape[-2:] == [height, width] and bins in shape[:-2]:
            found.append(f"{name} is {shape}")
    return found

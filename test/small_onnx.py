# SPDX-License-Identifier: Apache-2.0
"""Small ONNX files, for what a test needs and the shipped ones do not have."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper


def network_file(path, nodes, batch="batch"):
    """A small network from bytes to one plane."""
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, [batch, 8, 8, 3])
    depth = helper.make_tensor_value_info("depth", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "network", [images], [depth])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


CAST = helper.make_node("Cast", ["images"], ["x"], to=TensorProto.FLOAT)
DOUBLE = helper.make_node("Add", ["x", "x"], ["depth"])

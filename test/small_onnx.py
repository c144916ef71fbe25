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

"""Small ONNX files, for what a test needs and the shipped ones do not have."""

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

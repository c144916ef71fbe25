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

"""The half-precision copy of a foreign graph, for TensorRT, and whether it is good enough."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping

import numpy as np
import onnx

from depthrefl_ros.conversion.meaning import ConversionError
from depthrefl_ros.engine.self_test import TOLERANCES, plane_difference

_LARGEST_SHAPE = 4096  # bytes of what may be a shape, such as that of a Reshape
# Kept in float32: what overflows or loses small differences where networks are of half precision,
# and what TensorRT wants in float32.
_KEPT = ("Resize", "Exp", "Reciprocal", "Range", "TopK", "CumSum", "ReduceMean", "ReduceSum", "Pow")


def halve(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with weights and most arithmetic in half precision, its ends as they are.

    Args:
        graph: a foreign network in float32, which is not wrapped yet; left as it is.

    Raises:
        ConversionError: the converter fails.
    """
    # The converter is part of onnxruntime's package.
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    logger = logging.getLogger("onnxruntime.transformers.float16")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of weights beyond what half precision holds
            _tell_shapes(copy)
            half = convert_float_to_float16(
                copy,
                keep_io_types=True,
                disable_shape_infer=True,
                op_block_list=[*DEFAULT_OP_BLOCK_LIST, *_KEPT],
            )
            ordered = OnnxModel(half)
            ordered.topological_sort()
            return ordered.model
    except Exception as error:  # onnx and the converter raise classes of their own
        raise ConversionError(" ".join(str(error).split())[:160]) from error
    finally:
        logger.setLevel(level)


def _tell_shapes(graph: onnx.ModelProto) -> None:
    """Add the shapes and types of all that is computed, in place.

    The converter would have the whole graph inferred, which fails with 2 GiB of weights; their
    shapes are enough.
    """
    whole = graph.graph
    light = onnx.helper.make_graph(whole.node, whole.name, whole.input, whole.output)
    for tensor in whole.initializer:
        if len(tensor.raw_data) > _LARGEST_SHAPE:
            tensor = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            light.input.append(tensor)
        else:
            light.initializer.append(tensor)
    inferred = onnx.shape_inference.infer_shapes(
        onnx.helper.make_model(
            light,
            ir_version=graph.ir_version,
            opset_imports=graph.opset_import,
            functions=graph.functions,
        )
    )
    del whole.value_info[:]
    whole.value_info.extend(inferred.graph.value_info)


def worst_half_error(
    golden: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]
) -> str | None:
    """Return in words how a half-precision graph misses the self-test; None where it passes.

    Args:
        golden: (n, 1, H, W) float32 of each plane.
        found: what the graph gave for the same pictures.
    """
    median, p99 = TOLERANCES["fp16"]
    for name, truth in golden.items():
        for one, other in zip(found[name], truth, strict=True):
            figures = plane_difference(name, one, other)
            if figures[0] > median or figures[1] > p99:
                return f"{name} would be {figures[0]:.2g} off, p99 {figures[1]:.2g}"
    return None

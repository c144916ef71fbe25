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

"""Adds ``model_int8.onnx`` to a bundle: its convolutions in int8, over the weights that it has.

Needs onnx, onnxruntime and nncf; OpenVINO runs the file without any of them, and TensorRT's plans
are made from it with onnx (``tensorrt.int8``). The file holds scales, zero points and corrected
biases only: the weights are those of ``model.onnx``, rounded to int8 by the engine while it
compiles.
"""

from __future__ import annotations

import importlib
import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from depthrefl_ros.engine.bundle import INT8, Bundle, BundleError, file_digest
from depthrefl_ros.engine.description import change_description

# Convolutions that stay in floating point. The first two of the encoder and the bins' regressor
# make three fifths of the difference that all make. The rest of the reflector, a twelfth of the
# arithmetic, makes sigma jump at edges: at the 99th percentile of the golden images by 37 % in
# int8, by 16 % without it; the error head reads what it reads. The mount's branches begin with
# logarithms of metres, finer than a byte.
_KEPT = (
    "encoder._conv_stem", "encoder._blocks.0._depthwise_conv", "reflector", ".mount.", "error_head",
)  # fmt: skip


def add_int8(folder: Path, images: np.ndarray) -> None:
    """Quantise a bundle's convolutions and add the graph to it; an earlier one is replaced.

    Post-training quantisation by nncf: weights symmetric and channel by channel, activations with
    one scale and zero point each; biases are corrected here. What is no convolution stays float32.

    Args:
        folder: of a bundle of ours with an EfficientNet-Lite encoder.
        images: (n, H, W, channels) uint8 as the network sees them, a hundred or more and as varied
            as what it will see: the ranges of its activations come from them.

    Raises:
        BundleError: the bundle is damaged, or of another network.
        ImportError: nncf is not installed.
        OSError: the bundle cannot be written.
    """
    bundle = Bundle.load(str(folder))
    graph = onnx.load_model(bundle.path("model.onnx"), load_external_data=False)
    halves, external = _halves(graph), _external(graph)
    if not any(_KEPT[0] in name for name in halves):
        raise BundleError(f"{folder} is no network of ours with an EfficientNet-Lite encoder")
    onnx.load_external_data_for_model(graph, str(folder))
    single = _in_float32(graph, halves)
    quantised = _quantised(single, images)
    shifts = _shifts(quantised, single, images)
    _make_unsigned(quantised)
    _share_weights(quantised, graph, halves)
    _put_back(quantised, graph, external)
    _correct_biases(quantised, single, shifts)
    del quantised.graph.value_info[:]  # every engine infers the shapes itself
    target = folder / INT8
    part = target.with_name(f".{INT8}.part")
    try:
        part.write_bytes(quantised.SerializeToString())
        onnx.checker.check_model(str(part))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    change_description(folder, {"files": {**bundle.files, INT8: file_digest(target)}})


def need_nncf() -> None:
    """Import nncf, which takes seconds; raises ImportError where it is not installed."""
    importlib.import_module("nncf")


def _halves(graph: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Copy the tensors that are stored in half precision, by the name of their float32."""
    stored = {tensor.name: tensor for tensor in graph.graph.initializer}
    halves = {}
    for node in graph.graph.node:
        if node.op_type == "Cast" and node.input[0] in stored:
            half = halves[node.output[0]] = onnx.TensorProto()
            half.CopyFrom(stored[node.input[0]])
    return halves


def _external(graph: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Copy the tensors that lie in the file beside the graph, before they are loaded."""
    external = {}
    for tensor in graph.graph.initializer:
        if uses_external_data(tensor):
            external[tensor.name] = onnx.TensorProto()
            external[tensor.name].CopyFrom(tensor)
    return external


def _in_float32(graph: onnx.ModelProto, halves: dict[str, onnx.TensorProto]) -> onnx.ModelProto:
    """Copy the graph with float32 tensors in the place of casts, which hide them from nncf."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    stored = {tensor.name: tensor for tensor in copy.graph.initializer}
    for name, half in halves.items():
        values = numpy_helper.to_array(stored[half.name]).astype(np.float32)
        stored[half.name].CopyFrom(numpy_helper.from_array(values, name))
    nodes = [node for node in copy.graph.node if node.output[0] not in halves]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def _quantised(graph: onnx.ModelProto, images: np.ndarray) -> onnx.ModelProto:
    import nncf
    from nncf.quantization.advanced_parameters import (
        AdvancedQuantizationParameters,
        QuantizationParameters,
    )

    logging.getLogger("nncf").setLevel(logging.ERROR)  # handlers keep theirs
    nodes = graph.graph.node
    kept = [n.name for n in nodes if n.op_type == "Conv" and any(k in n.input[1] for k in _KEPT)]
    others = sorted({n.op_type for n in nodes} - {"Conv"})
    return nncf.quantize(
        graph,
        nncf.Dataset([{graph.graph.input[0].name: image[None]} for image in images]),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(images),
        ignored_scope=nncf.IgnoredScope(names=kept, types=others, validate=False),
        advanced_parameters=AdvancedQuantizationParameters(
            # By channel, depthwise convolutions would not run in int8.
            activations_quantization_params=QuantizationParameters(per_channel=False),
            # Else the first quantised convolution has seven bits, lest CPUs without VNNI overflow:
            # that one made two thirds of what shifts the depth of whole images.
            overflow_fix=nncf.OverflowFix.DISABLE,
            disable_bias_correction=True,  # _shifts says why
        ),
    )


def _shifts(
    quantised: onnx.ModelProto, graph: onnx.ModelProto, images: np.ndarray
) -> dict[str, np.ndarray]:
    """Return by how much rounded weights shift each channel of a convolution, on average.

    The shifts add up along the network: near things come out farther. nncf's own fast correction
    leaves out more than half of the convolutions, and measures with constant planes in the place
    of features, which is wrong beside the border.

    Args:
        quantised: as nncf leaves it, the weights as int8.
        graph: in float32.
        images: (n, H, W, channels) uint8.

    Returns:
        (channels,) float32 each, by the name of the convolution; of those with a bias only.
    """
    stored = {tensor.name: tensor for tensor in quantised.graph.initializer}
    makers = {node.output[0]: node for node in quantised.graph.node}
    weights = {tensor.name: tensor for tensor in graph.graph.initializer}
    convolutions = {node.name: node for node in graph.graph.node if node.op_type == "Conv"}
    measured = onnx.ModelProto()
    measured.CopyFrom(graph)
    names = []
    for node in quantised.graph.node:
        if node.op_type != "Conv" or len(node.input) < 3 or node.input[1] not in makers:
            continue
        codes, scale = (numpy_helper.to_array(stored[n]) for n in makers[node.input[1]].input[:2])
        original = convolutions[node.name]
        exact = numpy_helper.to_array(weights[original.input[1]])
        rounding = codes * scale.reshape(-1, *[1] * (exact.ndim - 1)) - exact
        error, planes, mean = (f"{node.name}_{part}" for part in ("error", "planes", "mean"))
        measured.graph.initializer.append(numpy_helper.from_array(rounding, error))
        other = measured.graph.node.add()
        other.CopyFrom(original)
        del other.input[:]
        other.input.extend([original.input[0], error])
        other.name, other.output[0] = error, planes
        measured.graph.node.append(helper.make_node("GlobalAveragePool", [planes], [mean]))
        measured.graph.output.append(helper.make_tensor_value_info(mean, TensorProto.FLOAT, None))
        names.append(node.name)
    session = onnxruntime.InferenceSession(measured.SerializeToString())
    source, outputs = graph.graph.input[0].name, [f"{name}_mean" for name in names]
    found = [session.run(outputs, {source: image[None]}) for image in images]
    means = (np.mean(values, axis=0).reshape(-1) for values in zip(*found, strict=True))
    return dict(zip(names, means, strict=True))


def _correct_biases(
    quantised: onnx.ModelProto, graph: onnx.ModelProto, shifts: dict[str, np.ndarray]
) -> None:
    """Take the shifts off the biases, in place; the corrected ones are new tensors in float32.

    Args:
        quantised: with shared weights: the original biases may be casts of half precision.
        graph: in float32, with the original biases.
        shifts: (channels,) by the name of the convolution.
    """
    values = {tensor.name: tensor for tensor in graph.graph.initializer}
    biases = {n.name: n.input[2] for n in graph.graph.node if n.name in shifts}
    for node in quantised.graph.node:
        if node.name in shifts:
            bias = numpy_helper.to_array(values[biases[node.name]])
            node.input[2] = f"{biases[node.name]}_corrected"
            corrected = numpy_helper.from_array(bias - shifts[node.name], node.input[2])
            quantised.graph.initializer.append(corrected)
    _drop_unused(quantised.graph)


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Drop the original biases, and the casts of those in half precision, in place."""
    ends = {output.name for output in graph.output}
    used = ends | {name for node in graph.node for name in node.input}
    nodes = [node for node in graph.node if used.intersection(node.output)]
    needed = {name for node in nodes for name in node.input}
    initializers = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(initializers)


def _make_unsigned(graph: onnx.ModelProto) -> None:
    """Shift activations from int8 to uint8, in place: the same numbers.

    OpenVINO computes a convolution of int8 activations with a zero point in float32.
    """
    stored = {tensor.name: tensor for tensor in graph.graph.initializer}
    names = {n.input[2] for n in graph.graph.node if n.op_type == "QuantizeLinear"}
    for name in names:
        points = numpy_helper.to_array(stored[name])
        if points.dtype == np.int8:
            shifted = (points.astype(np.int16) + 128).astype(np.uint8)
            stored[name].CopyFrom(numpy_helper.from_array(shifted, name))


def _share_weights(
    graph: onnx.ModelProto, original: onnx.ModelProto, halves: dict[str, onnx.TensorProto]
) -> None:
    """Cast, and for int8 quantise, what the bundle has, in the place of copies of it; in place."""
    weight_of = {node.name: node.input[1] for node in original.graph.node if node.op_type == "Conv"}
    stored = {tensor.name: tensor for tensor in graph.graph.initializer}
    makers = {node.output[0]: node for node in graph.graph.node}
    nodes = []
    for name, half in halves.items():
        stored.pop(name, None)
        stored[half.name] = half
        nodes.append(helper.make_node("Cast", [half.name], [name], to=TensorProto.FLOAT))
    for node in graph.graph.node:
        if node.op_type == "Conv" and weight_of[node.name] in halves and node.input[1] in makers:
            codes, scale, zero = makers[node.input[1]].input
            del stored[codes]
            inputs = [weight_of[node.name], scale, zero]
            nodes.append(helper.make_node("QuantizeLinear", inputs, [codes], axis=0))
    nodes += list(graph.graph.node)
    initializers = list(stored.values())
    del graph.graph.node[:], graph.graph.initializer[:]
    graph.graph.node.extend(nodes)
    graph.graph.initializer.extend(initializers)


def _put_back(
    graph: onnx.ModelProto, original: onnx.ModelProto, external: dict[str, onnx.TensorProto]
) -> None:
    """Point tensors that are as they were to the file beside the graph again, in place."""
    values = {t.name: numpy_helper.to_array(t) for t in original.graph.initializer}
    for tensor in graph.graph.initializer:
        if tensor.name in external and not uses_external_data(tensor):
            if np.array_equal(numpy_helper.to_array(tensor), values[tensor.name]):
                tensor.CopyFrom(external[tensor.name])

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

"""The network in int8 as TensorRT wants it: half precision with symmetric quantisers.

TensorRT and TensorRT-RTX quantise activations to signed bytes without a zero point, and refuse
``model_int8.onnx``, whose activations are unsigned bytes with one. So the scales of that file go
into ``model_fp16.onnx``, in memory, while a plan is built: the convolutions of backbone and decoder
compute in int8, all else in half precision, the bins in float32.

Needs onnx.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from depthrefl_ros.engine.base import EngineError

_OPSET = 19  # the first in which scales may be in half precision
_ZERO = "int8_zero_point"


@dataclass(frozen=True)
class _Quantisers:
    """How one convolution is quantised; real numbers are codes times a scale.

    Attributes:
        activation: scale of its input.
        weights: (channels,) or (1,) float32, scales.
        bias: (channels,) float32, not quantised; None where it has none.
    """

    activation: float
    weights: np.ndarray
    bias: np.ndarray | None


def int8_network(half: Path, quantised: Path) -> bytes:
    """Return the network of ``half`` with convolutions in int8, a serialised ONNX model.

    Its weights are the int8 convolutions' own, and those in the file that lies beside ``half``.

    Args:
        half: the network in half precision.
        quantised: the same network as ``quantise.add_int8`` writes it.

    Raises:
        EngineError: the two files are not of one network, or nothing in it is quantised.
        OSError: a file cannot be read.
    """
    network = onnx.load_model(half, load_external_data=False)
    weights = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load_model(half).graph.initializer
    }
    quantisers = _read_quantisers(onnx.load_model(quantised), quantised)
    nodes = {node.name: node for node in network.graph.node if node.op_type == "Conv"}
    for name, found in quantisers.items():
        if name not in nodes or not _fits(nodes[name], found, weights):
            raise EngineError(f"{quantised} quantises {name!r}, which {half} does not have so")
    _insert(network.graph, quantisers, weights)
    for opset in network.opset_import:
        if not opset.domain:
            opset.version = max(opset.version, _OPSET)
    return network.SerializeToString()


def _read_quantisers(model: onnx.ModelProto, path: Path) -> dict[str, _Quantisers]:
    """Return what is quantised, by the name of the convolution."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}

    def value(name: str) -> np.ndarray:
        # Some are stored in half precision, and cast.
        return stored[name if name in stored else makers[name].input[0]].astype(np.float32)

    found = {}
    for node in model.graph.node:
        pair = [makers.get(name) for name in node.input[:2]]
        if node.op_type != "Conv" or not all(n and n.op_type == "DequantizeLinear" for n in pair):
            continue
        (_, scale, zero), (_, scales, zeros) = (n.input for n in pair)
        if stored[zeros].any():
            raise EngineError(f"{path} quantises weights of {node.name!r} with a zero point")
        found[node.name] = _Quantisers(
            _symmetric(float(stored[scale]), stored[zero]),
            stored[scales].reshape(-1),
            value(node.input[2]) if len(node.input) > 2 else None,
        )
    if not found:
        raise EngineError(f"{path} quantises no convolution")
    return found


def _symmetric(scale: float, zero_point: np.ndarray) -> float:
    """Return the scale with which signed bytes without a zero point span the same numbers."""
    codes = np.iinfo(zero_point.dtype)
    lowest, highest = (scale * (end - int(zero_point)) for end in (codes.min, codes.max))
    return max(lowest / -128.0, highest / 127.0)


def _fits(node: onnx.NodeProto, found: _Quantisers, weights: dict[str, np.ndarray]) -> bool:
    values = [weights.get(name) for name in node.input[1:]]
    if any(value is None for value in values) or (found.bias is None) != (len(values) == 1):
        return False
    channels = len(values[0])
    return found.weights.size in (1, channels) and all(len(value) == channels for value in values)


def _insert(
    graph: onnx.GraphProto, quantisers: dict[str, _Quantisers], weights: dict[str, np.ndarray]
) -> None:
    """Quantise convolutions, in place: inputs while it runs, weights here."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    pairs: dict[tuple[str, float], str] = {}  # what is quantised already, and to what name

    def store(name: str, values: np.ndarray) -> str:
        stored[name] = numpy_helper.from_array(values, name)
        return name

    store(_ZERO, np.zeros((), np.int8))
    for node in graph.node:
        found = quantisers.get(node.name)
        if found is None:
            nodes.append(node)
            continue
        source, weight = node.input[:2]
        kind = weights[weight].dtype
        key = source, found.activation
        if key not in pairs:
            pairs[key] = name = f"{source}_int8_{len(pairs)}"
            scale = store(f"{name}_scale", _rounded_up(np.float32(found.activation), kind))
            nodes += [
                helper.make_node("QuantizeLinear", [source, scale, _ZERO], [f"{name}_codes"]),
                helper.make_node("DequantizeLinear", [f"{name}_codes", scale, _ZERO], [name]),
            ]
        scales = _rounded_up(np.broadcast_to(found.weights, len(weights[weight])), kind)
        inputs = [
            store(f"{weight}_codes", _codes(weights[weight], scales)),
            store(f"{weight}_scale", scales),
            store(f"{weight}_zero_point", np.zeros(scales.shape, np.int8)),
        ]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{weight}_int8"], axis=0))
        node.input[0], node.input[1] = pairs[key], f"{weight}_int8"
        if found.bias is not None:
            node.input[2] = store(f"{node.input[2]}_int8", found.bias.astype(kind))
        nodes.append(node)
    needed = {name for node in nodes for name in node.input}
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(tensor for name, tensor in stored.items() if name in needed)


def _rounded_up(scales: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Return scales as this type, none smaller than it was: what they span grows, or stays.

    None becomes 0, which TensorRT refuses.
    """
    rounded = np.asarray(scales).astype(kind)
    return np.where(rounded < scales, np.nextafter(rounded, np.array(np.inf, kind)), rounded)


def _codes(weights: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return (channels, ...) int8 codes of weights, from -127 to 127 as TensorRT wants them."""
    by_channel = scales.astype(np.float32).reshape(-1, *[1] * (weights.ndim - 1))
    return np.rint(weights.astype(np.float32) / by_channel).clip(-127, 127).astype(np.int8)

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

"""Puts a foreign ONNX graph between our input and our planes.

uint8 NHWC RGB comes in, each plane goes out as (1, 1, H, W) float32: normalisation, order of the
colours, transform and size are nodes of the graph, so that no engine knows whose network it runs.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper, version_converter

from depthrefl_ros.conversion.meaning import ConversionError, Meaning, nearest_name
from depthrefl_ros.engine.description import BundleError, refuse_lfs_pointer

OPSET = 18  # of the result, at least; below 17 a graph is raised to it
_KEPT_OPSET = 17
_INNER = "network/"  # before every name of the foreign graph
_DEPTH_LIMITS = (1e-3, 1e4)  # metres; an engine's zero or infinity is no depth
_EXPORT = (
    "export it where it was made: torch.onnx.export(model.eval(), torch.zeros(1, 3, HEIGHT, "
    f"WIDTH), 'network.onnx', opset_version={OPSET})"
)
_LARGEST_CHECKED = 2**31 - 2**24  # bytes of weights; with the nodes, 2 GiB of a protocol buffer
_NUMPY = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.UINT8: np.uint8,
}


def read_network(path: Path) -> onnx.ModelProto:
    """Read an ONNX file with the weights that lie beside it.

    Raises:
        ConversionError: it is missing, a checkpoint of torch, a Git LFS pointer, damaged, or its
            weights are not there.
    """
    if not path.is_file():
        raise ConversionError(f"{path} is no file; an ONNX file is needed")
    if path.suffix.lower() in (".pt", ".pth", ".safetensors", ".ckpt") or zipfile.is_zipfile(path):
        raise ConversionError(f"{path} is a checkpoint of torch and no ONNX file; {_EXPORT}")
    try:
        with path.open("rb") as file:
            refuse_lfs_pointer(path, file.read(64))
        # The weights are looked at apart, since onnx names no file where they are pointers.
        model = onnx.load(path, load_external_data=False)
    except BundleError as error:
        raise ConversionError(str(error)) from error
    except (OSError, DecodeError, ValueError) as error:
        raise ConversionError(f"{path} is no ONNX file: {_one_line(error)}") from error
    if not model.graph.node or not model.graph.output:
        raise ConversionError(f"{path} is no ONNX file: there is no network in it")
    for name in external_files(model):
        beside = path.parent / name
        if not beside.is_file():
            raise ConversionError(f"{path} has its weights in {beside}, which is missing")
        try:
            with beside.open("rb") as file:
                refuse_lfs_pointer(beside, file.read(64))
        except BundleError as error:
            raise ConversionError(str(error)) from error
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # onnx raises several of its own, and ValueError
        raise ConversionError(f"{path}: its weights cannot be read: {_one_line(error)}") from error
    return model


def external_files(model: onnx.ModelProto) -> list[str]:
    """Return the names of the files that hold a graph's weights, each once."""
    return sorted(
        {
            entry.value
            for tensor in model.graph.initializer
            if tensor.data_location == TensorProto.EXTERNAL
            for entry in tensor.external_data
            if entry.key == "location"
        }
    )


def fix_size(
    model: onnx.ModelProto, meaning: Meaning, size: tuple[int, int] | None = None
) -> tuple[int, int]:
    """Give a graph's input one static shape, in place.

    Args:
        model: with one image input of four dimensions.
        meaning: states the layout, and perhaps the size.
        size: (height, width) pixels that the user asks for; it comes before the meaning's.

    Returns:
        (height, width) of the input, pixels.

    Raises:
        ConversionError: the input is none of one image, or has another size or none.
    """
    value = _image_input(model)
    dims = value.type.tensor_type.shape.dim
    axes = (2, 3) if meaning.layout == "NCHW" else (1, 2)
    channels = dims[1 if meaning.layout == "NCHW" else 3]
    if channels.HasField("dim_value") and channels.dim_value != 3:
        raise ConversionError(
            f"input {value.name} is {_shape_words(value)}; layout {meaning.layout} has 3 channels "
            f"and not {channels.dim_value}"
        )
    if dims[0].dim_value > 1:
        raise ConversionError(f"input {value.name} takes {dims[0].dim_value} images; 1 is needed")
    stated = size or (meaning.height, meaning.width)
    for axis, wanted, name in zip(axes, stated, ("height", "width"), strict=True):
        own = dims[axis].dim_value
        if own > 0 and size is not None and own != wanted:
            raise ConversionError(
                f"--size asks for {name} {wanted}; the graph is fixed to {own} (input "
                f"{value.name} {_shape_words(value)})"
            )
        if own <= 0 and wanted is None:
            raise ConversionError(
                f"input {value.name} is {_shape_words(value)}, of no fixed {name}: say --size "
                "WIDTHxHEIGHT"
            )
        dims[axis].dim_value = own if own > 0 else wanted
    dims[0].dim_value, channels.dim_value = 1, 3
    # What was noted of the free size no longer holds.
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return dims[axes[0]].dim_value, dims[axes[1]].dim_value


def find_output(model: onnx.ModelProto, names: Sequence[str], what: str) -> str:
    """Return which of the names the graph's output has; its only output may have any.

    Args:
        model: the graph.
        names: that the output may have.
        what: the output is for, in errors.

    Raises:
        ConversionError: it has none of them; the message lists those it has.
    """
    there = [output.name for output in model.graph.output]
    found = next((name for name in names if name in there), None)
    if found is not None:
        return found
    if len(there) == 1 and what != "sky" and len(names) != 1:
        return there[0]
    wanted = " or ".join(map(repr, names)) if names else "named by the meaning"
    hint = nearest_name(names[0], there) if len(names) == 1 else ""
    raise ConversionError(
        f"no output {wanted} for {what}; the network's outputs are {', '.join(there)}"
        + (f"; {hint}" if hint.startswith("did") else "")
    )


def raise_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph in an opset of at least 17.

    Raises:
        ConversionError: onnx cannot convert it.
    """
    opset = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0)
    if opset >= _KEPT_OPSET:
        return model
    try:
        return version_converter.convert_version(model, OPSET)
    except Exception as error:  # the converter raises what its C++ does
        raise ConversionError(
            f"the network has opset {opset} and cannot be raised to {OPSET} "
            f"({_one_line(error)[:160]}); {_EXPORT}"
        ) from error


def wrap(
    model: onnx.ModelProto,
    meaning: Meaning,
    shapes: dict[str, tuple[int, ...]],
) -> onnx.ModelProto:
    """Return the network as a bundle's graph: ``images`` in, our planes out.

    Args:
        model: of a fixed size and at least opset 17 (``fix_size``, ``raise_opset``).
        meaning: of the network.
        shapes: of the network's outputs by name, as they came out of a run.

    Raises:
        ConversionError: an output is no image, or the graph is not valid.
    """
    value = _image_input(model)
    dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    size = tuple(dims[2:] if meaning.layout == "NCHW" else dims[1:3])
    inner = onnx.compose.add_prefix(model, _INNER)
    nodes, constants = _Nodes(), inner.graph.initializer
    nodes.constants = constants
    elem_type = value.type.tensor_type.elem_type
    _add_input(nodes, meaning, elem_type, _INNER + value.name)
    nodes.list.extend(inner.graph.node)
    planes = {meaning.plane: find_output(model, meaning.outputs, "depth")}
    if meaning.sky:
        planes["sky"] = find_output(model, meaning.sky, "sky")
    for plane, output in planes.items():
        raw = nodes.add("Cast", _INNER + output, to=TensorProto.FLOAT)
        shape = _plane_shape(output, shapes[output])
        raw = nodes.add("Reshape", raw, nodes.constant(np.int64([1, 1, *shape])))
        plain = _sky(nodes, raw, meaning) if plane == "sky" else _transformed(nodes, raw, meaning)
        if shape != size:
            target = nodes.constant(np.int64([1, 1, *size]))
            plain = nodes.add("Resize", plain, "", "", target, mode="linear")
        if plane == "depth":
            low, high = (nodes.constant(np.float32(limit)) for limit in _DEPTH_LIMITS)
            plain = nodes.add("Clip", plain, low, high)
        nodes.list.append(helper.make_node("Identity", [plain], [plane]))
    graph = helper.make_graph(
        nodes.list,
        "network",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, [1, *size, 3])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1, *size]) for n in planes],
        constants,
    )
    wrapped = helper.make_model(graph, opset_imports=list(inner.opset_import))
    wrapped.ir_version = max(model.ir_version, 8)
    wrapped.functions.extend(inner.functions)
    # A protocol buffer of 2 GiB cannot even tell its size.
    if sum(len(tensor.raw_data) for tensor in graph.initializer) >= _LARGEST_CHECKED:
        return wrapped  # it is checked once its weights lie beside it
    try:
        onnx.checker.check_model(wrapped)
    except onnx.checker.ValidationError as error:
        raise ConversionError(f"the network is no valid graph: {_one_line(error)}") from error
    return wrapped


def raw_name(output: str) -> str:
    """Return how ``wrap`` calls one of the foreign network's outputs."""
    return _INNER + output


class _Nodes:
    """Our own nodes, with names of their own."""

    def __init__(self) -> None:
        self.list: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, **attributes: object) -> str:
        """Append a node; returns the name of its output."""
        name = f"wrap/{kind}_{len(self.list)}"
        self.list.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, value: np.ndarray) -> str:
        """Add a constant; returns its name."""
        name = f"wrap/constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def _add_input(nodes: _Nodes, meaning: Meaning, elem_type: int, name: str) -> None:
    """Add what leads from ``images`` to what the network takes."""
    if (elem_type == TensorProto.UINT8) != (meaning.type == "uint8"):
        stated = TensorProto.DataType.Name(elem_type).lower()
        raise ConversionError(
            f"the network takes {stated}; the meaning's input.type is {meaning.type}"
        )
    if elem_type not in _NUMPY:
        stated = TensorProto.DataType.Name(elem_type).lower()
        raise ConversionError(f"the network takes {stated}; float, float16 or uint8 are needed")
    # Cast first: TensorRT for RTX refuses to transpose or gather bytes.
    last = nodes.add("Cast", "images", to=TensorProto.FLOAT)
    if meaning.colours == "bgr":
        last = nodes.add("Gather", last, nodes.constant(np.int64([2, 1, 0])), axis=3)
    if meaning.type == "float":
        mean, std = np.float64(meaning.mean), np.float64(meaning.std)
        last = nodes.add("Mul", last, nodes.constant(np.float32(meaning.scale / std)))
        last = nodes.add("Add", last, nodes.constant(np.float32(-mean / std)))
    if meaning.layout == "NCHW":
        last = nodes.add("Transpose", last, perm=[0, 3, 1, 2])
    nodes.list.append(helper.make_node("Cast", [last], [name], to=elem_type))


def _transformed(nodes: _Nodes, raw: str, meaning: Meaning) -> str:
    if meaning.transform == "exp":
        return nodes.add("Exp", raw)
    if meaning.transform == "inverse":
        low, high = (nodes.constant(np.float32(1.0 / limit)) for limit in _DEPTH_LIMITS[::-1])
        return nodes.add("Reciprocal", nodes.add("Clip", raw, low, high))
    if meaning.transform == "sigmoid_times_max":
        return nodes.add(
            "Mul", nodes.add("Sigmoid", raw), nodes.constant(np.float32([meaning.maximum]))
        )
    return raw


def _sky(nodes: _Nodes, raw: str, meaning: Meaning) -> str:
    """Return a plane in [0, 1] that is above 0.5 where the sky is, without a step."""
    sign = 1.0 if meaning.sky_is == "above" else -1.0
    offset = nodes.constant(np.float32([0.5 - sign * meaning.sky_threshold]))
    moved = nodes.add("Add", nodes.add("Mul", raw, nodes.constant(np.float32([sign]))), offset)
    return nodes.add(
        "Clip", moved, nodes.constant(np.float32(0.0)), nodes.constant(np.float32(1.0))
    )


def _plane_shape(name: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return height and width of an output of one plane, wherever its axes of length 1 stand."""
    inner = list(shape)
    while len(inner) > 2 and 1 in inner:
        inner.remove(1)
    if len(inner) != 2 or min(inner) < 2:
        raise ConversionError(
            f"output {name} is {'x'.join(map(str, shape))}; one plane (1x1xHxW) is needed"
        )
    return inner[0], inner[1]


def _image_input(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        words = ", ".join(f"{value.name} {_shape_words(value)}" for value in inputs) or "none"
        raise ConversionError(
            f"the network's inputs are {words}; one image of four dimensions is needed"
        )
    return inputs[0]


def _shape_words(value: onnx.ValueInfoProto) -> str:
    dims = value.type.tensor_type.shape.dim
    return "x".join(str(dim.dim_value or dim.dim_param or "?") for dim in dims)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())

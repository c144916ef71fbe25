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

"""Tiny ONNX networks with the inputs and outputs of well-known families."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = (48, 64)
_MEAN, _STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
# Family -> what its export looks like.
FAMILIES = {
    # Of a canonical camera: for one of 64 pixels they are a few metres.
    "da3metric": {"outputs": ("depth", "sky"), "gain": 6.0},
    "metric3d": {
        "input": "pixel_values",
        "takes": "bytes",
        "outputs": ("predicted_depth", "predicted_normal"),
        "size": (None, None),
        "gain": 20.0,
    },
    "dav3-metric": {"outputs": ("depth", "sky"), "rank": 3, "gain": 6.0},
    "yolo26-depth": {"input": "images", "takes": "unit", "outputs": ("output0",)},
    "zipdepth": {"takes": "unit", "outputs": ("out",), "nearness": True, "stride": 2},
    "midas-small": {"input": "0", "outputs": ("797",), "nearness": True, "rank": 3, "opset": 11},
    "depth-anything-v2-small": {
        "input": "pixel_values",
        "outputs": ("predicted_depth",),
        "nearness": True,
        "rank": 3,
        "size": (None, None),
        "half": True,
    },
    "depth-anything-v2": {"input": "image", "outputs": ("depth",), "nearness": True},
}


def foreign_network(
    path,
    input="image",
    outputs=("depth",),
    takes="imagenet",
    nearness=False,
    rank=4,
    size=SIZE,
    stride=1,
    half=False,
    opset=17,
    layout="NCHW",
    last="identity",
    gain=1.0,
    external=False,
):
    """Write a network that sees the floor near and the wall far, and colours a little.

    Args:
        path: of the file.
        input: name of the input.
        outputs: names; the first is the depth, another ``sky`` or of three channels.
        takes: what the pixels are: ``imagenet`` normalised, ``unit`` 0 to 1, ``bytes`` 0 to 255.
        nearness: the output is larger where it is nearer.
        rank: 4 for (1, 1, H, W), 3 for (1, H, W).
        size: (height, width); None for free ones.
        stride: the output is that much smaller.
        half: computes in float16.
        opset: of the file.
        layout: ``NCHW`` or ``NHWC``.
        last: what the output still needs: ``identity``, or ``log`` or ``reciprocal`` of depth.
        gain: factor of the output.
        external: the weights lie in a file beside it.
    """
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    number = np.float16 if half else np.float32
    spread = {"imagenet": 1.0, "unit": 0.229, "bytes": 58.0}[takes]
    middle = {"imagenet": 0.0, "unit": 0.45, "bytes": 115.0}[takes]
    weights = np.random.default_rng(3).uniform(-0.02, 0.02, (1, 3, 3, 3))
    weights += np.array([0.03, 0.01, -0.01])[None, :, None, None]
    weights = weights / spread
    height, width = SIZE
    ramp = np.linspace(5.0, 1.0, height // stride)[None, None, :, None]
    if nearness:
        ramp = 6.0 - ramp
    constants = {
        "weights": weights,
        "bias": np.array([-middle * weights.sum()]),
        "ramp": ramp * np.ones((1, 1, 1, width // stride)),
        "gain": np.array([gain]),
        "least": np.array([0.1]),
        "tenth": np.array([0.02]),
    }
    constants = [numpy_helper.from_array(v.astype(number), n) for n, v in constants.items()]
    nodes = []
    pixels = input
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [pixels], ["turned"], perm=[0, 3, 1, 2]))
        pixels = "turned"
    nodes += [
        helper.make_node(
            "Conv", [pixels, "weights", "bias"], ["seen"], pads=[1] * 4, strides=[stride] * 2
        ),
        helper.make_node("Add", ["seen", "ramp"], ["sum"]),
        helper.make_node("Max", ["sum", "least"], ["positive"]),
        helper.make_node("Mul", ["positive", "gain"], ["metres"]),
    ]
    kinds = {"log": "Log", "reciprocal": "Reciprocal", "identity": "Identity"}
    nodes.append(helper.make_node(kinds[last], ["metres"], ["plane"]))
    axes = numpy_helper.from_array(np.int64([1]), "axes")
    for name in outputs:
        value = "plane"
        if name == "sky":
            nodes.append(helper.make_node("Mul", ["seen", "tenth"], ["sky_plane"]))
            value = "sky_plane"
        if name == "predicted_normal":
            nodes.append(helper.make_node("Concat", ["plane"] * 3, [name], axis=1))
        elif rank == 3:
            attributes = {"axes": [1]} if opset < 13 else {}
            inputs = [value] if opset < 13 else [value, "axes"]
            nodes.append(helper.make_node("Squeeze", inputs, [name], **attributes))
        else:
            nodes.append(helper.make_node("Identity", [value], [name]))
    constants += [axes] if rank == 3 and opset >= 13 else []
    free = [side or word for side, word in zip(size, ("height", "width"), strict=True)]
    batch = "batch" if None in size else 1
    shape = [batch, 3, *free] if layout == "NCHW" else [batch, *free, 3]
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info(input, kind, shape)],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save_model(
        model,
        path,
        save_as_external_data=external,
        location=f"{path.stem}.data",
        size_threshold=100,
    )
    return path


def normalised(images, takes="imagenet"):
    """Return what such a network is fed by its authors' code: (n, 3, H, W) float32."""
    pixels = images.astype(np.float32)
    if takes != "bytes":
        pixels = pixels / 255.0
    if takes == "imagenet":
        pixels = (pixels - _MEAN) / _STD
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))

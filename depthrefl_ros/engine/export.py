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

"""A trained network becomes a bundle. Needs torch, onnx and onnxscript; running needs none."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from depthrefl_ros.engine.bundle import MODEL_WEIGHTS
from depthrefl_ros.engine.bundle_writer import write_bundle
from depthrefl_ros.network.checkpoints import halved_tensors, save_tensors, unfolded_tensors
from depthrefl_ros.network.inference import OUTPUT_NAMES, InferenceModel
from depthrefl_ros.network.model import DepthModel

OPSET = 18
_SMALLEST_HALVED = 256  # elements; smaller constants are not worth a Cast


def export_onnx(model: DepthModel, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the network as one ONNX file; see ``make_graph``."""
    onnx.save_model(make_graph(model, dtype), path)


def make_graph(model: DepthModel, dtype: torch.dtype = torch.float32) -> onnx.ModelProto:
    """Return the network as an ONNX graph, bytes in, three planes out; any batch, one H and W.

    Args:
        model: the network.
        dtype: float32, or float16 for a strongly typed half-precision graph whose bins stay f32.

    Raises:
        ValueError: something in the network fixes the batch.
    """
    inference = InferenceModel(model, dtype).eval()
    inference.model.backbone.prepare_for_export()
    # Two images, since the exporter takes an axis of length one for a constant.
    config = model.config
    images = torch.zeros(2, config.height, config.width, config.channels, dtype=torch.uint8)
    program = torch.onnx.export(
        inference,
        (images,),
        input_names=["images"],
        output_names=list(OUTPUT_NAMES),
        opset_version=OPSET,
        dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    graph = program.model_proto
    (batch, *_), *_ = (value.type.tensor_type.shape.dim for value in graph.graph.input)
    if not batch.dim_param:  # the exporter gives in silently
        raise ValueError(f"the network works for batches of {batch.dim_value} only")
    if dtype == torch.float32:
        store_weights_as_half(graph)
    # The exporter notes where in whose files each node came from; a product does not say that.
    for node in graph.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.checker.check_model(graph)
    return graph


def store_weights_as_half(model: onnx.ModelProto) -> None:
    """Store float32 weights as float16 behind a Cast wherever that loses nothing, in place."""
    graph = model.graph
    casts = []
    for index, tensor in enumerate(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < _SMALLEST_HALVED:
            continue
        halved = values.astype(np.float16)
        if not np.array_equal(halved.astype(np.float32), values):
            continue
        name = tensor.name
        graph.initializer[index].CopyFrom(numpy_helper.from_array(halved, f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    nodes = casts + list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)


def golden_arrays(model: DepthModel, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return what every engine must reproduce (see ``bundle_writer.write_bundle``).

    Args:
        model: the network.
        images: (3, H, W, channels) uint8, rendered.
    """
    with torch.inference_mode():
        planes = InferenceModel(model)(torch.from_numpy(images))
    return {"images": images, **{n: p.numpy() for n, p in zip(OUTPUT_NAMES, planes, strict=True)}}


def export_bundle(
    model: DepthModel, folder: Path, description: dict[str, Any], golden_images: np.ndarray
) -> None:
    """Write a whole bundle, whose weights are rounded to half precision once for all its files.

    Args:
        model: the trained network.
        folder: of the bundle; its name is the model's. New, empty, or a bundle to be replaced.
        description: ``range_m`` {min, max}, ``calibration`` {probability, quantile},
            ``licence``, and whatever else ``model.yaml`` should tell.
        golden_images: (3, H, W, channels) uint8 RGB, rendered; of a network that takes the mount
            with its plane, some with one and some all 0.

    Raises:
        BundleError: the folder holds something else.
        ValueError: the golden images have another shape.
    """
    config = model.config
    shape = (3, config.height, config.width, config.channels)
    if golden_images.shape != shape:
        raise ValueError(f"golden images are {golden_images.shape}; {shape} is needed")
    model = copy.deepcopy(model).cpu().float().eval()
    stored = halved_tensors(model)
    model.load_state_dict(unfolded_tensors(stored, model))
    graphs = {
        "model.onnx": make_graph(model),
        "model_fp16.onnx": make_graph(model, torch.float16),
    }
    content = {
        "kind": "canonical",
        "input": {
            "height": config.height,
            "width": config.width,
            **({"channels": config.channels} if config.mount else {}),
            "resize": "pad",
        },
        "outputs": list(OUTPUT_NAMES),
        "focal_px": config.focal_px,
        "architecture": config.to_dict(),
        **description,
    }
    write_bundle(
        folder,
        graphs,
        golden_arrays(model, golden_images),
        content,
        lambda part: save_tensors(part / MODEL_WEIGHTS, stored),
    )

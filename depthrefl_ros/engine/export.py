"""A trained network becomes a bundle. Needs torch, onnx and onnxscript; running needs none."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import yaml
from onnx import TensorProto, helper, numpy_helper

from depthrefl_ros.engine.bundle import DESCRIPTION, FORMAT_VERSION, file_digest
from depthrefl_ros.network.checkpoints import save_weights
from depthrefl_ros.network.inference import OUTPUT_NAMES, InferenceModel
from depthrefl_ros.network.model import DepthModel

OPSET = 18
_SMALLEST_HALVED = 256  # elements; smaller constants are not worth a Cast


def export_onnx(model: DepthModel, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Writes the network as one ONNX file, bytes in, three planes out; any batch, one H and W.

    Args:
        model: the network.
        path: the file.
        dtype: float32, or float16 for a strongly typed half-precision graph whose bins stay f32.

    Raises:
        ValueError: something in the network fixes the batch.
    """
    inference = InferenceModel(model, dtype).eval()
    inference.model.backbone.prepare_for_export()
    # Two images, since the exporter takes an axis of length one for a constant.
    images = torch.zeros(2, model.config.height, model.config.width, 3, dtype=torch.uint8)
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
    onnx.save_model(graph, path)


def store_weights_as_half(model: onnx.ModelProto) -> None:
    """Stores float32 weights as float16 behind a Cast wherever that loses nothing, in place."""
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
    """What every engine must reproduce.

    Args:
        model: the network.
        images: (3, H, W, 3) uint8 RGB, rendered; the first is appended once more.

    Returns:
        The arrays of ``golden.npz`` (see ``bundle.Golden``).
    """
    images = np.concatenate([images, images[:1]])
    with torch.inference_mode():
        depth, sigma, _ = InferenceModel(model)(torch.from_numpy(images))
    return {"images": images, "depth": depth.numpy(), "sigma": sigma.numpy()}


def export_bundle(
    model: DepthModel, folder: Path, description: dict[str, Any], golden_images: np.ndarray
) -> None:
    """Writes a whole bundle, replacing the folder only when all of it is there.

    Args:
        model: the trained network.
        folder: of the bundle; its name is the model's.
        description: ``range_m`` {min, max}, ``calibration`` {probability, quantile},
            ``licence``, and whatever else ``model.yaml`` should tell.
        golden_images: (3, H, W, 3) uint8 RGB, rendered.
    """
    model = model.eval()
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    export_onnx(model, part / "model.onnx")
    export_onnx(model, part / "model_fp16.onnx", torch.float16)
    save_weights(part / "model.safetensors", model)
    np.savez_compressed(part / "golden.npz", **golden_arrays(model, golden_images))
    content = {
        "format_version": FORMAT_VERSION,
        "name": folder.name,
        "architecture": model.config.to_dict(),
        **description,
        "files": {path.name: file_digest(path) for path in sorted(part.iterdir())},
    }
    (part / DESCRIPTION).write_text(
        yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100), encoding="utf-8"
    )
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)

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

"""The flagship's shape exports, builds with TensorRT-RTX at every size, and runs."""

import copy
from dataclasses import replace

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx_graphs import faults
from torch.utils.flop_counter import FlopCounterMode

from depthrefl_ros.engine.base import EngineError
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.export import export_bundle, export_onnx
from depthrefl_ros.engine.openvino_engine import openvino_core
from depthrefl_ros.engine.selection import open_engine
from depthrefl_ros.engine.self_test import relative_difference
from depthrefl_ros.network.dinov2 import DinoV2Config
from depthrefl_ros.network.flagship import SHAPES, flagship_config, random_flagship
from depthrefl_ros.network.inference import OUTPUT_NAMES, InferenceModel
from depthrefl_ros.network.model import DepthModel
from depthrefl_ros.network.ops import enlarge

pytest.importorskip("transformers")

SMALLEST = SHAPES[0]
TINY = (84, 112)  # where the size does not matter
# Depth Anything's own head has 32 channels at the image's size; 24 bins are told apart from them.
FEWER_BINS = 24


def pictures(count: int, size: tuple[int, int] = SMALLEST) -> np.ndarray:
    """(count, H, W, 3) uint8: smooth, and none like another."""
    height, width = size
    coarse = np.random.default_rng(0).integers(0, 255, (count, 9, 12, 3), np.uint8)
    return np.stack(
        [cv2.resize(one, (width, height), interpolation=cv2.INTER_CUBIC) for one in coarse]
    )


@pytest.fixture(scope="module")
def flagship():
    return random_flagship(*SMALLEST)


def at_size(model: DepthModel, height: int, width: int) -> DepthModel:
    """Return the same weights, which do not depend on the size, for images of another."""
    other = copy.copy(model)
    other.config = replace(model.config, height=height, width=width)
    return other


@pytest.fixture(scope="module")
def exported(flagship, tmp_path_factory):
    path = tmp_path_factory.mktemp("flagship") / "model.onnx"
    export_onnx(flagship, path)
    return path


@pytest.fixture(scope="module")
def expected(flagship) -> list[dict[str, np.ndarray]]:
    model = InferenceModel(flagship)
    with torch.inference_mode():
        outputs = [model(torch.from_numpy(one[None])) for one in pictures(2)]
    return [dict(zip(OUTPUT_NAMES, (o.numpy() for o in one), strict=True)) for one in outputs]


def test_it_is_vit_small_with_32_bins():
    config = flagship_config()
    assert (config.backbone, config.reflector.bins) == (DinoV2Config("dinov2_small"), 32)
    assert (config.height, config.width) == SMALLEST == min(SHAPES)


def test_most_parameters_are_the_backbones(flagship):
    backbone = sum(p.numel() for p in flagship.backbone.parameters())
    reflector = sum(p.numel() for p in flagship.reflector.parameters())
    # The published size of Depth Anything V2 Small.
    assert backbone / 1e6 == pytest.approx(24.8, abs=0.1)
    assert reflector < 0.01 * backbone


def test_the_reflector_computes_little_beside_encoder_and_neck(flagship):
    image = torch.zeros(1, 3, *SMALLEST)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        found = flagship(image)
    work = {name: sum(kinds.values()) for name, kinds in counter.get_flop_counts().items()}
    reflector = work["DepthModel.reflector"]
    backbone = work["DepthModel.backbone"]
    head = [f"DepthModel.backbone.depth_anything.head.conv{number}" for number in (1, 2, 3)]
    neck = backbone - sum(work[name] for name in head)
    with FlopCounterMode(display=False) as counter:  # depth and sigma go to the image's size
        enlarge(torch.zeros(2, 1, *found.centres.shape[2:]), image)
    assert reflector + backbone + counter.get_total_flops() == work["Global"] and neck < backbone
    assert 0.0 < reflector < 0.05 * neck, reflector / neck


def test_its_random_outputs_vary_within_and_between_images(expected):
    for name in OUTPUT_NAMES:
        first, second = (one[name] for one in expected)
        assert first.std() > 0.05 and np.abs(first - second).mean() > 0.01


def check(outputs: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for name in OUTPUT_NAMES:
        assert outputs[name].shape == (1, 1, *SMALLEST)
        median, p99 = relative_difference(outputs[name], expected[name])
        assert median < 1e-4 and p99 < 1e-3, (name, median, p99)


def test_openvino_agrees_with_torch(exported, expected):
    pytest.importorskip("openvino")
    compiled = openvino_core().compile_model(exported, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for picture, truth in zip(pictures(2), expected, strict=True):
        results = compiled([picture[None]])
        check({name: results[name] for name in OUTPUT_NAMES}, truth)


def test_onnx_runtime_agrees_with_torch(exported, expected):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    for picture, truth in zip(pictures(2), expected, strict=True):
        outputs = session.run(list(OUTPUT_NAMES), {"images": picture[None]})
        check(dict(zip(OUTPUT_NAMES, outputs, strict=True)), truth)


@pytest.fixture(scope="module")
def tiny():
    return random_flagship(*TINY, bins=FEWER_BINS)


@pytest.fixture(scope="module")
def bundle(tiny, tmp_path_factory):
    description = {
        "range_m": {"min": 0.4, "max": 10.0},
        "calibration": {"probability": [0.0, 1.0], "quantile": [0.0, 3.0]},
        "licence": "random weights",
    }
    folder = tmp_path_factory.mktemp("models") / "flagship"
    export_bundle(tiny, folder, description, pictures(3, TINY))
    return Bundle.load(str(folder))


def test_its_bundle_is_loaded_and_passes_the_self_test(bundle):
    pytest.importorskip("openvino")
    assert (bundle.height, bundle.width) == TINY
    assert 0.0 < open_engine(bundle, "openvino").report.p99["depth"] < 1e-3


def test_its_half_precision_file_agrees_with_torch(tiny, bundle):
    onnxruntime = pytest.importorskip("onnxruntime")
    picture = pictures(1, TINY)
    session = onnxruntime.InferenceSession(
        bundle.path("model_fp16.onnx"), providers=["CPUExecutionProvider"]
    )
    outputs = session.run(list(OUTPUT_NAMES), {"images": picture})
    with torch.inference_mode():
        expected = InferenceModel(tiny)(torch.from_numpy(picture))
    for name, found, truth in zip(OUTPUT_NAMES, outputs, expected, strict=True):
        median, p99 = relative_difference(found, truth.numpy())
        assert median < 0.005 and p99 < 0.02, (name, median, p99)


@pytest.mark.parametrize("name", ["model.onnx", "model_fp16.onnx"])
def test_nothing_is_sorted_and_no_bins_exist_at_input_resolution(bundle, name):
    assert faults(onnx.load(bundle.path(name)), FEWER_BINS) == []


def test_the_position_embedding_and_attention_are_plain_in_the_graph(exported):
    graph = onnx.load(exported).graph
    resizes = [node for node in graph.node if node.op_type == "Resize"]
    modes = {a.s.decode() for node in resizes for a in node.attribute if a.name == "mode"}
    assert modes == {"linear"}  # the embedding's resize is bicubic
    assert "IsNaN" not in {node.op_type for node in graph.node}


@pytest.mark.parametrize("shape", SHAPES)
def test_it_builds_with_tensorrt_rtx(flagship, shape, tmp_path):
    pytest.importorskip("tensorrt_rtx")
    from depthrefl_ros.engine.tensorrt.api import find_flavour
    from depthrefl_ros.engine.tensorrt.build import build_plan
    from depthrefl_ros.engine.tensorrt.run import TensorRTEngine

    path = tmp_path / "model_fp16.onnx"
    export_onnx(at_size(flagship, *shape), path, torch.float16)
    (images,) = onnx.load(path).graph.input
    assert [d.dim_value for d in images.type.tensor_type.shape.dim][1:] == [*shape, 3]
    built = build_plan("tensorrt_rtx", path, precision="fp16")
    if not find_flavour("tensorrt_rtx").can_run:
        # Read back as far as a machine without a GPU can: the driver is missing, not the plan bad.
        with pytest.raises(EngineError, match=r"(no NVIDIA driver|cuda-python).*cudaError 35"):
            TensorRTEngine(built.plan, "tensorrt_rtx", *shape, OUTPUT_NAMES, precision="fp16")
    # Half precision: the plan holds the 25 M weights in two bytes each, the bins stay in f32.
    assert 45e6 < len(built.plan) < 80e6
    assert built.layers["fp16"] > 5 * built.layers["fp32"] > 0


def test_it_builds_in_single_precision(exported):
    pytest.importorskip("tensorrt_rtx")
    from depthrefl_ros.engine.tensorrt.build import build_plan

    built = build_plan("tensorrt_rtx", exported, precision="fp32")
    assert len(built.plan) > 95e6 and "fp16" not in built.layers

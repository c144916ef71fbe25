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

"""Exporting: what is in the files, and that a whole bundle comes out."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx_graphs import faults, shape_of
from safetensors.torch import load_file
from small_network import told_network

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.export import OPSET, export_bundle, export_onnx
from depthrefl_ros.engine.selection import open_engine
from depthrefl_ros.engine.tensorrt.api import find_flavour
from depthrefl_ros.engine.tensorrt.build import build_plan
from depthrefl_ros.engine.tensorrt.plan import ONNX_FILES
from depthrefl_ros.engine.torch_engine import TorchEngine
from depthrefl_ros.network.checkpoints import unfolded_tensors
from depthrefl_ros.network.efficientnet import EfficientNetLiteConfig
from depthrefl_ros.network.inference import InferenceModel
from depthrefl_ros.network.model import ModelConfig, create_model
from depthrefl_ros.network.reflector import ReflectorConfig
from depthrefl_ros.tools.golden_images import with_planes

RTX = find_flavour("tensorrt_rtx")


def trained_like_model() -> torch.nn.Module:
    """Random weights whose batch norms have seen data, so that folding has something to do."""
    torch.manual_seed(0)
    config = ModelConfig(
        backbone=EfficientNetLiteConfig(
            bottleneck_channels=16, decoder_channels=(16, 12, 8, 8), head_channels=8
        ),
        reflector=ReflectorConfig(bins=16, embedding=8),
        height=64,
        width=96,
    )
    model = create_model(config).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.2)
    with torch.no_grad():
        for _ in range(2):
            model(torch.rand(4, 3, 64, 96) * 255)
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return trained_like_model()


@pytest.fixture(scope="module")
def bundle(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    images = np.random.default_rng(0).integers(0, 255, (3, 64, 96, 3), np.uint8)
    probabilities = np.linspace(0, 1, 11)
    description = {
        "range_m": {"min": 0.3, "max": 8.0},
        "calibration": {
            "probability": probabilities.tolist(),
            "quantile": (3 * probabilities).tolist(),
        },
        "licence": "for the test",
    }
    export_bundle(model, folder, description, images)
    return Bundle.load(str(folder))


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_an_exported_bundle_runs_and_passes_its_self_test(bundle, engine):
    assert open_engine(bundle, engine).report.p99["depth"] < 1e-3
    assert (bundle.name, bundle.max_range_m) == ("tiny", 8.0)


def test_folding_and_half_storage_change_little(model):
    images = torch.randint(0, 255, (2, 64, 96, 3), dtype=torch.uint8)
    with torch.no_grad():
        depth, sigma, _ = InferenceModel(model)(images)
        expected = model(images.float().permute(0, 3, 1, 2))
    assert ((depth - expected.depth) / expected.depth).abs().median() < 0.002
    assert ((sigma - expected.sigma) / expected.sigma).abs().median() < 0.002


def test_preparing_for_inference_leaves_the_model_alone(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    InferenceModel(model, torch.float16)
    assert all(torch.equal(before[n], v) for n, v in model.state_dict().items())


def test_half_precision_keeps_the_bins_constants(model):
    inference = InferenceModel(model, torch.float16)
    assert inference.model.reflector.distribution.coefficients.dtype == torch.float32
    assert inference.model.backbone.encoder._conv_stem.weight.dtype == torch.float16


def test_only_the_norms_of_sums_remain(model):
    norms = {
        name
        for name, module in InferenceModel(model).named_modules()
        if isinstance(module, torch.nn.BatchNorm2d)
    }
    assert norms == {f"model.backbone.decoder.{i}.normalise_sum" for i in range(4)}


@pytest.mark.parametrize("name", ["model.onnx", "model_fp16.onnx"])
def test_only_bytes_cross_to_the_device_and_the_cast_comes_first(bundle, name):
    graph = onnx.load(bundle.path(name))
    (images,) = graph.graph.input
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert shape_of(images) == ["batch", 64, 96, 3]
    assert [n.op_type for n in graph.graph.node if "images" in n.input] == ["Cast"]
    assert [o.name for o in graph.graph.output] == ["depth", "sigma", "relative"]
    assert all(shape_of(output) == ["batch", 1, 64, 96] for output in graph.graph.output)
    assert graph.opset_import[0].version == OPSET


@pytest.mark.parametrize("name", ["model.onnx", "model_fp16.onnx"])
def test_nothing_is_sorted_and_no_bins_exist_at_input_resolution(bundle, name):
    assert faults(onnx.load(bundle.path(name)), bins=16) == []


@pytest.mark.parametrize("name", ["model.onnx", "model_fp16.onnx"])
def test_the_shipped_files_sort_nothing_and_have_no_bins_at_input_resolution(name):
    shipped = Bundle.load("indoor_tiny")
    bins = shipped.description["architecture"]["reflector"]["bins"]
    assert faults(onnx.load(shipped.path(name)), bins) == []


@pytest.mark.parametrize("model_name", ["exported", "shipped"])
def test_the_half_file_computes_the_bins_in_float32_and_the_backbone_does_not(bundle, model_name):
    chosen = bundle if model_name == "exported" else Bundle.load("indoor_tiny")
    model = onnx.shape_inference.infer_shapes(onnx.load(chosen.path("model_fp16.onnx")))
    values = (*model.graph.value_info, *model.graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    made = [(node.op_type, types[node.output[0]]) for node in model.graph.node]
    # The layers of widths, attractors and the distribution; the backbone has none of them.
    for kind in ("Softplus", "Pow", "Exp", "Log", "LogSoftmax", "Sqrt", "Div"):
        found = {t for op, t in made if op == kind}
        # The bins' sigma is a root, which the shipped model's error head has no use for.
        is_absent = kind == "Sqrt" and model_name == "shipped"
        assert found == (set() if is_absent else {onnx.TensorProto.FLOAT}), kind
    halves = [t == onnx.TensorProto.FLOAT16 for op, t in made if op == "Conv"]
    assert np.mean(halves) > 0.95 and not all(halves)  # the cumulative sum is a convolution


class SortsItsCentres(torch.nn.Module):
    """What must not be exported: sorted bins, at input resolution. (``lgamma`` never exports.)"""

    def forward(self, images):
        plane = images.float().mean(dim=3, keepdim=True).permute(0, 3, 1, 2) / 255.0
        centres = plane * torch.arange(1.0, 17.0).reshape(1, 16, 1, 1)
        return torch.sort(centres, dim=1).values.sum(1, keepdim=True)


def test_a_graph_that_sorts_and_widens_is_found_out():
    images = torch.zeros(2, 64, 96, 3, dtype=torch.uint8)
    network = SortsItsCentres().eval()
    program = torch.onnx.export(network, (images,), opset_version=OPSET, dynamo=True)
    found = faults(program.model_proto, bins=16)
    assert "::TopK" in found and any("16, 64, 96]" in fault for fault in found)


@pytest.mark.parametrize("name", ["model.onnx", "model_fp16.onnx"])
def test_a_batch_gives_what_its_images_give_alone(bundle, name):
    session = onnxruntime.InferenceSession(str(bundle.path(name)))
    images = bundle.golden().images
    together = session.run(None, {"images": images})
    alone = [session.run(None, {"images": image[None]}) for image in images]
    for plane, parts in zip(together, zip(*alone, strict=True), strict=True):
        np.testing.assert_allclose(plane, np.concatenate(parts), rtol=2e-3, atol=1e-3)


@pytest.mark.skipif(not RTX.can_build, reason=f"TensorRT-RTX: {RTX.reason}")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrt_builds_an_export_for_batches(bundle, precision):
    path = bundle.path(ONNX_FILES[precision])
    built = build_plan("tensorrt_rtx", path, batch=3, precision=precision)
    assert built.plan and built.layers[precision] > 50


def test_a_network_that_fixes_the_batch_is_refused(model, tmp_path, monkeypatch):
    def fixed(self, images):
        plane = images.reshape(2, 64, 96, 3).float().mean(dim=3)
        return plane, 2 * plane, 3 * plane

    monkeypatch.setattr(InferenceModel, "forward", fixed)
    with pytest.raises(ValueError, match="batches of 2 only"):
        export_onnx(model, tmp_path / "model.onnx")


def test_weights_are_stored_once_and_as_half(bundle):
    stored = {}
    for name in ("model.onnx", "model_fp16.onnx"):
        graph = onnx.load(bundle.path(name)).graph
        sizes = {onnx.TensorProto.FLOAT: 0, onnx.TensorProto.FLOAT16: 0}
        for tensor in graph.initializer:
            if tensor.data_type in sizes:
                sizes[tensor.data_type] += int(np.prod(tensor.dims))
        assert sizes[onnx.TensorProto.FLOAT16] > 20 * sizes[onnx.TensorProto.FLOAT]
        stored[name] = 2 * sizes[onnx.TensorProto.FLOAT16]
        assert bundle.path(name).stat().st_size < 0.25 * stored[name]
    sizes = [bundle.path(f"model.{ending}").stat().st_size for ending in ("safetensors", "weights")]
    assert max(stored.values()) < sum(sizes) < 1.5 * max(stored.values())


def test_convolutions_of_every_graph_lie_where_torch_has_them(bundle):
    for name in ("model.onnx", "model_fp16.onnx"):
        graph = onnx.load(bundle.path(name), load_external_data=False).graph
        held = set()
        for tensor in graph.initializer:
            held |= {entry.value for entry in tensor.external_data if entry.key == "location"}
            large = ".weight" in tensor.name and np.prod(tensor.dims) >= 256
            if large and len(tensor.dims) == 4:
                places = {entry.key: entry.value for entry in tensor.external_data}
                assert places["location"] == "model.safetensors", tensor.name
        assert held == {"model.safetensors", "model.weights"}


def test_torch_gets_the_same_weights_in_half_the_bytes(bundle, model):
    tensors = load_file(bundle.path("model.safetensors"))
    matrices = {name for name, value in model.named_parameters() if value.dim() > 1}
    for name, tensor in tensors.items():
        is_matrix = name.replace("folded_weight", "weight") in matrices
        assert (tensor.dtype == torch.float16) == is_matrix, name
    tensors = unfolded_tensors(tensors, model)
    assert tensors.keys() == model.state_dict().keys()
    for name, exact in model.state_dict().items():
        tensor = tensors[name].to(exact.dtype)
        torch.testing.assert_close(tensor, exact, rtol=5e-4, atol=1e-7)
    # The judge of the others: torch from the safetensors, ONNX Runtime from the graph.
    images = bundle.golden().images[:1]
    found = TorchEngine(bundle, device="cpu").infer(images)
    session = onnxruntime.InferenceSession(str(bundle.path("model.onnx")))
    for name, plane in zip(found, session.run(list(found), {"images": images}), strict=True):
        np.testing.assert_allclose(found[name], plane, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Return the bundle of a network that takes the mount, and the network."""
    network = told_network()
    images = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
    folder = tmp_path_factory.mktemp("models") / "told"
    description = {"range_m": {"min": 0.3, "max": 8.0}, "licence": "for the test"}
    export_bundle(network, folder, description, with_planes(images, network.config))
    return Bundle.load(str(folder)), network


def test_a_network_that_takes_the_mount_has_a_fourth_byte_and_is_tested_with_and_without(told):
    bundle, _ = told
    assert bundle.channels == 4 and bundle.description["input"]["channels"] == 4
    images = bundle.golden().images
    assert images.shape == (4, 64, 64, 4)
    assert images[..., 3].any(axis=(1, 2)).tolist() == [True, False, True, True]
    for name in ("model.onnx", "model_fp16.onnx"):
        graph = onnx.load(bundle.path(name))
        assert shape_of(graph.graph.input[0]) == ["batch", 64, 64, 4]
        assert faults(graph, bins=8) == []


@pytest.mark.parametrize("name, tolerance", [("model.onnx", 2e-3), ("model_fp16.onnx", 0.03)])
def test_a_graph_that_takes_the_mount_computes_what_torch_does(told, name, tolerance):
    bundle, network = told
    session = onnxruntime.InferenceSession(str(bundle.path(name)))
    images = bundle.golden().images
    depth, sigma, _ = session.run(None, {"images": images})
    np.testing.assert_allclose(depth, bundle.golden().depth, rtol=tolerance)
    with torch.no_grad():
        expected = network(torch.from_numpy(images).permute(0, 3, 1, 2).float())
    np.testing.assert_allclose(depth, expected.depth, rtol=2 * tolerance)
    np.testing.assert_allclose(sigma, expected.sigma, rtol=3 * tolerance)
    untold = session.run(None, {"images": images * np.uint8([1, 1, 1, 0])})[0]
    change = np.abs(np.log(untold / depth)).mean(axis=(1, 2, 3))
    assert change[[0, 2]].min() > 0.02 and change[1] < 1e-6


@pytest.mark.skipif(not RTX.can_build, reason=f"TensorRT-RTX: {RTX.reason}")
def test_tensorrt_builds_a_network_that_takes_the_mount(told):
    path = told[0].path("model_fp16.onnx")
    built = build_plan("tensorrt_rtx", path, batch=2, precision="fp16")
    assert built.plan and built.layers["fp16"] > 50


def test_golden_images_of_another_shape_are_refused(model, tmp_path):
    images = np.zeros((3, 64, 96, 4), np.uint8)
    with pytest.raises(ValueError, match=r"golden images are \(3, 64, 96, 4\); \(3, 64, 96, 3\)"):
        export_bundle(model, tmp_path / "new", {}, images)


def test_a_network_without_a_mount_is_described_as_before(bundle):
    assert bundle.channels == 3
    assert "channels" not in bundle.description["input"]
    assert "mount" not in bundle.description["architecture"]


def test_nothing_in_the_files_tells_where_they_were_made(bundle):
    for path in bundle.folder.glob("*.onnx"):
        content = path.read_bytes()
        assert b"site-packages" not in content and b".py" not in content

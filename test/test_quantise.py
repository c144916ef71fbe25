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

"""A bundle's convolutions in int8: how far from float32, what they share, what is refused."""

import json
import shutil

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from exact_bundle import exact_bundle
from onnx import TensorProto, helper, numpy_helper
from told_bundle import told_bundle

from depthrefl_ros.engine.bundle import Bundle, BundleError
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.engine.quantise import add_int8
from depthrefl_ros.engine.self_test import plane_difference
from depthrefl_ros.engine.tensorrt.int8 import int8_network
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.tools.export_bundle import main


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Return ``indoor_nano`` with convolutions quantised for its own golden images."""
    folder = tmp_path_factory.mktemp("bundles") / "nano"
    shipped = Bundle.load("indoor_nano")
    shutil.copytree(shipped.folder, folder)
    add_int8(folder, shipped.golden().images[:3])
    return Bundle.load(str(folder))


def test_it_is_close_to_float32_and_computes_in_int8(bundle):
    engine = OpenVinoEngine(bundle, precision="int8")
    golden = bundle.golden()
    found = engine.infer(golden.images)
    for plane, (median, p99) in {"depth": (0.04, 0.3), "sigma": (0.04, 0.3)}.items():
        difference = plane_difference(plane, found[plane], golden.planes[plane])
        assert 0.0005 < difference[0] < median and difference[1] < p99, plane
    kinds = engine.layers()
    assert kinds["u8"] + kinds.get("i8", 0) > 58  # of 85 convolutions, 20 of them the reflector's
    assert kinds.get("i8", 0) < 5  # OpenVINO's slow way for activations with a sign


def test_its_weights_are_those_of_the_other_graphs(bundle):
    sizes = {name: (bundle.folder / name).stat().st_size for name in bundle.files}
    shipped = Bundle.load("indoor_nano")
    assert bundle.files["model.weights"] == shipped.files["model.weights"]
    assert sizes["model_int8.onnx"] < 0.06 * sizes["model.safetensors"]
    for name, digest in shipped.files.items():
        if name != "model_int8.onnx":
            assert bundle.files[name] == digest, name


def test_what_decides_the_scale_stays_in_floating_point(bundle):
    graph = onnx.load(bundle.path("model_int8.onnx"), load_external_data=False).graph
    weights = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "QuantizeLinear"}
    names = " ".join(weights.values())
    assert "_blocks.1._depthwise_conv.weight" in names and "decoder.3." in names
    for kept in ("_conv_stem", "_blocks.0._depthwise_conv", "reflector."):
        assert kept not in names, kept


def values_of(model):
    """Return float32 constants by name, those that are cast from half precision by their cast's."""
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    casts = [n for n in model.graph.node if n.op_type == "Cast" and n.input[0] in stored]
    return stored | {n.output[0]: stored[n.input[0]].astype(np.float32) for n in casts}


def convolutions_of(model):
    return {node.name: node for node in model.graph.node if node.op_type == "Conv"}


def test_weights_have_all_eight_bits(bundle):
    model = onnx.load(bundle.path("model_int8.onnx"))
    values = values_of(model)
    found = [n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] in values]
    assert len(found) > 50
    for node in found:
        largest = np.abs(values[node.input[0]]).reshape(len(values[node.input[0]]), -1).max(axis=1)
        assert np.median(largest / values[node.input[1]].reshape(-1)) > 120, node.input[0]


def channel_means(model, names, images):
    """Return the mean of each channel of these convolutions, (channels,) each, over images."""
    nodes = convolutions_of(model)
    outputs = [nodes[name].output[0] for name in names]
    known = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    model.graph.output.extend(known)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    found = [session.run(outputs, {"images": image[None]}) for image in images]
    return [np.mean(planes, axis=(0, 1, 3, 4)) for planes in zip(*found, strict=True)]


def test_biases_make_up_for_what_rounded_weights_shift(bundle):
    """Activations are not quantised here: what is left is what the weights do."""
    exact, rounded = (onnx.load(bundle.path(n)) for n in ("model.onnx", "model_int8.onnx"))
    values, makers = values_of(rounded), {n.output[0]: n for n in rounded.graph.node}
    pairs = {}
    for node in rounded.graph.node:
        if node.op_type == "DequantizeLinear" and values[node.input[2]].dtype == np.uint8:
            pairs[node.output[0]] = makers[node.input[0]].input[0]
    originals, convolutions = convolutions_of(exact), convolutions_of(rounded)
    uncorrected = onnx.ModelProto()
    for node in convolutions.values():
        node.input[0] = pairs.get(node.input[0], node.input[0])
    uncorrected.CopyFrom(rounded)
    biases = values_of(exact)
    corrected = set()
    for name, node in convolutions_of(uncorrected).items():
        if len(node.input) > 2 and makers.get(node.input[1], node).op_type == "DequantizeLinear":
            node.input[2] = f"{name}_original"
            original = biases[originals[name].input[2]]
            uncorrected.graph.initializer.append(numpy_helper.from_array(original, node.input[2]))
            corrected.add(name)
    assert len(corrected) > 50
    images = bundle.golden().images[:3]
    truth, better, worse = (
        channel_means(model, sorted(corrected), images) for model in (exact, rounded, uncorrected)
    )
    shares = [
        np.square(b - t).mean() / np.square(w - t).mean()
        for t, b, w in zip(truth, better, worse, strict=True)
    ]
    assert np.median(shares) < 0.1 and np.quantile(shares, 0.9) < 0.5


def test_a_network_of_another_kind_is_refused(tmp_path):
    camera = Camera.pinhole(32, 32, 30.0, 30.0, 16.0, 16.0)
    folder = exact_bundle(tmp_path / "exact", camera)
    with pytest.raises(BundleError, match="exact is no network of ours with an EfficientNet"):
        add_int8(folder, np.zeros((2, 32, 32, 3), np.uint8))
    assert not list(folder.glob("*int8*"))


def test_export_adds_it_from_a_folder_of_images_with_and_without_the_mount(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(
        "depthrefl_ros.engine.quantise.add_int8",
        lambda folder, images: given.append(images) or add_int8(folder, images),
    )
    photos, target, report = tmp_path / "photos", tmp_path / "mine", tmp_path / "report.json"
    photos.mkdir()
    for index in range(2):
        picture = np.random.default_rng(index).integers(0, 255, (48, 64, 3), np.uint8)
        cv2.imwrite(str(photos / f"{index}.png"), picture)
    told = told_bundle(tmp_path / "told")
    assert main([str(told.folder), str(target), "--int8", str(photos), "--json", str(report)]) == 0
    assert given[0].shape == (2, 64, 64, 4)
    assert given[0][..., 3].any(axis=(1, 2)).tolist() == [True, False]
    assert "model_int8.onnx" in json.loads(report.read_text())["bytes"]

    bundle = Bundle.load(str(target))
    golden = bundle.golden()
    np.testing.assert_array_equal(golden.images, told.golden().images)
    engine = OpenVinoEngine(bundle, precision="int8")
    depth = engine.infer(golden.images)["depth"]
    assert plane_difference("depth", depth, golden.depth)[0] < 0.04
    graph = onnx.load(bundle.path("model_int8.onnx"), load_external_data=False).graph
    weights = [n.input[0] for n in graph.node if n.op_type == "QuantizeLinear"]
    assert len(weights) > 50 and not any(".mount." in name for name in weights)
    for_tensorrt = int8_network(bundle.path("model_fp16.onnx"), bundle.path("model_int8.onnx"))
    assert for_tensorrt.count(b"_int8_") > 50
    without = engine.infer(golden.images * np.uint8([1, 1, 1, 0]))["depth"]
    assert np.abs(np.log(without / depth)).mean(axis=(1, 2, 3))[0] > 0.02


def test_a_folder_without_images_is_named(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    shipped = str(Bundle.load("indoor_nano").folder)
    assert main([shipped, str(tmp_path / "new"), "--int8", str(tmp_path / "empty")]) == 2
    assert f"--int8 is {tmp_path / 'empty'}; it has no images" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()

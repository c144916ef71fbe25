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
import pytest
from exact_bundle import exact_bundle
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
    assert sizes["model_int8.onnx"] < 0.06 * sizes["model.weights"]
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

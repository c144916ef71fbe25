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

"""A reflector on the frozen backbone of a bundle: our own, and a DINOv2 with a DPT."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
import yaml
from exact_bundle import exact_bundle
from safetensors.torch import load_file, save_file

from depthrefl_ros.engine.bundle import Bundle, file_digest
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.engine.self_test import self_test
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.network.checkpoints import load_weights
from depthrefl_ros.network.model import ModelConfig, create_model
from depthrefl_ros.tools import convert, export_bundle
from depthrefl_ros.tools import train as tool
from depthrefl_ros.training.trainer import latest_checkpoint

SMALL = [
    "--bins", "8", "--embedding", "8", "--workers", "0", "--threads", "1", "--device", "cpu",
    "--batch", "2", "--steps", "1",
]  # fmt: skip


def train(run, *more) -> int:
    return tool.main(["stage2", "--run", str(run), *SMALL, *map(str, more)])


def assert_only_the_reflector_was_trained(run, weights):
    checkpoint = latest_checkpoint(run / "stage2")
    trained = load_file(checkpoint / "model.safetensors")
    backbone = {name: value for name, value in weights.items() if name.startswith("backbone.")}
    assert len(backbone) > 50
    for name, value in backbone.items():
        torch.testing.assert_close(trained[name], value.to(trained[name].dtype), rtol=0, atol=0)
    assert any(name.startswith("reflector.") for name in trained)


def dinov2_bundle(folder):
    """Return a bundle with a small input and random weights of Depth Anything's architecture."""
    pytest.importorskip("transformers")
    from depthrefl_ros.network.flagship import random_flagship

    camera = Camera.pinhole(84, 56, 79, 79, 41.5, 27.5)
    architecture = {"backbone": {"encoder": "dinov2_small"}, "height": 56, "width": 84}
    architecture["focal_px"] = 79.0
    exact_bundle(folder, camera, architecture=architecture, licence="random weights")
    model = random_flagship(56, 84)
    weights = {f"backbone.{n}": v for n, v in model.backbone.state_dict().items()}
    save_file({name: value.contiguous() for name, value in weights.items()},
              folder / "model.safetensors")  # fmt: skip
    content = yaml.safe_load((folder / "model.yaml").read_text())
    content["files"]["model.safetensors"] = file_digest(folder / "model.safetensors")
    (folder / "model.yaml").write_text(yaml.safe_dump(content))
    return folder, weights


def test_a_reflector_learns_on_a_frozen_dinov2_to_the_end(tmp_path, rooms, capsys):
    bundle, weights = dinov2_bundle(tmp_path / "large")
    run = tmp_path / "run"
    assert train(run, "--data", rooms, "--backbone", bundle, "--freeze") == 0
    assert "starting from the backbone of exact (random weights)" in capsys.readouterr().out
    assert_only_the_reflector_was_trained(run, weights)
    assert tool.main(["finish", "--run", str(run), "--val-data", str(rooms)]) == 0
    figures = json.loads((run / "metrics.json").read_text())
    assert figures["model"]["backbone"]["encoder"] == "dinov2_small"
    assert (figures["model"]["height"], figures["model"]["reflector"]["bins"]) == (56, 8)
    assert figures["validation"]["images"] == 3


def test_our_own_backbone_is_taken_with_its_size(tmp_path, rooms):
    nano = Bundle.load("indoor_nano")
    run = tmp_path / "run"
    assert train(run, "--data", rooms, "--backbone", "indoor_nano", "--freeze") == 0
    whole = create_model(ModelConfig.from_dict(nano.description["architecture"]))
    load_weights(nano.path("model.safetensors"), whole)
    assert_only_the_reflector_was_trained(run, whole.state_dict())
    state = json.loads((latest_checkpoint(run / "stage2") / "state.json").read_text())
    assert (state["model"]["height"], state["model"]["width"]) == (nano.height, nano.width)
    assert state["model"]["focal_px"] == nano.focal_px


def test_a_bundle_that_is_a_graph_alone_is_refused(tmp_path, rooms, capsys):
    graph = exact_bundle(tmp_path / "graph", Camera.from_horizontal_fov(64, 48, 1.1))
    assert train(tmp_path / "run", "--data", rooms, "--backbone", graph) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "the bundle holds a graph, which cannot be trained on, and no weights" in said
    assert "convert the network from its checkpoint: depthrefl convert --hub NAME --weights" in said
    more = ["--backbone", "indoor_nano", "--start-from", tmp_path / "x.safetensors"]
    assert train(tmp_path / "run", "--data", rooms, *more) == 2
    assert "--backbone and --start-from exclude each other" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, kind, size",
    [
        ("depth-anything-v2-small", "inverse_relative", "112x84"),
        ("dpt-dinov2-small-nyu", "metric", "98x70"),  # 7 by 5 patches: odd numbers
    ],
)
def test_a_converted_network_becomes_metric_to_the_bundle(
    tmp_path, rooms, capsys, name, kind, size
):
    """From a checkpoint's files to metres in OpenVINO: convert, train, finish, export."""
    tiny = pytest.importorskip("tiny_networks")
    public = tiny.make_network(name, seed=3)  # not the order of the recording upside down
    source = tiny.save_network(public, tmp_path / "checkpoint" / name, name)
    converted, run = tmp_path / "public", tmp_path / "run"
    command = ["--hub", source, "--size", size, "--no-comparison", "--weights", converted]
    assert convert.main([str(part) for part in command]) == 0
    assert Bundle.load(str(converted)).kind == kind

    more = ["--data", rooms, "--backbone", converted, "--freeze", "--views", "2", "--steps", "20"]
    assert train(run, *more, "--warmup-steps", "2", "--learning-rate", "0.004") == 0
    said = capsys.readouterr().out
    assert "starting from the backbone of public" in said
    assert "features: 2 views of 3 images in" in said
    assert_only_the_reflector_was_trained(run, load_file(converted / "backbone.safetensors"))
    with (run / "stage2" / "log.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(losses) == 20 and np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])

    assert tool.main(["finish", "--run", str(run), "--val-data", str(rooms)]) == 0
    golden = sorted(map(str, (rooms / "rgb").iterdir()))[:3]
    metric = tmp_path / "metric"
    assert export_bundle.main([str(run), str(metric), "--golden", *golden]) == 0
    bundle = Bundle.load(str(metric))
    assert bundle.kind == "canonical" and bundle.outputs == ("depth", "sigma", "relative")
    engine = OpenVinoEngine(bundle)
    try:
        self_test(engine, bundle)
        images = bundle.golden().images[:3]
        planes = engine.infer(images)
    finally:
        engine.close()
    # Its order is the public network's own, whose ReLU is not reached where a pixel is near.
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255.0
    mean, std = (
        torch.tensor(tiny.IMAGENET[key]).reshape(3, 1, 1) for key in ("image_mean", "image_std")
    )
    with torch.inference_mode():
        said = public((pixels - mean) / std).predicted_depth[:, None]
        said = torch.nn.functional.interpolate(said, images.shape[1:3], mode="bilinear").numpy()
    seen = said > 0
    assert seen.mean() > 0.5 and said[seen].std() > 0.1
    wanted = 1.0 / (1.0 + np.exp(said)) if kind != "metric" else 0.5 + 0.5 * said / (1.0 + said)
    np.testing.assert_allclose(planes["relative"][seen], wanted[seen], atol=5e-3)
    assert 0.15 <= planes["depth"].min() and planes["depth"].max() <= 24.0


@pytest.mark.parametrize(
    "field, other, words",
    [
        ("backbone_config.apply_layernorm", True, "apply_layernorm is True, and only False"),
        ("hidden_act", "relu", "hidden_act is relu, and only gelu"),
        ("head_in_index", -2, "head_in_index is -2, and only -1"),
    ],
)
def test_a_dpt_of_another_form_keeps_no_weights(tmp_path, capsys, field, other, words):
    tiny = pytest.importorskip("tiny_networks")
    name = "dpt-dinov2-small-nyu"
    source = tiny.save_network(tiny.make_network(name), tmp_path / name, name)
    config = json.loads((source / "config.json").read_text())
    owner, _, key = field.rpartition(".")
    (config[owner] if owner else config)[key] = other
    (source / "config.json").write_text(json.dumps(config))
    command = ["--hub", source, "--size", "112x84", "--weights", tmp_path / "out"]
    assert convert.main([str(part) for part in command]) == 2
    assert f"--weights: {words} is known" in capsys.readouterr().err.splitlines()[-1]


def test_only_dinov2_with_a_dpt_keeps_weights(tmp_path, capsys):
    tiny = pytest.importorskip("tiny_networks")
    source = tiny.save_network(tiny.make_network("glpn-nyu"), tmp_path / "glpn", "glpn-nyu")
    command = ["--hub", source, "--size", "96x64", "--weights", tmp_path / "out"]
    assert convert.main([str(part) for part in command]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "can be trained on a DepthAnythingForDepthEstimation or a DPTForDepthEst" in said
    assert "and this network is a GLPNForDepthEstimation with an encoder of its own" in said
    assert not (tmp_path / "out").exists()


def test_depth_anything_v1_metric_keeps_no_weights(tmp_path, capsys):
    authors = pytest.importorskip("authors_files")
    file, _ = authors.write_da1metric(tmp_path, "depth_anything_metric_depth_indoor.pt")
    command = ["--hub", file, "--size", "112x84", "--weights", tmp_path / "out"]
    assert convert.main([str(part) for part in command]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "and this network is a DepthAnythingV1Metric with dinov2" in said

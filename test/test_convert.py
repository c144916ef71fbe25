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

"""``depthrefl convert``: each known family becomes a bundle that runs; wrong meanings do not."""

import hashlib
import json
import math
from dataclasses import replace

import cv2
import numpy as np
import onnxruntime
import pytest
import yaml
from foreign_networks import FAMILIES, SIZE, foreign_network, normalised

from depthrefl_ros.conversion.converter import convert_onnx
from depthrefl_ros.conversion.meaning import ConversionError, Meaning
from depthrefl_ros.conversion.plausibility import rank_correlation
from depthrefl_ros.conversion.presets import PRESETS
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.engine.self_test import relative_difference, self_test
from depthrefl_ros.engine.tensorrt.api import find_flavour
from depthrefl_ros.engine.tensorrt.build import build_plan
from depthrefl_ros.estimator import DepthEstimator
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.rectification import rectification
from depthrefl_ros.tools.convert import main
from depthrefl_ros.training.datasets import Sample
from depthrefl_ros.training.evaluation import predictions

IMAGENET = PRESETS["da3metric"]
METRIC = Meaning(
    kind="metric",
    licence="MIT",
    range_m=(0.3, 10.0),
    mean=IMAGENET.mean,
    std=IMAGENET.std,
    outputs=("depth", "d"),
)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Every preset's bundle, made by the command of its family's network."""
    folder = tmp_path_factory.mktemp("converted")
    made = {}
    for name, look in FAMILIES.items():
        path = foreign_network(folder / f"{name}.onnx", **look)
        report = folder / f"{name}.json"
        command = ["--onnx", str(path), "--preset", name, str(folder / name)]
        command += ["--json", str(report), "--no-comparison"]
        command += ["--size", f"{SIZE[1]}x{SIZE[0]}"] if "size" in look else []
        assert main(command) == 0, name
        made[name] = (path, folder / name, json.loads(report.read_text()))
    return made


@pytest.fixture(scope="module")
def frames():
    from depthrefl_ros.tools.convert import _recorded_frames

    return _recorded_frames()


def authors_plane(path, name, images):
    """Return the output as the family's own code computes it: (n, H, W), at the bundle's size."""
    look = FAMILIES[name]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    pixels = normalised(images, look.get("takes", "imagenet"))
    pixels = pixels.astype(np.float16 if look.get("half") else np.float32)
    given = look.get("input", "image")
    rows = [session.run(None, {given: one[None]})[0] for one in pixels]
    planes = np.float32(rows).reshape(len(images), *rows[0].shape[-2:])
    # Without corners aligned, as the bundle's own resize.
    return np.stack([cv2.resize(one, SIZE[::-1]) for one in planes])


def test_every_preset_is_tested():
    assert set(FAMILIES) == set(PRESETS)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_bundle_runs_in_openvino_as_the_authors_network_does(converted, name):
    path, folder, report = converted[name]
    bundle = Bundle.load(str(folder))
    preset = PRESETS[name]
    assert (bundle.kind, bundle.focal_px) == (preset.kind, preset.focal_px)
    assert (bundle.licence, bundle.commercial) == (preset.licence, preset.commercial)
    assert bundle.sources == {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    assert report["milliseconds"] > 0 and report["kind"] == preset.kind
    engine = OpenVinoEngine(bundle)
    self_test(engine, bundle)
    images = bundle.golden().images[:3]
    found = np.concatenate([engine.infer(one[None])[preset.plane] for one in images])[:, 0]
    truth = authors_plane(path, name, images)
    assert relative_difference(found, truth)[1] < 0.005


@pytest.mark.parametrize("name", FAMILIES)
def test_tensorrt_for_rtx_builds_it(converted, name):
    rtx = find_flavour("tensorrt_rtx")
    if not rtx.can_build:
        pytest.skip(rtx.reason)
    bundle = Bundle.load(str(converted[name][1]))
    assert build_plan("tensorrt_rtx", bundle.path("model.onnx"), precision="fp32").plan


@pytest.mark.parametrize("name", FAMILIES)
def test_the_estimator_gives_what_the_kind_means(converted, name):
    bundle = Bundle.load(str(converted[name][1]))
    engine = OpenVinoEngine(bundle)
    estimator = DepthEstimator(engine, bundle)
    image = bundle.golden().images[0]
    near, far = (estimator.estimate(image, hfov_deg=fov) for fov in (90.0, 45.0))
    if bundle.kind == "inverse_relative":
        assert np.isnan(near.ungated_m).all() and np.isfinite(near.relative).any()
        return
    raw = engine.infer(image[None])["depth"][0, 0]
    factor = 1.0
    if bundle.kind == "canonical":
        factor = SIZE[1] / 2 / bundle.focal_px  # f of 90 degrees
    np.testing.assert_allclose(near.ungated_m, raw * factor, rtol=1e-3)
    longer = math.tan(math.radians(45.0)) / math.tan(math.radians(22.5))
    expected = longer if bundle.kind == "canonical" else 1.0
    np.testing.assert_allclose(far.ungated_m / near.ungated_m, expected, rtol=1e-3)


@pytest.mark.parametrize("width, height", [(1280, 720), (640, 480), (480, 640)])
def test_a_stretched_canonical_network_gives_its_authors_metres(converted, width, height):
    """LightlyTrain: raw depth times (fx + fy) / 2 over 300, both of the stretched image."""
    path, folder, _ = converted["dav3-metric"]
    bundle = Bundle.load(str(folder))
    camera = Camera.pinhole(width, height, 900.0, 910.0, (width - 1) / 2, (height - 1) / 2)
    image = cv2.resize(bundle.golden().images[0], (width, height))
    found = DepthEstimator(OpenVinoEngine(bundle), bundle).estimate(image, camera)
    seen = rectification(camera, True, SIZE[::-1], "stretch").to_network(image)
    raw = authors_plane(path, "dav3-metric", seen[None])[0]
    focal_px = (900.0 * SIZE[1] / width + 910.0 * SIZE[0] / height) / 2.0
    assert np.isfinite(found.ungated_m).all()
    np.testing.assert_allclose(found.ungated_m, raw * focal_px / 300.0, rtol=1e-3)
    # evaluate takes the same way to metres.
    truth = np.ones((height, width), np.float32)
    intrinsics = (camera.fx, camera.fy, camera.cx, camera.cy)
    samples = [Sample("one", image, truth, intrinsics)]
    infer = OpenVinoEngine(bundle).infer
    ((_, told),) = predictions(infer, samples, SIZE[::-1], bundle.focal_px, bundle.resize)
    middle = found.ungated_m[SIZE[0] // 2, SIZE[1] // 2]
    assert told.depth_m[height // 2, width // 2] == pytest.approx(middle, rel=0.02)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_node_marks_what_the_authors_network_sees(converted, running_node, name):
    path, folder, _ = converted[name]
    bundle = Bundle.load(str(folder))
    running_node.check(
        bundle, lambda images: authors_plane(path, name, images)[:, None], bundle.licence
    )


EXPORTS = {
    "traced, opset 14": {"dynamo": False, "opset_version": 14},
    "traced, free size": {
        "dynamo": False,
        "opset_version": 17,
        "dynamic_axes": {"pixel_values": {0: "batch", 2: "height", 3: "width"}},
    },
    "exported, weights beside it": {"dynamo": True, "opset_version": 18, "verbose": False},
}


@pytest.mark.parametrize("way", EXPORTS)
def test_a_vision_transformer_as_torch_exports_it(tmp_path, way):
    """Depth Anything's public class, small and with drawn weights."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    stages = [f"stage{number}" for number in range(1, 5)]
    backbone = transformers.Dinov2Config(
        hidden_size=48, num_hidden_layers=4, num_attention_heads=2, image_size=126, patch_size=14,
        out_features=stages, reshape_hidden_states=False,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=48, neck_hidden_sizes=[8, 16, 24, 32],
        fusion_hidden_size=16, head_hidden_size=8,
    )  # fmt: skip
    model = transformers.DepthAnythingForDepthEstimation(config).eval()
    path = tmp_path / "n.onnx"
    names = {"input_names": ["pixel_values"], "output_names": ["predicted_depth"]}
    example = torch.zeros(1, 3, 126, 168)
    torch.onnx.export(model, (example,), str(path), **names, **EXPORTS[way])
    meaning = PRESETS["depth-anything-v2-small"]
    bundle = convert_onnx(path, meaning, tmp_path / "out", size=(126, 168)).bundle
    engine = OpenVinoEngine(bundle)
    for image in bundle.golden().images[:3]:
        with torch.inference_mode():
            truth = model(torch.from_numpy(normalised(image[None]))).predicted_depth.numpy()
        found = engine.infer(image[None])["relative"][0]
        assert np.abs(found - truth).max() < 0.005 * truth.max()
    if find_flavour("tensorrt_rtx").can_build:
        assert build_plan("tensorrt_rtx", bundle.path("model.onnx"), precision="fp32").plan


def test_the_user_is_told_what_counts(converted, tmp_path, capsys):
    path, _, _ = converted["depth-anything-v2"]
    assert main(["--onnx", str(path), "--preset", "depth-anything-v2", str(tmp_path / "o")]) == 0
    said = capsys.readouterr().out
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    origin = (
        f"source: {PRESETS['depth-anything-v2'].source}; made of {path.name} (SHA-256 {digest})"
    )
    for words in ("larger is nearer", "CC-BY-NC-4.0", "commercial  no", " ms here", "ros2 run"):
        assert words in said
    assert f"  origin      {origin}\n" in said
    assert f"model:={tmp_path / 'o'}" in said and "exam" not in said  # it gives no metres
    picture = cv2.imread(str(tmp_path / "o.png"))
    assert picture.shape[1] > 3 * picture.shape[0] and picture.std() > 30
    assert main(["--presets"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in PRESETS)


def test_a_metric_network_sits_the_travel_exam(converted, tmp_path, capsys):
    path, _, _ = converted["dav3-metric"]
    report = tmp_path / "report.json"
    command = ["--onnx", str(path), "--preset", "dav3-metric", str(tmp_path / "mine")]
    assert main([*command, "--json", str(report)]) == 0
    said = capsys.readouterr().out
    figures = json.loads(report.read_text())
    assert set(figures["exam"]) == {"mine", "indoor_tiny"}
    own, ours = figures["exam"]["mine"], figures["exam"]["indoor_tiny"]
    assert own["images"] == ours["images"] == 30 and 0 < ours["abs_rel"] < own["abs_rel"]
    assert f"mine: AbsRel {own['abs_rel']:.3f}, " in said and f"model:={tmp_path / 'mine'}" in said
    assert "training    none: graphs only" in said and " ms here" in said
    assert cv2.imread(str(tmp_path / "mine.png")).shape[1] > 3 * 240


def test_a_meaning_from_yaml_and_a_bundle_that_is_replaced(tmp_path):
    path = foreign_network(tmp_path / "n.onnx", last="log", external=True)
    said = tmp_path / "meaning.yaml"
    content = {
        "kind": "metric",
        "input": {"mean": list(METRIC.mean), "std": list(METRIC.std)},
        "output": {"transform": "exp"},
        "range_m": {"min": 0.3, "max": 10},
        "licence": "MIT",
        "commercial": "yes",
    }
    said.write_text(yaml.safe_dump(content))
    for _ in range(2):
        command = ["--onnx", str(path), "--meaning", str(said), str(tmp_path / "out")]
        assert main([*command, "--no-comparison"]) == 0
    bundle = Bundle.load(str(tmp_path / "out"))
    assert bundle.commercial == "yes" and set(bundle.sources) == {"n.onnx", "n.data"}
    depth = bundle.golden().depth
    assert 1.0 < depth.mean() < 5.0


# What is wrong in the meaning -> what refuses it, or None where the depth changes instead.
MUTATIONS = {
    "inverse taken for depth": (
        {"nearness": True},
        {},
        "larger is nearer here: use kind inverse_relative, or transform inverse",
    ),
    "depth taken for inverse": (
        {},
        {"kind": "inverse_relative"},
        "larger is farther here: use transform inverse",
    ),
    "transform inverse left out": ({"last": "reciprocal"}, {}, "upside down"),
    "relative weights under a sigmoid": (
        {"nearness": True},
        {"transform": "sigmoid_times_max", "maximum": 20.0},
        "may be those of the relative network",
    ),
    "exp where there is none": ({"gain": 4.0}, {"transform": "exp"}, "0.05 to 500 m"),
    "exp left out": ({"last": "log", "gain": 0.2}, {}, "0.05 to 500 m"),
    "millimetres": ({"gain": 1000.0}, {}, "0.05 to 500 m"),
    "mean and std left out": ({}, {"mean": (0.0,) * 3, "std": (1.0,) * 3}, None),
    "bgr for rgb": ({}, {"colours": "bgr"}, None),
    "300 left out": ({}, {"kind": "canonical", "focal_px": 300.0}, None),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_wrong_meaning_is_refused_or_changes_the_depth(tmp_path, frames, mutation):
    look, fields, words = MUTATIONS[mutation]
    path = foreign_network(tmp_path / "n.onnx", **look)
    wrong = replace(METRIC, **fields)
    if words is not None:
        with pytest.raises(ConversionError, match=words):
            convert_onnx(path, wrong, tmp_path / "wrong", frames=frames)
        assert not (tmp_path / "wrong").exists()
        return
    results = []
    for name, meaning in (("right", METRIC), ("wrong", wrong)):
        made = convert_onnx(path, meaning, tmp_path / name, frames=frames)
        estimator = DepthEstimator(OpenVinoEngine(made.bundle), made.bundle)
        image = made.bundle.golden().images[0]
        results.append(estimator.estimate(image, hfov_deg=70.0).ungated_m)
    right, wrong = results
    assert np.median(np.abs(wrong / right - 1)) > 0.002


def test_a_scale_far_from_the_truth_is_told(tmp_path, frames):
    path = foreign_network(tmp_path / "n.onnx", gain=0.2)
    made = convert_onnx(path, METRIC, tmp_path / "out", frames=frames)
    assert made.agreement.order > 0.2 and made.agreement.scale < 0.5
    assert any("times the truth" in note for note in made.notes)


def test_canonical_metres_are_scaled_by_the_cameras_focal_length(tmp_path, frames):
    path = foreign_network(tmp_path / "n.onnx")
    metric = convert_onnx(path, METRIC, tmp_path / "metric", frames=frames).agreement
    canonical = replace(METRIC, kind="canonical", focal_px=40.0)
    found = convert_onnx(path, canonical, tmp_path / "canonical", frames=frames).agreement
    camera = frames.camera
    focal_px = camera.fx * SIZE[1] / camera.width / 2 + camera.fy * SIZE[0] / camera.height / 2
    assert found.scale == pytest.approx(metric.scale * focal_px / 40.0, rel=1e-3)
    with pytest.raises(ConversionError, match="0.05 to 500 m"):  # millimetres of this camera
        convert_onnx(path, replace(canonical, focal_px=20000.0), tmp_path / "wrong")


def test_sky_on_the_wrong_side_is_refused(tmp_path):
    path = foreign_network(tmp_path / "n.onnx", outputs=("depth", "sky"))
    wrong = replace(METRIC, sky=("sky",), sky_threshold=0.3, sky_is="below")
    with pytest.raises(ConversionError, match=r"sky covers 100% .*sky\.is below"):
        convert_onnx(path, wrong, tmp_path / "out")


def test_rank_correlation_is_spearmans():
    random = np.random.default_rng(0)
    one, other = random.normal(size=50), random.integers(0, 5, 50)  # with ties
    stats = pytest.importorskip("scipy.stats")
    assert rank_correlation(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)
    assert rank_correlation(one, np.exp(one)) == pytest.approx(1.0)
    assert rank_correlation(one, np.ones(50)) == 0.0

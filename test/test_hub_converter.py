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

"""Checkpoints of ``transformers`` as the Hub has them become bundles that give the same depth."""

import hashlib
import json
import shutil

import numpy as np
import onnxruntime
import pytest
import torch
import transformers
from test_adapters import SIZES, authors_depth
from tiny_networks import NETWORKS, make_network, save_network

from depthrefl_ros.conversion.hub_converter import convert_folder
from depthrefl_ros.conversion.meaning import ConversionError
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.engine.self_test import self_test
from depthrefl_ros.engine.tensorrt.api import find_flavour
from depthrefl_ros.engine.tensorrt.build import build_plan

pytestmark = pytest.mark.usefixtures("one_torch_thread")
# Each family, and of ZoeDepth each kind of bins and of heads; NK becomes two bundles.
CONVERTED = [(name, "") for name in NETWORKS if name != "zoedepth-nyu-kitti"]
CONVERTED += [("zoedepth-nyu-kitti", "nyu"), ("zoedepth-nyu-kitti", "kitti")]


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Name and domain -> the checkpoint's folder, and what became of it; each made once."""
    made = {}

    def get(name, domain=""):
        if name not in made:
            folder = tmp_path_factory.mktemp("converted")
            source = save_network(make_network(name), folder / name, name)
            (source / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
            step = 14 if name.startswith(("depth-anything", "dpt-dinov2", "tips")) else 32
            done = convert_folder(source, folder / "out", f"owner/{name}", SIZES[step][0])
            made[name] = (source, {one.bundle.name.partition("_")[2]: one for one in done})
        source, done = made[name]
        return source, done[domain]

    return get


def public_planes(name, domain, source, images):
    """Return the network's planes for bytes (n, H, W, 3), by the public class and its processor."""
    processor = json.loads((source / "preprocessor_config.json").read_text())
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    if processor.get("do_rescale", True):
        pixels = pixels / 255.0
    if "image_mean" in processor:
        mean, std = (
            torch.tensor(processor[key]).reshape(3, 1, 1) for key in ("image_mean", "image_std")
        )
        pixels = (pixels - mean) / std
    owner = getattr(transformers, f"{NETWORKS[name][0]}ForDepthEstimation")
    model = owner.from_pretrained(source).eval()
    with torch.inference_mode():
        planes = [authors_depth(model, name, domain, one[None]) for one in pixels]
    planes = torch.cat(planes).numpy()
    return 1.0 / np.clip(planes, 1e-4, 1e4) if name == "depthpro-hf" else planes


@pytest.mark.parametrize("name, domain", CONVERTED)
def test_a_bundle_gives_what_the_public_class_gives(converted, name, domain):
    source, done = converted(name, domain)
    bundle = done.bundle
    weights = (source / "model.safetensors").read_bytes()
    assert bundle.sources == {"model.safetensors": hashlib.sha256(weights).hexdigest()}
    assert (bundle.source, bundle.licence) == (f"owner/{name}", "apache-2.0")
    assert bundle.commercial == "yes"
    images = bundle.golden().images[:3]
    truth = public_planes(name, domain, source, images)
    plane = "relative" if bundle.kind == "inverse_relative" else "depth"
    session = onnxruntime.InferenceSession(
        bundle.path("model.onnx"), providers=["CPUExecutionProvider"]
    )
    found = np.concatenate([session.run([plane], {"images": i[None]})[0] for i in images])
    np.testing.assert_allclose(found, truth, rtol=1e-4, atol=1e-4)
    engine = OpenVinoEngine(bundle)
    self_test(engine, bundle)
    found = np.concatenate([engine.infer(image[None])[plane] for image in images])
    assert np.percentile(np.abs(found - truth) / np.abs(truth).clip(1e-2), 99) < 0.005
    engine.close()


@pytest.mark.parametrize("name, domain", CONVERTED)
def test_tensorrt_for_rtx_builds_what_the_bundle_has(converted, name, domain):
    rtx = find_flavour("tensorrt_rtx")
    if not rtx.can_build:
        pytest.skip(rtx.reason)
    bundle = converted(name, domain)[1].bundle
    files = {"model.onnx": "fp32", "model_fp16.onnx": "fp16"}
    for file, precision in files.items():
        if file not in bundle.files:
            continue
        built = build_plan("tensorrt_rtx", bundle.path(file), precision=precision)
        most = max(built.layers, key=built.layers.get)
        assert most == precision and built.plan


@pytest.mark.parametrize("name, domain", CONVERTED)
def test_the_node_marks_what_the_public_class_sees(converted, running_node, name, domain):
    source, done = converted(name, domain)
    running_node.check(
        done.bundle, lambda images: public_planes(name, domain, source, images), "apache-2.0"
    )


@pytest.mark.parametrize(
    "spoil, words",
    [
        ("config", "has no config.json"),
        ("weights", "has no model.safetensors or pytorch_model.bin"),
        ("lfs", "is a Git LFS pointer"),
        ("page", "is a web page"),
        ("cut", "is cut off or no safetensors file"),
        ("part", "part-2.safetensors is missing"),
        ("json", "config.json cannot be read"),
        (
            "keys",
            r"lacks (backbone\.\S+, ){9}backbone\.\S+ and \d+ more; it has no place for "
            r"(other\.\d+, ){9}other\.\d+ and 2 more$",
        ),
        ("shapes", r"head\.conv3\.bias is \(7,\) where \(1,\) is needed"),
        (
            "bin",
            r"pytorch_model\.bin needs code to be read \((\w+\.)?setattr\), which is refused; "
            "export it to ONNX",
        ),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_line(tmp_path, spoil, words):
    from safetensors.torch import load_file, save_file

    name = "depth-anything-v2-small"
    folder = save_network(make_network(name), tmp_path / name, name)
    weights = folder / "model.safetensors"
    if spoil == "config":
        (folder / "config.json").unlink()
    elif spoil == "weights":
        weights.unlink()
    elif spoil == "lfs":
        weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    elif spoil == "page":
        weights.write_text("<!doctype html><html></html>")
    elif spoil == "cut":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif spoil == "part":
        parts = {"a": "model.safetensors", "b": "part-2.safetensors"}
        shutil.move(weights, folder / "part-1.safetensors")
        parts["a"] = "part-1.safetensors"
        index = folder / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": parts}))
    elif spoil == "json":
        (folder / "config.json").write_text("{")
    elif spoil == "keys":
        kept = {k: v for k, v in load_file(weights).items() if "neck" in k}
        others = {f"other.{number}": torch.zeros(1) for number in range(12)}
        save_file({**kept, **others}, weights, {"format": "pt"})
    elif spoil == "shapes":
        tensors = load_file(weights) | {"head.conv3.bias": torch.zeros(7)}
        save_file(tensors, weights, {"format": "pt"})
    elif spoil == "bin":  # a pickle that runs code is not loaded
        weights.unlink()
        torch.save({"a": RunsCode()}, folder / "pytorch_model.bin")
    with pytest.raises(ConversionError, match=words) as refused:
        convert_folder(folder, tmp_path / "out", size=(70, 98))
    assert "\n" not in str(refused.value) and not (tmp_path / "out").exists()
    assert not RunsCode.has_run


MIXED = {
    "relative weights in the metric class": (
        "depth-anything-v2-small", "depth-anything-v2-metric-indoor-small",
        r"beyond 10 of at most 20 m in 100% .*may be those of the relative network, whose keys are "
        "equal; take the metric one's",
    ),
    "metric weights in the relative class": (
        "depth-anything-v2-metric-indoor-small", "depth-anything-v2-small",
        r"0 in (100|9\d)% of the golden pictures.*may be those of the metric network",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MIXED)
def test_weights_of_the_other_class_have_equal_keys_and_are_refused(tmp_path, case):
    weights, config, words = MIXED[case]
    folder = save_network(make_network(weights), tmp_path / "mine", weights)
    others = save_network(make_network(config), tmp_path / "others", config)
    (folder / "config.json").write_bytes((others / "config.json").read_bytes())
    with pytest.raises(ConversionError, match=words) as refused:
        convert_folder(folder, tmp_path / "out", size=(70, 98))  # without frames: no order
    assert "\n" not in str(refused.value) and not (tmp_path / "out").exists()


def test_both_folders_of_two_heads_are_checked_before_the_work(tmp_path):
    def check(folder):
        if folder.name == "out_kitti":
            raise ValueError("somebody's")

    name = "zoedepth-nyu-kitti"
    source = save_network(make_network(name), tmp_path / "mine", name)
    with pytest.raises(ValueError, match="somebody's"):
        convert_folder(source, tmp_path / "out", f"owner/{name}", (64, 96), check=check)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


class RunsCode:
    """What a checkpoint can hide: unpickling it calls a function."""

    has_run = False

    def __reduce__(self):
        return (setattr, (RunsCode, "has_run", True))

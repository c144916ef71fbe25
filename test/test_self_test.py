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

"""The self-test refuses engines that compute wrongly, in whatever way."""

import io

import numpy as np
import pytest
from bundle_copies import copy_bundle, onnx_with_wrong_weights
from safetensors.numpy import load, save

from depthrefl_ros.engine.base import Engine, EngineError
from depthrefl_ros.engine.bundle import Bundle, BundleError
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.engine.selection import EngineChoice, open_engine
from depthrefl_ros.engine.self_test import relative_difference, self_test


class Wrapped(Engine):
    """A real engine whose outputs are tampered with."""

    name, device, precision = "wrapped", "CPU", "fp32"

    def __init__(self, engine, change):
        self.engine, self.change, self.calls = engine, change, 0
        self.height, self.width = engine.height, engine.width
        self.channels = engine.channels

    def _run(self, images):
        self.calls += 1
        return self.change(self.engine.infer(images), self.calls)

    def close(self):
        self.engine.close()


@pytest.mark.parametrize("name", ["openvino", "torch"])
def test_every_engine_passes(bundle, engines, name):
    report = self_test(engines[name], bundle)
    assert report.median["depth"] < 0.001 and report.repeat == 0.0


def drift(plane):
    """Change few pixels of the repeated image: depth and sigma are right by themselves."""

    def change(outputs, call):
        outputs[plane][..., 100, :20] *= 1 + 0.003 * (call == 4)
        return outputs

    return change


def tail(plane):
    """Put a fiftieth of the pixels off by 2 %: the median stays, the 99th percentile does not."""

    def change(outputs, call):
        changed = outputs[plane].copy()
        changed.reshape(-1)[::50] *= 1.02
        return {**outputs, plane: changed}

    return change


def one_image(outputs, call):
    return {**outputs, "depth": outputs["depth"] * (1 + 0.002 * (call == 2))}


def nan_pixel_rows(outputs, call):
    outputs["sigma"][..., :4, :] = np.nan
    return outputs


@pytest.mark.parametrize(
    "change",
    [
        lambda outputs, call: {**outputs, "depth": outputs["depth"] * 1.002},
        lambda outputs, call: {**outputs, "sigma": outputs["sigma"] * 1.002},
        tail("depth"),
        tail("sigma"),
        lambda outputs, call: {**outputs, "relative": outputs["relative"] + 0.002},
        lambda outputs, call: {name: outputs[name] for name in ("depth", "sigma")},
        one_image,
        drift("depth"),
        drift("sigma"),
        nan_pixel_rows,
    ],
    ids=[
        "scaled depth",
        "scaled sigma",
        "tail of depth",
        "tail of sigma",
        "shifted relative",
        "no relative",
        "one image of four",
        "drift on the repeated image",
        "drift of sigma",
        "NaN in sigma",
    ],
)
def test_a_wrong_engine_is_refused(bundle, engines, change):
    with pytest.raises(EngineError, match="fails the self-test|gives no relative"):
        self_test(Wrapped(engines["openvino"], change), bundle)


def test_several_images_at_once_must_be_right_too(bundle, engines):
    def wrong_in_batches(outputs, call):
        last = len(outputs["depth"]) - 1
        outputs["depth"][last] *= 1 + 0.01 * (last == 2)
        return outputs

    engine = Wrapped(engines["openvino"], wrong_in_batches)
    engine.max_batch = 2
    self_test(engine, bundle)
    engine.max_batch = 5
    with pytest.raises(EngineError, match=r"fails the self-test: depth 1\.00e-02"):
        self_test(engine, bundle)


def test_half_precision_is_allowed_more(bundle, engines):
    def scaled(outputs, call):
        return {**outputs, "depth": outputs["depth"] * 1.003}

    engine = Wrapped(engines["openvino"], scaled)
    with pytest.raises(EngineError, match=r"depth 3\.00e-03.*allowed are 0.001 \(p99 0.005\)"):
        self_test(engine, bundle)
    engine.precision = "fp16"
    assert self_test(engine, bundle).median["depth"] == pytest.approx(0.003, rel=1e-3)


@pytest.fixture
def wrong_weights(tmp_path, bundle):
    """Return a bundle whose ONNX file has one early weight tensor times 1.5, hashes right."""
    onnx = onnx_with_wrong_weights(bundle.path("model.onnx"))
    return copy_bundle(tmp_path / "wrong_weights", {"model.onnx": onnx})


def test_one_wrong_weight_tensor_is_refused_and_the_next_engine_taken(wrong_weights):
    with pytest.raises(EngineError, match="openvino on .* fails the self-test: depth"):
        open_engine(wrong_weights, "openvino")
    # Its weights for torch are still right.
    opened = open_engine(wrong_weights)
    assert opened.engine.name == "torch"
    (problem,) = opened.problems
    assert problem in opened.steps and "openvino fp32: openvino on" in problem


def with_changed_weights(bundle, folder, name, change):
    """Return a copy of a bundle, one of whose tensors for torch is changed."""
    weights = load(bundle.path("model.safetensors").read_bytes())
    weights[name] = change(weights[name])
    # With the metadata, which moves the offsets that the graphs read at.
    return copy_bundle(folder, {"model.safetensors": save(weights, {"format": "pt"})})


def test_one_wrong_weight_tensor_of_torch_is_refused(bundle, tmp_path):
    # A batch norm's: the graphs have their own of it.
    name = "backbone.encoder._blocks.0._bn1.bias"
    wrong = with_changed_weights(bundle, tmp_path / "wrong", name, lambda bias: bias + 1)
    with pytest.raises(EngineError, match="torch on CPU fails the self-test: depth"):
        open_engine(wrong, "torch")
    opened = open_engine(wrong, EngineChoice("torch", falls_back=True))
    assert opened.engine.name == "openvino"


def test_a_wrong_convolution_is_wrong_for_every_engine(bundle, tmp_path):
    name = "backbone.encoder._blocks.0._depthwise_conv.folded_weight"
    wrong = with_changed_weights(bundle, tmp_path / "wrong", name, lambda weight: weight * 1.5)
    for engine in ("torch", "openvino"):
        with pytest.raises(EngineError, match=f"{engine} on .* fails the self-test: depth"):
            open_engine(wrong, engine)


def test_a_flipped_byte_is_refused_by_its_hash(wrong_weights):
    path = wrong_weights.folder / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(BundleError, match="model.onnx has SHA-256 .* truncated or altered"):
        Bundle.load(str(wrong_weights.folder))


def test_whichever_image_is_repeated_is_compared(bundle, tmp_path):
    order = [1, 0, 2, 0]
    content = io.BytesIO()
    golden = bundle.golden()
    arrays = {"images": golden.images, **golden.planes}
    np.savez(content, **{name: one[order] for name, one in arrays.items()})
    other = copy_bundle(tmp_path / "model", {"golden.npz": content.getvalue()})
    assert other.golden().repeated() == 1
    engine = OpenVinoEngine(other)
    assert self_test(engine, other).repeat == 0.0
    with pytest.raises(EngineError, match="fails the self-test"):
        self_test(Wrapped(engine, drift("depth")), other)


def test_relative_difference_counts_nan_as_infinite():
    truth = np.full(100, 2.0, np.float32)
    found = truth * 1.01
    assert relative_difference(found, truth) == pytest.approx((0.01, 0.01), rel=1e-4)
    found[:2] = np.nan
    assert relative_difference(found, truth) == (pytest.approx(0.01, rel=1e-4), np.inf)

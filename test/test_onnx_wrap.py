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

"""A wrapped graph computes what the authors' own preprocessing and ONNX Runtime compute."""

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from foreign_networks import SIZE, foreign_network, normalised
from onnx import TensorProto, helper, numpy_helper

from depthrefl_ros.conversion.meaning import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ConversionError,
    Meaning,
)
from depthrefl_ros.conversion.onnx_wrap import fix_size, raise_opset, read_network, wrap
from depthrefl_ros.conversion.presets import PRESETS

IMAGE = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3), np.uint8)
PLAIN = {
    "kind": "metric",
    "licence": "MIT",
    "range_m": (0.3, 10.0),
    "mean": IMAGENET_MEAN,
    "std": IMAGENET_STD,
}


def session(graph):
    return onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def wrapped(path, size=None, plane_size=SIZE, **fields):
    meaning = Meaning(**{**PLAIN, **fields})
    network = read_network(path)
    fix_size(network, meaning, size)
    network = raise_opset(network)
    return wrap(network, meaning, {o.name: (1, 1, *plane_size) for o in network.graph.output})


def run(graph, image=IMAGE):
    one = session(graph)
    names = [output.name for output in one.get_outputs()]
    return dict(zip(names, one.run(None, {"images": image}), strict=True))


def reference(path, image=IMAGE, takes="imagenet"):
    return onnxruntime.InferenceSession(str(path)).run(None, {"image": normalised(image, takes)})[0]


@pytest.mark.parametrize("takes", ["imagenet", "unit", "bytes"])
def test_normalisation_is_the_authors(tmp_path, takes):
    path = foreign_network(tmp_path / "n.onnx", takes=takes)
    plain = {} if takes == "imagenet" else {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    found = run(wrapped(path, scale=1.0 if takes == "bytes" else 1 / 255, **plain))
    assert list(found) == ["depth"] and found["depth"].shape == (1, 1, *SIZE)
    np.testing.assert_allclose(found["depth"], reference(path, takes=takes), rtol=1e-5)


def test_colours_and_layout(tmp_path):
    nchw = foreign_network(tmp_path / "nchw.onnx")
    nhwc = foreign_network(tmp_path / "nhwc.onnx", layout="NHWC")
    truth = reference(nchw)
    np.testing.assert_allclose(run(wrapped(nhwc, layout="NHWC"))["depth"], truth, rtol=1e-5)
    # Mean and std belong to the network's channels, whichever colours they are.
    plain = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
    rgb, bgr = (run(wrapped(nchw, colours=one, **plain))["depth"] for one in ("rgb", "bgr"))
    turned = run(wrapped(nchw, colours="bgr", **plain), IMAGE[..., ::-1].copy())["depth"]
    np.testing.assert_allclose(turned, rgb, rtol=1e-5)
    assert np.abs(bgr / rgb - 1).max() > 0.005


@pytest.mark.parametrize(
    "transform, way",
    [
        ("identity", lambda raw: raw),
        ("exp", np.exp),
        ("inverse", lambda raw: 1.0 / raw),
        ("sigmoid_times_max", lambda raw: 20.0 / (1.0 + np.exp(-raw))),
    ],
)
def test_transforms(tmp_path, transform, way):
    path = foreign_network(tmp_path / "n.onnx", gain=0.5)
    maximum = 20.0 if transform == "sigmoid_times_max" else None
    found = run(wrapped(path, transform=transform, maximum=maximum))["depth"]
    np.testing.assert_allclose(found, way(reference(path)), rtol=1e-4)


def test_sky_is_above_half_on_its_side_of_the_threshold(tmp_path):
    path = foreign_network(tmp_path / "n.onnx", outputs=("depth", "sky"))
    raw = onnxruntime.InferenceSession(str(path)).run(None, {"image": normalised(IMAGE)})[1]
    threshold = float(np.median(raw))
    for side, truth in (("above", raw > threshold), ("below", raw < threshold)):
        fields = {"sky": ("sky",), "sky_threshold": threshold, "sky_is": side}
        found = run(wrapped(path, outputs=("depth",), **fields))["sky"]
        assert np.mean((found > 0.5) == truth) > 0.999 and 0 <= found.min() <= found.max() <= 1


@pytest.mark.parametrize("name", ["da3metric", "dav3-metric"])
def test_what_the_authors_take_for_sky_is_sky(tmp_path, name):
    """Both families' own code keeps what is below 0.3 as not being sky."""
    path = foreign_network(tmp_path / "n.onnx", outputs=("depth", "sky"))
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == "tenth":  # spreads the sky's values over the threshold
            tensor.CopyFrom(numpy_helper.from_array(np.float32([5.0]), "tenth"))
    onnx.save(model, path)
    raw = onnxruntime.InferenceSession(str(path)).run(None, {"image": normalised(IMAGE)})[1]
    assert 0.05 < ((raw >= 0.3) & (raw < 0.5)).mean() < (raw >= 0.3).mean() < 0.95
    preset = PRESETS[name]
    fields = {"sky_threshold": preset.sky_threshold, "sky_is": preset.sky_is}
    found = run(wrapped(path, outputs=("depth",), sky=("sky",), **fields))["sky"]
    assert np.mean((found > 0.5) == (raw >= 0.3)) > 0.999


def test_a_smaller_output_is_brought_to_the_input_size(tmp_path):
    path = foreign_network(tmp_path / "n.onnx", stride=2)
    found = run(wrapped(path, plane_size=(SIZE[0] // 2, SIZE[1] // 2)))["depth"]
    assert found.shape == (1, 1, *SIZE)
    small = reference(path)
    assert small.shape[2:] == (24, 32)
    large = cv2.resize(small[0, 0], SIZE[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(found[0, 0], large, rtol=1e-5)


def test_zero_and_infinity_are_no_depth(tmp_path):
    path = foreign_network(tmp_path / "n.onnx", gain=0.0)
    assert run(wrapped(path))["depth"].max() == pytest.approx(1e-3)
    assert run(wrapped(path, transform="inverse"))["depth"].min() == pytest.approx(1e4)


def test_an_old_opset_is_raised_and_a_new_one_kept(tmp_path):
    for opset, expected in ((11, 18), (17, 17), (19, 19)):
        path = foreign_network(tmp_path / f"{opset}.onnx", opset=opset)
        graph = wrapped(path)
        assert [one.version for one in graph.opset_import if not one.domain] == [expected]
        onnx.checker.check_model(graph, full_check=True)
        np.testing.assert_allclose(run(graph)["depth"], reference(path), rtol=1e-5)


def test_bytes_are_cast_before_they_are_transposed(tmp_path):
    graph = wrapped(foreign_network(tmp_path / "n.onnx"))
    (first,) = [node for node in graph.graph.node if "images" in node.input]
    assert first.op_type == "Cast"


def test_half_precision_and_free_size(tmp_path):
    path = foreign_network(tmp_path / "n.onnx", half=True, size=(None, None))
    found = run(wrapped(path, size=SIZE))["depth"]
    pixels = normalised(IMAGE).astype(np.float16)
    truth = onnxruntime.InferenceSession(str(path)).run(None, {"image": pixels})[0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, truth, rtol=3e-3)


def test_external_weights_are_read(tmp_path):
    path = foreign_network(tmp_path / "n.onnx", external=True)
    beside = tmp_path / "n.data"
    assert beside.is_file()
    truth = reference(path)
    np.testing.assert_allclose(run(wrapped(path))["depth"], truth, rtol=1e-5)
    beside.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(ConversionError, match=r"n\.data is a Git LFS pointer.*git lfs pull"):
        read_network(path)
    beside.unlink()
    with pytest.raises(ConversionError, match=r"has its weights in .*n\.data, which is missing"):
        read_network(path)


def test_a_graph_beyond_a_protocol_buffer_is_not_checked_in_memory(tmp_path, monkeypatch):
    checked = []
    monkeypatch.setattr("onnx.checker.check_model", checked.append)
    wrapped(foreign_network(tmp_path / "n.onnx"))
    assert len(checked) == 1
    monkeypatch.setattr("depthrefl_ros.conversion.onnx_wrap._LARGEST_CHECKED", 8)
    wrapped(foreign_network(tmp_path / "n.onnx"))
    assert len(checked) == 1


def test_what_is_no_network_is_named(tmp_path):
    with pytest.raises(ConversionError, match=r"none\.onnx is no file; an ONNX file is needed"):
        read_network(tmp_path / "none.onnx")
    pointer = tmp_path / "pointer.onnx"
    pointer.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(ConversionError, match="Git LFS pointer"):
        read_network(pointer)
    for name in ("a.pt", "b.pth", "c.safetensors"):
        (tmp_path / name).write_bytes(b"PK\x03\x04")
        with pytest.raises(ConversionError, match=r"a checkpoint of torch.*torch\.onnx\.export\("):
            read_network(tmp_path / name)
    whole = foreign_network(tmp_path / "whole.onnx").read_bytes()
    for name, content in {
        "empty": b"",
        "text": b"hello" * 9,
        "cut": whole[: len(whole) // 2],
    }.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(ConversionError, match=rf"{name}\.onnx is no ONNX file"):
            read_network(path)


def test_sizes_that_do_not_fit(tmp_path):
    free = foreign_network(tmp_path / "free.onnx", size=(None, None))
    with pytest.raises(ConversionError, match="image is batchx3xheightxwidth, of no fixed height"):
        wrapped(free)
    fixed = foreign_network(tmp_path / "fixed.onnx")
    with pytest.raises(ConversionError, match="--size asks for width 96; the graph is fixed to 64"):
        wrapped(fixed, size=(48, 96))
    with pytest.raises(ConversionError, match="layout NHWC has 3 channels and not 64"):
        wrapped(fixed, layout="NHWC")
    with pytest.raises(ConversionError, match=r"takes float; the meaning's input\.type is uint8"):
        wrapped(fixed, type="uint8")


def test_outputs_that_are_not_there_are_named(tmp_path):
    path = foreign_network(tmp_path / "n.onnx", outputs=("depth", "predicted_normal"))
    with pytest.raises(ConversionError, match="no output 'dept' for depth; .* depth, predicted_"):
        wrapped(path, outputs=("dept",))
    with pytest.raises(ConversionError, match="no output named by the meaning .*depth, predicted"):
        wrapped(path)
    with pytest.raises(ConversionError, match="no output 'sky' for sky"):
        wrapped(path, outputs=("depth",), sky=("sky",))


def test_several_inputs_are_refused(tmp_path):
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 8, 8]) for n in "ab"]
    output = helper.make_tensor_value_info("c", TensorProto.FLOAT, [1, 3, 8, 8])
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "n", values, [output])
    path = tmp_path / "n.onnx"
    onnx.save(helper.make_model(graph), path)
    with pytest.raises(ConversionError, match="inputs are a 1x3x8x8, b 1x3x8x8; one image"):
        wrapped(path)


def test_an_output_of_three_planes_is_refused(tmp_path):
    path = foreign_network(tmp_path / "n.onnx")
    meaning = Meaning(**PLAIN)
    network = read_network(path)
    fix_size(network, meaning)
    with pytest.raises(ConversionError, match=r"depth is 1x3x48x64; one plane \(1x1xHxW\)"):
        wrap(network, meaning, {"depth": (1, 3, 48, 64)})

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

"""Bundles: loading, and every way in which one can be wrong."""

import shutil

import numpy as np
import pytest
from bundle_copies import (
    change_description,
    change_golden,
    description_of,
    forget_mount,
    tell_mount,
    write_description,
)

from depthrefl_ros.engine.bundle import LOG_DELTA1, Bundle, BundleError, file_digest

HEIGHT, WIDTH = 256, 352  # of indoor_tiny
SIZE = f"{HEIGHT}, {WIDTH}"


@pytest.fixture
def copy(tmp_path):
    """Return a copy of the shipped bundle that a test may damage."""
    folder = tmp_path / "model"
    shutil.copytree(Bundle.load("indoor_tiny").folder, folder)
    return folder


def test_the_shipped_bundle_loads_by_name_and_by_folder(copy):
    shipped, copied = Bundle.load("indoor_tiny"), Bundle.load(str(copy))
    assert (shipped.name, shipped.height, shipped.width) == ("indoor_tiny", HEIGHT, WIDTH)
    assert copied.description == shipped.description
    golden = shipped.golden()
    assert golden.images.shape == (4, HEIGHT, WIDTH, shipped.channels)
    np.testing.assert_array_equal(golden.images[0], golden.images[3])


def test_the_shipped_bundle_states_its_licence_data_and_accuracy(bundle):
    description = bundle.description
    assert "research" in description["licence"].lower()
    assert description["accuracy"]["abs_rel"] <= 0.25
    assert description["accuracy"]["delta1"] >= 0.60
    for dataset in description["training"]["data"]:
        assert len(dataset["sha256"]) == 64 and dataset["images"] > 0


def test_the_shipped_bundles_say_what_their_numbers_mean():
    for name in ("indoor_tiny", "indoor_nano"):
        bundle = Bundle.load(name)
        assert (bundle.kind, bundle.resize, bundle.commercial) == ("canonical", "pad", "no")
        assert bundle.outputs == ("depth", "sigma", "relative") and bundle.has_sigma
        assert bundle.focal_px == bundle.description["architecture"]["focal_px"]
        assert bundle.source == "trained by depthrefl_ros" and bundle.trained_hfov_deg is None
        trained = bundle.description["training"]["weights_sha256"]
        assert list(bundle.sources.values()) == [trained]


@pytest.mark.parametrize(
    "source, sources, words",
    [
        (
            "owner/network",
            {"a.data": "f" * 64, "a.onnx": "0123456789abcdef" * 4},
            "source: owner/network; made of a.data (SHA-256 ffffffffffff), a.onnx "
            "(SHA-256 0123456789ab)",
        ),
        (None, None, "source: unknown; SHA-256 of what came in unknown"),
    ],
)
def test_the_origin_of_a_bundle_is_told_in_words(copy, source, sources, words):
    as_relative(copy, source=source, sources=sources)
    assert Bundle.load(str(copy)).origin == words


def test_the_shipped_bundles_hold_their_weights_once():
    for name in ("indoor_tiny", "indoor_nano"):
        folder = Bundle.load(name).folder
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
        assert sizes["model.onnx"] + sizes["model_fp16.onnx"] < 0.1 * sizes["model.safetensors"]
        assert sizes["model.weights"] < 0.1 * sizes["model.safetensors"]
        assert sum(sizes.values()) < 1.4 * sizes["model.safetensors"]


def as_format_1(folder):
    """Turn a copy of a shipped bundle into what the first format was."""
    forget_mount(folder)
    description = description_of(folder)
    for name in ("kind", "input", "outputs", "focal_px", "commercial", "source", "sources"):
        del description[name]
    write_description(folder, {**description, "format_version": 1})
    arrays = dict(np.load(folder / "golden.npz"))
    np.savez(folder / "golden.npz", **{n: arrays[n] for n in ("images", "depth", "sigma")})
    files = {**description["files"], "golden.npz": file_digest(folder / "golden.npz")}
    change_description(folder, files=files)


def test_format_1_is_read_as_canonical(copy):
    as_format_1(copy)
    old, new = Bundle.load(str(copy)), Bundle.load("indoor_tiny")
    for field in ("kind", "resize", "outputs", "focal_px", "height", "width", "max_range_m"):
        assert getattr(old, field) == getattr(new, field)
    assert (old.commercial, old.source, old.sources) == ("unknown", "", {})
    assert list(old.golden().planes) == ["depth", "sigma"]
    assert list(new.golden().planes) == ["depth", "sigma", "relative"]


def as_relative(folder, **more):
    """Turn a copy into a bundle of somebody else's relative network."""
    forget_mount(folder)
    description = description_of(folder)
    for name in ("architecture", "focal_px", "calibration"):
        del description[name]
    description |= {"kind": "inverse_relative", "outputs": ["relative"], **more}
    write_description(folder, description)


def test_a_relative_network_has_neither_depth_nor_confidence(copy):
    as_relative(copy, commercial=True, licence="Apache-2.0")
    bundle = Bundle.load(str(copy))
    assert (bundle.kind, bundle.outputs) == ("inverse_relative", ("relative",))
    assert bundle.focal_px is None and bundle.calibration is None and not bundle.has_sigma
    assert bundle.commercial == "yes"  # YAML's bare yes
    assert list(bundle.golden().planes) == ["relative"]
    sigma = np.full((2, 3), 0.1, np.float32)
    assert np.isnan(bundle.confidence(sigma)).all()
    assert bundle.sigma_limit(0.9) == np.inf


def test_a_metric_network_may_say_what_view_it_was_trained_for(copy):
    fields = {"kind": "metric", "outputs": ["depth", "sky"], "trained_hfov_deg": 60.0}
    as_relative(copy, **fields, input={"height": HEIGHT, "width": WIDTH, "resize": "stretch"})
    bundle = Bundle.load(str(copy))
    assert (bundle.kind, bundle.resize, bundle.trained_hfov_deg) == ("metric", "stretch", 60.0)
    assert bundle.outputs == ("depth", "sky") and bundle.focal_px is None


def test_sigma_without_a_calibration_is_no_confidence(copy):
    change_description(copy, calibration=None)
    bundle = Bundle.load(str(copy))
    assert "sigma" in bundle.outputs and not bundle.has_sigma


INPUT = {"height": HEIGHT, "width": WIDTH, "resize": "pad"}


@pytest.mark.parametrize(
    "fields, complaint",
    [
        ({"kind": "disparity"}, "kind is 'disparity'; known are canonical, metric"),
        ({"kind": None}, "has no kind"),
        ({"input": {**INPUT, "resize": "squash"}}, "input.resize is 'squash'; known are pad, crop"),
        ({"input": {**INPUT, "height": 0}}, "input.height is 0; a number from 16 to 4096"),
        ({"input": {**INPUT, "width": 352.5}}, "input.width is 352.5; a whole number"),
        ({"input": {**INPUT, "height": "256"}}, "input.height is '256'; a number"),
        ({"input": {**INPUT, "height": 288}}, "architecture.height is 256; it contradicts height"),
        ({"outputs": ["sigma"]}, "outputs is .*; kind canonical needs depth"),
        ({"outputs": ["depth", "normals"]}, "outputs is .*; a list out of depth, sigma"),
        ({"outputs": ["depth", "depth"]}, "outputs is .*; one of them stands twice"),
        ({"kind": "inverse_relative"}, "kind inverse_relative has neither depth nor sigma"),
        ({"focal_px": float("nan")}, "focal_px is nan; a number from 10 to 20000"),
        ({"focal_px": -320.0}, r"focal_px is -320\.0"),
        ({"focal_px": None}, "has no focal_px"),
        ({"trained_hfov_deg": 400}, "trained_hfov_deg is 400; a number from 5 to 179"),
        (
            {"range_m": {"min": 5.0, "max": 0.4}},
            r"range_m.min is 5\.0; it must be less than max, 0.4",
        ),
        ({"range_m": {"min": 0.4, "max": float("inf")}}, "range_m.max is inf; a number from"),
        ({"range_m": {"min": True, "max": 10}}, "range_m.min is True"),
        ({"range_m": [0.4, 10]}, r"range_m is \[0.4, 10\]; a mapping"),
        ({"accuracy": 0.1}, "accuracy is 0.1; a mapping"),
        ({"accuracy": {"abs_rel": "little"}}, "accuracy.abs_rel is 'little'; a number"),
        ({"accuracy_without_mount": [0.2]}, r"accuracy_without_mount is \[0.2\]; a mapping"),
        ({"licence": ""}, "licence is ''; a text"),
        ({"commercial": "perhaps"}, "commercial is 'perhaps'; known are yes, no, unknown"),
        ({"files": {"../x": "0" * 64}}, "files is '../x'; names of files in the bundle"),
        ({"files": {"model.onnx": "abc"}}, "files.model.onnx is 'abc'; a SHA-256"),
        ({"files": {"model.onnx": None}}, "files.model.onnx is None; a SHA-256"),
        ({"files": ["model.onnx"]}, r"files is \['model.onnx'\]; a mapping"),
        ({"format_version": 99}, "format_version 99.*reads 1 and 2"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(copy, fields, complaint):
    change_description(copy, **fields)
    with pytest.raises(BundleError, match=rf"model\.yaml:? .*{complaint}") as caught:
        Bundle.load(str(copy))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "probability, quantile, complaint",
    [
        ([0.0, 0.5, 1.0], [0.0, 1.0], "calibration.quantile is 2 numbers; as many as .* 3"),
        ([0.0, 0.9, 0.5], [0.0, 1.0, 2.0], "probability is 3 numbers; .* 0.5 is less than"),
        ([0.0, 1.0, 1.5], [0.0, 1.0, 2.0], "probability is 3 numbers; rising finite .* 0 to 1"),
        ([0.0, 1.0], [0.0, float("nan")], "quantile is 2 numbers; rising finite"),
        ([0.0, 1.0], ["a", "b"], "quantile is .*; a list of numbers"),
        ([], [], r"probability is \[\]; a list of at least two numbers"),
    ],
)
def test_a_calibration_that_is_none_is_named(copy, probability, quantile, complaint):
    change_description(copy, calibration={"probability": probability, "quantile": quantile})
    with pytest.raises(BundleError, match=complaint):
        Bundle.load(str(copy))


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize("name", ["model.onnx", "model.weights", "golden.npz", "model.yaml"])
def test_a_git_lfs_pointer_is_told_as_such(copy, name):
    (copy / name).write_bytes(POINTER)
    with pytest.raises(BundleError, match=rf"{name} is a Git LFS pointer .*run `git lfs pull`"):
        Bundle.load(str(copy))


@pytest.mark.parametrize("name", ["model.weights", "model.safetensors"])
def test_a_network_is_its_graph_and_its_weights(copy, name):
    before = Bundle.load(str(copy))
    weights = copy / name
    weights.write_bytes(weights.read_bytes() + b"\0")
    change_description(copy, files={**before.files, name: file_digest(weights)})
    after = Bundle.load(str(copy))
    assert after.files["model.onnx"] == before.files["model.onnx"]
    assert after.network_digest("model.onnx") != before.network_digest("model.onnx")
    # A bundle whose ONNX files have their weights in them.
    del after.files["model.weights"], after.files["model.safetensors"]
    assert after.network_digest("model.onnx") == after.files["model.onnx"]


def test_a_missing_bundle_names_the_shipped_ones():
    with pytest.raises(BundleError, match="'no_such_model'.*indoor_tiny"):
        Bundle.load("no_such_model")


@pytest.mark.parametrize(
    "model, reason", [("~nouser/x", "home directory"), ("x" * 5000, "File name too long")]
)
def test_what_is_no_path_is_no_bundle(model, reason):
    with pytest.raises(BundleError, match=f"^model is '{model[:80]}': .*{reason}") as refused:
        Bundle.load(model)
    assert len(str(refused.value)) < 200


def test_digests_count_in_any_case(copy):
    path = copy / "model.yaml"
    digest = Bundle.load(str(copy)).files["model.onnx"]
    path.write_text(path.read_text().replace(digest, digest.upper()))
    assert digest.upper() in path.read_text()
    assert Bundle.load(str(copy)).files["model.onnx"] == digest


@pytest.mark.parametrize("name", ["model.onnx", "model.weights", "golden.npz"])
def test_a_truncated_file_is_refused(copy, name):
    path = copy / name
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BundleError, match=f"{name}.*truncated or altered"):
        Bundle.load(str(copy))


def test_a_flipped_byte_is_refused(copy):
    path = copy / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(BundleError, match="model.onnx.*truncated or altered"):
        Bundle.load(str(copy))


def test_a_missing_file_is_refused(copy):
    (copy / "model.onnx").unlink()
    with pytest.raises(BundleError, match="model.onnx is missing"):
        Bundle.load(str(copy))


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", "format_version: 1\n", "\x00\xff"])
def test_an_unreadable_description_is_refused(copy, content):
    (copy / "model.yaml").write_bytes(content.encode("latin-1"))
    with pytest.raises(BundleError, match=r"model\.yaml"):
        Bundle.load(str(copy))


@pytest.mark.parametrize(
    "arrays, complaint",
    [
        ({"images": np.zeros((3, HEIGHT, WIDTH, 3), np.uint8)}, rf"images \(3, {SIZE}, 3\) uint8"),
        ({"images": np.zeros((4, HEIGHT, WIDTH, 3), np.float32)}, r"images .* float32; .* uint8"),
        ({"images": np.zeros((4, 96, WIDTH, 3), np.uint8)}, rf"images \(4, 96, {WIDTH}, 3\)"),
        ({"depth": np.ones((4, HEIGHT, WIDTH), np.float32)}, rf"depth \(4, {SIZE}\) float32"),
        ({"sigma": np.ones((1, 1, HEIGHT, WIDTH), np.float32)}, rf"sigma \(1, 1, {SIZE}\)"),
        ({"sigma": np.ones((4, 1, HEIGHT, WIDTH))}, r"sigma .* float64; .* float32"),
    ],
)
def test_golden_outputs_that_would_prove_nothing_are_refused(copy, arrays, complaint):
    change_golden(copy, **arrays)
    with pytest.raises(BundleError, match=f"golden.npz holds {complaint}"):
        Bundle.load(str(copy)).golden()


def test_golden_images_of_which_none_is_repeated_are_refused(copy):
    images = Bundle.load(str(copy)).golden().images.copy()
    images[3, 0, 0, 0] ^= 1
    change_golden(copy, images=images)
    with pytest.raises(BundleError, match="golden.npz has 4 different images; the last must"):
        Bundle.load(str(copy)).golden()


def test_a_network_that_takes_the_mount_has_four_channels(copy):
    tell_mount(copy)
    images = Bundle.load(str(copy)).golden().images
    assert images.shape == (4, HEIGHT, WIDTH, 4)


@pytest.mark.parametrize("told", [0, 4])
def test_golden_images_need_some_mounts_and_some_without(copy, told):
    tell_mount(copy, range(told))
    with pytest.raises(BundleError, match=f"has a mount's plane in {told} of 4 images; some with"):
        Bundle.load(str(copy)).golden()


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"channels": 5}, "input.channels is 5; a number from 3 to 4 is needed"),
        ({}, "architecture.mount is True; it contradicts channels 3"),
    ],
)
def test_channels_that_cannot_be_are_named(copy, fields, complaint):
    description = tell_mount(copy)
    size = {n: v for n, v in description["input"].items() if n != "channels"}
    change_description(copy, input={**size, **fields})
    with pytest.raises(BundleError, match=complaint):
        Bundle.load(str(copy))


def test_only_a_canonical_network_can_be_told_the_mount(copy):
    description = description_of(copy)
    changed = {"kind": "metric", "input": {**description["input"], "channels": 4}}
    change_description(copy, **changed)
    with pytest.raises(BundleError, match=r"channels is 4; kind metric is not told the mount"):
        Bundle.load(str(copy))


@pytest.mark.parametrize("content", [b"", b"PK nothing"])
def test_unreadable_golden_outputs_are_named(copy, content):
    bundle = Bundle.load(str(copy))
    (copy / "golden.npz").write_bytes(content)
    with pytest.raises(BundleError, match="golden.npz cannot be read"):
        bundle.golden()


def test_confidence_is_the_calibrated_probability(bundle):
    probabilities, quantiles = bundle.calibration
    middle = len(probabilities) // 2
    sigma = np.float32(LOG_DELTA1 / quantiles[middle])
    assert bundle.confidence(sigma) == pytest.approx(probabilities[middle], abs=1e-4)
    rising = bundle.confidence(np.linspace(1.0, 0.02, 50, dtype=np.float32))
    assert (np.diff(rising) >= 0).all() and rising.dtype == np.float32


def test_sigma_limit_is_the_inverse_of_confidence(bundle):
    limit = bundle.sigma_limit(0.6)
    assert bundle.confidence(np.float32(limit)) == pytest.approx(0.6, abs=1e-3)
    assert bundle.sigma_limit(0.0) == np.inf

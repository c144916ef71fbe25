"""Bundles: loading, and every way in which one can be wrong."""

import shutil

import numpy as np
import pytest
import yaml

from depthrefl_ros.engine.bundle import LOG_DELTA1, Bundle, BundleError, file_digest

HEIGHT, WIDTH = 256, 352  # of indoor_tiny
SIZE = f"{HEIGHT}, {WIDTH}"


@pytest.fixture
def copy(tmp_path):
    """A copy of the shipped bundle that a test may damage."""
    folder = tmp_path / "model"
    shutil.copytree(Bundle.load("indoor_tiny").folder, folder)
    return folder


def change_golden(folder, **arrays):
    """Replaces arrays of ``golden.npz``; its hash is right again."""
    path = folder / "golden.npz"
    np.savez(path, **{**dict(np.load(path)), **arrays})
    files = yaml.safe_load((folder / "model.yaml").read_text())["files"]
    change_description(folder, files={**files, "golden.npz": file_digest(path)})


def change_description(folder, **fields):
    path = folder / "model.yaml"
    description = yaml.safe_load(path.read_text())
    description.update(fields)
    path.write_text(yaml.safe_dump(description))


def test_the_shipped_bundle_loads_by_name_and_by_folder(copy):
    shipped, copied = Bundle.load("indoor_tiny"), Bundle.load(str(copy))
    assert (shipped.name, shipped.height, shipped.width) == ("indoor_tiny", HEIGHT, WIDTH)
    assert copied.description == shipped.description
    golden = shipped.golden()
    assert golden.images.shape == (4, HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(golden.images[0], golden.images[3])


def test_the_shipped_bundle_states_its_licence_data_and_accuracy():
    description = Bundle.load("indoor_tiny").description
    assert "research" in description["licence"].lower()
    assert description["accuracy"]["abs_rel"] <= 0.25
    assert description["accuracy"]["delta1"] >= 0.60
    for dataset in description["training"]["data"]:
        assert len(dataset["sha256"]) == 64 and dataset["images"] > 0


def test_a_missing_bundle_names_the_shipped_ones():
    with pytest.raises(BundleError, match="'no_such_model'.*indoor_tiny"):
        Bundle.load("no_such_model")


@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors", "golden.npz"])
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
    with pytest.raises(BundleError, match="model.onnx"):
        Bundle.load(str(copy))


def test_a_missing_file_is_refused(copy):
    (copy / "model.onnx").unlink()
    with pytest.raises(BundleError, match="model.onnx is missing"):
        Bundle.load(str(copy))


def test_another_format_version_is_refused(copy):
    change_description(copy, format_version=99)
    with pytest.raises(BundleError, match="format_version 99.*reads 1"):
        Bundle.load(str(copy))


@pytest.mark.parametrize(
    "fields",
    [
        {"files": {"model.onnx": None}},
        {"files": ["model.onnx"]},
        {"calibration": {"probability": [], "quantile": []}},
    ],
)
def test_a_misstated_field_is_refused(copy, fields):
    change_description(copy, **fields)
    with pytest.raises(BundleError, match="model"):
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


@pytest.mark.parametrize("content", [b"", b"PK nothing"])
def test_unreadable_golden_outputs_are_named(copy, content):
    bundle = Bundle.load(str(copy))
    (copy / "golden.npz").write_bytes(content)
    with pytest.raises(BundleError, match="golden.npz cannot be read"):
        bundle.golden()


def test_confidence_is_the_calibrated_probability():
    bundle = Bundle.load("indoor_tiny")
    probabilities, quantiles = bundle.calibration
    middle = len(probabilities) // 2
    sigma = np.float32(LOG_DELTA1 / quantiles[middle])
    assert bundle.confidence(sigma) == pytest.approx(probabilities[middle], abs=1e-4)
    rising = bundle.confidence(np.linspace(1.0, 0.02, 50, dtype=np.float32))
    assert (np.diff(rising) >= 0).all() and rising.dtype == np.float32


def test_sigma_limit_is_the_inverse_of_confidence():
    bundle = Bundle.load("indoor_tiny")
    limit = bundle.sigma_limit(0.6)
    assert bundle.confidence(np.float32(limit)) == pytest.approx(0.6, abs=1e-3)
    assert bundle.sigma_limit(0.0) == np.inf

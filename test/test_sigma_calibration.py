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

"""A bundle without sigma gets one, measured on frames with truth, and its confidence works."""

import json
import shutil

import cv2
import numpy as np
import pytest
import yaml
from exact_bundle import FINE, encoded, exact_bundle

from depthrefl_ros.engine.bundle import Bundle, BundleError
from depthrefl_ros.engine.description import change_description
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.estimator import DepthEstimator, EstimatorSettings
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.tools import evaluate as tool

CAMERA = Camera.from_horizontal_fov(96, 72, 1.1)
METRIC = {"kind": "metric", "focal_px": None, "calibration": None}
DEPTH_ONLY = ("depth",)


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return depth (72, 96) of a wall with a nearer post, and what the network sees of it."""
    rng = np.random.default_rng(seed)
    truth = np.linspace(1.0, 5.0, 96)[None].repeat(72, axis=0) * rng.uniform(0.9, 1.1)
    left = int(rng.integers(20, 60))
    truth[20:, left : left + 14] = 0.9
    soft = np.exp(cv2.GaussianBlur(np.log(truth), (0, 0), 1.5))  # edges are ramps
    # Of ln z: more where it is farther, and smooth, so that no pixel is an edge of its own.
    noise = cv2.resize(rng.normal(0.0, 1.0, (9, 12)), (96, 72), interpolation=cv2.INTER_CUBIC)
    return truth.astype(np.float32), (soft * np.exp(0.05 * soft * noise)).astype(np.float32)


def write_folder(root, count=12, seen=lambda depth_m: depth_m, sky_rows=0):
    """Write a plain folder whose pictures are what the network is to say.

    Of the upper ``sky_rows`` it says that they are sky, and 60 m.
    """
    (root / "rgb").mkdir(parents=True)
    (root / "depth").mkdir()
    cameras = {}
    for index in range(count):
        truth, depth = scene(index)
        name = f"{index:04d}"
        picture = np.ascontiguousarray(encoded(seen(depth))[..., ::-1])
        picture[:sky_rows] = encoded(np.full((sky_rows, 96), 60.0), sigma=0.25)[..., ::-1]
        cv2.imwrite(str(root / "rgb" / f"{name}.png"), picture)
        cv2.imwrite(str(root / "depth" / f"{name}.png"), np.rint(1000 * truth).astype(np.uint16))
        cameras[name] = {
            "width": 96, "height": 72, "fx": float(CAMERA.fx), "fy": float(CAMERA.fy),
            "cx": float(CAMERA.cx), "cy": float(CAMERA.cy),
        }  # fmt: skip
    (root / "intrinsics.yaml").write_text(yaml.safe_dump({"images": cameras}))
    return root


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "mine")


def evaluate(*arguments) -> int:
    return tool.main(["--engine", "openvino", "--threads", "1", *map(str, arguments)])


def error_of(capsys, *arguments) -> str:
    assert evaluate(*arguments) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1, error
    return error


def test_a_bundle_without_sigma_is_calibrated_and_its_gate_turns_on(frames, tmp_path, capsys):
    folder = exact_bundle(tmp_path / "mine", CAMERA, DEPTH_ONLY, **METRIC)
    report = tmp_path / "report.json"
    before = yaml.safe_load((folder / "model.yaml").read_text())
    assert not Bundle.load(str(folder)).has_sigma
    assert evaluate("--model", folder, "--data", frames, "--calibrate", "--json", report) == 0
    assert "wrote sigma_table and calibration into" in capsys.readouterr().out
    figures = json.loads(report.read_text())
    for share, found in figures["held_out_coverage"].items():
        assert found == pytest.approx(float(share), abs=0.06)

    after = yaml.safe_load((folder / "model.yaml").read_text())
    assert {name: after[name] for name in before} == before  # nothing else has changed
    bundle = Bundle.load(str(folder))
    assert bundle.has_sigma and 0.02 < bundle.relative_error < 0.2
    distance_m, inner, edge = bundle.sigma_table
    assert len(distance_m) >= 5
    assert inner[-1] > 2.0 * inner[0] and (edge >= inner).all()

    # At work: the far side and the rim of the post are not believed any more.
    truth, depth = scene(99)
    estimator = DepthEstimator(OpenVinoEngine(bundle, 1), bundle)
    believed = {}
    for least in (0.0, 0.95):
        estimator.settings = EstimatorSettings(
            min_confidence=least, edge_ratio=0.0, max_grazing_angle_deg=0.0, median_filter=False
        )
        result = estimator.estimate(encoded(depth), CAMERA)
        believed[least] = np.isfinite(result.depth_m)
        assert np.isfinite(result.confidence[believed[least]]).all()
    assert believed[0.0].all()
    near, far = truth < 2.0, truth > 4.7
    assert believed[0.95][near].mean() > believed[0.95][far].mean() + 0.2
    right = np.abs(np.log(depth / truth)) < np.log(1.25)
    sure, unsure = believed[0.95], ~believed[0.95]
    assert right[sure].mean() > 0.94 > right[unsure].mean() + 0.1


def test_without_sigma_the_errors_are_measured_and_the_rest_is_left_out(frames, tmp_path, capsys):
    folder = exact_bundle(tmp_path / "plain", CAMERA, DEPTH_ONLY, **METRIC)
    report, table, sheet = tmp_path / "report.json", tmp_path / "mine.csv", tmp_path / "sheet.png"
    more = ["--json", report, "--per-image", table, "--sheet", sheet]
    assert evaluate("--model", folder, "--data", frames, *more) == 0
    said = capsys.readouterr().out
    why = "exact does not say how sure it is: AUSE, AURG and coverage are left out; evaluate "
    assert [line for line in said.splitlines() if line.startswith(why)]
    assert "nan" not in said and "tenths of all pixels by sigma" not in said
    rows = {row[:22].strip(): row[22:].split() for row in said.splitlines() if row[22:].strip()}
    for name in ("AURG AbsRel", "AUSE RMSE", "80 %"):
        assert set(rows[name]) == {"-"}, rows[name]
    figures = json.loads(report.read_text())
    assert figures["without_sigma"].startswith(why)
    for name in ("aurg_abs_rel", "ause_rmse", "coverage_50", "kept_abs_rel", "sigma_deciles"):
        assert figures[name] is None, name

    # The errors are those that the same network has with a sigma.
    known = exact_bundle(
        tmp_path / "known", CAMERA, ("depth", "sigma"), kind="metric", focal_px=None
    )
    assert evaluate("--model", known, "--data", frames, "--json", report, "--against", table) == 0
    said = capsys.readouterr().out
    with_sigma = json.loads(report.read_text())
    assert with_sigma["without_sigma"] is None and with_sigma["coverage_50"] is not None
    for name in ("abs_rel", "delta1", "rmse", "scale_ratio", "tau_depth_truth"):
        assert figures[name] == pytest.approx(with_sigma[name], rel=1e-3), name
    assert {"abs_rel", "rmse"} <= with_sigma["against"]["differences"].keys()
    assert "aurg_abs_rel" not in with_sigma["against"]["differences"]
    assert evaluate("--model", folder, "--data", frames, "--cross-fit") == 2
    assert "--cross-fit needs a sigma, and exact does not say how sure" in capsys.readouterr().err


def test_a_calibrated_bundle_can_be_evaluated_and_a_relative_one_says_what_it_lacks(
    frames, tmp_path, capsys
):
    folder = exact_bundle(tmp_path / "plain", CAMERA, DEPTH_ONLY, **METRIC)
    assert evaluate("--model", folder, "--data", frames, "--calibrate") == 0
    report, sheet = tmp_path / "report.json", tmp_path / "sheet.png"
    more = ["--json", report, "--sheet", sheet]
    assert evaluate("--model", folder, "--data", frames, *more) == 0
    figures = json.loads(report.read_text())
    assert 0.02 < figures["abs_rel"] < 0.2 and sheet.is_file()
    assert figures["coverage_80"] == pytest.approx(0.8, abs=0.05)
    assert figures["aurg_abs_rel"] > 0.0  # the table's sigma ranks better than chance
    relative = exact_bundle(
        tmp_path / "relative", CAMERA, ("relative",), FINE, **{**METRIC, "kind": "inverse_relative"}
    )
    said = error_of(capsys, "--model", relative, "--data", frames)
    assert "gives relative depth, no metres that could be compared" in said


def test_a_relative_bundle_is_calibrated_by_its_fit_to_the_truth(tmp_path):
    description = {**METRIC, "kind": "inverse_relative"}
    folder = exact_bundle(tmp_path / "relative", CAMERA, ("relative",), FINE, **description)
    frames = write_folder(tmp_path / "data", 8, lambda depth_m: 20.0 / depth_m + 3.0)
    assert evaluate("--model", folder, "--data", frames, "--calibrate") == 0
    bundle = Bundle.load(str(folder))
    assert bundle.has_sigma
    assert (bundle.sigma_table[1] < 0.25).all()
    assert (bundle.sigma_table[2] > bundle.sigma_table[1]).mean() > 0.7


def test_images_that_the_table_is_not_of_are_named(tmp_path, capsys):
    folder = exact_bundle(
        tmp_path / "relative", CAMERA, ("relative",), FINE, **{**METRIC, "kind": "inverse_relative"}
    )
    frames = write_folder(tmp_path / "data", 8, lambda depth_m: 20.0 / depth_m + 3.0)
    cv2.imwrite(str(frames / "depth" / "0001.png"), np.zeros((72, 96), np.uint16))
    cv2.imwrite(str(frames / "depth" / "0002.png"), np.full((72, 96), 2000, np.uint16))
    (frames / "depth" / "0003.png").unlink()
    (frames / "depth" / "0004.png").write_bytes(b"")
    report = tmp_path / "report.json"
    command = ["--model", folder, "--data", frames, "--calibrate", "--json", report]
    assert evaluate(*command) == 0
    said = capsys.readouterr().out
    for line in (
        "1 images have no depth file and are left out: 0003",
        "1 images have no depth that counts and are left out: 0001",
        "1 images cannot be read and are left out: 0004",
        "1 images have truth that tells no scale and shift and are left out: 0002",
        "warning: 4 images are few; take 30 or more",
    ):
        assert line in said
    left = json.loads(report.read_text())["images_left_out"]
    assert left["have truth that tells no scale and shift"] == ["0002"]


def test_sky_has_no_part_in_the_table(tmp_path, capsys):
    """Truth knows a distance where the network sees sky: that is no error of its distances."""
    frames = write_folder(tmp_path / "data", 8, sky_rows=9)
    folder = exact_bundle(tmp_path / "mine", CAMERA, ("depth", "sky"), **METRIC)
    report = tmp_path / "report.json"
    assert evaluate("--model", folder, "--data", frames, "--json", report) == 0
    said = "the network takes 12 % of the truth for sky, which is left out"
    assert said in capsys.readouterr().out.splitlines()
    assert json.loads(report.read_text())["sky_share"] == pytest.approx(0.125)
    assert json.loads(report.read_text())["abs_rel"] < 0.2
    assert evaluate("--model", folder, "--data", frames, "--calibrate") == 0
    distance_m, inner, edge = Bundle.load(str(folder)).sigma_table
    assert distance_m[-1] < 8.0 and inner.max() < 0.35 and edge.max() < 0.35


def test_calibrating_again_replaces_the_table(frames, tmp_path):
    folder = exact_bundle(tmp_path / "again", CAMERA, DEPTH_ONLY, **METRIC)
    tables = []
    for _ in range(2):
        assert evaluate("--model", folder, "--data", frames, "--calibrate") == 0
        tables.append(Bundle.load(str(folder)).sigma_table)
    np.testing.assert_array_equal(*tables)


def test_a_bundle_with_sigma_is_not_calibrated(frames, tmp_path, capsys):
    folder = exact_bundle(tmp_path / "own", CAMERA)
    said = error_of(capsys, "--model", folder, "--data", frames, "--calibrate")
    assert "exact has a sigma of its own; --calibrate is for bundles without" in said


@pytest.mark.parametrize(
    "option",
    [
        ["--per-image", "mine.csv"],
        ["--sheet", "sheet.png"],
        ["--against", "other.csv"],
        ["--blocks", "blocks.csv"],
        ["--align", "median"],
        ["--cross-fit"],
        ["--mount"],
    ],
)
def test_calibrating_takes_no_option_that_it_cannot_follow(frames, tmp_path, capsys, option):
    folder = exact_bundle(tmp_path / "mine", CAMERA, DEPTH_ONLY, **METRIC)
    said = error_of(capsys, "--model", folder, "--data", frames, "--calibrate", *option)
    assert f"--calibrate writes a sigma into the bundle and does not take {option[0]};" in said
    assert not Bundle.load(str(folder)).has_sigma


def test_too_few_images_are_told(tmp_path, capsys):
    folder = exact_bundle(tmp_path / "few", CAMERA, DEPTH_ONLY, **METRIC)
    frames = write_folder(tmp_path / "data", 3)
    said = error_of(capsys, "--model", folder, "--data", frames, "--calibrate")
    assert "3 images of" in said and "at least 4 are needed" in said
    assert not Bundle.load(str(folder)).has_sigma


TABLE = {"distance_m": [1.0, 2.0], "inner": [0.1, 0.2], "edge": [0.2, 0.4]}


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"inner": [0.1]}, "sigma_table.inner is 1 numbers; as many as distance_m's 2 are needed"),
        ({"edge": [0.1, -1.0]}, "sigma_table.edge is 2 numbers; numbers from 0.0001 to 10"),
        ({"distance_m": [2.0, 1.0]}, "sigma_table.distance_m is 2 numbers; rising"),
        ({"distance_m": [0.0, 1.0]}, "they must be above 0"),
        ({"inner": "many"}, "sigma_table.inner is 'many'; a list of numbers is needed"),
    ],
)
def test_a_table_that_cannot_be_true_is_named(tmp_path, changes, complaint):
    table = {"sigma_table": {**TABLE, **changes}}
    folder = exact_bundle(tmp_path / "b", CAMERA, DEPTH_ONLY, **METRIC, **table)
    with pytest.raises(BundleError, match="model.yaml: ") as caught:
        Bundle.load(str(folder))
    assert complaint in str(caught.value)


def test_a_table_without_a_calibration_is_no_confidence(tmp_path):
    folder = exact_bundle(tmp_path / "b", CAMERA, DEPTH_ONLY, **METRIC, sigma_table=TABLE)
    bundle = Bundle.load(str(folder))
    assert bundle.sigma_table is not None and not bundle.has_sigma


def test_only_descriptions_of_the_present_format_are_changed(tmp_path):
    folder = exact_bundle(tmp_path / "b", CAMERA)
    change_description(folder, {"source": "elsewhere"})
    assert Bundle.load(str(folder)).source == "elsewhere"
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    text = (old / "model.yaml").read_text().replace("format_version: 2", "format_version: 1")
    (old / "model.yaml").write_text(text)
    with pytest.raises(BundleError, match="format_version 1; only 2 can be changed"):
        change_description(old, {"source": "elsewhere"})
    assert (old / "model.yaml").read_text() == text

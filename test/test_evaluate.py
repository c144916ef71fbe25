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

"""The command: figures of the shipped bundle on small folders, and one line for bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from dataset_folders import write_nyu_folder, write_plain_folder
from exact_bundle import encoded, exact_bundle

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.tools import evaluate as tool
from depthrefl_ros.training.datasets import PlainFolder

KEYS = {
    "abs_rel", "sq_rel", "delta1", "delta2", "delta3", "rmse", "rmse_log", "log10", "silog",
    "ause_abs_rel", "aurg_abs_rel", "ause_rmse", "aurg_rmse", "coverage_50", "coverage_80",
    "coverage_90", "coverage_95", "kept_abs_rel", "tau_depth_truth", "tau_relative_truth",
    "tau_depth_relative", "images", "engine_ms_median", "crop", "cap_m", "align", "model",
    "engine", "sigma_deciles", "intervals", "scale_ratio", "scale_ratio_p10", "scale_ratio_p90",
    "slope_log_median", "bands", "signed_rel", "edge_f1", "medians", "images_without_truth",
}  # fmt: skip


@pytest.fixture(scope="module")
def rooms(tmp_path_factory) -> Path:
    """Return a plain folder of twelve images: two blocks."""
    return write_plain_folder(tmp_path_factory.mktemp("data") / "rooms", count=12)


def evaluate(*arguments: object) -> int:
    return tool.main(["--threads", "1", *map(str, arguments)])


def error_of(capsys, *arguments: object) -> str:
    """Return the one line that the command ends with on bad input."""
    assert evaluate(*arguments) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and error.startswith("depthrefl evaluate: error: ")
    return error


def test_the_shipped_bundle_is_evaluated(rooms, tmp_path, capsys):
    report, sheet = tmp_path / "report.json", tmp_path / "sheet.png"
    images = tmp_path / "images.csv"
    files = ["--json", report, "--sheet", sheet, "--per-image", images]
    assert evaluate("--data", rooms, "--align", "median", "--cap", 3, "--cross-fit", *files) == 0
    figures = json.loads(report.read_text())
    assert KEYS <= set(figures)
    assert figures["images"] == 12 and figures["model"] == "indoor_tiny"
    assert (figures["crop"], figures["cap_m"], figures["align"]) == ("none", 3.0, "median")
    assert figures["data_sha256"] == PlainFolder(rooms).fingerprint()
    assert 0 < figures["engine_ms_median"] < 10_000
    assert set(figures["cross_fitted"]) == {f"coverage_{share}" for share in (50, 80, 90, 95)}
    shown = capsys.readouterr().out
    assert "crop none, cap 3 m, alignment median" in shown and "AbsRel" in shown
    factor = figures["medians"]["align_scale"]
    assert f"alignment multiplied by {factor:.3f}" in shown
    # Before alignment; the median over images of one over the ratio.
    assert factor == pytest.approx(1 / figures["scale_ratio"], rel=0.1)
    assert cv2.imread(str(sheet)).shape[1] > 1000
    assert len(images.read_text().splitlines()) == 13


def test_two_evaluations_are_compared_image_by_image(rooms, tmp_path, capsys):
    images, report = tmp_path / "images.csv", tmp_path / "report.json"
    assert evaluate("--data", rooms, "--per-image", images) == 0
    assert evaluate("--data", rooms, "--against", images, "--json", report) == 0
    found = json.loads(report.read_text())["against"]["differences"]
    assert found["abs_rel"]["mean"] == 0.0 and found["abs_rel"]["high"] == 0.0
    assert evaluate(
        "--data", rooms, "--align", "lsq", "--against", images, "--json", report
    ) == 0  # fmt: skip
    found = json.loads(report.read_text())["against"]["differences"]
    assert found["abs_rel"]["mean"] < 0.0
    shown = capsys.readouterr().out
    assert f"difference to {images}" in shown and "another --align: 0000" in shown
    assert evaluate("--data", rooms, "--cap", "2", "--against", images, "--json", report) == 0
    warning = json.loads(report.read_text())["against"]["warning"]
    assert "not measured on the same truth" in warning and "of 0000" in warning
    assert f"warning: {warning}" in capsys.readouterr().out


def test_a_list_chooses_images_and_nyu_is_not_cropped_twice(tmp_path, capsys):
    root = write_nyu_folder(tmp_path / "nyu")
    reports = {}
    for crop in ("none", "eigen"):
        path = tmp_path / f"{crop}.json"
        assert evaluate(
            "--data", root, "--list", root / "list.txt", "--crop", crop, "--json", path
        ) == 0  # fmt: skip
        reports[crop] = json.loads(path.read_text())
    assert reports["eigen"]["images"] == 2
    assert reports["eigen"]["abs_rel"] == reports["none"]["abs_rel"] > 0


def test_data_that_is_missing_is_named(tmp_path, capsys):
    assert "absent: no such folder" in error_of(capsys, "--data", tmp_path / "absent")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert str(empty) in error_of(capsys, "--data", empty)


def test_a_list_that_is_missing_or_empty_is_named(rooms, tmp_path, capsys):
    path = tmp_path / "list.txt"
    assert "list.txt: list file missing" in error_of(capsys, "--data", rooms, "--list", path)
    path.write_text("\n")
    assert "list.txt: list file is empty" in error_of(capsys, "--data", rooms, "--list", path)


def test_files_that_cannot_be_read_are_named_and_left_out(tmp_path, capsys):
    rooms = write_plain_folder(tmp_path / "rooms", count=6)
    (rooms / "depth" / "0000.png").write_bytes(b"")  # the first, which tells the unit
    (rooms / "rgb" / "0003.jpg").write_bytes(b"no image")
    report, sheet = tmp_path / "report.json", tmp_path / "sheet.png"
    assert evaluate("--data", rooms, "--json", report, "--sheet", sheet) == 0
    shown = capsys.readouterr()
    assert "2 images cannot be read and are left out: 0000, 0003" in shown.out
    assert "6 .png, read as 1000 units a metre" in shown.out
    figures = json.loads(report.read_text())
    assert (figures["images"], figures["images_unreadable"]) == (4, 2)
    reasons = {"0000": f"{rooms}/depth/0000.png: empty"}
    reasons["0003"] = f"{rooms}/rgb/0003.jpg: not an image, or a damaged one"
    assert figures["unreadable"] == reasons
    assert {f"skipped: {reason}" for reason in reasons.values()} <= {*shown.err.splitlines()}


def test_data_of_which_nothing_can_be_read_are_refused_with_the_reason(tmp_path, capsys):
    rooms = write_plain_folder(tmp_path / "rooms", count=2)
    for index in range(2):
        cv2.imwrite(str(rooms / "depth" / f"{index:04d}.png"), np.full((24, 32), 2000, np.uint16))
    error = error_of(capsys, "--data", rooms)
    assert f"{rooms}: none of 2 images can be read: " in error
    assert "0000.png" in error and "32x24" in error and "64x48" in error


def test_data_without_truth_is_refused(tmp_path, capsys):
    rooms = write_plain_folder(tmp_path / "rooms", count=1)
    cv2.imwrite(str(rooms / "depth" / "0000.png"), np.zeros((48, 64), np.uint16))
    assert "none of the 1 images has depth that counts" in error_of(capsys, "--data", rooms)


def test_options_that_fit_no_data_or_model_are_named(rooms, tmp_path, capsys):
    data = ["--data", rooms]
    assert "crop 'eigen' is defined for" in error_of(capsys, *data, "--crop", "eigen")
    assert "engine is 'abacus'" in error_of(capsys, *data, "--engine", "abacus")
    assert "none" in error_of(capsys, *data, "--model", tmp_path / "none")
    assert "old.csv: cannot be read" in error_of(capsys, *data, "--against", tmp_path / "old.csv")
    one = tmp_path / "one.txt"
    one.write_text("0000\n")
    assert "at least two blocks" in error_of(capsys, *data, "--list", one, "--cross-fit")


@pytest.mark.parametrize("option", [["--cap", "0"], ["--cap", "nan"], ["--align", "affine"]])
def test_impossible_options_are_refused(rooms, capsys, option):
    with pytest.raises(SystemExit, match="2"):
        evaluate("--data", rooms, *option)
    assert option[0] in capsys.readouterr().err


def test_a_wrong_unit_is_told_with_the_one_that_fits(tmp_path, capsys):
    rooms = write_plain_folder(tmp_path / "rooms", count=4)
    for index in range(4):
        metres = np.linspace(1.6, 0.4, 48)[:, None].repeat(64, axis=1)
        path = rooms / "depth" / f"{index:04d}.png"
        cv2.imwrite(str(path), np.rint(metres * 100).astype(np.uint16))
    report = tmp_path / "report.json"
    assert evaluate("--data", rooms, "--json", report) == 0
    shown = capsys.readouterr().out
    assert "warning: rooms: the network's depth is" in shown and "(depth_factor=" in shown
    assert "constant factor" in json.loads(report.read_text())["unit_warning"]
    assert "truth     4 .png, read as 1000 units a metre" in shown
    assert evaluate("--data", f"{rooms},depth_factor=100", "--json", report) == 0
    assert "warning" not in capsys.readouterr().out
    assert json.loads(report.read_text())["unit_warning"] is None


def test_images_without_truth_are_counted_aloud(tmp_path, capsys):
    rooms = write_plain_folder(tmp_path / "rooms", count=5)
    (rooms / "depth" / "0001.png").unlink()
    cv2.imwrite(str(rooms / "depth" / "0003.png"), np.zeros((48, 64), np.uint16))
    report = tmp_path / "report.json"
    assert evaluate("--data", rooms, "--json", report) == 0
    shown = capsys.readouterr().out
    assert "1 images have no depth file and are left out: 0001" in shown
    assert "1 images have no depth that counts and are left out: 0003" in shown
    figures = json.loads(report.read_text())
    assert (figures["images"], figures["images_without_truth"]) == (3, 1)
    assert figures["images_without_depth_file"] == 1
    assert figures["images_without_camera"] == 0


def test_a_reader_of_the_tables_that_is_gone_costs_no_file(tmp_path):
    rooms = write_plain_folder(tmp_path / "rooms", count=2)
    report, images = tmp_path / "report.json", tmp_path / "images.csv"
    command = [sys.executable, "-m", "depthrefl_ros", "evaluate", "--data", str(rooms),
               "--threads", "1", "--json", str(report), "--per-image", str(images)]  # fmt: skip
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode != 0 and "No space left" in done.stderr
    assert json.loads(report.read_text())["images"] == 2
    assert len(images.read_text().splitlines()) == 3


@pytest.mark.parametrize("option", ["--json", "--per-image", "--sheet"])
def test_a_file_that_cannot_be_written_is_told_before_the_work(tmp_path, capsys, option):
    place = tmp_path / "a_file"
    place.write_text("")
    said = error_of(capsys, "--data", tmp_path / "absent", option, place / "out")
    assert "a_file/out: cannot be written" in said


CAMERA = Camera.pinhole(64, 48, 60.0, 60.0, 31.5, 23.5)


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> Path:
    """Return the bundle of a network that reads depth in the image, and half the mount's."""
    return exact_bundle(tmp_path_factory.mktemp("models") / "told", CAMERA, trust=0.5)


@pytest.fixture(scope="module")
def mounted_rooms(tmp_path_factory) -> Path:
    """Return twelve images of a wall whose depth is in them; of eight the mount is known."""
    root = write_plain_folder(tmp_path_factory.mktemp("data") / "mounted", count=12)
    for path in (root / "rgb").iterdir():
        path.unlink()
    mounts = {}
    for index in range(12):
        depth_mm = np.full((48, 64), 2000 + 50 * index, np.uint16)
        cv2.imwrite(str(root / "depth" / f"{index:04d}.png"), depth_mm)
        canonical_m = depth_mm / 995.0 * 60.0 / (60.0 + index)  # no network is exact
        picture = encoded(canonical_m)[..., ::-1]
        cv2.imwrite(str(root / "rgb" / f"{index:04d}.png"), picture)
        if index < 8:
            mounts[f"{index:04d}"] = {"height_m": 0.5, "pitch_rad": 0.3, "roll_rad": 0.0}
    (root / "mounts.yaml").write_text(yaml.safe_dump(mounts))
    return root


def test_a_network_that_takes_the_mount_is_measured_with_and_without(
    told, mounted_rooms, tmp_path, capsys
):
    reports = {}
    for name, options in (("told", ["--mount"]), ("untold", [])):
        path, sheet = tmp_path / f"{name}.json", tmp_path / f"{name}.png"
        files = ["--json", path, "--sheet", sheet]
        assert evaluate("--model", told, "--data", mounted_rooms, *options, *files) == 0
        reports[name] = json.loads(path.read_text())
        assert sheet.is_file()
    shown = capsys.readouterr().out
    assert "8 of 12 images with their mount" in shown
    beside = reports["told"]["untold"]
    for name in ("abs_rel", "delta1", "scale_ratio"):
        assert beside[name] == reports["untold"][name]
    # What it sees in the image is right; the floor is not where this wall is.
    assert beside["abs_rel"] == pytest.approx(0.005, abs=0.001)
    assert reports["told"]["abs_rel"] > 0.05
    change = reports["told"]["mount_changes"]["abs_rel"]
    assert change["mean"] == pytest.approx(reports["told"]["abs_rel"] - beside["abs_rel"])
    assert (reports["told"]["images_told_mount"], reports["untold"]["images_told_mount"]) == (8, 0)
    assert "untold" not in reports["untold"]


def test_the_mounts_can_come_from_another_file(told, mounted_rooms, tmp_path):
    """A network that is told the wall's own distance is right."""
    path, mounts = tmp_path / "report.json", tmp_path / "down.yaml"
    straight_down = {"height_m": 2.0, "pitch_rad": np.pi / 2, "roll_rad": 0.0}
    mounts.write_text(yaml.safe_dump({"0000": straight_down}))
    one = tmp_path / "one.txt"
    one.write_text("0000\n")
    data = f"{mounted_rooms},mounts={mounts}"
    assert evaluate("--model", told, "--data", data, "--list", one, "--mount", "--json", path) == 0
    assert json.loads(path.read_text())["abs_rel"] < 0.02


def test_a_mount_that_nobody_takes_or_knows_is_named(told, rooms, mounted_rooms, tmp_path, capsys):
    said = error_of(capsys, "--model", told, "--data", rooms, "--mount")
    assert "none of the 12 images of" in said and "mounts=FILE" in said
    untold = exact_bundle(tmp_path / "untold", CAMERA)
    said = error_of(capsys, "--data", mounted_rooms, "--model", untold, "--mount")
    assert "exact does not take the mount: its input has 3 channels" in said

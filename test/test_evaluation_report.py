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

"""Figures, tables and comparisons of an evaluation that is made by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.evaluation_report import (
    COVERAGES,
    FIGURES,
    add_coverage,
    differences,
    differences_table,
    make_report,
    other_truth,
    read_blocks,
    read_per_image,
    table,
    write_per_image,
)
from depthrefl_ros.training.calibrate import error_quantiles
from depthrefl_ros.training.distance import DistanceBands
from depthrefl_ros.training.evaluation import Evaluation
from depthrefl_ros.training.uncertainty import Pixels

IMAGES, PIXELS = 12, 4000


def made_evaluation(scale: float = 1.0) -> Evaluation:
    """Three blocks of four images with normal log errors; AbsRel of image i is 0.01 i."""
    generator = np.random.default_rng(0)
    truth = generator.uniform(1.0, 9.0, (IMAGES, PIXELS))
    sigma = generator.uniform(0.05, 0.4, (IMAGES, PIXELS))
    ratio = np.abs(generator.standard_normal((IMAGES, PIXELS)))
    pixels = Pixels(truth * np.exp(sigma * ratio), truth, sigma, ratio)
    figures = [
        {**dict.fromkeys(FIGURES, 0.5), "abs_rel": 0.01 * scale * index, "pixels": 10,
         "coverage": 1.0, "scale_ratio": 1.1, "median_truth_m": 1.0 + index,
         "median_depth_m": 2.0 * (1.0 + index) ** 0.5}
        for index in range(IMAGES)
    ]  # fmt: skip
    names = [f"{100 * (index // 4) + index:04d}" for index in range(IMAGES)]
    bands = DistanceBands()
    bands.add(1.2 * truth[0], 1.2 * truth[0], truth[0])
    evaluation = Evaluation(names, figures, pixels, bands.figures(), ["0900"])
    add_coverage(evaluation, error_quantiles(ratio))
    return evaluation


def test_the_report_has_means_intervals_and_tables():
    report = make_report(made_evaluation(), cross_fit=True)
    assert report["abs_rel"] == pytest.approx(0.055) and report["images"] == 12
    assert report["blocks"] == 3 and len(report["sigma_deciles"]) == 10
    assert list(report["kept_abs_rel"]) == ["1", "0.9", "0.8", "0.7", "0.5"]
    spread = report["intervals"]["abs_rel"]
    assert spread["low"] < 0.055 < spread["high"] and spread["standard_error"] > 0
    assert report["intervals"]["delta1"]["standard_error"] == 0.0  # all images are alike
    for name, share in zip(COVERAGES, (0.5, 0.8, 0.9, 0.95), strict=True):
        assert report[name] == pytest.approx(share, abs=0.002)
        assert report["cross_fitted"][name]["mean"] == pytest.approx(share, abs=0.02)
    assert report["scale_ratio"] == report["scale_ratio_p90"] == pytest.approx(1.1)
    assert report["slope_log_median"] == pytest.approx(0.5)
    assert report["medians"]["abs_rel"] == pytest.approx(0.055)
    assert report["images_without_truth"] == 1
    assert report["bands"]["2-4"]["ratio"] == pytest.approx(1.2, rel=1e-3)
    assert "cross_fitted" not in make_report(made_evaluation(), cross_fit=False)


def test_the_table_shows_what_the_report_holds():
    report = make_report(made_evaluation(), cross_fit=True)
    lines = table(report).splitlines()
    assert lines[1].split()[:3] == ["AbsRel", "0.0550", "0.0550"]
    assert any("before alignment: 1.100 (10 to 90 % of the images" in line for line in lines)
    assert any(
        line.endswith("median: 0.500 (1: near stays near and far stays far)") for line in lines
    )
    assert any(line.split()[:3] == ["2-4", "1.200", "0.200"] for line in lines)
    assert not any(line.startswith("     0.3-0.7") for line in lines)  # no pixel there
    assert sum(line.startswith("  50 %") for line in lines) == 2
    assert any(line.startswith("   70 % kept") for line in lines)
    for heading, _, _ in FIGURES.values():
        assert any(line.startswith(heading) for line in lines)


def test_figures_of_each_image_come_back_as_they_were_written(tmp_path):
    evaluation, path = made_evaluation(), tmp_path / "deep" / "images.csv"
    write_per_image(path, evaluation)
    found = read_per_image(path)
    assert list(found) == evaluation.names
    assert found["0001"] == evaluation.figures[1] and "coverage_95" in found["0001"]
    with path.open(newline="") as stream:
        assert next(csv.reader(stream))[0] == "image"


def test_differences_are_paired_by_name_and_signed(tmp_path):
    worse = made_evaluation(2.0)
    other = dict(reversed(list(zip(worse.names, worse.figures, strict=True))))
    found = differences(made_evaluation(), other, Path("other.csv"))
    assert found["abs_rel"].mean == pytest.approx(-0.055) and found["abs_rel"].high < 0
    assert found["delta1"].mean == 0.0
    lines = differences_table(found, Path("other.csv")).splitlines()
    assert "other.csv" in lines[0]
    starred = [line.split()[0] for line in lines[2:-1] if line.endswith("*")]
    assert starred == ["AbsRel"]


def test_another_evaluation_must_have_the_same_images():
    other = dict(zip(made_evaluation().names, made_evaluation().figures, strict=True))
    del other["0003"]
    with pytest.raises(ToolError, match=r"old.csv: lacks 1 of the 12 images, .* '0003'"):
        differences(made_evaluation(), other, Path("old.csv"))
    nothing = {name: {"else": 1.0} for name in made_evaluation().names}
    with pytest.raises(ToolError, match="has none of the figures"):
        differences(made_evaluation(), nothing, Path("old.csv"))


@pytest.mark.parametrize(
    "save",
    [
        lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
        lambda text: text.replace(",", ";").encode(),
        lambda text: text.replace(",", ";").replace(".", ",").encode("utf-8-sig"),
        lambda text: text.replace(",", "\t").encode("utf-16"),
    ],
    ids=["mark and CRLF", "semicolons", "decimal commas", "UTF-16 and tabs"],
)
def test_a_table_that_a_spreadsheet_saved_is_read(tmp_path, save):
    evaluation, path = made_evaluation(), tmp_path / "images.csv"
    write_per_image(path, evaluation)
    path.write_bytes(save(path.read_text()))
    assert read_per_image(path)["0001"] == pytest.approx(evaluation.figures[1])


def test_names_that_a_spreadsheet_took_for_numbers_are_found():
    evaluation = made_evaluation()
    pairs = zip(evaluation.names, evaluation.figures, strict=True)
    other = {str(int(name)): figures for name, figures in pairs}
    assert differences(evaluation, other, Path("sheet.csv"))["abs_rel"].mean == 0.0


@pytest.mark.parametrize("content", ["name,abs_rel\n1,2\n", "image,abs_rel\n0001,high\n"])
def test_a_foreign_table_is_named(tmp_path, content):
    path = tmp_path / "foreign.csv"
    path.write_text(content)
    with pytest.raises(ToolError, match="foreign.csv: is no table"):
        read_per_image(path)


def test_files_that_cannot_be_read_or_written_are_named(tmp_path):
    with pytest.raises(ToolError, match="absent.csv: cannot be read"):
        read_per_image(tmp_path / "absent.csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolError, match="cannot be written"):
        write_per_image(tmp_path / "file" / "images.csv", made_evaluation())


def test_blocks_are_what_a_table_says(tmp_path):
    evaluation, path = made_evaluation(), tmp_path / "blocks.csv"
    rows = [f"{name};{'even' if index % 2 == 0 else 'odd'};x" for index, name in
            enumerate(reversed(evaluation.names))]  # fmt: skip
    path.write_bytes("\r\n".join(["image;block;note", *rows]).encode("utf-8-sig"))
    blocks = read_blocks(path)
    assert make_report(evaluation, False)["blocks"] == 3
    report = make_report(evaluation, False, blocks)
    assert report["blocks"] == 2
    # Of two blocks whose means are 0.05 and 0.06 every resample is one or between.
    spread = report["intervals"]["abs_rel"]
    assert 0.05 <= spread["low"] < spread["high"] <= 0.06
    del blocks["0003"]
    with pytest.raises(ValueError, match="1 of 12 images have no block, for example '0003'"):
        make_report(evaluation, False, blocks)
    path.write_text("image,scene\n0001,a\n")
    with pytest.raises(ToolError, match="no table of blocks.*image and block as columns"):
        read_blocks(path)


def test_another_truth_under_the_same_names_is_told(tmp_path):
    evaluation, path = made_evaluation(), tmp_path / "images.csv"
    write_per_image(path, evaluation)
    assert other_truth(evaluation, read_per_image(path), path) is None
    for figure, value, told in (
        ("median_truth_m", 2.5, "the median of 0003 2.5 m there, 4 m here"),
        ("pixels", 9, "the pixels of 0003 9 there, 10 here"),
        ("align_scale", 1.2, "another --align: 0003 is aligned in only one"),
    ):
        other = read_per_image(path)
        other["0003"][figure] = value
        assert told in other_truth(evaluation, other, path)
    # A table with fewer columns, and names without zeros.
    bare = {str(int(name)): {"abs_rel": 0.1} for name in evaluation.names}
    assert other_truth(evaluation, bare, path) is None

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

"""What an evaluation says: figures with intervals, tables for people, and figures per image."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from depthrefl_ros.image_files import natural_key
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.training.bootstrap import (
    Interval,
    block_bootstrap,
    blocks_of,
    paired_block_bootstrap,
)
from depthrefl_ros.training.calibrate import SHARES, coverage, cross_fitted_coverage
from depthrefl_ros.training.datasets import DatasetError
from depthrefl_ros.training.datasets.image_folder import read_text
from depthrefl_ros.training.evaluation import Evaluation
from depthrefl_ros.training.uncertainty import kept_abs_rel, sigma_deciles

# Heading, decimals and unit of what the table shows.
FIGURES = {
    "abs_rel": ("AbsRel", 4, ""),
    "signed_rel": ("signed rel. error", 4, ""),
    "sq_rel": ("SqRel", 4, "m"),
    "delta1": ("delta1", 4, ""),
    "delta2": ("delta2", 4, ""),
    "delta3": ("delta3", 4, ""),
    "rmse": ("RMSE", 4, "m"),
    "rmse_log": ("RMSE log", 4, ""),
    "log10": ("log10", 4, ""),
    "silog": ("SILog", 2, ""),
    "ause_abs_rel": ("AUSE AbsRel", 4, ""),
    "aurg_abs_rel": ("AURG AbsRel", 4, ""),
    "ause_rmse": ("AUSE RMSE", 4, "m"),
    "aurg_rmse": ("AURG RMSE", 4, "m"),
    "edge_f1": ("edge F1", 4, ""),
    "tau_depth_truth": ("tau depth, truth", 4, ""),
    "tau_relative_truth": ("tau relative, truth", 4, ""),
    "tau_depth_relative": ("tau depth, relative", 4, ""),
}
COVERAGES = tuple(f"coverage_{100 * share:g}" for share in SHARES)
# The same in two evaluations of the same images: heading, unit.
_OF_TRUTH = {"median_truth_m": ("the median", " m"), "pixels": ("the pixels", "")}
_ROUNDED = 1e-3  # share by which they may differ, as by a spreadsheet
IMAGE = "image"  # the column of names


def add_coverage(evaluation: Evaluation, calibration: dict[str, list[float]] | None) -> None:
    """Add ``coverage_50`` ... to each image's figures: truth within the calibrated intervals.

    Without a calibration they are NaN.
    """
    if calibration is None:
        for figures in evaluation.figures:
            figures.update(dict.fromkeys(COVERAGES, np.nan))
        return
    measured = coverage(evaluation.pixels.error_ratio, calibration)
    for figures, shares in zip(evaluation.figures, measured, strict=True):
        figures.update(zip(COVERAGES, map(float, shares), strict=True))


def make_report(
    evaluation: Evaluation, cross_fit: bool, block_names: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return figures, their intervals by bootstrap over blocks, and what sigma is worth.

    Args:
        evaluation: with coverage.
        cross_fit: measure coverage also under calibrations that did not see an image's block; of
            an evaluation with sigma.
        block_names: block by image, of ``read_blocks``; None to tell them by the images' names.

    Raises:
        ValueError: cross-fitting with a single block of images, or an image has no block.
    """
    blocks, has_sigma = _blocks(evaluation.names, block_names), evaluation.pixels.has_sigma
    intervals = {
        name: block_bootstrap(evaluation.values(name), blocks) for name in (*FIGURES, *COVERAGES)
    }
    report = {
        **evaluation.summary(),
        "blocks": len(blocks),
        "medians": evaluation.medians(),
        "bands": evaluation.bands,
        "kept_abs_rel": kept_abs_rel(evaluation.pixels) if has_sigma else None,
        "sigma_deciles": sigma_deciles(evaluation.pixels) if has_sigma else None,
        "intervals": {name: _spread(interval) for name, interval in intervals.items()},
    }
    if cross_fit:
        shares = cross_fitted_coverage(evaluation.pixels.error_ratio, blocks)
        report["cross_fitted"] = {
            name: block_bootstrap(column, blocks)._asdict()
            for name, column in zip(COVERAGES, shares.T, strict=True)
        }
    return report


def beside_untold(
    told: Evaluation, untold: Evaluation, block_names: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return what the same network says without the mount, and what the mount changes.

    Args:
        told: with coverage; the network was told the mounts that are known.
        untold: of the same images, told nothing.
        block_names: as for ``make_report``.

    Returns:
        ``untold``, a report as of ``make_report``, and ``mount_changes``, told minus untold,
        figure by figure, paired.
    """
    other = dict(zip(untold.names, untold.figures, strict=True))
    changes = differences(told, other, Path("untold"), block_names)
    return {
        "untold": make_report(untold, False, block_names),
        "mount_changes": {name: interval._asdict() for name, interval in changes.items()},
    }


def mount_table(report: dict[str, Any]) -> str:
    """Return the figures told and untold side by side; a star where the change excludes 0."""
    heading = f"{report['images_told_mount']} of {report['images']} images with their mount"
    lines = [heading, f"{'':22}{'with':>9}{'without':>9}{'change':>10}   95 %"]
    for name, change in report["mount_changes"].items():
        title, decimals, unit = FIGURES[name]
        is_clear = change["low"] > 0 or change["high"] < 0
        low, high = (f"{change[key]:+.{decimals}f}" for key in ("low", "high"))
        lines.append(
            f"{title:22}{report[name]:9.{decimals}f}{report['untold'][name]:9.{decimals}f}"
            f"{change['mean']:+10.{decimals}f}   {low} .. {high} {unit}".rstrip()
            + (" *" if is_clear else "")
        )
    return "\n".join([*lines, "  * the interval excludes 0"])


def _spread(interval: Interval) -> dict[str, float]:
    """Return an interval without its mean, which has a place of its own."""
    return {key: value for key, value in interval._asdict().items() if key != "mean"}


def table(report: dict[str, Any]) -> str:
    """Return the report as tables: figures, scale and distance, coverage, what sigma is worth."""
    intervals, medians = report["intervals"], report["medians"]
    lines = [f"{'':22}{'mean':>9}{'median':>9}{'std. error':>12}   95 % interval of the mean"]
    for name, (heading, decimals, unit) in FIGURES.items():
        median = _number(medians[name], decimals, 9)
        lines.append(_row(heading, report[name], intervals[name], decimals, unit, median))
    lines += ["", *scale_lines(report), "", *band_lines(report["bands"])]
    lines += ["", "truth within the calibrated interval of probability"]
    for name in COVERAGES:
        heading = f"  {name.partition('_')[2]} %"
        lines.append(_row(heading, report[name], intervals[name], 4))
    if "cross_fitted" in report:
        lines += ["", "the same, calibrated on the other blocks of these images"]
        for name, interval in report["cross_fitted"].items():
            lines.append(_row(f"  {name.partition('_')[2]} %", interval["mean"], interval, 4))
    if report["sigma_deciles"] is not None:
        lines += ["", *sigma_lines(report)]
    return "\n".join(lines)


def sigma_lines(report: dict[str, Any]) -> list[str]:
    """Return the tables of what sigma is worth: tenths of the pixels by it, and the surest ones."""
    lines = ["tenths of all pixels by sigma", f"  {'sigma':>8}{'RMSE log':>10}{'AbsRel':>10}"]
    for decile in report["sigma_deciles"]:
        lines.append("  {sigma:8.4f}{rmse_log:10.4f}{abs_rel:10.4f}".format(**decile))
    lines += ["", "AbsRel of all pixels, least certain ones dropped"]
    kept = report["kept_abs_rel"]
    for share, value in kept.items():
        change = value / kept["1"] - 1.0
        lines.append(f"  {100 * float(share):3.0f} % kept {value:9.4f}{100 * change:+9.1f} %")
    return lines


def scale_lines(report: dict[str, Any]) -> list[str]:
    """Return the lines on scale: the ratio before alignment, its spread, slope, and the fit."""
    lines = [
        f"predicted / true median, before alignment: {report['scale_ratio']:.3f} "
        f"(10 to 90 % of the images: {report['scale_ratio_p10']:.3f} to "
        f"{report['scale_ratio_p90']:.3f})",
        f"slope of log predicted over log true median: {report['slope_log_median']:.3f} "
        "(1: near stays near and far stays far)",
    ]
    if "align_scale" in report:
        medians = report["medians"]
        shift = f", shift {medians['align_shift_m']:.3f} m" if medians["align_shift_m"] else ""
        lines.append(f"alignment multiplied by {medians['align_scale']:.3f}{shift} (median)")
    return lines


def band_lines(bands: dict[str, dict[str, float]]) -> list[str]:
    """Return a table of the bands of true distance."""
    lines = ["pixels by true distance", f"  {'metres':>8}{'ratio':>9}{'AbsRel':>9}{'pixels':>12}"]
    for name, band in bands.items():
        if band["pixels"]:
            lines.append("  {:>8}{ratio:9.3f}{abs_rel:9.3f}{pixels:12d}".format(name, **band))
    return lines


def _row(
    heading: str,
    mean: float,
    spread: dict[str, float],
    decimals: int,
    unit: str = "",
    median: str = "",
) -> str:
    if np.isnan(mean):  # what the network cannot be asked
        return f"{heading:22}{'-':>9}{median}{'-':>12}   -"
    error, low, high = (f"{spread[key]:.{decimals}f}" for key in ("standard_error", "low", "high"))
    return f"{heading:22}{mean:9.{decimals}f}{median}{error:>12}   {low} .. {high} {unit}".rstrip()


def _number(value: float, decimals: int, width: int) -> str:
    return f"{'-':>{width}}" if np.isnan(value) else f"{value:{width}.{decimals}f}"


def write_per_image(path: Path, evaluation: Evaluation) -> None:
    """Write a CSV file of one row an image: its name and its figures.

    Raises:
        ToolError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, [IMAGE, *evaluation.figures[0]])
            writer.writeheader()
            for name, figures in zip(evaluation.names, evaluation.figures, strict=True):
                writer.writerow({IMAGE: name, **figures})
    except OSError as error:
        raise ToolError(f"{path}: cannot be written: {error.strerror}") from error


def read_per_image(path: Path) -> dict[str, dict[str, float]]:
    """Read figures by image from what ``write_per_image`` wrote, or a spreadsheet saved of it.

    Spreadsheets put a mark before the first column, part columns by semicolons or tabs, write
    decimals with a comma, and take leading zeros off names (see ``differences``).

    Raises:
        ToolError: the file is missing or of another format.
    """
    foreign = f"{path}: is no table of figures per image as --per-image writes it"
    table = {}
    for number, row in enumerate(_read_table(path, (IMAGE,), foreign), start=2):
        name = row.pop(IMAGE)
        for figure, value in row.items():
            try:
                row[figure] = float(value.replace(",", "."))
            except (AttributeError, ValueError) as error:
                raise ToolError(
                    f"{foreign}: line {number}, column {figure!r} holds {value!r}, no number"
                ) from error
        table[name] = row
    return table


def _read_table(path: Path, columns: tuple[str, ...], foreign: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file by column, whatever editor saved it.

    Raises ToolError where it cannot be read or lacks a column, beginning with ``foreign``.
    """
    try:
        lines = read_text(path).splitlines()
    except DatasetError as error:
        raise ToolError(str(error)) from error
    heading = lines[0] if lines else ""
    separator = next((mark for mark in ",;\t" if {*columns} <= {*heading.split(mark)}), None)
    if separator is None:
        raise ToolError(
            f"{foreign}: its first line is {heading[:60]!r}; {' and '.join(columns)} as columns "
            "are needed, separated by commas, semicolons or tabs"
        )
    return list(csv.DictReader(lines, delimiter=separator))


def differences(
    evaluation: Evaluation,
    other: dict[str, dict[str, float]],
    path: Path,
    block_names: dict[str, str] | None = None,
) -> dict[str, Interval]:
    """Return mean of this evaluation minus another of the same images, figure by figure, paired.

    Args:
        evaluation: this one.
        other: figures by image; figures that only one of the two has are left out.
        path: of the other.
        block_names: as for ``make_report``.

    Raises:
        ToolError: the other lacks an image, or has no figure of these.
    """
    if not set(evaluation.names) & other.keys():
        other = _by_number(evaluation.names, other)
    missing = [name for name in evaluation.names if name not in other]
    if missing:
        raise ToolError(
            f"{path}: lacks {len(missing)} of the {len(evaluation.names)} images, for example "
            f"{missing[0]!r}; a paired comparison needs the same images"
        )
    blocks = _blocks(evaluation.names, block_names)
    result = {}
    for figure in FIGURES:
        theirs = np.array([other[name].get(figure, np.nan) for name in evaluation.names])
        mine = evaluation.values(figure)
        if not (np.isnan(mine) | np.isnan(theirs)).all():
            result[figure] = paired_block_bootstrap(mine, theirs, blocks)
    if not result:
        raise ToolError(f"{path}: has none of the figures {', '.join(FIGURES)}")
    return result


def other_truth(
    evaluation: Evaluation, other: dict[str, dict[str, float]], path: Path
) -> str | None:
    """Return in one line where another evaluation has another truth or alignment, or None.

    Args:
        evaluation: this one.
        other: its figures by image; names may lack leading zeros.
        path: of the other.
    """
    if not set(evaluation.names) & other.keys():
        other = _by_number(evaluation.names, other)
    for name, mine in zip(evaluation.names, evaluation.figures, strict=True):
        for figure, (heading, unit) in _OF_TRUTH.items():
            here, there = mine[figure], other[name].get(figure, mine[figure])
            if abs(here - there) > _ROUNDED * max(abs(here), abs(there)):
                values = f"{heading} of {name} {there:.6g}{unit} there, {here:.6g}{unit} here"
                why = "other images, --cap or --crop, or a model that sees another part of them"
                return f"{path} was not measured on the same truth: {values} ({why})"
        if ("align_scale" in mine) != ("align_scale" in other[name]):
            return f"{path} was measured with another --align: {name} is aligned in only one"
    return None


def read_blocks(path: Path) -> dict[str, str]:
    """Read the block of every image from a table with the columns ``image`` and ``block``.

    Raises:
        ToolError: the file is missing, or has no such columns.
    """
    rows = _read_table(path, ("image", "block"), f"{path}: is no table of blocks")
    return {row["image"]: row["block"] for row in rows}


def _blocks(names: list[str], block_names: dict[str, str] | None) -> list[np.ndarray]:
    """Return the indices into ``names`` of each block."""
    if block_names is None:
        return blocks_of(names)
    missing = [name for name in names if name not in block_names]
    if missing:
        raise ValueError(
            f"--blocks: {len(missing)} of {len(names)} images have no block, for example "
            f"{missing[0]!r}"
        )
    members: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        members.setdefault(block_names[name], []).append(index)
    return [np.array(block) for block in members.values()]


def _by_number(names: list[str], other: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return figures under these names where ``other`` has them without leading zeros."""
    keys = {natural_key(name)[0]: name for name in names}
    return {keys.get(natural_key(name)[0], name): figures for name, figures in other.items()}


def differences_table(intervals: dict[str, Interval], path: Path) -> str:
    """Return the differences with their intervals; a star where 0 is outside of the interval."""
    lines = [f"difference to {path}, paired{'':7}", f"{'':22}{'mean':>9}{'std. error':>12}   95 %"]
    for name, interval in intervals.items():
        heading, decimals, unit = FIGURES[name]
        is_clear = interval.low > 0 or interval.high < 0
        row = _row(heading, interval.mean, interval._asdict(), decimals, unit)
        lines.append(row + (" *" if is_clear else ""))
    return "\n".join([*lines, "  * the interval excludes 0"])

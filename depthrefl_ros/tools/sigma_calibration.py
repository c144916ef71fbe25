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

"""A confidence for networks that have none: their errors are measured on a user's own frames."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from depthrefl_ros.engine.base import Engine
from depthrefl_ros.engine.bundle import Bundle, BundleError
from depthrefl_ros.engine.description import DESCRIPTION, change_description
from depthrefl_ros.estimator import DepthEstimator, EstimatorSettings
from depthrefl_ros.frames import Frame
from depthrefl_ros.geometry.affine import FitError, fit_affine
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.inverse_anchors import image_pairs, relative_span
from depthrefl_ros.geometry.sigma_table import SigmaTable, beside_edges
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.left_out import UNREADABLE, incomplete, left_out_lines
from depthrefl_ros.training.calibrate import SHARES, coverage, error_quantiles
from depthrefl_ros.training.datasets.image_folder import readable
from depthrefl_ros.training.protocol import Protocol
from depthrefl_ros.training.uncertainty import choose_pixels, pixels_per_image

if TYPE_CHECKING:
    from depthrefl_ros.training.datasets import ImageFolder

_MIN_IMAGES = 4
_ENOUGH_IMAGES = 30  # with fewer the table says more of these images than of the network
_MAX_SCATTER = 0.25  # of a relative network's fit to the truth, as of ``max_scale_error``
_DIGITS = 5


def calibrate(
    bundle: Bundle, engine: Engine, samples: ImageFolder, protocol: Protocol
) -> tuple[dict[str, Any], str]:
    """Measure how far a network errs, and write it into the bundle.

    A relative network is brought to metres image by image by its truth, as ``reference_depth``
    does it in the node.

    Args:
        bundle: without sigma; its ``model.yaml`` is changed.
        engine: runs it.
        samples: images with truth.
        protocol: its crop and cap say which truth counts.

    Returns:
        The fields that were written, ``held_out_coverage`` and ``images_left_out``, names by
        reason; and the same for people.

    Raises:
        ToolError: the bundle has a sigma of its own or cannot be written, or too few images have
            truth.
    """
    if "sigma" in bundle.outputs:
        raise ToolError(f"{bundle.name} has a sigma of its own; --calibrate is for bundles without")
    if not os.access(bundle.folder, os.W_OK):
        raise ToolError(f"{bundle.folder}: cannot be written; copy the bundle and calibrate that")
    pixels, unused = _measure(bundle, engine, samples, protocol)
    unused = {reason: list(names) for reason, names in {**incomplete(samples), **unused}.items()}
    if len(pixels) < _MIN_IMAGES:
        raise ToolError(
            f"{len(pixels)} images of {samples.root} have truth that counts ({protocol}); at least "
            f"{_MIN_IMAGES} are needed" + "".join(f"; {line}" for line in left_out_lines(unused))
        )
    half = len(pixels) // 2  # neighbours in time stay together
    table, quantiles = _fitted(pixels[:half])
    error, depth_m, edge = pixels[half:].transpose(1, 0, 2)
    held_out = coverage(_ratio(table, error, depth_m, edge).ravel(), quantiles)
    table, quantiles = _fitted(pixels)
    size = np.abs(pixels[:, 0])
    data = {"data": samples.root.name, "images": len(pixels), "protocol": str(protocol)}
    changes: dict[str, Any] = {
        "sigma_table": {
            "measured_on": data,
            **{name: _rounded(getattr(table, name)) for name in ("distance_m", "inner", "edge")},
        },
        "calibration": {"data": dict(data), **quantiles},
    }
    if not bundle.relative_error:
        abs_rel = float(np.abs(np.expm1(pixels[:, 0])).mean())
        changes["accuracy"] = {"abs_rel": round(abs_rel, _DIGITS), "measured_on": dict(data)}
    try:
        change_description(bundle.folder, changes)
        Bundle.load(str(bundle.folder))
    except (BundleError, OSError) as error:
        raise ToolError(f"{bundle.folder}: {error}") from error
    lines = [_table(bundle, table, held_out, len(pixels), float(np.median(size)))]
    lines += left_out_lines(unused)
    if len(pixels) < _ENOUGH_IMAGES:
        lines.append(
            f"warning: {len(pixels)} images are few; take {_ENOUGH_IMAGES} or more, of the scenes "
            "that the model is for"
        )
    figures = {
        **changes,
        "held_out_coverage": dict(zip(map(str, SHARES), held_out.tolist(), strict=True)),
        "images_left_out": unused,
    }
    return figures, "\n".join(lines)


def _measure(
    bundle: Bundle, engine: Engine, samples: ImageFolder, protocol: Protocol
) -> tuple[np.ndarray, dict[str, list[str]]]:
    """Return (images, 3, n): log error, depth in metres and whether beside an edge, of pixels.

    And the names of the images that are not among them, by reason.
    """
    estimator = DepthEstimator(engine, bundle)
    settings = EstimatorSettings(image_is_rectified=True)
    found, count = [], pixels_per_image(len(samples))
    unfit: list[str] = []
    unknown: list[str] = []
    unreadable = dict(samples.unreadable)
    bar = {"total": len(samples), "unit": "image", "disable": not sys.stderr.isatty()}
    for index, sample in enumerate(tqdm(readable(samples, unreadable), **bar)):
        truth_m = protocol.truth(sample.depth_m)
        height, width = truth_m.shape
        camera = Camera.pinhole(width, height, *sample.intrinsics)
        prediction = estimator.predict(Frame(sample.image, "rgb", camera), settings)
        true_m = prediction.beside(np.where(truth_m > 0, truth_m, np.nan).astype(np.float32))
        depth_m = prediction.depth_m
        if not np.isfinite(true_m).any():
            unknown.append(sample.name)
            continue
        if bundle.kind == "inverse_relative":
            span = relative_span(prediction.relative)
            try:
                pairs = image_pairs(prediction.relative, true_m, span)
                affine = fit_affine(pairs, span, _MAX_SCATTER).affine
            except FitError:
                unfit.append(sample.name)
                continue
            depth_m = np.where(np.isnan(depth_m), affine.depth_m(prediction.relative), depth_m)
        known = np.isfinite(true_m) & np.isfinite(depth_m) & (depth_m > 0)
        if not known.any():
            unknown.append(sample.name)
            continue
        places = choose_pixels(known, count, np.random.default_rng(index))
        with np.errstate(invalid="ignore", divide="ignore"):
            planes = (np.log(depth_m / true_m), depth_m, beside_edges(depth_m))
        found.append(np.stack([plane.ravel()[places] for plane in planes]))
    reasons = {
        UNREADABLE: list(unreadable),
        "have no depth that counts": unknown,
        "have truth that tells no scale and shift": unfit,
    }
    return np.array(found, np.float32).reshape(-1, 3, count), reasons


def _fitted(pixels: np.ndarray) -> tuple[SigmaTable, dict[str, list[float]]]:
    error, depth_m, edge = (plane.ravel() for plane in pixels.transpose(1, 0, 2))
    try:
        table = SigmaTable.fit(error, depth_m, edge > 0.5)
    except ValueError as problem:
        raise ToolError(str(problem)) from problem
    return table, error_quantiles(_ratio(table, error, depth_m, edge))


def _ratio(
    table: SigmaTable, error: np.ndarray, depth_m: np.ndarray, edge: np.ndarray
) -> np.ndarray:
    """Return abs(log error) / sigma."""
    return np.abs(error) / table.at(depth_m, edge > 0.5)


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), _DIGITS) for value in values]


def _table(
    bundle: Bundle, table: SigmaTable, held_out: np.ndarray, images: int, median: float
) -> str:
    lines = [
        f"{bundle.name}: {images} images, error of ln z {median:.3f} (median)",
        f"{'distance':>10}{'sigma':>9}{'at edges':>10}",
    ]
    for distance_m, inner, edge in zip(table.distance_m, table.inner, table.edge, strict=True):
        lines.append(f"{distance_m:8.2f} m{inner:9.3f}{edge:10.3f}")
    shares = ", ".join(
        f"{100 * share:.0f} % -> {100 * found:.0f} %"
        for share, found in zip(SHARES, held_out, strict=True)
    )
    lines.append(f"intervals fitted on one half of the images, coverage on the other: {shares}")
    lines.append(f"wrote sigma_table and calibration into {bundle.folder / DESCRIPTION}")
    return "\n".join(lines)

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

"""Errors of a predicted depth image against the truth, as the depth literature defines them.

Eigen, Puhrsch and Fergus, "Depth map prediction from a single image using a multi-scale deep
network" (2014) for AbsRel, SqRel, delta, RMSE, RMSE log and log10; the KITTI depth benchmark for
SILog.
"""

from __future__ import annotations

import numpy as np

DELTA_RATIO = 1.25
ERRORS = (
    "abs_rel", "signed_rel", "sq_rel", "delta1", "delta2", "delta3", "rmse", "rmse_log", "log10",
    "silog",
)  # fmt: skip


def depth_metrics(
    prediction: np.ndarray, truth: np.ndarray, cap_m: float = 10.0
) -> dict[str, float | int]:
    """Compare two depth images where the truth is known and the prediction is a distance.

    With d the prediction and t the truth, both in metres, and e = ln d - ln t, over the n pixels
    where 0 < t < cap_m and d is finite and positive:

    * ``abs_rel``: mean(abs(d - t) / t)
    * ``signed_rel``: mean((d - t) / t): above 0 where depth is put too far
    * ``sq_rel``: mean((d - t)^2 / t), metres
    * ``delta1``, ``delta2``, ``delta3``: share of pixels with max(d / t, t / d) < 1.25,
      1.25^2 and 1.25^3
    * ``rmse``: sqrt(mean((d - t)^2)), metres
    * ``rmse_log``: sqrt(mean(e^2))
    * ``log10``: mean(abs(log10 d - log10 t))
    * ``silog``: 100 sqrt(mean(e^2) - mean(e)^2), as KITTI has it
    * ``pixels``: n
    * ``coverage``: n over the number of pixels with 0 < t < cap_m: how many were believed

    Args:
        prediction: (H, W) float32 metres; NaN (unknown) and infinite values are left out.
        truth: (H, W) float32 metres; 0 or NaN where unknown.
        cap_m: truth from here on is left out, metres.

    Returns:
        The figures by name; all but ``pixels`` and ``coverage`` are NaN where n is 0, and
        ``coverage`` is NaN where no truth is known.

    Raises:
        ValueError: the two images differ in shape.
    """
    if prediction.shape != truth.shape:
        raise ValueError(
            f"prediction has shape {prediction.shape} and truth {truth.shape}; they must be equal"
        )
    known = (truth > 0) & (truth < cap_m)
    compared = known & np.isfinite(prediction) & (prediction > 0)
    pixels, known_pixels = int(compared.sum()), int(known.sum())
    coverage = pixels / known_pixels if known_pixels else float("nan")
    if pixels == 0:
        return {**dict.fromkeys(ERRORS, float("nan")), "pixels": 0, "coverage": coverage}
    d = prediction[compared].astype(np.float64)
    t = truth[compared].astype(np.float64)
    difference, log_error = d - t, np.log(d / t)
    ratio = np.exp(np.abs(log_error))  # max(d / t, t / d)
    return {
        "abs_rel": float(np.mean(np.abs(difference) / t)),
        "signed_rel": float(np.mean(difference / t)),
        "sq_rel": float(np.mean(difference**2 / t)),
        "delta1": float(np.mean(ratio < DELTA_RATIO)),
        "delta2": float(np.mean(ratio < DELTA_RATIO**2)),
        "delta3": float(np.mean(ratio < DELTA_RATIO**3)),
        "rmse": float(np.sqrt(np.mean(difference**2))),
        "rmse_log": float(np.sqrt(np.mean(log_error**2))),
        "log10": float(np.mean(np.abs(log_error)) / np.log(10.0)),
        "silog": float(100.0 * np.std(log_error)),
        "pixels": pixels,
        "coverage": coverage,
    }


def mean_metrics(images: list[dict[str, float | int]]) -> dict[str, float]:
    """Return means of per-image figures; images without a comparable pixel are left out.

    Args:
        images: what ``depth_metrics`` returned, one an image, and any other figures.

    Returns:
        Each figure's mean by name over the images where it is not NaN; empty where no image could
        be compared.
    """
    compared = [image for image in images if image["pixels"] > 0]
    if not compared:
        return {}
    means = {}
    for name in compared[0]:
        values = np.array([image[name] for image in compared], np.float64)
        values = values[~np.isnan(values)]
        means[name] = float(values.mean()) if values.size else float("nan")
    return means

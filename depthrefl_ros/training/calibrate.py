"""Calibration of sigma: the distribution function F of |delta log z| / sigma on held-out images.

With F, an interval of probability p is z exp(+-sigma F^-1(p)), and F(log 1.25 / sigma) is the
probability that a pixel is within the delta1 bound: the published confidence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from depthrefl_ros.training.datasets import Sample
from depthrefl_ros.training.evaluate import CAP_M, Infer, predictions

POINTS = 101
PIXELS_PER_IMAGE = 20000


def normalised_errors(
    infer: Infer, samples: Sequence[Sample], network: tuple[int, int], focal_px: float
) -> np.ndarray:
    """Return (n,) float64 |log z - log truth| / sigma at random known pixels, equally per image.

    Raises:
        ValueError: no sample has a pixel with truth.
    """
    generator = np.random.default_rng(0)
    errors = []
    for sample, prediction in predictions(infer, samples, network, focal_px):
        known = np.flatnonzero((sample.depth_m > 0) & (sample.depth_m < CAP_M))
        if known.size == 0:
            continue
        chosen = generator.choice(known, PIXELS_PER_IMAGE)
        depth_m, truth_m, sigma = (
            plane.ravel()[chosen].astype(np.float64)
            for plane in (prediction.depth_m, sample.depth_m, prediction.sigma)
        )
        errors.append(np.abs(np.log(depth_m) - np.log(truth_m)) / sigma)
    if not errors:
        raise ValueError("no image has a pixel with known depth; calibration needs truth")
    return np.concatenate(errors)


def error_quantiles(errors: np.ndarray, points: int = POINTS) -> dict[str, list[float]]:
    """Return F as ``probability`` (0 to 1, evenly) and the ``quantile`` F^-1 at each.

    The quantiles are made strictly increasing from exactly 0, so that both directions can be
    interpolated.
    """
    probability = np.linspace(0.0, 1.0, points)
    quantile = np.quantile(errors, probability)
    quantile[0] = 0.0
    step = 1e-6 * np.arange(points)
    quantile = np.maximum.accumulate(quantile) + step
    return {"probability": probability.tolist(), "quantile": quantile.tolist()}

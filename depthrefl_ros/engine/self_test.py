"""The self-test that every engine must pass at every start: the golden outputs, reproduced."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from depthrefl_ros.engine.base import Engine, EngineError
from depthrefl_ros.engine.bundle import Bundle

# precision -> (median, 99th percentile) of the relative difference to the golden outputs.
TOLERANCES = {"fp32": (0.001, 0.005), "fp16": (0.005, 0.02), "bf16": (0.005, 0.02)}
REPEAT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class SelfTestReport:
    """How far an engine is from the golden outputs, on the image where it is farthest.

    Attributes:
        depth_median: median of the relative difference of depth.
        depth_p99: 99th percentile of the same.
        sigma_median: median of the relative difference of sigma.
        sigma_p99: 99th percentile of the same.
        repeat: largest relative difference between two runs on the same image.
    """

    depth_median: float
    depth_p99: float
    sigma_median: float
    sigma_p99: float
    repeat: float

    def __str__(self) -> str:
        return (
            f"depth {self.depth_median:.2e} (p99 {self.depth_p99:.2e}), sigma "
            f"{self.sigma_median:.2e} (p99 {self.sigma_p99:.2e}), repeat {self.repeat:.2e}"
        )


def relative_difference(measured: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Median and 99th percentile of |measured - reference| / |reference|; NaN counts as inf."""
    difference = np.abs(measured - reference) / np.abs(reference)
    difference[np.isnan(difference)] = np.inf
    # Without interpolation, since between two infinities there is none.
    ordered = np.sort(difference, axis=None)
    median, p99 = (ordered[math.ceil(share * (ordered.size - 1))] for share in (0.5, 0.99))
    return float(median), float(p99)


def self_test(engine: Engine, bundle: Bundle) -> SelfTestReport:
    """Checks that the engine reproduces the bundle's golden depth and sigma, and repeats itself.

    Raises:
        EngineError: it does not; the message has the figures and what was allowed.
        BundleError: the golden outputs cannot be read.
    """
    golden = bundle.golden()
    # One at a time and in order: an engine that drifts from frame to frame shows it here.
    outputs = [engine.infer(image[None]) for image in golden.images]
    figures = []
    for plane in ("depth", "sigma"):
        pairs = zip(outputs, getattr(golden, plane), strict=True)
        by_image = [relative_difference(output[plane][0], truth) for output, truth in pairs]
        figures += [max(figure) for figure in zip(*by_image, strict=True)]
    first, again = outputs[golden.repeated()], outputs[-1]
    with np.errstate(divide="ignore", invalid="ignore"):  # an engine that gives zeros
        repeat = np.abs([again[plane] / first[plane] - 1.0 for plane in ("depth", "sigma")]).max()
    report = SelfTestReport(*figures, float(repeat))
    median, p99 = TOLERANCES[engine.precision]
    # Each compared for itself: a NaN in repeat fails its comparison, but would vanish in a max().
    is_right = (
        report.depth_median <= median
        and report.sigma_median <= median
        and report.depth_p99 <= p99
        and report.sigma_p99 <= p99
        and report.repeat <= REPEAT_TOLERANCE
    )
    if not is_right:
        raise EngineError(
            f"{engine.name} on {engine.device} fails the self-test: {report}; allowed are "
            f"{median:g} (p99 {p99:g}), repeat {REPEAT_TOLERANCE:g}"
        )
    return report

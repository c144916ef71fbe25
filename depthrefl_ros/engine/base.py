"""What every engine is, and the self-test that each must pass at every start."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from depthrefl_ros.engine.bundle import Bundle

# precision -> (median, 99th percentile) of the relative difference to the golden outputs.
TOLERANCES = {"fp32": (0.001, 0.005), "fp16": (0.005, 0.02), "bf16": (0.005, 0.02)}
REPEAT_TOLERANCE = 1e-3


class EngineError(Exception):
    """An engine that cannot be opened, cannot run, or computes wrongly."""


class EngineMissingError(EngineError):
    """This machine does not have what the engine needs: no fault, the next one is asked."""


class BuildStoppedError(Exception):
    """A build was stopped by the one who wanted it: no fault of the engine."""


class Engine(ABC):
    """A network compiled for one runtime.

    Attributes:
        name: ``openvino``, ``torch``...
        device: on which it runs, in the runtime's words.
        precision: ``fp32``, ``fp16`` or ``bf16``, a key of ``TOLERANCES``.
        height: of the input, pixels.
        width: of the input, pixels.
    """

    name: str
    device: str
    precision: str
    height: int
    width: int

    def infer(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the network.

        Args:
            images: (N, height, width, 3) uint8 RGB, C-contiguous.

        Returns:
            ``depth`` (canonical metres), ``sigma`` and ``relative``, each (N, 1, H, W) float32,
            owned by the caller.

        Raises:
            ValueError: the images have another shape or type.
            EngineError: the runtime failed.
        """
        expected = (self.height, self.width, 3)
        if images.ndim != 4 or images.shape[1:] != expected or images.dtype != np.uint8:
            raise ValueError(
                f"images are {images.shape} {images.dtype}; (N, {self.height}, {self.width}, 3) "
                "uint8 is needed"
            )
        return self._run(np.ascontiguousarray(images))

    @abstractmethod
    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """``infer`` on checked input."""

    @abstractmethod
    def close(self) -> None:
        """Gives the runtime's resources back; the engine cannot be used after."""


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

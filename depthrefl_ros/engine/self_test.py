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

"""The self-test that every engine must pass at every start: the golden outputs, reproduced."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from depthrefl_ros.engine.base import Engine, EngineError
from depthrefl_ros.engine.bundle import Bundle

# precision -> (median, 99th percentile) of the relative difference to the golden outputs.
# What int8 is allowed is twice what it takes on the golden images of indoor_tiny; it is
# never taken unasked.
TOLERANCES = {
    "fp32": (0.001, 0.005),
    "fp16": (0.005, 0.02),
    "bf16": (0.005, 0.02),
    "int8": (0.03, 0.25),
}
REPEAT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class SelfTestReport:
    """How far an engine is from the golden outputs, on the image where it is farthest.

    Attributes:
        median: of each plane's difference, by the plane's name.
        p99: 99th percentile of the same.
        repeat: largest difference between two runs on the same image, over all planes.
        seconds: what the fastest of the images took.
    """

    median: dict[str, float]
    p99: dict[str, float]
    repeat: float
    seconds: float

    def __str__(self) -> str:
        planes = (f"{n} {self.median[n]:.2e} (p99 {self.p99[n]:.2e})" for n in self.median)
        return f"{', '.join(planes)}, repeat {self.repeat:.2e}"


def relative_difference(measured: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Return median and 99th percentile of |measured - reference| / |reference|."""
    return plane_difference("depth", measured, reference)


def plane_difference(
    plane: str, measured: np.ndarray, reference: np.ndarray
) -> tuple[float, float]:
    """Return median and 99th percentile of an output's difference, as ``self_test`` takes it."""
    return _summary(_difference(plane, measured, reference))


def self_test(engine: Engine, bundle: Bundle) -> SelfTestReport:
    """Check that the engine reproduces the bundle's golden outputs, and repeats itself.

    An engine that takes several images at once must reproduce them so, too.

    Depth and sigma are compared by their relative difference, ``relative``, which may be 0, by its
    difference over the image's largest value, and ``sky``, a probability, as it is.

    Raises:
        EngineError: it does not; the message has the figures and what was allowed.
        BundleError: the golden outputs cannot be read.
    """
    golden = bundle.golden()
    # One at a time and in order: an engine that drifts from frame to frame shows it here.
    outputs, seconds = [], []
    for image in golden.images:
        begin_s = time.perf_counter()
        outputs.append(engine.infer(image[None]))
        seconds.append(time.perf_counter() - begin_s)
    missing = golden.planes.keys() - outputs[0].keys()
    if missing:
        raise EngineError(f"{engine.name} gives no {', '.join(sorted(missing))}")
    first, again = outputs[golden.repeated()], outputs[-1]
    which = [*range(len(outputs))]
    for count in range(2, engine.max_batch + 1):
        batch = [i % len(golden.images) for i in range(count)]
        together = engine.infer(golden.images[batch])
        outputs += [
            {name: plane[i : i + 1] for name, plane in together.items()} for i in range(count)
        ]
        which += batch
    medians, p99s, repeats = {}, {}, []
    for plane, truths in golden.planes.items():
        pairs = [(output[plane][0], truths[i]) for output, i in zip(outputs, which, strict=True)]
        figures = [_summary(_difference(plane, *pair)) for pair in pairs]
        medians[plane], p99s[plane] = (max(column) for column in zip(*figures, strict=True))
        repeats.append(_difference(plane, again[plane], first[plane]).max())
    report = SelfTestReport(medians, p99s, float(max(repeats)), min(seconds))
    median, p99 = TOLERANCES[engine.precision]
    is_right = (
        all(figure <= median for figure in medians.values())
        and all(figure <= p99 for figure in p99s.values())
        and report.repeat <= REPEAT_TOLERANCE
    )
    if not is_right:
        raise EngineError(
            f"{engine.name} on {engine.device} fails the self-test: {report}; allowed are "
            f"{median:g} (p99 {p99:g}), repeat {REPEAT_TOLERANCE:g}"
        )
    return report


def _difference(plane: str, measured: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return differences pixel by pixel, without a unit; what is no number is infinitely far."""
    scale = np.abs(reference)
    if plane in ("relative", "sky"):
        scale = scale.max() if plane == "relative" else 1.0
    with np.errstate(divide="ignore", invalid="ignore"):  # an engine that gives zeros
        difference = np.abs(measured - reference) / scale
    difference[np.isnan(difference)] = np.inf
    return difference


def _summary(difference: np.ndarray) -> tuple[float, float]:
    """Return median and 99th percentile."""
    # Without interpolation, since between two infinities there is none.
    ordered = np.sort(difference, axis=None)
    median, p99 = (ordered[math.ceil(share * (ordered.size - 1))] for share in (0.5, 0.99))
    return float(median), float(p99)

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

"""One image becomes metric depth that may be believed. Knows no ROS.

``predict`` asks the network; ``believe`` takes out what may not be believed and brings the rest to
the image's size. What corrects the depth (``geometry/correction.py``) stands between the two.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np

from depthrefl_ros.engine.base import Engine
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.geometry.camera import ASPECT_FITS, Camera
from depthrefl_ros.geometry.fill import MEASURED_SIGMA
from depthrefl_ros.geometry.gates import GateSettings, apply_gates, apply_range
from depthrefl_ros.geometry.rectification import Rectification, rectification
from depthrefl_ros.geometry.sigma_table import SigmaTable
from depthrefl_ros.geometry.tables import Value, frozen, table
from depthrefl_ros.settings import check, setting

OUTPUT_SIZES = ("input", "network")

_TO_RGB = {
    "rgb": None,
    "bgr": cv2.COLOR_BGR2RGB,
    "rgba": cv2.COLOR_RGBA2RGB,
    "bgra": cv2.COLOR_BGRA2RGB,
    "mono": cv2.COLOR_GRAY2RGB,
}
_TO_BGRA = {
    "rgb": cv2.COLOR_RGB2BGRA,
    "bgr": cv2.COLOR_BGR2BGRA,
    "rgba": cv2.COLOR_RGBA2BGRA,
    "bgra": None,
    "mono": cv2.COLOR_GRAY2BGRA,
}
CHANNELS = tuple(_TO_RGB)
_SKY_M = 1e4  # beyond every range, and finite: the gates make +Inf of it
_UNKNOWN_SIGMA = 0.2  # of log depth, where neither network nor validation says how far it errs


@dataclass(frozen=True, eq=False)
class SelfMask(Value):
    """Where a camera sees its own robot; compares by content.

    Attributes:
        pixels: (H, W) uint8 of the image's size, non-zero where the robot is.
    """

    pixels: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", frozen(self.pixels, np.uint8))


@dataclass(frozen=True, eq=False)
class Frame:
    """One image and the camera that took it.

    Attributes:
        image: (H, W, C) uint8, or (H, W) for ``mono``; any strides that OpenCV takes.
        channels: what C means: ``rgb``, ``bgr``, ``rgba``, ``bgra`` or ``mono``.
        camera: of this image's size (``Camera.for_image``).
        mask: where the camera sees its own robot, or None.

    Raises:
        ValueError: image and channels, image and camera, or image and mask do not fit.
    """

    image: np.ndarray
    channels: str
    camera: Camera
    mask: SelfMask | None = None

    def __post_init__(self) -> None:
        if self.channels not in _TO_RGB:
            raise ValueError(f"channels is {self.channels!r}; known are {CHANNELS}")
        height, width = self.camera.height, self.camera.width
        shape = (height, width) if self.channels == "mono" else (height, width, len(self.channels))
        if self.image.shape != shape or self.image.dtype != np.uint8:
            raise ValueError(
                f"image is {self.image.shape} {self.image.dtype}; channels {self.channels!r} and a "
                f"camera of {width}x{height} need {shape} uint8"
            )
        if self.mask is not None and self.mask.pixels.shape != (height, width):
            raise ValueError(f"mask is {self.mask.pixels.shape}; the image needs {(height, width)}")


@dataclass(frozen=True)
class EstimatorSettings(GateSettings):
    """What may change from one frame to the next: the gates, and what comes in and goes out.

    Attributes:
        image_is_rectified: images are rectified already: P holds, D is ignored.
        aspect_fit: ``pad`` sees the whole image, ``crop`` uses all of the network's resolution.
        output_size: ``input`` for depth of the image's size, ``network`` for the network's.

    Raises:
        SettingError: a value out of its range.
    """

    image_is_rectified: bool = setting(
        False,
        "The images are rectified already: P of the CameraInfo holds and D is ignored. CameraInfo "
        "itself cannot say so.",
    )
    aspect_fit: str = setting(
        "pad",
        "pad sees the whole image; crop fills the network's input and leaves the rest NaN.",
        choices=ASPECT_FITS,
    )
    output_size: str = setting(
        "input",
        "input aligns the depth with the rectified image; network keeps the network's pixels.",
        choices=OUTPUT_SIZES,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self)


class StepTimer:
    """Milliseconds by step."""

    def __init__(self) -> None:
        self.steps_ms: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time that the ``with`` block takes to the step's."""
        start = time.perf_counter()
        yield
        elapsed = (time.perf_counter() - start) * 1e3
        self.steps_ms[name] = self.steps_ms.get(name, 0.0) + elapsed


@dataclass(eq=False)
class Prediction:
    """What the network says of one frame, at its own size (h, w).

    Attributes:
        frame: that was looked at.
        depth_m: (h, w) float32 metres along the optical axis; NaN where no image was seen
            (padding, the robot itself), and everywhere where the network knows no metres.
        sigma: (h, w) float32 standard deviation of log depth; where the network has none, what the
            model was validated with.
        relative: (h, w) float32, near to far (of an ``inverse_relative`` network far to near); NaN
            where no image was seen or the network has none.
        image: (h, w, 3) uint8 RGB, what the network was shown.
    """

    frame: Frame
    depth_m: np.ndarray
    sigma: np.ndarray
    relative: np.ndarray
    image: np.ndarray
    _view: _View = field(repr=False)

    @property
    def camera(self) -> Camera:
        """The rectified pinhole camera of the planes."""
        return self._view.rectification.network_camera

    def beside(self, depth_m: np.ndarray) -> np.ndarray:
        """Return a depth of the raw image's pixels (H, W) at the network's, (h, w) float32 NaN.

        Args:
            depth_m: (H, W) float32 metres, NaN where unknown, of the frame's size.
        """
        plane = self._view.rectification.depth_to_network(depth_m)
        if self._view.unseen is not None:
            plane[self._view.unseen] = np.nan
        return plane


@dataclass(eq=False)
class DepthFrame:
    """What one frame became, at the output's size (H, W) and at the network's (h, w).

    Attributes:
        depth_m: (H, W) float32 metres along the optical axis. NaN: unknown; +Inf: beyond
            ``max_range_m``; -Inf: nearer than ``min_range_m`` (REP-117, REP-118).
        camera: rectified pinhole camera of the same size as ``depth_m``.
        colour_bgra: (H, W, 4) uint8 aligned with ``depth_m``, where it was asked for.
        network_depth_m: (h, w) float32 as ``depth_m``.
        network_camera: rectified pinhole camera of the planes at the network's size.
        ungated_m: (h, w) float32 metres before the gates; NaN only where no image was seen.
        sigma: (h, w) float32 standard deviation of log depth.
        gate_counts: pixels (of h w) that each gate found; a pixel may be found by several.
    """

    depth_m: np.ndarray
    camera: Camera
    colour_bgra: np.ndarray | None
    network_depth_m: np.ndarray
    network_camera: Camera
    ungated_m: np.ndarray
    sigma: np.ndarray
    gate_counts: dict[str, int]
    _relative: np.ndarray = field(repr=False)
    _rectification: Rectification = field(repr=False)
    _bundle: Bundle = field(repr=False)

    @property
    def depth(self) -> np.ndarray:
        """The same as ``depth_m``: (H, W) float32 metres."""
        return self.depth_m

    @cached_property
    def network_confidence(self) -> np.ndarray:
        """(h, w) float32 in [0, 1]: calibrated probability of being within 1.25 of the truth."""
        return self._bundle.confidence(self.sigma)

    @cached_property
    def confidence(self) -> np.ndarray:
        """(H, W) float32 as ``network_confidence``; NaN wherever ``depth_m`` is."""
        return self._beside_depth(self.network_confidence)

    @cached_property
    def relative(self) -> np.ndarray:
        """(H, W) float32 in (0, 1), near to far; NaN wherever ``depth_m`` is.

        Of a model without metres it is inverse depth of unknown scale and shift, larger is nearer,
        and NaN only where no image was seen.
        """
        if self._bundle.kind == "inverse_relative":
            return self._enlarged(self._relative)
        return self._beside_depth(self._relative)

    def _enlarged(self, plane: np.ndarray) -> np.ndarray:
        """Bring a plane (h, w) float32 to the size of the depth."""
        if self.depth_m.shape == self.network_depth_m.shape and self.camera == self.network_camera:
            return plane
        return self._rectification.from_network(plane)

    def _beside_depth(self, plane: np.ndarray) -> np.ndarray:
        """Bring a plane (h, w) float32 to the size of the depth, unknown where the depth is."""
        return np.where(np.isnan(self.depth_m), np.float32(np.nan), self._enlarged(plane))


@dataclass(frozen=True, eq=False)
class _View:
    """How the network sees through one camera.

    Attributes:
        rectification: the maps.
        unseen: (h, w) bool, padding and the robot itself, or None where all is seen.
        hidden: (H, W) bool, the robot itself in the rectified image, or None.
    """

    rectification: Rectification
    unseen: np.ndarray | None
    hidden: np.ndarray | None


@table
def _view(
    camera: Camera,
    mask: SelfMask | None,
    is_rectified: bool,
    network: tuple[int, int],
    aspect_fit: str,
) -> _View:
    way = rectification(camera, is_rectified, network, aspect_fit)
    unseen, hidden = way.network_unseen(), None
    if mask is not None:
        hidden = way.rectify(mask.pixels) > 0
        network_hidden = way.to_network(mask.pixels) > 0
        unseen = network_hidden if unseen is None else unseen | network_hidden
    return _View(way, unseen, hidden)


class DepthEstimator:
    """Metric depth from images by one engine. Not thread-safe: one thread estimates.

    Args:
        engine: runs the network.
        bundle: the model that the engine runs.
        settings: of ``estimate``; by default the model's range and the default gates.
    """

    def __init__(self, engine: Engine, bundle: Bundle, settings: EstimatorSettings | None = None):
        settings = settings or EstimatorSettings(min_range_m=0.0, max_range_m=0.0)
        self.engine = engine
        self.bundle = bundle
        self.settings = settings.with_range_of(bundle.min_range_m, bundle.max_range_m)
        table = bundle.sigma_table
        self._sigma_table = None if table is None else SigmaTable(*table)

    def estimate(
        self,
        image: np.ndarray,
        camera: Camera | None = None,
        *,
        hfov_deg: float | None = None,
        channels: str = "",
        with_colour: bool = False,
    ) -> DepthFrame:
        """Estimate the metric depth of one image.

        Args:
            image: (H, W, 3) uint8 RGB, (H, W) grey, or what ``channels`` says; any size.
            camera: that took the image; it is fitted to the image's size.
            hfov_deg: horizontal field of view of an undistorted camera, degrees, where there is
                no calibration.
            channels: ``rgb``, ``bgr``, ``rgba``, ``bgra`` or ``mono``; by default RGB or grey.
            with_colour: also return the rectified colours.

        Raises:
            ValueError: the image cannot be read, or not exactly one of camera and field of view is
                given, or the camera cannot be that of the image (``CameraError``).
            EngineError: the runtime failed.
        """
        if image.ndim not in (2, 3):
            raise ValueError(f"image is {image.shape}; (H, W, 3) or (H, W) is needed")
        if (camera is None) == (hfov_deg is None):
            raise ValueError(
                f"camera is {camera} and hfov_deg {hfov_deg}; exactly one of the two is needed: "
                "without it no depth can be metric"
            )
        height, width = image.shape[:2]
        if camera is None:
            camera = Camera.from_horizontal_fov(width, height, math.radians(hfov_deg))
        usual = "mono" if image.ndim == 2 else "rgb"
        frame = Frame(image, channels or usual, camera.for_image(width, height))
        prediction = self.predict(frame, self.settings)
        return self.believe(prediction, prediction.depth_m, self.settings, with_colour)

    def predict(
        self, frame: Frame, settings: EstimatorSettings, timer: StepTimer | None = None
    ) -> Prediction:
        """Ask the network for the depth of a frame, in metres, before any correction and gate.

        Args:
            frame: image and camera.
            settings: how the image is fitted into the network.
            timer: gets the steps ``to_network`` and ``engine``.

        Raises:
            EngineError: the runtime failed.
        """
        timer = timer or StepTimer()
        with timer.step("to_network"):
            network = (self.bundle.width, self.bundle.height)
            fit = settings.aspect_fit if self.bundle.resize == "pad" else self.bundle.resize
            view = _view(frame.camera, frame.mask, settings.image_is_rectified, network, fit)
            small = view.rectification.to_network(frame.image)
            conversion = _TO_RGB[frame.channels]
            rgb = small if conversion is None else cv2.cvtColor(small, conversion)
        with timer.step("engine"):
            planes = self.engine.infer(rgb[None])
        depth_m, sigma, relative = self._meant(planes, view)
        return Prediction(frame, depth_m, sigma, relative, rgb, view)

    def _meant(
        self, planes: dict[str, np.ndarray], view: _View
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what the network's outputs mean: depth in metres, sigma, relative, each (h, w)."""
        bundle = self.bundle
        nothing = np.full((bundle.height, bundle.width), np.nan, np.float32)
        depth_m = planes["depth"][0, 0] if "depth" in planes else nothing.copy()
        if bundle.kind == "canonical":
            # One focal length in training: a longer lens sees the same picture farther away.
            focal_ratio = view.rectification.network_focal_px / bundle.focal_px
            depth_m = depth_m * np.float32(focal_ratio)
        if "sky" in planes:
            depth_m[planes["sky"][0, 0] > 0.5] = _SKY_M
        relative = planes["relative"][0, 0] if "relative" in planes else nothing
        if view.unseen is not None:
            depth_m[view.unseen] = np.nan
            relative[view.unseen] = np.nan
        if "sigma" in planes:
            return depth_m, planes["sigma"][0, 0], relative
        return depth_m, np.full_like(nothing, bundle.relative_error or _UNKNOWN_SIGMA), relative

    def believe(
        self,
        prediction: Prediction,
        depth_m: np.ndarray,
        settings: EstimatorSettings,
        with_colour: bool = False,
        timer: StepTimer | None = None,
        measured_m: np.ndarray | None = None,
    ) -> DepthFrame:
        """Keep of the depth what may be believed, at the size that is asked for.

        Args:
            prediction: of the network.
            depth_m: (h, w) float32 metres, the prediction's or better; NaN where nothing was seen.
            settings: gates and output size.
            with_colour: also return the rectified colours.
            timer: gets the steps ``gates``, ``upsample`` and ``colour``.
            measured_m: (H, W) float32 metres of the raw image's pixels, NaN where unknown: a depth
                camera's, of which ``depth_m`` was made wherever it knows any.
        """
        timer, view = timer or StepTimer(), prediction._view
        # Only now are there metres of every kind of network.
        table = self._sigma_table
        sigma = prediction.sigma if table is None else table.sigma(depth_m)
        if measured_m is not None:
            known = np.isfinite(prediction.beside(measured_m))
            sigma = np.where(known, np.float32(MEASURED_SIGMA), sigma)
        with timer.step("gates"):
            sigma_limit = self.bundle.sigma_limit(settings.min_confidence)
            gated = apply_gates(depth_m, sigma, prediction.camera, sigma_limit, settings)
        with timer.step("upsample"):
            depth, camera = gated.depth_m, prediction.camera
            if settings.output_size == "input":
                depth = view.rectification.from_network(gated.depth_m, gated.edges)
                camera = view.rectification.camera
                if measured_m is not None:
                    measured_m = view.rectification.rectify_depth(measured_m)
                    known = np.isfinite(measured_m)
                    measured_m = measured_m.copy()
                    apply_range(measured_m, settings.min_range_m, settings.max_range_m)
                    np.copyto(depth, measured_m, where=known)
                if view.hidden is not None:
                    depth[view.hidden] = np.nan
        colour = None
        if with_colour:
            with timer.step("colour"):
                colour = _colour(prediction.frame, view.rectification, settings.output_size)
        return DepthFrame(
            depth_m=depth,
            camera=camera,
            colour_bgra=colour,
            network_depth_m=gated.depth_m,
            network_camera=prediction.camera,
            ungated_m=depth_m,
            sigma=sigma,
            gate_counts=gated.counts,
            _relative=prediction.relative,
            _rectification=view.rectification,
            _bundle=self.bundle,
        )


def _colour(frame: Frame, way: Rectification, output_size: str) -> np.ndarray:
    """Return the colours beside the depth: (H, W, 4) uint8 BGRA."""
    image = way.rectify(frame.image) if output_size == "input" else way.to_network(frame.image)
    conversion = _TO_BGRA[frame.channels]
    return image if conversion is None else cv2.cvtColor(image, conversion)

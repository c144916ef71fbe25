"""The one pass: a frame goes in, metric depth that may be believed comes out. Knows no ROS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np

from depthrefl_ros.engine.base import Engine
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.geometry.camera import ASPECT_FITS, Camera
from depthrefl_ros.geometry.gates import Gated, GateSettings, apply_gates
from depthrefl_ros.geometry.rectification import Rectification, rectification

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

# Takes metric depth (h, w) float32 before the gates, NaN where nothing was seen, the picture of it
# (h, w, 3) uint8 RGB and the camera of both; gives better depth (h, w) float32.
Correction = Callable[[np.ndarray, np.ndarray, Camera], np.ndarray]


@dataclass(frozen=True, eq=False)
class Frame:
    """One image and the camera that took it.

    Attributes:
        image: (H, W, C) uint8, or (H, W) for ``mono``; any strides that OpenCV takes.
        channels: what C means: ``rgb``, ``bgr``, ``rgba``, ``bgra`` or ``mono``.
        camera: of this image's size (``Camera.for_image``).
        hidden: (H, W) uint8, non-zero where the camera sees its own robot, or None. The same object
            saves the estimator computing its maps again.

    Raises:
        ValueError: image and channels, image and camera, or image and ``hidden`` do not fit.
    """

    image: np.ndarray
    channels: str
    camera: Camera
    hidden: np.ndarray | None = None

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
        if self.hidden is not None and self.hidden.shape != (height, width):
            raise ValueError(f"hidden is {self.hidden.shape}; the image needs {(height, width)}")


@dataclass(frozen=True)
class EstimatorSettings(GateSettings):
    """What may be changed from one frame to the next: the gates, and what comes in and goes out.

    Attributes:
        image_is_rectified: images are rectified already: P holds, D is ignored.
        aspect_fit: ``pad`` sees the whole image, ``crop`` uses all of the network's resolution.
        output_size: ``input`` for depth of the image's size, ``network`` for the network's.

    Raises:
        ValueError: a value out of its range.
    """

    image_is_rectified: bool = False
    aspect_fit: str = "pad"
    output_size: str = "input"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.aspect_fit not in ASPECT_FITS:
            raise ValueError(f"aspect_fit is {self.aspect_fit!r}; known are {ASPECT_FITS}")
        if self.output_size not in OUTPUT_SIZES:
            raise ValueError(f"output_size is {self.output_size!r}; known are {OUTPUT_SIZES}")


@dataclass(eq=False)
class DepthFrame:
    """What one frame became, at the network's size (h, w) and at the output's (H, W).

    Attributes:
        depth_m: (H, W) float32 metres along the optical axis. NaN: unknown; +Inf: beyond
            ``max_range_m``; -Inf: nearer than ``min_range_m`` (REP-117, REP-118).
        camera: rectified pinhole camera of the same size as ``depth_m``.
        colour_bgra: (H, W, 4) uint8 aligned with ``depth_m``, where it was asked for.
        network_depth_m: (h, w) float32 as ``depth_m``.
        ungated_m: (h, w) float32 metres before the gates; NaN only where no image was seen.
        sigma: (h, w) float32 standard deviation of log depth.
        relative: (h, w) float32 in (0, 1), near to far.
        gate_counts: pixels (of h w) that each gate found; a pixel may be found by several.
        steps_ms: milliseconds each step took.
    """

    depth_m: np.ndarray
    camera: Camera
    colour_bgra: np.ndarray | None
    network_depth_m: np.ndarray
    ungated_m: np.ndarray
    sigma: np.ndarray
    relative: np.ndarray
    gate_counts: dict[str, int]
    steps_ms: dict[str, float]
    _rectification: Rectification = field(repr=False)
    _bundle: Bundle = field(repr=False)

    @property
    def network_camera(self) -> Camera:
        """The rectified pinhole camera of the planes at the network's size."""
        return self._rectification.network_camera

    @cached_property
    def confidence(self) -> np.ndarray:
        """(h, w) float32 in [0, 1]: calibrated probability of being within 1.25 of the truth."""
        return self._bundle.confidence(self.sigma)

    def enlarged(self, plane: np.ndarray) -> np.ndarray:
        """Brings a plane (h, w) float32 to the size of ``depth_m``; NaN where nothing was seen."""
        if self.camera == self.network_camera:
            return plane
        return self._rectification.from_network(plane)


class StepTimer:
    """Milliseconds by step, for ``DepthFrame.steps_ms``."""

    def __init__(self) -> None:
        self.steps_ms: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Adds the time that the ``with`` block takes to the step's."""
        start = time.perf_counter()
        yield
        elapsed = (time.perf_counter() - start) * 1e3
        self.steps_ms[name] = self.steps_ms.get(name, 0.0) + elapsed


class _View:
    """How the network sees through one camera: maps, and what it cannot see.

    Attributes:
        rectification: the maps.
        unseen: (h, w) bool, padding and the robot itself, or None where all is seen.
        hidden: (H, W) bool, the robot itself in the rectified image, or None.
    """

    def __init__(self, frame: Frame, settings: EstimatorSettings, network: tuple[int, int]):
        self._camera, self._mask = frame.camera, frame.hidden
        self._how = (settings.image_is_rectified, settings.aspect_fit)
        self.rectification = way = rectification(frame.camera, self._how[0], network, self._how[1])
        self.unseen, self.hidden = way.network_unseen(), None
        if frame.hidden is not None:
            self.hidden = way.rectify(frame.hidden) > 0
            hidden = way.to_network(frame.hidden) > 0
            self.unseen = hidden if self.unseen is None else self.unseen | hidden

    def is_of(self, frame: Frame, settings: EstimatorSettings) -> bool:
        """Whether it holds for the frame; masks compare by identity."""
        how = (settings.image_is_rectified, settings.aspect_fit)
        return self._camera == frame.camera and self._mask is frame.hidden and self._how == how


class DepthEstimator:
    """Frame to DepthFrame: rectify and resize, engine, unscale, gates, back to the image.

    Not thread-safe: one thread estimates. ``settings`` may be set from another; a frame uses the
    settings that it began with.

    Args:
        engine: runs the network.
        bundle: the model that the engine runs.
        settings: what may change at run time.
    """

    def __init__(self, engine: Engine, bundle: Bundle, settings: EstimatorSettings):
        self.engine = engine
        self.bundle = bundle
        self.settings = settings
        self._view: _View | None = None

    def estimate(
        self, frame: Frame, with_colour: bool = False, correct: Correction | None = None
    ) -> DepthFrame:
        """Metric depth of one frame.

        Args:
            frame: image and camera.
            with_colour: also return the rectified colours, for a coloured cloud.
            correct: mends the depth before the gates.

        Raises:
            EngineError: the runtime failed.
        """
        settings, timer = self.settings, StepTimer()
        with timer.step("to_network"):
            view = self._view_of(frame, settings)
            small = view.rectification.to_network(frame.image)
            conversion = _TO_RGB[frame.channels]
            rgb = small if conversion is None else cv2.cvtColor(small, conversion)
        with timer.step("engine"):
            planes = self.engine.infer(rgb[None])
        sigma = planes["sigma"][0, 0]
        with timer.step("correct"):
            focal_ratio = view.rectification.network_focal_px / self.bundle.focal_px
            ungated = planes["depth"][0, 0] * np.float32(focal_ratio)
            if view.unseen is not None:
                ungated[view.unseen] = np.nan
            camera = view.rectification.network_camera
            if correct is not None:
                ungated = correct(ungated, rgb, camera)
        with timer.step("gates"):
            sigma_limit = self.bundle.sigma_limit(settings.min_confidence)
            gated = apply_gates(ungated, sigma, camera, sigma_limit, settings)
        with timer.step("upsample"):
            depth, camera = self._output_size(gated, view, settings)
        colour = None
        if with_colour:
            with timer.step("colour"):
                colour = self._colour(frame, view.rectification, camera)
        return DepthFrame(
            depth_m=depth,
            camera=camera,
            colour_bgra=colour,
            network_depth_m=gated.depth_m,
            ungated_m=ungated,
            sigma=sigma,
            relative=planes["relative"][0, 0],
            gate_counts=gated.counts,
            steps_ms=timer.steps_ms,
            _rectification=view.rectification,
            _bundle=self.bundle,
        )

    def _view_of(self, frame: Frame, settings: EstimatorSettings) -> _View:
        """What hangs on camera, mask and settings, computed anew when one of them changes."""
        view = self._view
        if view is None or not view.is_of(frame, settings):
            network = (self.bundle.width, self.bundle.height)
            view = self._view = _View(frame, settings, network)
        return view

    @staticmethod
    def _output_size(
        gated: Gated, view: _View, settings: EstimatorSettings
    ) -> tuple[np.ndarray, Camera]:
        rectification = view.rectification
        if settings.output_size == "network":
            return gated.depth_m, rectification.network_camera
        depth = rectification.from_network(gated.depth_m, gated.edges)
        if view.hidden is not None:
            depth[view.hidden] = np.nan
        return depth, rectification.camera

    @staticmethod
    def _colour(frame: Frame, rectification: Rectification, camera: Camera) -> np.ndarray:
        if camera == rectification.camera:
            image = rectification.rectify(frame.image)
        else:
            image = rectification.to_network(frame.image)
        conversion = _TO_BGRA[frame.channels]
        return image if conversion is None else cv2.cvtColor(image, conversion)

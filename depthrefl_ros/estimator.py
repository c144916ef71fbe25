"""The one pass: a frame goes in, metric depth that may be believed comes out. Knows no ROS."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import cv2
import numpy as np

from depthrefl_ros.engine.base import Engine
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.geometry.camera import ASPECT_FITS, Camera
from depthrefl_ros.geometry.gates import apply_range, depth_edges, smooth
from depthrefl_ros.geometry.rectification import Rectification

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


@dataclass(frozen=True, eq=False)
class Frame:
    """One image and the camera that took it.

    Attributes:
        image: (H, W, C) uint8, or (H, W) for ``mono``; any strides that OpenCV takes.
        channels: what C means: ``rgb``, ``bgr``, ``rgba``, ``bgra`` or ``mono``.
        camera: of this image's size (``Camera.for_image``). The same object for the same camera
            saves the estimator computing its maps again.

    Raises:
        ValueError: image and channels, or image and camera, do not fit.
    """

    image: np.ndarray
    channels: str
    camera: Camera

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


@dataclass(frozen=True)
class EstimatorSettings:
    """What may be changed from one frame to the next.

    Attributes:
        image_is_rectified: images are rectified already: P holds, D is ignored.
        aspect_fit: ``pad`` sees the whole image, ``crop`` uses all of the network's resolution.
        output_size: ``input`` for depth of the image's size, ``network`` for the network's.
        min_confidence: calibrated probability below which depth is unknown (NaN); 0 for never.
        edge_ratio: a pixel whose neighbours' depths differ by more than this factor may hang
            between two surfaces and is unknown (NaN); 0 for never.
        min_range_m: nearer depth is -Inf (REP-117), metres.
        max_range_m: farther depth is +Inf (REP-117), metres.

    Raises:
        ValueError: a value out of its range.
    """

    image_is_rectified: bool = False
    aspect_fit: str = "pad"
    output_size: str = "input"
    min_confidence: float = 0.0
    edge_ratio: float = 1.2
    min_range_m: float = 0.3
    max_range_m: float = 10.0

    def __post_init__(self) -> None:
        if self.aspect_fit not in ASPECT_FITS:
            raise ValueError(f"aspect_fit is {self.aspect_fit!r}; known are {ASPECT_FITS}")
        if self.output_size not in OUTPUT_SIZES:
            raise ValueError(f"output_size is {self.output_size!r}; known are {OUTPUT_SIZES}")
        if not 0.0 <= self.min_confidence < 1.0:
            raise ValueError(f"min_confidence is {self.min_confidence}; need 0 <= it < 1")
        if self.edge_ratio and self.edge_ratio <= 1.0:
            raise ValueError(f"edge_ratio is {self.edge_ratio}; need 0 (off) or more than 1")
        if not 0.0 <= self.min_range_m < self.max_range_m:
            raise ValueError(
                f"min_range is {self.min_range_m} m and max_range {self.max_range_m} m; need "
                "0 <= min_range < max_range"
            )


@dataclass(eq=False)
class DepthFrame:
    """What one frame became.

    Attributes:
        depth_m: (H, W) float32 metres along the optical axis. NaN: unknown; +Inf: beyond
            ``max_range_m``; -Inf: nearer than ``min_range_m`` (REP-117, REP-118).
        camera: rectified pinhole camera of the same size as ``depth_m``.
        colour_bgra: (H, W, 4) uint8 aligned with ``depth_m``, where it was asked for.
        sigma: (h, w) float32 standard deviation of log depth, network size.
        relative: (h, w) float32 in (0, 1), near to far, network size.
        steps_ms: milliseconds each step took.
    """

    depth_m: np.ndarray
    camera: Camera
    colour_bgra: np.ndarray | None
    sigma: np.ndarray
    relative: np.ndarray
    steps_ms: dict[str, float] = field(default_factory=dict)


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
        self._key: tuple[object, ...] = ()
        self._rectification: Rectification | None = None
        self._unseen: np.ndarray | None = None

    def rectification(self, camera: Camera, settings: EstimatorSettings) -> Rectification:
        """The maps of this camera, computed when camera or settings change."""
        # Cameras compare by identity, and the key keeps this one alive.
        key = (camera, settings.image_is_rectified, settings.aspect_fit)
        if key != self._key or self._rectification is None:
            network = (self.bundle.width, self.bundle.height)
            self._rectification = Rectification(
                camera, settings.image_is_rectified, network, settings.aspect_fit
            )
            self._key = key
            self._unseen = self._rectification.network_unseen()
        return self._rectification

    def estimate(self, frame: Frame, with_colour: bool = False) -> DepthFrame:
        """Metric depth of one frame.

        Args:
            frame: image and camera.
            with_colour: also return the rectified colours, for a coloured cloud.

        Raises:
            EngineError: the runtime failed.
        """
        settings, timer = self.settings, StepTimer()
        with timer.step("to_network"):
            rectification = self.rectification(frame.camera, settings)
            small = rectification.to_network(frame.image)
            conversion = _TO_RGB[frame.channels]
            rgb = small if conversion is None else cv2.cvtColor(small, conversion)
        with timer.step("engine"):
            planes = self.engine.infer(rgb[None])
        with timer.step("gates"):
            scale = rectification.network_focal_px / self.bundle.focal_px
            sigma = planes["sigma"][0, 0]
            depth, edges = self._believed(planes["depth"][0, 0], sigma, scale, settings)
        with timer.step("upsample"):
            depth, camera = self._output_size(depth, edges, rectification, settings)
        colour = None
        if with_colour:
            with timer.step("colour"):
                colour = self._colour(frame, rectification, camera)
        relative = planes["relative"][0, 0]
        return DepthFrame(depth, camera, colour, sigma, relative, timer.steps_ms)

    def _believed(
        self, canonical: np.ndarray, sigma: np.ndarray, scale: float, settings: EstimatorSettings
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Canonical to metric depth (h, w) with the gates applied, and its edges."""
        depth = smooth(canonical * np.float32(scale))
        edges = depth_edges(depth, settings.edge_ratio) if settings.edge_ratio else None
        apply_range(depth, settings.min_range_m, settings.max_range_m)
        unknown = sigma > self.bundle.sigma_limit(settings.min_confidence)
        if edges is not None:
            unknown |= edges
        if self._unseen is not None:
            unknown |= self._unseen
        depth[unknown] = np.nan
        return depth, edges

    @staticmethod
    def _output_size(
        depth: np.ndarray,
        edges: np.ndarray | None,
        rectification: Rectification,
        settings: EstimatorSettings,
    ) -> tuple[np.ndarray, Camera]:
        if settings.output_size == "network":
            return depth, rectification.network_camera
        return rectification.from_network(depth, edges), rectification.camera

    @staticmethod
    def _colour(frame: Frame, rectification: Rectification, camera: Camera) -> np.ndarray:
        if camera is rectification.camera:
            image = rectification.rectify(frame.image)
        else:
            image = rectification.to_network(frame.image)
        conversion = _TO_BGRA[frame.channels]
        return image if conversion is None else cv2.cvtColor(image, conversion)

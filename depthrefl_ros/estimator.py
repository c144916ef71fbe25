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

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from depthrefl_ros.engine.base import Engine, EngineError, WithdrawnError
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.frames import (
    DepthFrame,
    Frame,
    NetworkView,
    Prediction,
    network_floor,
    network_view,
)
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.camera_doubts import doubts_of
from depthrefl_ros.geometry.fill import MEASURED_SIGMA
from depthrefl_ros.geometry.floor_plane import with_floor
from depthrefl_ros.geometry.gates import GateSettings, apply_gates, apply_range, apply_sky, steps
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rectification import ASPECT_FITS
from depthrefl_ros.geometry.sigma_table import SigmaTable
from depthrefl_ros.settings import check, setting

OUTPUT_SIZES = ("input", "network")

_MOST_CAMERAS = 64  # that are remembered as checked
_UNKNOWN_SIGMA = 0.2  # of log depth, where neither network nor validation says how far it errs


_log = logging.getLogger(__name__)


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
        "The images are already rectified: P of the CameraInfo is used and D is ignored. "
        "CameraInfo itself cannot say so.",
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


class DepthEstimator:
    """Metric depth from images by one engine. Calls from several threads take turns in it.

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
        self._checked: set[tuple[Camera, bool]] = set()

    def estimate(
        self,
        image: np.ndarray,
        camera: Camera | None = None,
        *,
        hfov_deg: float | None = None,
        channels: str = "",
        with_colour: bool = False,
        base_from_camera: Pose | None = None,
    ) -> DepthFrame:
        """Estimate the metric depth of one image.

        What can hardly be true of ``camera`` (``geometry.camera_doubts``) is a warning in the log,
        once for each camera.

        Args:
            image: (H, W, 3) uint8 RGB, (H, W) grey, or what ``channels`` says; any size.
            camera: that took the image; it is fitted to the image's size.
            hfov_deg: horizontal field of view of an undistorted camera, degrees, where there is
                no calibration.
            channels: ``rgb``, ``bgr``, ``rgba``, ``bgra`` or ``mono``; by default RGB or grey.
            with_colour: also return the rectified colours.
            base_from_camera: where the camera stands, for a model that takes it (others ignore it):
                ``Pose.from_mount`` of height and pitch; z = 0 of the base frame is the floor.

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
        else:
            camera = camera.for_image(width, height)
            self._warn_of(camera)
        usual = "mono" if image.ndim == 2 else "rgb"
        frame = Frame(image, channels or usual, camera)
        prediction = self.predict(frame, self.settings, base_from_camera=base_from_camera)
        return self.believe(prediction, prediction.depth_m, self.settings, with_colour)

    def _warn_of(self, camera: Camera) -> None:
        """Warn of a camera that can hardly be true, unless that was done before."""
        checked = (camera, self.settings.image_is_rectified)
        if checked in self._checked:
            return
        if len(self._checked) >= _MOST_CAMERAS:
            self._checked.clear()
        self._checked.add(checked)
        for doubt in doubts_of(camera, self.settings.image_is_rectified):
            _log.warning("%s", doubt)

    def predict(
        self,
        frame: Frame,
        settings: EstimatorSettings,
        timer: StepTimer | None = None,
        base_from_camera: Pose | None = None,
    ) -> Prediction:
        """Ask the network for the depth of a frame, in metres, before any correction and gate.

        Args:
            frame: image and camera.
            settings: how the image is fitted into the network.
            timer: gets the steps ``to_network`` and ``engine``.
            base_from_camera: where the camera stands, which a model of four channels is told; None
                where that is not known.

        Raises:
            EngineError: the runtime failed.
        """
        timer = timer or StepTimer()
        with timer.step("to_network"):
            network = (self.bundle.width, self.bundle.height)
            fit = settings.aspect_fit if self.bundle.resize == "pad" else self.bundle.resize
            view = network_view(frame.camera, frame.mask, settings.image_is_rectified, network, fit)
            small = view.rectification.to_network(frame.image)
            rgb = frame.as_rgb(small)
            floor = None if base_from_camera is None else self._floor(view, base_from_camera)
            images = self._shown(rgb, floor)
        with timer.step("engine"):
            planes = self._inferred(images)
        depth_m, sigma, relative = self._meant(planes, view)
        return Prediction(frame, depth_m, sigma, relative, rgb, floor, view)

    def depth_untold(self, prediction: Prediction) -> np.ndarray:
        """Return what the network says of the same image when it is told nothing of the mount.

        Args:
            prediction: of the image.

        Returns:
            (h, w) float32 metres as ``Prediction.depth_m``.

        Raises:
            EngineError: the runtime failed.
        """
        if prediction.floor is None:
            return prediction.depth_m
        planes = self._inferred(self._shown(prediction.image, None))
        return self._meant(planes, prediction.view)[0]

    def _inferred(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Run the engine; whatever a runtime raises is told from what preparing a frame raises."""
        try:
            return self.engine.infer(images)
        except (EngineError, WithdrawnError):
            raise
        except Exception as error:
            raise EngineError(f"{type(error).__name__}: {error}") from error

    def _floor(self, view: NetworkView, base_from_camera: Pose) -> np.ndarray | None:
        """Return what the network is told of the mount; None where it takes nothing."""
        if not self.bundle.takes_mount:
            return None
        camera = view.rectification.network_camera
        focal_px = self.bundle.focal_px or view.rectification.network_focal_px
        return network_floor(camera, base_from_camera, focal_px)

    def _shown(self, rgb: np.ndarray, floor: np.ndarray | None) -> np.ndarray:
        """Return the engine's images, (1, h, w, channels) uint8."""
        return (with_floor(rgb, floor) if self.bundle.takes_mount else rgb)[None]

    def _meant(
        self, planes: dict[str, np.ndarray], view: NetworkView
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what the network's outputs mean: depth in metres, sigma, relative, each (h, w)."""
        bundle = self.bundle
        nothing = np.full((bundle.height, bundle.width), np.nan, np.float32)
        depth_m = planes["depth"][0, 0] if "depth" in planes else nothing.copy()
        if bundle.kind == "canonical":
            # One focal length in training: a longer lens sees the same picture farther away.
            focal_ratio = view.rectification.network_focal_px / bundle.focal_px
            depth_m = depth_m * np.float32(focal_ratio)
        apply_sky(depth_m, planes)
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
        is_measured: np.ndarray | None = None,
    ) -> DepthFrame:
        """Keep of the depth what may be believed, at the size that is asked for.

        Args:
            prediction: of the network.
            depth_m: (h, w) float32 metres, the prediction's or better; NaN where nothing was seen,
                +Inf where the sky is.
            settings: gates and output size.
            with_colour: also return the rectified colours.
            timer: gets the steps ``gates``, ``upsample`` and ``colour``.
            measured_m: (H, W) float32 metres of the raw image's pixels, NaN where unknown: a depth
                camera's, of which ``depth_m`` was made wherever it knows any.
            is_measured: (h, w) bool, where ``depth_m`` is the depth camera's, if that is known.
        """
        timer, view = timer or StepTimer(), prediction.view
        # Only now are there metres of every kind of network.
        table = self._sigma_table
        sigma = prediction.sigma if table is None else table.sigma(depth_m)
        if measured_m is not None:
            if is_measured is None:
                is_measured = np.isfinite(prediction.beside(measured_m))
            sigma = np.where(is_measured, np.float32(MEASURED_SIGMA), sigma)
        with timer.step("gates"):
            sigma_limit = self.bundle.sigma_limit(settings.min_confidence)
            gated = apply_gates(depth_m, sigma, prediction.camera, sigma_limit, settings)
        with timer.step("upsample"):
            depth, camera = gated.depth_m, prediction.camera
            if settings.output_size == "input":
                edges = gated.edges if gated.edges is not None else steps(gated.smoothed_m)
                depth = view.rectification.from_network(gated.depth_m, edges)
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
                frame, way = prediction.frame, view.rectification
                is_whole = settings.output_size == "input"
                colour = way.rectify(frame.image) if is_whole else way.to_network(frame.image)
                colour = frame.as_bgra(colour)
        return DepthFrame(
            depth_m=depth,
            camera=camera,
            colour_bgra=colour,
            network_depth_m=gated.depth_m,
            network_camera=prediction.camera,
            ungated_m=_answered(depth_m, view.unseen),
            sigma=sigma,
            gate_counts=gated.counts,
            _relative=prediction.relative,
            _rectification=view.rectification,
            _bundle=self.bundle,
        )


def _answered(depth_m: np.ndarray, unseen: np.ndarray | None) -> np.ndarray:
    """Return depth (h, w) with 0 where something was seen and the network gave no number for it.

    All NaN is depth that is not metric yet.
    """
    unanswered = np.isnan(depth_m)
    if unseen is not None:
        unanswered &= ~unseen
    if not unanswered.any() or not np.isfinite(depth_m).any():
        return depth_m
    return np.where(unanswered, np.float32(0.0), depth_m)

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

"""The model from configure to cleanup: its bundle, its settings, and what runs it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.selection import OpenedEngine
from depthrefl_ros.engine.shared_engines import SharedEngines
from depthrefl_ros.estimator import EstimatorSettings
from depthrefl_ros.frames import SelfMask
from depthrefl_ros.geometry.calibration_file import load_calibration
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.ros.diagnostics import ERROR, Diagnostics
from depthrefl_ros.ros.engine_opening import PROBLEM, EngineOpening
from depthrefl_ros.ros.parameters import Parameters
from depthrefl_ros.settings import SettingError

# An engine that worked for so long is as good as new: how long it took to open is no merit.
_FORGIVEN_AFTER_S = 60.0
_MODEL = "model"  # under this kind diagnostics have what the model cannot give
_LARGEST_MASK = 1 << 26  # pixels
_CLOSE_S = 0.5  # longest wait for an engine that has failed to give its resources back
# Engines inside a call that never returned: closing one could crash, and so could the garbage
# collector.
_LEFT_BEHIND: list[Any] = []


@dataclass(frozen=True, eq=False)
class FrameSettings:
    """The parameters as a frame uses them: the model's range filled in, the files read.

    Attributes:
        parameters: as the user set them.
        estimator: with the model's range where the user gave none.
        calibration: from ``camera_info_url``, or None.
        mask: from ``self_mask``, or None.
    """

    parameters: Parameters
    estimator: EstimatorSettings
    calibration: Camera | None
    mask: SelfMask | None

    @classmethod
    def of(
        cls, parameters: Parameters, bundle: Bundle, before: FrameSettings | None = None
    ) -> FrameSettings:
        """Read the files that the parameters name, and fit the values to the model.

        Args:
            parameters: the new values.
            bundle: the model.
            before: settings whose files are taken over where their parameters are the same.

        Raises:
            ValueError: a file cannot be used, or a value does not fit the model; names it.
        """
        estimator = parameters.estimator.with_range_of(bundle.min_range_m, bundle.max_range_m)
        url, path = parameters.inputs.camera_info_url, parameters.inputs.self_mask
        if before is not None and url == before.parameters.inputs.camera_info_url:
            calibration = before.calibration
        else:
            calibration = load_calibration(url, _package_share) if url else None
        if before is not None and path == before.parameters.inputs.self_mask:
            mask = before.mask
        else:
            mask = load_mask(path) if path else None
        return cls(parameters, estimator, calibration, mask)


def load_mask(path: str) -> SelfMask:
    """Read the mask in an image file.

    Raises:
        SettingError: no picture of a camera's size can be read from the file.
    """
    wanted = "it must be an image file of the camera's size, such as a PNG"
    try:
        pixels = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    except cv2.error as error:
        raise SettingError(f"self_mask is {path!r}: {error}; {wanted}") from error
    if pixels is None:
        raise SettingError(f"self_mask is {path!r}; {wanted}")
    if pixels.size > _LARGEST_MASK:
        height, width = pixels.shape
        raise SettingError(f"self_mask {path!r} is {width}x{height}; {wanted}")
    return SelfMask(pixels)


def _package_share(package: str) -> str:
    """Return the share folder of a ROS package, for ``package://``."""
    from ament_index_python.packages import get_package_share_directory

    return get_package_share_directory(package)


class Model:
    """A loaded bundle and what runs it.

    Args:
        engines: of the process.
        parameters: the node's.
        diagnostics: told the model, the engine and the progress of a build.
        logger: of the node.
        on_opened: called in another thread when a search for an engine has ended.

    Attributes:
        bundle: the model.
        settings: of the next frame.

    Raises:
        BundleError: the model is missing or damaged.
        ValueError: a parameter does not fit the model, or a file that it names cannot be read.
    """

    def __init__(
        self,
        engines: SharedEngines,
        parameters: Parameters,
        diagnostics: Diagnostics,
        logger: Any,
        on_opened: Callable[[], None],
    ):
        self._engines = engines
        self._diagnostics, self._logger, self._on_opened = diagnostics, logger, on_opened
        self.bundle = bundle = Bundle.load(parameters.model)
        self.settings = FrameSettings.of(parameters, bundle)
        self._opening: EngineOpening | None = None
        self._opened: OpenedEngine | None = None
        self._skipped: frozenset[str] = frozenset()
        self._reopened: set[str] = set()
        self._opened_s = 0.0
        terms = f"{bundle.licence} (commercial use: {bundle.commercial})"
        logger.info(f"model {bundle.name}: {terms}; {bundle.origin}")
        diagnostics.state_fact("model", bundle.name)
        diagnostics.state_fact("model_path", str(bundle.folder))
        diagnostics.state_fact("model_licence", bundle.licence)
        diagnostics.state_fact("model_commercial_use", bundle.commercial)
        diagnostics.state_fact("model_origin", bundle.origin)
        if bundle.kind == "inverse_relative":
            logger.info(f"{bundle.name} gives relative depth: scale_correction makes it metric")
        if not bundle.has_sigma:
            diagnostics.problem(
                _MODEL,
                f"{bundle.name} has no calibrated uncertainty: depth/confidence is NaN and "
                "min_confidence has no effect; depthrefl evaluate --calibrate measures it",
                lasting=True,
            )
        self.search()

    @property
    def cameras(self) -> int:
        """Number of cameras in this process, which may all wait for one engine."""
        return self._engines.cameras

    @property
    def device(self) -> str:
        """What the engine runs on; empty without an engine."""
        return "" if self._opened is None else self._opened.engine.device

    def search(self) -> None:
        """Begin to look for an engine, where there is none and no search is under way."""
        if self._opened is None and self._opening is None:
            self._opening = EngineOpening(
                self._engines,
                self.bundle,
                self.settings.parameters.engine,
                self._skipped,
                self._diagnostics,
                self._logger,
                self._on_opened,
            )

    def wait(self, timeout_s: float, stopping: threading.Event) -> None:
        """Wait until the search has ended or a build has begun, or nobody wants to know."""
        end_s = time.monotonic() + timeout_s
        while self._opening is not None and not stopping.is_set():
            left_s = end_s - time.monotonic()
            self._opening.wait(min(0.1, max(left_s, 0.0)))
            if left_s <= 0.0 or self._opening.has_ended or self._opening.builds:
                return

    def take(self) -> OpenedEngine | None:
        """Return the engine, taken over from the search where that has ended; None without one.

        Raises:
            Exception: the search has ended without one.
        """
        if self._opening is not None and self._opening.has_ended:
            opening, self._opening = self._opening, None
            self._opened, self._opened_s = opening.take(), time.monotonic()
        return self._opened

    def replace(self, reason: str, is_hanging: bool) -> None:
        """Look for another engine, since this one fails: the same kind anew, then the next kind.

        Args:
            reason: what is wrong with it, for people.
            is_hanging: it is still inside a call: it is left behind, never closed.
        """
        opened, self._opened = self._opened, None
        if opened is None:
            return
        if time.monotonic() - self._opened_s > _FORGIVEN_AFTER_S:
            self._reopened.clear()
            self._skipped = frozenset()
        if opened.rung in self._reopened:
            self._skipped |= {opened.rung}
            told = f"engine {opened.rung}: {reason} again: trying the next kind of engine"
        else:
            self._reopened.add(opened.rung)
            told = f"engine {opened.rung}: {reason}: reopening it"
        self._logger.error(told)
        self._diagnostics.problem("engine_replaced", told, ERROR)
        opened.retire()
        if is_hanging:
            _LEFT_BEHIND.append(opened)
        else:
            _close_in_time(opened)
        self.search()

    def withdraw(self) -> None:
        """Let a frame end that waits until the engine has done those of other cameras."""
        if self._opened is not None:
            self._opened.withdraw()

    def leave_behind(self) -> None:
        """Forget an engine that never returned from a call; the next search opens another one."""
        if self._opened is not None:
            self._opened.retire()
            _LEFT_BEHIND.append(self._opened)
            self._opened = None

    def give_up_search(self, timeout_s: float) -> None:
        """End a search that is under way; ``search`` begins it anew.

        Args:
            timeout_s: longest wait for a runtime that cannot be interrupted, seconds.
        """
        if self._opening is not None:
            if not self._opening.stop(timeout_s):
                _LEFT_BEHIND.append(self._opening)
            self._opening = None

    def close(self, timeout_s: float) -> None:
        """Give everything back."""
        self.give_up_search(timeout_s)
        if self._opened is not None:
            _close_in_time(self._opened)
            self._opened = None
        self._diagnostics.clear_facts()
        for problem in (PROBLEM, _MODEL, "engine_replaced"):
            self._diagnostics.solve(problem)


def is_anything_left_behind() -> bool:
    """Tell whether a thread may still be inside a runtime: only ``os._exit`` is safe then."""
    return bool(_LEFT_BEHIND)


def _close_in_time(opened: OpenedEngine) -> None:
    """Close an engine; a failing runtime may hang in it."""
    thread = threading.Thread(target=opened.engine.close, name="engine closing", daemon=True)
    thread.start()
    thread.join(_CLOSE_S)
    if thread.is_alive():
        _LEFT_BEHIND.append(opened)

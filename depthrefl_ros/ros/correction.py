"""What becomes of the depth before the gates: jitter averaged out, scale mended by anchors."""

from __future__ import annotations

import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.scale import ANCHORS, ScaleCorrection, ScaleHealth, ScaleSettings
from depthrefl_ros.geometry.temporal import DepthStabiliser
from depthrefl_ros.ros.anchors import Anchors
from depthrefl_ros.ros.diagnostics import Diagnostics
from depthrefl_ros.ros.moment import Moment


class DepthCorrection:
    """Carries stabiliser and scale correction from frame to frame.

    Args:
        anchors: measure the scale.
        diagnostics: told the factor and what is thought of it.
    """

    def __init__(self, anchors: Anchors, diagnostics: Diagnostics):
        self._anchors, self._diagnostics = anchors, diagnostics
        self._stabiliser: DepthStabiliser | None = None
        self._scale: ScaleCorrection | None = None

    def reset(self) -> None:
        """Forgets the past, after a backward jump of the clock."""
        self._stabiliser = self._scale = None

    @property
    def health(self) -> ScaleHealth:
        """Whether the scale of the last frame may be believed."""
        return ScaleHealth(True, "off") if self._scale is None else self._scale.health

    def apply(
        self,
        depth_m: np.ndarray,
        image: np.ndarray,
        camera: Camera,
        moment: Moment,
    ) -> np.ndarray:
        """Mends one frame's depth.

        Args:
            depth_m: (h, w) float32 metres before the gates; NaN where nothing was seen.
            image: (h, w, 3) uint8, what the network saw.
            camera: of both.
            moment: of the image.

        Returns:
            (h, w) float32 metres.
        """
        depth_m = self._stabilised(depth_m, image, moment)
        return self._scaled(depth_m, camera, moment)

    def _stabilised(self, depth_m: np.ndarray, image: np.ndarray, moment: Moment) -> np.ndarray:
        seconds = moment.parameters.temporal_smoothing
        if seconds <= 0.0:
            self._stabiliser = None
            return depth_m
        if self._stabiliser is None or self._stabiliser.time_constant_s != seconds:
            self._stabiliser = DepthStabiliser(seconds)
        return self._stabiliser.update(depth_m, image, moment.time_s)

    def _scaled(self, depth_m: np.ndarray, camera: Camera, moment: Moment) -> np.ndarray:
        how = moment.parameters.scale_correction
        if how == "off":
            self._scale = None
            self._tell(1.0, "not corrected")
            return depth_m
        if self._scale is None:
            self._scale = ScaleCorrection()
        self._scale.settings = ScaleSettings(
            correct_with=ANCHORS if how == "auto" else (how,),
            time_constant_s=moment.parameters.scale_time_constant,
            max_error=moment.parameters.max_scale_error,
        )
        ratios = self._anchors.log_ratios(depth_m, camera, moment)
        factor = self._scale.update(ratios, moment.time_s)
        self._tell(factor, self._scale.health.reason)
        return depth_m * np.float32(factor)

    def _tell(self, factor: float, reason: str) -> None:
        self._diagnostics.measure("scale_factor", factor)
        self._diagnostics.state_fact("scale", reason)

"""One frame through the node: message in, messages out, and an account of what became of it."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass

import numpy as np
from rclpy.clock import Clock
from rclpy.time import Time
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from depthrefl_ros.estimator import DepthEstimator, DepthFrame, Frame, StepTimer
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.ros.cameras import CameraSources, FoundCamera, NoCameraError
from depthrefl_ros.ros.diagnostics import ERROR, Diagnostics
from depthrefl_ros.ros.live_settings import LiveSettings
from depthrefl_ros.ros.messages import MessageError, compressed_image_to_array, image_to_array
from depthrefl_ros.ros.outputs import POINTS, Outputs
from depthrefl_ros.ros.parameters import Parameters
from depthrefl_ros.ros.throttle import Throttle


@dataclass(frozen=True, eq=False)
class Received:
    """An image message and when it came.

    Attributes:
        message: as it came.
        at_s: ``time.monotonic`` at receipt.
    """

    message: Image | CompressedImage
    at_s: float


class _DroppedError(Exception):
    """Ends a frame; ``reason`` is one of ``DROP_REASONS``, the message empty where all is well."""

    def __init__(self, reason: str, message: str = ""):
        super().__init__(message)
        self.reason = reason


class Pipeline:
    """Processes frames, in one thread.

    Args:
        estimator: frame to depth.
        cameras: where the camera of an image is found.
        outputs: what gets published.
        diagnostics: gets counters, timings and problems.
        logger: of the node.
        clock: of the node, for ``max_stamp_age``.
        topic: of the images, named in errors.
        live: the settings; may be set anew from another thread, the next frame takes them.
    """

    def __init__(
        self,
        estimator: DepthEstimator,
        cameras: CameraSources,
        outputs: Outputs,
        diagnostics: Diagnostics,
        logger,
        clock: Clock,
        topic: str,
        live: LiveSettings,
    ):
        self._estimator = estimator
        self._cameras = cameras
        self._outputs = outputs
        self._diagnostics = diagnostics
        self._logger = logger
        self._clock = clock
        self._topic = topic
        self.live = live
        self._throttle = Throttle()
        self._output_mask: tuple[object, object, np.ndarray | None] = (None, None, None)

    def process(self, received: Received) -> None:
        """Takes one frame all the way; never raises."""
        live = self.live
        timer = StepTimer()
        try:
            self._process(received, live, timer)
        except _DroppedError as dropped:
            self._diagnostics.drop(dropped.reason)
            if str(dropped):
                self._complain(dropped.reason, str(dropped))
        except Exception as error:  # one frame must not end the node
            self._diagnostics.drop("failed")
            self._diagnostics.problem("failed", f"{type(error).__name__}: {error}", ERROR)
            if self._throttle.allows("failed"):
                self._logger.error(f"a frame failed: {traceback.format_exc()}")
        else:
            self._account(received, timer.steps_ms)

    def _process(self, received: Received, live: LiveSettings, timer: StepTimer) -> None:
        self._check_age(received, live.parameters)
        wanted = self._outputs.wanted()
        if not wanted:
            raise _DroppedError("no_listener")
        message = received.message
        with timer.step("decode"):
            image, channels = self._decode(message)
        found = self._find_camera(message, image, live)
        if live.mask is not None and live.mask.shape != image.shape[:2]:
            raise _DroppedError(
                "bad_mask",
                f"self_mask is {live.mask.shape[1]}x{live.mask.shape[0]}; the image on "
                f"{self._topic} is {image.shape[1]}x{image.shape[0]}",
            )
        self._estimator.settings = live.estimator
        frame = Frame(image, channels, found.camera)
        depth = self._estimator.estimate(frame, with_colour=POINTS in wanted)
        timer.steps_ms.update(depth.steps_ms)
        if live.mask is not None:
            with timer.step("mask"):
                self._hide_self(depth, found.camera, live)
        header = Header(stamp=message.header.stamp, frame_id=message.header.frame_id)
        header.frame_id = live.parameters.optical_frame_id or header.frame_id
        range_m = (live.estimator.min_range_m, live.estimator.max_range_m)
        self._outputs.publish(wanted, depth, header, range_m, timer)
        for topic in wanted:
            self._diagnostics.count(f"published_{topic}")

    def _check_age(self, received: Received, parameters: Parameters) -> None:
        waited_s = time.monotonic() - received.at_s
        if 0.0 < parameters.max_age < waited_s:
            raise _DroppedError("too_old")
        if parameters.max_stamp_age > 0.0:
            stamp = Time.from_msg(received.message.header.stamp, clock_type=self._clock.clock_type)
            if (self._clock.now() - stamp).nanoseconds * 1e-9 > parameters.max_stamp_age:
                raise _DroppedError("too_old")

    def _decode(self, message: Image | CompressedImage) -> tuple[np.ndarray, str]:
        is_raw = isinstance(message, Image)
        try:
            return (image_to_array if is_raw else compressed_image_to_array)(message, self._topic)
        except MessageError as error:
            raise _DroppedError("bad_image", str(error)) from error

    def _find_camera(
        self, message: Image | CompressedImage, image: np.ndarray, live: LiveSettings
    ) -> FoundCamera:
        height, width = image.shape[:2]
        assumed = live.parameters.assumed_horizontal_fov
        try:
            found = self._cameras.find(
                message.header.stamp, width, height, live.calibration, assumed
            )
        except MessageError as error:
            reason = "no_camera_info" if isinstance(error, NoCameraError) else "bad_camera_info"
            raise _DroppedError(reason, f"{error}; images come on {self._topic}") from error
        self._diagnostics.state_fact("camera", found.source)
        if found.is_assumed:
            self._complain("assumed_horizontal_fov", f"camera from {found.source}")
        return found

    def _hide_self(self, depth: DepthFrame, camera: Camera, live: LiveSettings) -> None:
        """Sets depth to NaN, in place, where the mask hides the robot itself."""
        mask_of, camera_of, mask = self._output_mask
        if mask_of is not live.mask or camera_of is not depth.camera:
            rectification = self._estimator.rectification(camera, live.estimator)
            is_full = depth.camera is rectification.camera
            to_output = rectification.rectify if is_full else rectification.to_network
            mask = to_output(live.mask) > 0
            self._output_mask = (live.mask, depth.camera, mask)
        np.copyto(depth.depth_m, np.float32(np.nan), where=mask)

    def _account(self, received: Received, steps_ms: dict[str, float]) -> None:
        self._diagnostics.count("processed")
        outside = sum(steps_ms.values()) - steps_ms["engine"]
        since_receipt = (time.monotonic() - received.at_s) * 1e3
        totals = {"outside_engine": outside, "since_receipt": since_receipt}
        self._diagnostics.add_steps({**steps_ms, **totals})

    def _complain(self, kind: str, message: str) -> None:
        self._diagnostics.problem(kind, message)
        if self._throttle.allows(kind):
            self._logger.warning(message)

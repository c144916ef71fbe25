"""One frame through the node: message in, messages out, and an account of what became of it."""

from __future__ import annotations

import math
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from rclpy.clock import Clock
from rclpy.time import Time
from sensor_msgs.msg import CompressedImage, Image

from depthrefl_ros.estimator import DepthEstimator, DepthFrame, Frame, StepTimer
from depthrefl_ros.ros.anchors import Anchors
from depthrefl_ros.ros.cameras import CameraSources, FoundCamera, NoCameraError
from depthrefl_ros.ros.complaints import Complaints
from depthrefl_ros.ros.convert.images import MessageError, compressed_image_to_array, image_to_array
from depthrefl_ros.ros.correction import DepthCorrection
from depthrefl_ros.ros.diagnostics import Diagnostics
from depthrefl_ros.ros.live_settings import LiveSettings
from depthrefl_ros.ros.moment import Moment
from depthrefl_ros.ros.mount import Mount
from depthrefl_ros.ros.obstacle_outputs import TOPICS as OBSTACLE_TOPICS
from depthrefl_ros.ros.obstacle_outputs import ObstacleOutputs
from depthrefl_ros.ros.outputs import Outputs
from depthrefl_ros.ros.parameters import Parameters
from depthrefl_ros.ros.publishers import POINTS, Publishers

_ALL = 0.99  # share of the pixels that is as good as all


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
        publishers: publish what someone listens to.
        mount: where the camera stands on the robot.
        anchors: what else the robot knows of distances.
        diagnostics: gets counters, timings and what was found.
        complaints: get what is wrong.
        clock: of the node, for ``max_stamp_age``.
        topic: of the images, named in errors.
        live: the settings; may be set anew from another thread, the next frame takes them.
    """

    def __init__(
        self,
        estimator: DepthEstimator,
        cameras: CameraSources,
        publishers: Publishers,
        mount: Mount,
        anchors: Anchors,
        diagnostics: Diagnostics,
        complaints: Complaints,
        clock: Clock,
        topic: str,
        live: LiveSettings,
    ):
        self._estimator, self._cameras, self._publishers = estimator, cameras, publishers
        self._mount, self._anchors = mount, anchors
        self._correction = DepthCorrection(anchors, diagnostics)
        self._outputs = Outputs(publishers)
        self._obstacles = ObstacleOutputs(publishers, mount, anchors, diagnostics, complaints)
        self._diagnostics, self._complaints = diagnostics, complaints
        self._clock, self._topic = clock, topic
        self.live = live
        self._last_time_s = -math.inf

    def process(self, received: Received) -> None:
        """Takes one frame all the way; never raises."""
        moment = Moment.of(received.message.header, self.live, received.at_s)
        timer = StepTimer()
        try:
            try:
                self._process(received, moment, timer)
            except _DroppedError as dropped:
                self._diagnostics.drop(dropped.reason)
                if str(dropped):
                    self._complaints.warn(dropped.reason, str(dropped))
                self._obstacles.fall_silent(moment)
            else:
                self._account(received, timer.steps_ms)
        except Exception as error:  # one frame must not end the node
            self._diagnostics.drop("failed")
            told = f"{type(error).__name__}: {error}"
            self._complaints.error("failed", told, f"a frame failed: {traceback.format_exc()}")
            with suppress(Exception):  # where publishing is what failed
                self._obstacles.fall_silent(moment)

    def _process(self, received: Received, moment: Moment, timer: StepTimer) -> None:
        self._check_age(received, moment.parameters)
        self._check_clock(moment)
        wanted = self._publishers.wanted()
        if not wanted:
            raise _DroppedError("no_listener")
        with timer.step("decode"):
            image, channels = self._decode(received.message)
        camera = self._find_camera(image, moment).camera
        self._check_mask(image, moment.live)
        estimator = self._estimator
        estimator.settings = moment.live.estimator
        if not wanted - OBSTACLE_TOPICS:  # made from the network's own planes: nothing to enlarge
            estimator.settings = replace(estimator.settings, output_size="network")
        depth = estimator.estimate(
            Frame(image, channels, camera, moment.live.mask),
            with_colour=POINTS in wanted and moment.parameters.cloud_colour,
            correct=partial(self._correction.apply, moment=moment),
        )
        timer.steps_ms.update(depth.steps_ms)
        self._tell_gates(depth)
        self._obstacles.publish(wanted, depth, self._correction.health, moment, timer)
        self._outputs.publish(wanted, depth, moment, timer)

    def _check_age(self, received: Received, parameters: Parameters) -> None:
        waited_s = time.monotonic() - received.at_s
        if 0.0 < parameters.max_age < waited_s:
            raise _DroppedError("too_old")
        if parameters.max_stamp_age > 0.0:
            stamp = Time.from_msg(received.message.header.stamp, clock_type=self._clock.clock_type)
            if (self._clock.now() - stamp).nanoseconds * 1e-9 > parameters.max_stamp_age:
                raise _DroppedError("too_old")

    def _check_clock(self, moment: Moment) -> None:
        """A frame from before the last one, as when a bag begins anew, knows no past."""
        if moment.time_s < self._last_time_s:
            for one in (self._correction, self._mount, self._anchors):
                one.reset()
        self._last_time_s = moment.time_s

    def _check_mask(self, image: np.ndarray, live: LiveSettings) -> None:
        if live.mask is not None and live.mask.shape != image.shape[:2]:
            raise _DroppedError(
                "bad_mask",
                f"self_mask is {live.mask.shape[1]}x{live.mask.shape[0]}; the image on "
                f"{self._topic} is {image.shape[1]}x{image.shape[0]}",
            )

    def _decode(self, message: Image | CompressedImage) -> tuple[np.ndarray, str]:
        is_raw = isinstance(message, Image)
        try:
            return (image_to_array if is_raw else compressed_image_to_array)(message, self._topic)
        except MessageError as error:
            raise _DroppedError("bad_image", str(error)) from error

    def _find_camera(self, image: np.ndarray, moment: Moment) -> FoundCamera:
        height, width = image.shape[:2]
        assumed = moment.parameters.assumed_horizontal_fov
        try:
            found = self._cameras.find(
                moment.header.stamp, width, height, moment.live.calibration, assumed
            )
        except MessageError as error:
            reason = "no_camera_info" if isinstance(error, NoCameraError) else "bad_camera_info"
            raise _DroppedError(reason, f"{error}; images come on {self._topic}") from error
        self._diagnostics.state_fact("camera", found.source)
        if found.is_assumed:
            self._complaints.warn("assumed_horizontal_fov", f"camera from {found.source}")
        if found.camera.rescaled_from is not None:
            self._complaints.warn("rescaled", f"camera from {found.source}")
        return found

    def _tell_gates(self, depth: DepthFrame) -> None:
        """What share of the pixels each gate found; warns where one takes all."""
        pixels = depth.network_depth_m.size
        for gate, count in depth.gate_counts.items():
            self._diagnostics.measure(f"gated_{gate}_percent", 100.0 * count / pixels)
            if count >= _ALL * pixels:
                self._complaints.warn(
                    f"gated_{gate}",
                    f"the gate {gate!r} takes {100.0 * count / pixels:.0f} % of the pixels: "
                    f"nothing is left to believe",
                )

    def _account(self, received: Received, steps_ms: dict[str, float]) -> None:
        self._diagnostics.count("processed")
        outside = sum(steps_ms.values()) - steps_ms["engine"]
        since_receipt = (time.monotonic() - received.at_s) * 1e3
        totals = {"outside_engine": outside, "since_receipt": since_receipt}
        self._diagnostics.add_steps({**steps_ms, **totals})

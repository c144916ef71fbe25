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

"""One frame through the rooms: message in, messages out, and an account of what became of it.

convert -> predict -> correct -> believe -> publish. The robot is looked at once; each room takes
what it needs as arguments and hands on what it made.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from rclpy.clock import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from depthrefl_ros.engine.base import EngineError, WithdrawnError
from depthrefl_ros.estimator import DepthEstimator, StepTimer
from depthrefl_ros.frames import DepthFrame, Frame, Prediction
from depthrefl_ros.geometry.correction import Corrected, DepthCorrection, uncorrected
from depthrefl_ros.geometry.surround import Surround
from depthrefl_ros.ros.camera_lookup import CameraLookup
from depthrefl_ros.ros.diagnostics import Diagnostics
from depthrefl_ros.ros.intake import DroppedError, Intake, Received
from depthrefl_ros.ros.late_sensors import LateSensors
from depthrefl_ros.ros.loaded_model import FrameSettings
from depthrefl_ros.ros.obstacle_publisher import CLOUDS, ObstaclePublisher
from depthrefl_ros.ros.obstacle_publisher import TOPICS as OBSTACLE_TOPICS
from depthrefl_ros.ros.publishers import COMPRESSED, POINTS, SCAN, DepthPublisher, Publishers
from depthrefl_ros.ros.robot import Robot
from depthrefl_ros.ros.sensors import seconds_of

NOT_TAKEN = "not taken by this model"  # what diagnostics say of the mount
STALE_S = 1.7  # a costmap gets no depth of an older image; it is told within 2 s
_ALL = 0.99  # share of the pixels that is as good as all


class _LeftBehindError(Exception):
    """Ends a frame of which nobody wants to know any more."""


class Pipeline:
    """Processes frames, in one thread.

    Args:
        estimator: frame to depth.
        cameras: finds the camera of an image.
        robot: knows where the camera stands, and other distances.
        publishers: publish what someone listens to.
        obstacles: publishes what a costmap acts on.
        diagnostics: gets counters, timings and what was found.
        clock: of the node, for ``max_stamp_age``.
        topic: of the images, named in errors.
        on_first_depth: told once, in words, when the first result is out.

    Attributes:
        engine_failures: frames in a row on which the engine failed.
    """

    def __init__(
        self,
        estimator: DepthEstimator,
        cameras: CameraLookup,
        robot: Robot,
        publishers: Publishers,
        obstacles: ObstaclePublisher,
        diagnostics: Diagnostics,
        clock: Clock,
        topic: str,
        on_first_depth: Callable[[str], None] = lambda words: None,
    ):
        self._estimator, self._robot = estimator, robot
        self._publishers, self._obstacles = publishers, obstacles
        self._depths = DepthPublisher(publishers)
        self._diagnostics, self._topic = diagnostics, topic
        self._on_first_depth = on_first_depth
        bundle = estimator.bundle
        self._intake = Intake(cameras, diagnostics, clock, topic, bundle.trained_hfov_deg)
        self._correction = DepthCorrection(bundle.untold_error)
        self._late = LateSensors(robot, self._fail)
        self._has_told = False
        self._is_left_behind = self._must_forget = False
        self.engine_failures = 0

    def process(self, received: Received) -> None:
        """Take one frame all the way; never raises."""
        timer = StepTimer()
        try:
            self._process(received, timer)
        except _LeftBehindError:
            pass
        except DroppedError as dropped:
            self._diagnostics.drop(dropped.reason)
            if str(dropped):
                self._diagnostics.warn(dropped.reason, str(dropped))
            if dropped.silences:
                self._obstacles.fall_silent()
        except Exception as error:  # one frame must not end the node
            self._diagnostics.drop("failed")
            self._fail("failed", "a frame failed", error)
            self._fall_silent_after_failure()
        else:
            self._account(received, timer.steps_ms)

    def forget(self) -> None:
        """Forget earlier frames before the next one, after a jump of the clock; any thread's."""
        self._must_forget = True

    def leave_behind(self) -> None:
        """Give up the frame that a hanging engine holds; any thread's.

        Should the engine ever come back, the frame ends there, uncounted: it counts as failed now.
        """
        self._is_left_behind = True
        self._diagnostics.drop("failed")

    def _forget(self) -> None:
        self._must_forget = False
        self._correction.reset()
        self._robot.forget()
        self._intake.forget()

    def _process(self, received: Received, timer: StepTimer) -> None:
        settings = received.settings
        self._intake.check_age(received)
        header = Header(stamp=received.message.header.stamp)
        header.frame_id = settings.parameters.optical_frame_id or received.message.header.frame_id
        time_s = seconds_of(header.stamp) or received.at_s  # of receipt, where there are no stamps
        if self._must_forget or self._intake.is_set_back(time_s):
            self._forget()
        self._intake.admit(time_s)
        wanted = self._publishers.wanted()
        if not wanted:
            raise DroppedError("no_listener")
        with timer.step("decode"):
            frame = self._intake.frame(received.message, settings)
        with timer.step("robot"):
            surround = self._robot.at(header, time_s, settings.parameters)
        prediction = self._predict(frame, surround, settings, timer)
        surround = self._late.completed(received, header, prediction, surround, timer)
        if time.monotonic() - received.at_s > STALE_S:
            self._obstacles.fall_silent()
            wanted -= OBSTACLE_TOPICS
        untold_m = self._untold(prediction, surround, settings, wanted, timer)
        with timer.step("correct"):
            corrected = self._correct(prediction, surround, settings, wanted, untold_m)
        depth = self._believe(prediction, corrected, surround, settings, wanted, timer)
        self._tell(depth, corrected, surround)
        self._tell_mount(prediction, surround)
        self._publish(wanted, depth, corrected, surround, header, settings, timer)

    def _predict(
        self, frame: Frame, surround: Surround, settings: FrameSettings, timer: StepTimer
    ) -> Prediction:
        with self._engine_watched():
            return self._estimator.predict(frame, settings.estimator, timer, surround.mount)

    def _untold(
        self,
        prediction: Prediction,
        surround: Surround,
        settings: FrameSettings,
        wanted: frozenset[str],
        timer: StepTimer,
    ) -> np.ndarray | None:
        """Return depth that was not told the mount, where the floor check looks at this frame."""
        how = settings.parameters.correction
        is_needed = prediction.floor is not None and wanted & OBSTACLE_TOPICS
        if not is_needed or not self._correction.needs_untold(surround, how):
            return None
        with self._engine_watched(), timer.step("engine"):
            return self._estimator.depth_untold(prediction)

    @contextmanager
    def _engine_watched(self) -> Iterator[None]:
        """Count an engine's failures; end the frame if nobody wants to know of it any more."""
        try:
            yield
        except WithdrawnError:
            raise DroppedError("deactivated") from None
        except Exception as error:
            if self._is_left_behind:
                raise _LeftBehindError from None
            self.engine_failures += isinstance(error, EngineError)
            raise
        if self._is_left_behind:
            raise _LeftBehindError
        self.engine_failures = 0

    def _correct(
        self,
        prediction: Prediction,
        surround: Surround,
        settings: FrameSettings,
        wanted: frozenset[str],
        untold_m: np.ndarray | None,
    ) -> Corrected:
        """Correct the depth; where that fails it goes on as it is, but nothing is marked by it."""
        how = settings.parameters.correction
        is_relative = self._estimator.bundle.kind == "inverse_relative"
        if is_relative and not how.anchors:
            problem = "the model gives relative depth, no metres; set scale_correction to get them"
            self._diagnostics.warn("metric", f"depth is NaN: {problem}")
            return uncorrected(prediction.depth_m, problem)
        try:
            return self._correction.apply(
                prediction.depth_m,
                prediction.image,
                prediction.camera,
                surround,
                how,
                bool(wanted & OBSTACLE_TOPICS),
                prediction.relative if is_relative else None,
                prediction.floor is not None,
                untold_m,
            )
        except Exception as error:
            self._fail("correction", "the correction failed", error)
            self._correction.reset()
            return uncorrected(prediction.depth_m, f"the correction failed: {error}")

    def _believe(
        self,
        prediction: Prediction,
        corrected: Corrected,
        surround: Surround,
        settings: FrameSettings,
        wanted: frozenset[str],
        timer: StepTimer,
    ) -> DepthFrame:
        how = settings.estimator
        if not wanted - OBSTACLE_TOPICS:  # made from the network's own planes: nothing to enlarge
            how = replace(how, output_size="network")
        with_colour = POINTS in wanted and settings.parameters.cloud.colour
        is_filled = corrected.is_measured is not None
        measured_m = surround.reference_image_m if is_filled else None
        measured = (measured_m, corrected.is_measured)
        depth_m = corrected.depth_m
        return self._estimator.believe(prediction, depth_m, how, with_colour, timer, *measured)

    def _publish(
        self,
        wanted: frozenset[str],
        depth: DepthFrame,
        corrected: Corrected,
        surround: Surround,
        header: Header,
        settings: FrameSettings,
        timer: StepTimer,
    ) -> None:
        """Publish everything; each output stands for itself."""
        if wanted & CLOUDS:
            with self._standing_for_itself("points/marking and points/clearing", CLOUDS):
                problem = corrected.obstacle_problem
                if problem:
                    self._keep_silent(
                        "obstacles", "marking and clearing", problem, surround, CLOUDS
                    )
                else:
                    self._obstacles.publish_clouds(
                        wanted, depth, corrected, header, settings, timer
                    )
        if SCAN in wanted:
            with self._standing_for_itself(SCAN, frozenset({SCAN})):
                problem = self._scan_problem(corrected, surround)
                if problem:
                    self._keep_silent("scan", "scan", problem, surround, frozenset({SCAN}))
                else:
                    self._obstacles.publish_scan(
                        depth, corrected, surround, header, settings, timer
                    )
        for topic in sorted(wanted - OBSTACLE_TOPICS, key=lambda one: (one in COMPRESSED, one)):
            with self._standing_for_itself(topic):
                self._depths.publish(topic, depth, header, settings, timer)

    @staticmethod
    def _scan_problem(corrected: Corrected, surround: Surround) -> str:
        """Return why there can be no scan, or nothing. A fitted floor has no place in TF."""
        if corrected.obstacle_problem and corrected.pose_source != "floor":
            return corrected.obstacle_problem
        if corrected.pose_source == "floor" or corrected.base_from_camera is None:
            return surround.pose_problem
        return surround.scan_problem

    def _keep_silent(
        self, kind: str, what: str, problem: str, surround: Surround, topics: frozenset[str]
    ) -> None:
        self._obstacles.fall_silent(topics)
        if not surround.awaits_transforms:
            self._diagnostics.warn(kind, f"no {what}: {problem}")

    @contextmanager
    def _standing_for_itself(
        self, topic: str, silenced: frozenset[str] = frozenset()
    ) -> Iterator[None]:
        """Hold an output's failure back from the others, and tell it."""
        try:
            yield
        except Exception as error:
            self._fail(f"output_{topic}", f"{topic} failed", error)
            if silenced:
                self._fall_silent_after_failure(silenced)

    def _fail(self, kind: str, what: str, error: Exception) -> None:
        told = f"{what}: {type(error).__name__}: {error}"
        details = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        self._diagnostics.error(kind, told, f"{what}: {details}")

    def _fall_silent_after_failure(self, topics: frozenset[str] = OBSTACLE_TOPICS) -> None:
        try:
            self._obstacles.fall_silent(topics)
        except Exception as error:  # publishing itself is what failed
            self._diagnostics.problem("silence", f"costmaps could not be marked stale: {error}")

    def _tell(self, depth: DepthFrame, corrected: Corrected, surround: Surround) -> None:
        """State what the gates took and what the correction found."""
        pixels = depth.network_depth_m.size
        for gate, count in depth.gate_counts.items():
            percent = 100.0 * count / pixels
            self._diagnostics.measure(f"gated_{gate}_percent", percent)
            if count >= _ALL * pixels:
                told = f"the gate {gate!r} takes {percent:.0f} % of the pixels: no depth is left"
                self._diagnostics.warn(f"gated_{gate}", told)
        self._diagnostics.measure("scale_factor", corrected.factor)
        self._diagnostics.state_fact("scale", corrected.scale.reason)
        if corrected.motion:
            self._diagnostics.state_fact("motion", corrected.motion)
        else:
            self._diagnostics.withdraw("motion")
        # Without a listener for obstacles the correction asks for no pose; the robot knows it.
        pose, source = corrected.base_from_camera, corrected.pose_source
        if pose is None:
            pose, source = surround.base_from_camera, surround.pose_source
        if pose is None:
            self._diagnostics.withdraw("camera_pose", "base_from_camera")
        else:
            words = f"{pose.translation[2]:.2f} m up by {source}"
            self._diagnostics.state_fact("camera_pose", words)
            self._diagnostics.state_fact("base_from_camera", pose.as_text())
        if np.isfinite(corrected.floor_offset_m):
            self._diagnostics.measure("floor_offset_m", corrected.floor_offset_m)
        else:
            self._diagnostics.withdraw("floor_offset_m")
        for kind, problem in corrected.problems.items():
            self._diagnostics.warn(kind, problem)

    def _tell_mount(self, prediction: Prediction, surround: Surround) -> None:
        """State whether the network was told where the camera stands."""
        is_taken = self._estimator.bundle.takes_mount
        words = surround.mount_words(prediction.floor is not None) if is_taken else NOT_TAKEN
        self._diagnostics.state_fact("mount", words)

    def _account(self, received: Received, steps_ms: dict[str, float]) -> None:
        self._diagnostics.count("processed")
        outside = sum(steps_ms.values()) - steps_ms["engine"]
        since_receipt = (time.monotonic() - received.at_s) * 1e3
        totals = {"outside_engine": outside, "since_receipt": since_receipt}
        self._diagnostics.add_steps({**steps_ms, **totals})
        if not self._has_told:
            self._has_told = True
            image = received.message
            size = f"{image.width}x{image.height} " if isinstance(image, Image) else ""
            self._on_first_depth(
                f"first depth is out, {since_receipt:.0f} ms after its {size}image on {self._topic}"
            )

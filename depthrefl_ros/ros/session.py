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

"""From activate to deactivate: subscriptions, the worker, and the watch over both."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CompressedImage, Image

from depthrefl_ros.engine.selection import OpenedEngine
from depthrefl_ros.estimator import DepthEstimator
from depthrefl_ros.ros.bond import WITHOUT_BOND, make_bond
from depthrefl_ros.ros.camera_lookup import CameraLookup
from depthrefl_ros.ros.diagnostics import Diagnostics
from depthrefl_ros.ros.intake import CLOCK_JUMP_S, Received
from depthrefl_ros.ros.loaded_model import Model
from depthrefl_ros.ros.obstacle_publisher import ObstaclePublisher
from depthrefl_ros.ros.pipeline import STALE_S, Pipeline
from depthrefl_ros.ros.publishers import Publishers
from depthrefl_ros.ros.robot import Robot
from depthrefl_ros.ros.subscriptions import GRAPH_PERIOD_S, Subscriptions
from depthrefl_ros.ros.worker import NewestWorker, RateLimit

SILENCE_S = 2.0  # without images for longer, a costmap is told
WITHDRAW_S = 0.2  # in which a frame that waits for other cameras' ends
GIVE_UP_S = 10.0  # an engine that hangs longer is left behind and another one is looked for
# A network may be slow, on a CPU above all: by its time in the self-test it is stuck, given up.
_STUCK_AFTER, _GIVE_UP_AFTER = 3.0, 6.0
FAILURES = 5  # in a row, after which the engine is replaced
WATCH_PERIOD_S = 0.2
_FLUSH_S = 0.2  # in which subscribers take the last clouds
_SOUNDS_RECTIFIED = re.compile(r"[/_]rect")


@dataclass(frozen=True, eq=False)
class _Work:
    """A worker with its pipeline: there is one for as long as there is an engine."""

    worker: NewestWorker[Received]
    pipeline: Pipeline
    usual_s: float  # what an image takes


class Session:
    """What an active node does. Its methods are the executor's.

    Args:
        node: that subscribes and publishes.
        model: gives the settings of each frame; replaces an engine that fails.
        publishers: of all topics.
        robot: knows where the camera stands.
        diagnostics: told everything.
        guarded: wraps every callback.
        tell_now: publishes the diagnostics at once.
    """

    def __init__(
        self,
        node: LifecycleNode,
        model: Model,
        publishers: Publishers,
        robot: Robot,
        diagnostics: Diagnostics,
        guarded: Callable[[Callable], Callable],
        tell_now: Callable[[], None],
    ):
        self._node, self._model, self._publishers = node, model, publishers
        self._tell_now = tell_now
        self._robot, self._diagnostics = robot, diagnostics
        self._rate_limit = RateLimit()
        self._last_image_s = self._started_s = time.monotonic()
        self._has_introduced_itself = False
        self._silence_due_s = 0.0
        self._work: _Work | None = None
        self._is_stuck = False
        self._stop_s = 0.0
        self._obstacles = ObstaclePublisher(publishers)
        self._cameras = CameraLookup(node.resolve_topic_name("camera_info"))
        robot.forget_messages()
        with ExitStack() as closing:  # in the opposite order
            closing.callback(self._silence_for_good)
            closing.callback(self._close_work)
            parameters = model.settings.parameters
            self._subscriptions = Subscriptions(
                node,
                parameters.inputs,
                parameters.correction.anchors,
                self._on_image,
                self._cameras.add,
                robot.take,
                guarded,
            )
            closing.callback(self._subscriptions.close)
            timer = node.create_timer(
                WATCH_PERIOD_S,
                guarded(self._watch),
                # Steady: under use_sim_time the node's own clock may stand still.
                clock=Clock(clock_type=ClockType.STEADY_TIME),
            )
            closing.callback(node.destroy_timer, timer)
            threshold = JumpThreshold(
                min_forward=None, min_backward=Duration(seconds=-CLOCK_JUMP_S), on_clock_change=True
            )
            jumps = node.get_clock().create_jump_callback(
                threshold, post_callback=guarded(self._on_clock_jump)
            )
            closing.callback(jumps.unregister)
            if not parameters.autostart:  # a manager has activated it, and may want to know
                self._bond_with_manager(closing)
            self._closing = closing.pop_all()
        self._warn_of_rectified_topic()

    @property
    def works(self) -> bool:
        """Whether frames are processed: there is an engine."""
        return self._work is not None

    def begin(self, opened: OpenedEngine) -> None:
        """Process frames from now on."""
        model = self._model
        pipeline = Pipeline(
            DepthEstimator(opened.engine, model.bundle, model.settings.estimator),
            self._cameras,
            self._robot,
            self._publishers,
            self._obstacles,
            self._diagnostics,
            self._node.get_clock(),
            self._subscriptions.image_topic,
            self._node.get_logger().info,
        )
        usual_s = opened.report.seconds * model.cameras  # each may have to wait for all others
        worker = NewestWorker(pipeline.process, "depthrefl worker")
        self._work = _Work(worker, pipeline, usual_s)
        if usual_s <= STALE_S:
            self._diagnostics.solve("slow")
            return
        of_cameras = f" of each of {model.cameras} cameras" if model.cameras > 1 else ""
        self._diagnostics.problem(
            "slow",
            f"the engine on {model.device} takes {usual_s:.1f} s for an image{of_cameras}: "
            f"marking, clearing and scan need depth within {STALE_S:g} s and stay silent; take a "
            "smaller model",
            lasting=True,
        )

    def follow_settings(self) -> None:
        """Listen to what the model's settings now need; frames take them by themselves."""
        anchors = self._model.settings.parameters.correction.anchors
        self._subscriptions.follow_anchors(anchors)
        self._robot.follow_anchors(anchors)

    def close(self, timeout_s: float) -> None:
        """Stop to listen and to work, tell the costmap, in this order.

        Args:
            timeout_s: longest wait for the frame in work; then it is left behind with its engine.
        """
        self._stop_s = timeout_s
        self._closing.close()

    def _on_image(self, message: Image | CompressedImage, missed: int) -> None:
        self._last_image_s = time.monotonic()
        self._diagnostics.count("received", 1 + missed)
        if missed:
            self._diagnostics.drop("missed", missed)
        settings, work = self._model.settings, self._work
        if work is None:
            self._diagnostics.drop("no_engine")
        elif not self._rate_limit.allows(
            self._last_image_s, settings.parameters.inputs.max_rate_hz
        ):
            self._diagnostics.drop("rate_limited")
        else:
            received = Received(message, self._last_image_s, settings)
            if work.worker.submit(received) is not None:
                self._diagnostics.drop("superseded")

    def _watch(self) -> None:
        """Look whether images come and frames get done; tell the costmap where they do not."""
        now_s = time.monotonic()
        if not self._has_introduced_itself and now_s - self._started_s > GRAPH_PERIOD_S:
            self._has_introduced_itself = True
            self._node.get_logger().info(f"listening to {self._subscriptions.words()}")
        silent_s = now_s - self._last_image_s
        if silent_s <= SILENCE_S:
            self._diagnostics.solve("silence")
        else:
            self._obstacles.fall_silent()
            if now_s >= self._silence_due_s:  # why costs several looks at the graph
                self._silence_due_s = now_s + GRAPH_PERIOD_S
                told = f"no image on {self._subscriptions.image_topic} for {silent_s:.0f} s: "
                self._diagnostics.warn("silence", told + self._subscriptions.silence_words())
        if self._work is not None:
            self._watch_work(self._work)

    def _watch_work(self, work: _Work) -> None:
        stuck_s = work.worker.busy_s
        # With several cameras part of it is waiting for the others' frames.
        stuck_after_s = max(STALE_S * self._model.cameras, _STUCK_AFTER * work.usual_s)
        was_stuck, self._is_stuck = self._is_stuck, stuck_s > stuck_after_s
        if stuck_s > STALE_S:
            self._obstacles.fall_silent()
        if self._is_stuck:
            self._diagnostics.error(
                "stuck",
                f"a frame has been processing for {stuck_s:.1f} s: the engine on "
                f"{self._model.device} hangs",
            )
        else:
            self._diagnostics.solve("stuck")
        if self._is_stuck and not was_stuck:
            self._tell_now()
        if stuck_s > max(GIVE_UP_S, _GIVE_UP_AFTER * work.usual_s):
            self._replace_engine(f"it has hung for {stuck_s:.0f} s", WITHDRAW_S)
        elif work.pipeline.engine_failures >= FAILURES:
            failures = work.pipeline.engine_failures
            self._replace_engine(f"{failures} frames in a row have failed", STALE_S)

    def _replace_engine(self, reason: str, timeout_s: float) -> None:
        has_ended = self._end_work(timeout_s)
        self._is_stuck = False
        self._diagnostics.solve("stuck")
        self._model.replace(reason, is_hanging=not has_ended)

    def _end_work(self, timeout_s: float) -> bool:
        """Stop the worker; returns whether it has ended, or was left behind inside the engine."""
        work, self._work = self._work, None
        if work is None:
            return True
        self._model.withdraw()
        has_ended, waiting = work.worker.stop(timeout_s)
        if waiting is not None:
            self._diagnostics.drop("deactivated")
        if not has_ended:
            work.pipeline.leave_behind()
            self._node.get_logger().error(
                f"the engine on {self._model.device} does not return and is left behind"
            )
        return has_ended

    def _close_work(self) -> None:
        if not self._end_work(self._stop_s):
            self._model.leave_behind()

    def _silence_for_good(self) -> None:
        told = self._obstacles.close()
        if told:
            self._publishers.flush(told, _FLUSH_S)
        for kind in ("silence", "stuck", "slow"):
            self._diagnostics.solve(kind)

    def _on_clock_jump(self, _jump: object) -> None:
        if self._work is not None:
            self._work.pipeline.forget()

    def _bond_with_manager(self, closing: ExitStack) -> None:
        bond = make_bond(self._node)
        if bond is None:
            self._node.get_logger().info(WITHOUT_BOND)
        else:
            closing.callback(bond.close)

    def _warn_of_rectified_topic(self) -> None:
        topic = self._subscriptions.image_topic
        is_rectified = self._model.settings.parameters.estimator.image_is_rectified
        if _SOUNDS_RECTIFIED.search(topic) and not is_rectified:
            self._node.get_logger().warning(
                f"images come on {topic}, which sounds rectified, and image_is_rectified is false: "
                "they will be undistorted again; set image_is_rectified if they are rectified"
            )

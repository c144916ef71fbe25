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

"""The lifecycle node ``depthrefl``: a camera's images in, metric depth and clouds out."""

from __future__ import annotations

import sys

if __name__ == "__main__":  # before all that takes long to import: signals must find a handler
    from depthrefl_ros.ros.executable import main

    sys.exit(main())

import functools
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from depthrefl_ros.engine.base import EngineError
from depthrefl_ros.engine.bundle import BundleError
from depthrefl_ros.engine.shared_engines import SharedEngines
from depthrefl_ros.ros.diagnostics import ERROR, Diagnostics
from depthrefl_ros.ros.engine_opening import PROBLEM
from depthrefl_ros.ros.loaded_model import FrameSettings, Model
from depthrefl_ros.ros.parameters import (
    Parameters,
    check_changeable,
    declare,
    nearest,
    understood,
    unknown_parameters,
)
from depthrefl_ros.ros.publishers import Publishers, check_overrides
from depthrefl_ros.ros.robot import Robot
from depthrefl_ros.ros.session import Session
from depthrefl_ros.settings import changed, described, values_of

CONFIGURE_S = 3.0  # that the transition may take; Nav2 waits 5 s for its answer
DEACTIVATE_S = 2.0  # that a frame in work is given
SHUTDOWN_S = 0.5  # the same when the process ends

_NUMBERS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
}
# The state, and a transition that has led to it or past it.
_DONE_ALREADY = {
    ("inactive", Transition.TRANSITION_CONFIGURE),
    ("active", Transition.TRANSITION_CONFIGURE),
    ("active", Transition.TRANSITION_ACTIVATE),
}

# What a user's setting or a file can cause: told in one line, without a traceback.
_EXPECTED_ERRORS = (BundleError, EngineError, ValueError)


def _told(error: Exception) -> str:
    """Return the error in one line where a user can have caused it, else with its traceback."""
    if isinstance(error, _EXPECTED_ERRORS):
        return str(error)
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


@dataclass(frozen=True, eq=False)
class _Configured:
    """What configure makes and cleanup gives back."""

    model: Model
    publishers: Publishers
    robot: Robot
    closing: ExitStack


class DepthReflNode(LifecycleNode):
    """Callbacks only store; one worker thread does the work and publishes.

    Args:
        stopping: set when the process is to end: nothing is waited for then.
        engines: of the process, where it has several cameras.
        arguments: of ``rclpy.node.Node``, such as ``namespace`` or ``parameter_overrides``.

    Raises:
        SettingError: a parameter was given a value that cannot be taken.
        ParameterException: the same, of a parameter of rclpy's own such as ``use_sim_time``.
    """

    def __init__(
        self,
        stopping: threading.Event | None = None,
        engines: SharedEngines | None = None,
        **arguments: Any,
    ):
        self.diagnostics = Diagnostics()
        self._stopping = stopping or threading.Event()
        self._engines = engines or SharedEngines()
        self._configured: _Configured | None = None
        self._session: Session | None = None
        self._broken_by = ""  # why the lifecycle's error processing is under way
        super().__init__("depthrefl", **arguments)
        service = getattr(self, "_service_change_state", None)  # None: without an interface
        if service is not None:
            service.callback = self._answering(service.callback)
        self.diagnostics.log_to(self.get_logger())
        self.parameters = declare(self)
        check_overrides(self)
        for doubt in unknown_parameters(self):
            self.get_logger().warning(doubt)
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Steady: diagnostics go out even where simulated time stands still.
        self._diagnostics_timer = self.create_timer(
            self.parameters.diagnostics_period_s,
            self._guarded(self.publish_diagnostics),
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )
        self._opening_ended = self.create_guard_condition(self._guarded(self._on_opening_ended))
        self.add_on_set_parameters_callback(self._on_set_parameters)

    @property
    def lifecycle_state(self) -> str:
        """The state's name, as rcl has it: ``unconfigured``, ``inactive``, ``active``..."""
        return self._state_machine.current_state[1]

    def autostart(self) -> None:
        """Configure and activate, where the parameter ``autostart`` says so."""
        if not self.parameters.autostart:
            return
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            if not self._stopping.is_set():
                self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model, make the publishers, listen to TF, and look for an engine.

        An engine that takes longer than ``CONFIGURE_S``, such as a build, is looked for beside
        the node.
        """
        return self._transition("configure", self._configure, super().on_configure, state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to publish, to listen and, as soon as there is an engine, to work."""
        done = super().on_activate(state)
        if done != TransitionCallbackReturn.SUCCESS:
            return done
        done = self._transition("activate", self._activate)
        if done != TransitionCallbackReturn.SUCCESS:
            super().on_deactivate(state)
        return done

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop to listen, to work and to publish, in this order."""
        done = self._transition("deactivate", self._deactivate, super().on_deactivate, state)
        return TransitionCallbackReturn.ERROR if self._broken_by else done

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give model, engine and publishers back."""
        return self._transition("cleanup", self._release, super().on_cleanup, state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and give everything back, from any state."""
        return self._transition("shutdown", self._release, super().on_shutdown, state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured, and go on saying why."""
        done = self._transition("error", self._release, super().on_error, state)
        if self._broken_by:
            self.diagnostics.problem("transition", self._broken_by, ERROR, lasting=True)
            self._broken_by = ""
        return done

    def destroy_node(self) -> None:
        """Stop and give everything back; the node cannot be used after."""
        self._release(SHUTDOWN_S)
        super().destroy_node()

    def set_parameters(self, parameter_list: list[Parameter]) -> list[SetParametersResult]:
        """Set parameters one by one; see ``set_parameters_atomically``."""
        return [self.set_parameters_atomically([one]) for one in parameter_list]

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Set parameters together; values are understood as users write them.

        A whole number is taken for a real one. A value that does not change is accepted in every
        state, so that a dump of the node can be loaded again.
        """
        defaults = {one.name: (one, value) for one, value in described(Parameters())}
        changes = []
        for given in parameter_list:
            if not self.has_parameter(given.name):
                reason = f"there is no parameter {given.name!r}{nearest(given.name, defaults)}"
                return SetParametersResult(successful=False, reason=reason)
            if given.name in defaults:
                given = Parameter(given.name, value=understood(*defaults[given.name], given.value))
            before = self.get_parameter(given.name)
            if (before.type_, before.value) != (given.type_, given.value):
                changes.append(given)
        if not changes:
            return SetParametersResult(successful=True)
        return super().set_parameters_atomically(changes)

    def publish_diagnostics(self) -> None:
        """Publish what happened so far on /diagnostics."""
        device = "" if self._configured is None else self._configured.model.device
        name = self.get_fully_qualified_name().lstrip("/")
        status = self.diagnostics.status(name, self.lifecycle_state, device)
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics_publisher.publish(message)

    def _transition(
        self,
        name: str,
        work: Callable[[], None],
        of_entities: Callable[[LifecycleState], TransitionCallbackReturn] | None = None,
        state: LifecycleState | None = None,
    ) -> TransitionCallbackReturn:
        """Do a transition's work, then its managed entities'; log a failure: the node stays up."""
        try:
            work()
        except Exception as error:
            again = f"ros2 lifecycle set {self.get_fully_qualified_name()} {name}"
            self.get_logger().error(
                f"{name} failed: {_told(error)}. What to do next: fix that, with a parameter or in "
                f"the file, and try again: {again}"
            )
            self.diagnostics.problem("transition", str(error), ERROR, lasting=True)
            return TransitionCallbackReturn.FAILURE
        self.diagnostics.solve("transition")
        return TransitionCallbackReturn.SUCCESS if of_entities is None else of_entities(state)

    def _answering(self, change_state: Callable) -> Callable:
        """Wrap the service that changes the state: who asks gets an answer whatever happens.

        Up to Jazzy rclpy lets rcl's error about a transition that the state does not have escape
        from the service. Nothing is answered then, and Nav2's lifecycle manager waits for ever.
        """

        @functools.wraps(change_state)
        def answer(request: ChangeState.Request, response: ChangeState.Response):
            before, asked = self.lifecycle_state, request.transition
            try:
                response = change_state(request, response)
            except RuntimeError as error:  # what RCLError is in every release
                name = asked.label or f"number {asked.id}"
                self.get_logger().error(f"there is no transition {name} from {before}: {error}")
                response.success = False
            number = _NUMBERS.get(asked.label, asked.id)  # the label counts, where there is one
            if not response.success and (before, number) in _DONE_ALREADY:
                self.get_logger().warning(
                    f"asked for a transition to a state that the node is already in: {before}. "
                    "If a lifecycle manager starts the node, set autostart: false"
                )
            return response

        return answer

    def _guarded(self, callback: Callable) -> Callable:
        """Wrap a callback of the executor's: what it raises is logged and told, and all goes on."""

        @functools.wraps(callback)
        def guarded(*arguments: Any) -> Any:
            try:
                return callback(*arguments)
            except Exception as error:
                self.survive(error)

        return guarded

    def survive(self, error: Exception) -> None:
        """Log and diagnose what a callback raised."""
        details = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        told = f"a callback failed: {type(error).__name__}: {error}"
        self.diagnostics.error("callback", told, f"a callback failed: {details}")

    def _configure(self) -> None:
        start_s = time.monotonic()
        with ExitStack() as closing:
            model = Model(
                self._engines,
                self.parameters,
                self.diagnostics,
                self.get_logger(),
                self._opening_ended.trigger,
            )
            closing.callback(lambda: model.close(SHUTDOWN_S))
            publishers = Publishers(self, self.diagnostics)
            closing.callback(publishers.close)
            robot = Robot(self)
            closing.callback(robot.close)
            model.wait(CONFIGURE_S - (time.monotonic() - start_s), self._stopping)
            model.take()
            self._configured = _Configured(model, publishers, robot, closing.pop_all())

    def _activate(self) -> None:
        configured = self._configured
        self._session = Session(
            self,
            configured.model,
            configured.publishers,
            configured.robot,
            self.diagnostics,
            self._guarded,
            self.publish_diagnostics,
        )
        try:
            opened = configured.model.take()
            if opened is not None:
                self._session.begin(opened)
            else:
                configured.model.search()  # deactivation gave the last one up
        except Exception:
            self._deactivate()
            raise

    def _deactivate(self, timeout_s: float = DEACTIVATE_S) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close(timeout_s)
        if self._configured is not None:
            self._configured.model.give_up_search(SHUTDOWN_S)

    def _release(self, timeout_s: float = DEACTIVATE_S) -> None:
        self._deactivate(timeout_s)
        configured, self._configured = self._configured, None
        if configured is not None:
            configured.closing.close()

    def _on_opening_ended(self) -> None:
        """Go on with an engine that took longer than the transition that asked for it."""
        if self._configured is None:
            return
        try:
            opened = self._configured.model.take()
        except Exception as error:
            self.get_logger().error(f"nothing will be published: {_told(error)}")
            self.diagnostics.problem(PROBLEM, str(error), ERROR, lasting=True)
            self._break(str(error))
            return
        if self._session is not None and opened is not None and not self._session.works:
            self._session.begin(opened)

    def _break(self, reason: str) -> None:
        """Go through the lifecycle's error processing: no engine is left to go on with."""
        if self._session is not None:
            self._broken_by = reason
            self.trigger_deactivate()

    def _on_set_parameters(self, changes: Sequence[Parameter]) -> SetParametersResult:
        values = {change.name: change.value for change in changes}
        try:
            now = values_of(self.parameters)
            differs = {name for name in values if values[name] != now.get(name)}
            check_changeable(differs, self.lifecycle_state)
            parameters = changed(self.parameters, values)
            settings = None
            if self._configured is not None:
                model = self._configured.model
                settings = FrameSettings.of(parameters, model.bundle, model.settings)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        except Exception as error:  # a file can make a library raise anything
            self.survive(error)
            given = ", ".join(f"{name} {value!r}" for name, value in values.items())
            reason = f"{given} cannot be taken: {type(error).__name__}: {error}"
            return SetParametersResult(successful=False, reason=reason)
        self.parameters = parameters
        if settings is not None:
            self._configured.model.settings = settings
        if self._session is not None:
            self._session.follow_settings()
        period_ns = int(parameters.diagnostics_period_s * 1e9)
        if self._diagnostics_timer.timer_period_ns != period_ns:
            self._diagnostics_timer.timer_period_ns = period_ns
            self._diagnostics_timer.reset()  # else the period of before is waited for once more
        return SetParametersResult(successful=True)

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

"""Opens the engine in a thread: a TensorRT build takes minutes, and the node must answer."""

from __future__ import annotations

import threading
from collections.abc import Callable

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.selection import EngineChoice, OpenedEngine
from depthrefl_ros.engine.shared_engines import SharedEngines
from depthrefl_ros.engine.tensorrt.source import PlanSource
from depthrefl_ros.ros.diagnostics import Diagnostics

PROBLEM = "engine"  # under this kind diagnostics have the build, and what went wrong
_OPENING = "being opened"
_STILL_OPENING = "the engine is not open yet; nothing is published until it is"


class EngineOpening:
    """One search for a working engine, which starts at once and tells each step of it.

    Args:
        engines: of the process.
        bundle: the model.
        choice: which engine the user wants.
        skip: rungs of the ladder that are not tried: their engines failed while they ran.
        diagnostics: told the steps and the progress of a build.
        logger: of the node; told the steps.
        on_end: called in the thread when the search has ended and was not stopped; must return at
            once.
    """

    def __init__(
        self,
        engines: SharedEngines,
        bundle: Bundle,
        choice: EngineChoice,
        skip: frozenset[str],
        diagnostics: Diagnostics,
        logger,
        on_end: Callable[[], None],
    ):
        self._engines = engines
        self._bundle, self._choice, self._skip = bundle, choice, skip
        self._diagnostics, self._logger, self._on_end = diagnostics, logger, on_end
        self._steps: list[str] = []
        self._opened: OpenedEngine | None = None
        self._error: Exception | None = None
        self._changed = threading.Condition(threading.RLock())
        self._has_begun_build = self._is_stopped = False
        self._plans = PlanSource(choice.build, self._tell_build, batch=engines.cameras)
        diagnostics.state_fact("engine", _OPENING)
        self._thread = threading.Thread(target=self._run, name="engine opening", daemon=True)
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        """An engine was found, or that none works."""
        return self._opened is not None or self._error is not None

    @property
    def builds(self) -> bool:
        """A build has begun, which takes minutes."""
        return self._has_begun_build

    def wait(self, timeout_s: float) -> None:
        """Wait until it has ended, or a build has begun, or the time is over."""
        with self._changed:
            if not self._changed.wait_for(
                lambda: self.has_ended or self._has_begun_build, timeout_s
            ):
                self._diagnostics.problem(PROBLEM, _STILL_OPENING, lasting=True)

    def take(self) -> OpenedEngine:
        """Return what was found, once it has ended; the caller closes it.

        Raises:
            Exception: why no engine works.
        """
        self._diagnostics.solve(PROBLEM)
        if self._error is not None:
            self._diagnostics.state_fact("engine", "none")
            raise self._error
        opened, self._opened = self._opened, None
        engine = opened.engine
        name = f"{engine.name} {engine.precision} on {engine.device}"
        self._diagnostics.state_fact("engine", name)
        if opened.problems:
            self._diagnostics.problem(PROBLEM, "; ".join(opened.problems), lasting=True)
        for problem in opened.problems:
            if problem not in opened.steps:  # those were logged when they happened
                self._logger.warning(f"engine: {problem}")
        return opened

    def stop(self, timeout_s: float) -> bool:
        """Give the search up: end a build that is under way, close what is found after all.

        Args:
            timeout_s: longest wait for a runtime that cannot be interrupted, seconds.

        Returns:
            Whether the thread has ended.
        """
        with self._changed:
            self._is_stopped = True
            self._close()
        self._plans.stop()
        self._thread.join(timeout_s)
        self._diagnostics.solve(PROBLEM)
        self._diagnostics.state_fact("engine", "none yet")
        return not self._thread.is_alive()

    def _run(self) -> None:
        opened = error = None
        try:
            opened = self._engines.open(
                self._bundle, self._choice, self._plans, self._tell_step, self._skip
            )
        except Exception as caught:  # whatever it is, the node tells it
            error = caught
        with self._changed:
            self._opened, self._error = opened, error
            if self._is_stopped:
                self._close()
                return
            self._changed.notify_all()
            self._on_end()

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.engine.close()
            self._opened = None

    def _tell_step(self, step: str, is_problem: bool) -> None:
        with self._changed:
            if self._is_stopped:
                return
            if is_problem:
                self._logger.warning(f"engine {step}")
            else:
                self._logger.info(f"engine {step}")
            if self._has_begun_build:  # and ended it: a step is told after its build
                self._diagnostics.state_fact("engine", _OPENING)
                self._diagnostics.problem(PROBLEM, _STILL_OPENING, lasting=True)
            self._steps.append(step)
            self._diagnostics.state_fact("engine_selection", "; ".join(self._steps))

    def _tell_build(self, phase: str, share: float) -> None:
        with self._changed:
            if self._is_stopped:
                return
            self._has_begun_build = True
            self._changed.notify_all()
            progress = f"building {phase} ({share:.0%})"
            self._diagnostics.state_fact("engine", progress)
            message = f"{progress}; nothing is published until it is done"
            self._diagnostics.problem(PROBLEM, message, lasting=True)

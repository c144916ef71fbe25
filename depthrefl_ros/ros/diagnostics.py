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

"""Counters, timings and problems, told by /diagnostics and, at most every few seconds, the log."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

OK = DiagnosticStatus.OK
WARN = DiagnosticStatus.WARN
ERROR = DiagnosticStatus.ERROR

# Why a frame was not processed; every frame received is processed, or dropped for one of these.
DROP_REASONS = {
    "superseded": "a newer frame came before the worker was free",
    "missed": "published, but replaced by a newer frame before the node could take it, or lost",
    "out_of_order": "its stamp is before the last frame's",
    "rate_limited": "came faster than max_rate",
    "too_old": "waited longer than max_age, or its stamp is older than max_stamp_age",
    "no_engine": "the engine is not open yet, or none works",
    "no_listener": "nobody subscribes to any result",
    "bad_image": "the image message cannot be read",
    "no_camera_info": "no CameraInfo has come and nothing stands in for it",
    "bad_camera_info": "the CameraInfo cannot be true or is of another image",
    "bad_mask": "self_mask has another size than the image",
    "failed": "the engine or the node failed on it",
    "deactivated": "was waiting when the node was deactivated",
}
WINDOW = 300  # frames over which timings are taken
PROBLEM_SECONDS = 5.0  # a problem that does not come again is forgotten after this
LOG_PERIOD_S = 5.0  # the log hears of one kind of problem no more often


@dataclass(frozen=True)
class _Problem:
    level: bytes
    message: str
    until_s: float


def percentile(values: Sequence[float], fraction: float) -> float:
    """Return the smallest value that at least this fraction of the values does not exceed.

    Args:
        values: at least one.
        fraction: in (0, 1].
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)]


class Diagnostics:
    """What happened so far. Written to by the executor and by the worker, so locked.

    Args:
        clock: seconds that never jump.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._logger: Any = None
        self._logged_s: dict[str, float] = {}
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._facts: dict[str, str] = {}
        self._measures: dict[str, float] = {}
        self._problems: dict[str, _Problem] = {}
        self._untold: set[str] = set()  # kinds of problems that no status has had yet
        self._last_problem = ""
        self._steps: dict[str, deque[float]] = {}

    def log_to(self, logger: Any) -> None:
        """Tell ``warn`` and ``error`` to the node's logger as well, throttled by kind."""
        self._logger = logger

    def count(self, name: str, number: int = 1) -> None:
        """Count ``received``, ``processed`` or ``published_NAME``."""
        with self._lock:
            self._counts[name] += number

    def drop(self, reason: str, number: int = 1) -> None:
        """Count frames dropped for one of ``DROP_REASONS``.

        Raises:
            KeyError: an unknown reason.
        """
        DROP_REASONS[reason]
        self.count(f"dropped_{reason}", number)

    def counts(self) -> dict[str, int]:
        """Return all counters."""
        with self._lock:
            return dict(self._counts)

    def state_fact(self, name: str, value: str) -> None:
        """State something that holds until it is stated anew, such as the model or the engine."""
        with self._lock:
            self._facts[name] = value

    def measure(self, name: str, value: float) -> None:
        """State a number of the last frame, such as the factor that corrects its scale."""
        with self._lock:
            self._measures[name] = value

    def withdraw(self, *names: str) -> None:
        """Forget facts and numbers that no longer hold."""
        with self._lock:
            for name in names:
                self._facts.pop(name, None)
                self._measures.pop(name, None)

    def clear_facts(self) -> None:
        """Forget everything that was stated, measured or timed: another model has its own."""
        with self._lock:
            self._facts.clear()
            self._measures.clear()
            self._steps.clear()

    def add_steps(self, steps_ms: Mapping[str, float]) -> None:
        """Take in how many milliseconds each step of one frame took."""
        with self._lock:
            for name, milliseconds in steps_ms.items():
                self._steps.setdefault(name, deque(maxlen=WINDOW)).append(milliseconds)

    def problem(self, kind: str, message: str, level: bytes = WARN, lasting: bool = False) -> None:
        """State a problem; it replaces an earlier one of the same kind.

        Args:
            kind: short name.
            message: for people.
            level: WARN or ERROR.
            lasting: stays until ``solve``; otherwise it is forgotten after ``PROBLEM_SECONDS``, but
                not before a status has told it.
        """
        until = math.inf if lasting else self._clock() + PROBLEM_SECONDS
        with self._lock:
            self._problems[kind] = _Problem(level, message, until)
            self._untold.add(kind)
            self._last_problem = message

    def warn(self, kind: str, message: str) -> None:
        """State a problem that may come up again with every frame; also in the log, throttled."""
        self.problem(kind, message, WARN)
        if self._logger is not None and self._may_log(kind):
            self._logger.warning(message)

    def error(self, kind: str, message: str, details: str = "") -> None:
        """State that something failed that should not fail; ``details`` are for the log."""
        self.problem(kind, message, ERROR)
        if self._logger is not None and self._may_log(kind):
            self._logger.error(details or message)

    def _may_log(self, kind: str) -> bool:
        with self._lock:
            now = self._clock()
            if now - self._logged_s.get(kind, -math.inf) < LOG_PERIOD_S:
                return False
            self._logged_s[kind] = now
            return True

    def solve(self, kind: str) -> None:
        """Withdraw a problem."""
        with self._lock:
            self._problems.pop(kind, None)

    def status(self, name: str, state: str, hardware_id: str) -> DiagnosticStatus:
        """Return the whole as one status: the worst problem's level, all values beside it.

        Args:
            name: of the status.
            state: the node's lifecycle state.
            hardware_id: on what the engine runs.
        """
        with self._lock:
            now = self._clock()
            problems = [
                problem
                for kind, problem in self._problems.items()
                if problem.until_s > now or kind in self._untold
            ]
            self._untold.clear()
            counts, facts = dict(self._counts), dict(self._facts)
            measures = dict(self._measures)
            steps = {step: list(values) for step, values in self._steps.items()}
            last_problem = self._last_problem
        problems.sort(key=lambda one: one.level, reverse=True)
        status = DiagnosticStatus(name=name, hardware_id=hardware_id)
        status.level = problems[0].level if problems else OK
        status.message = "; ".join(one.message for one in problems) or state
        values = {"state": state, **facts, "last_problem": last_problem}
        for counter in ("received", "processed"):
            values[counter] = str(counts.pop(counter, 0))
        values["dropped"] = str(sum(n for key, n in counts.items() if key.startswith("dropped_")))
        values.update((key, str(number)) for key, number in sorted(counts.items()))
        values.update((name, f"{value:.4g}") for name, value in measures.items())
        for step, milliseconds in steps.items():
            for label, fraction in (("p50", 0.5), ("p99", 0.99)):
                values[f"step_ms_{step}_{label}"] = f"{percentile(milliseconds, fraction):.3f}"
        status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
        return status

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

"""The figures of a running node, from what it says on /diagnostics and from its depth."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.tools.running_system import LEVELS

WINDOW_S = 5.0  # over which rates and drops are taken
STALE_S = 5.0  # without diagnostics, their figures are no longer told
_DROPPED = "dropped_"
_FACTS = ("state", "model", "engine", "camera", "scale", "camera_pose")
_LATENCY = "step_ms_since_receipt_"


def pose_in(values: dict[str, str]) -> Pose | None:
    """Return where the node's camera stands by its diagnostics; None where they do not say."""
    try:
        return Pose.from_text(values["base_from_camera"])
    except (KeyError, ValueError):
        return None


class Figures:
    """What the newest diagnostics and the last seconds of depth say.

    Attributes:
        values: of the newest diagnostics.
    """

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self._status: DiagnosticStatus | None = None
        self._told_s = 0.0
        self._history: deque[tuple[float, dict[str, str]]] = deque()
        self._depth_s: deque[float] = deque()
        self._believed: float | None = None
        self._confidence: float | None = None

    def take_status(self, status: DiagnosticStatus) -> None:
        """Take in what the node says of itself."""
        now = time.monotonic()
        self._status, self._told_s = status, now
        self.values = {item.key: item.value for item in status.values}
        self._history.append((now, self.values))
        while now - self._history[0][0] > WINDOW_S:
            self._history.popleft()

    def take_depth(self) -> None:
        """Count a depth image."""
        self._depth_s.append(time.monotonic())

    def take_shares(self, believed: float, confidence: float | None) -> None:
        """Take in which share of the pixels has depth, and how sure the marks are."""
        self._believed, self._confidence = believed, confidence

    def forget(self) -> None:
        """Forget everything: another node is watched."""
        self.__init__()

    def forget_depth(self) -> None:
        """Forget what came of depth: it is not listened to any more."""
        self._depth_s.clear()
        self._believed = self._confidence = None

    def as_dict(self) -> dict[str, Any]:
        """Return level, message and all figures for JSON; what is unknown is None."""
        now = time.monotonic()
        while self._depth_s and now - self._depth_s[0] > WINDOW_S:
            self._depth_s.popleft()
        is_told = self._status is not None and now - self._told_s < STALE_S
        values = self.values if is_told else {}
        silent = "the node says nothing on /diagnostics"
        return {
            "level": LEVELS.get(self._status.level, "error") if is_told else "error",
            "message": self._status.message if is_told else silent,
            **{name: values.get(name) for name in _FACTS},
            "rate_hz": _rate(self._depth_s),
            "input_hz": self._input_hz() if is_told else None,
            "latency_ms": _number(values.get(f"{_LATENCY}p50")),
            "latency_ms_p99": _number(values.get(f"{_LATENCY}p99")),
            "engine_ms": _number(values.get("step_ms_engine_p50")),
            **(self._drops() if is_told else {"dropped_percent": None, "dropped": {}}),
            "believed_percent": None if self._believed is None else 100.0 * self._believed,
            "confidence": self._confidence,
            "scale_factor": _number(values.get("scale_factor")),
            "gated_percent": {
                key[len("gated_") : -len("_percent")]: _number(value)
                for key, value in values.items()
                if key.startswith("gated_")
            },
        }

    def _span(self) -> tuple[float, dict[str, str], dict[str, str]] | None:
        """Return the seconds between the window's first and last status, and their values."""
        if len(self._history) < 2:
            return None
        (first_s, first), (last_s, last) = self._history[0], self._history[-1]
        return last_s - first_s, first, last

    def _input_hz(self) -> float | None:
        span = self._span()
        if span is None or span[0] <= 0:
            return None
        seconds, first, last = span
        return max(0.0, _grown(first, last, "received") / seconds)

    def _drops(self) -> dict[str, Any]:
        """Return the share of frames dropped in the window, and how many for which reason."""
        span = self._span()
        if span is None:
            return {"dropped_percent": None, "dropped": {}}
        _, first, last = span
        reasons = Counter(
            {
                key[len(_DROPPED) :]: _grown(first, last, key)
                for key in last
                if key.startswith(_DROPPED)
            }
        )
        dropped, processed = sum((+reasons).values()), _grown(first, last, "processed")
        ended = dropped + max(processed, 0)
        return {
            "dropped_percent": 100.0 * dropped / ended if ended else None,
            "dropped": dict((+reasons).most_common(3)),
        }


def _grown(first: dict[str, str], last: dict[str, str], key: str) -> int:
    return int(last.get(key, 0)) - int(first.get(key, 0))


def _rate(times_s: deque[float]) -> float:
    if len(times_s) < 2 or times_s[-1] <= times_s[0]:
        return 0.0
    return (len(times_s) - 1) / (times_s[-1] - times_s[0])


def _number(text: str | None) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if value - value == 0.0 else None

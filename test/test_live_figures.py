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

"""The figures of a node, from its own words."""

import json

import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.tools import live_figures
from depthrefl_ros.tools.live_figures import Figures, pose_in


class Time:
    """A clock that the test turns."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Time()
    monkeypatch.setattr(live_figures, "time", clock)
    return clock


def status(level=DiagnosticStatus.OK, message="active", **values):
    items = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, message=message, values=items)


def test_rates_and_drops_are_those_of_the_last_seconds(clock):
    figures = Figures()
    for second in range(8):
        clock.now = 100.0 + second
        counts = {"received": 10 * second, "processed": 6 * second}
        figures.take_status(status(**counts, dropped=4 * second, dropped_superseded=4 * second))
        for _ in range(6):
            clock.now += 1 / 6
            figures.take_depth()
    told = figures.as_dict()
    assert told["input_hz"] == pytest.approx(10.0)
    assert told["rate_hz"] == pytest.approx(6.0)
    assert told["dropped_percent"] == pytest.approx(40.0)
    assert told["dropped"] == {"superseded": 20}
    json.dumps(told, allow_nan=False)


def test_level_message_latency_and_gates_are_the_nodes(clock):
    figures = Figures()
    values = {"step_ms_since_receipt_p50": 41.5, "step_ms_engine_p50": 20, "scale_factor": "nan"}
    figures.take_status(
        status(DiagnosticStatus.WARN, "floor too low", gated_edge_percent=7.5, **values)
    )
    told = figures.as_dict()
    assert (told["level"], told["message"]) == ("warning", "floor too low")
    assert (told["latency_ms"], told["engine_ms"]) == (41.5, 20.0)
    assert told["scale_factor"] is None and told["latency_ms_p99"] is None
    assert told["gated_percent"] == {"edge": 7.5}


def test_a_node_that_falls_silent_is_an_error_without_figures(clock):
    figures = Figures()
    figures.take_status(status(model="indoor_tiny", step_ms_engine_p50=20))
    clock.now += live_figures.STALE_S + 0.1
    told = figures.as_dict()
    assert told["level"] == "error" and "/diagnostics" in told["message"]
    assert told["model"] is None and told["engine_ms"] is None and told["rate_hz"] == 0.0


def test_depth_is_forgotten_when_nobody_listens(clock):
    figures = Figures()
    figures.take_status(status())
    for _ in range(3):
        clock.now += 0.1
        figures.take_depth()
    figures.take_shares(0.9, 0.7)
    assert figures.as_dict()["believed_percent"] == pytest.approx(90.0)
    figures.forget_depth()
    told = figures.as_dict()
    assert (told["rate_hz"], told["believed_percent"], told["confidence"]) == (0.0, None, None)


def test_the_pose_is_read_back_from_the_nodes_words():
    pose = Pose.from_mount(0.43, 0.1, -0.05)
    found = pose_in({"base_from_camera": pose.as_text()})
    assert found.translation == pytest.approx(pose.translation, abs=1e-4)
    assert found.rotation == pytest.approx(pose.rotation, abs=1e-4)
    assert pose_in({}) is None and pose_in({"base_from_camera": "1 2 3"}) is None

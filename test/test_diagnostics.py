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

import pytest

from depthrefl_ros.ros.diagnostics import (
    DROP_REASONS,
    ERROR,
    LOG_PERIOD_S,
    OK,
    PROBLEM_SECONDS,
    WARN,
    WINDOW,
    Diagnostics,
    percentile,
)


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def diagnostics(clock):
    return Diagnostics(clock)


def values_of(diagnostics, state="active"):
    status = diagnostics.status("depthrefl", state, "CPU")
    return status, {item.key: item.value for item in status.values}


def test_without_problems_all_is_ok(diagnostics):
    status, values = values_of(diagnostics, "unconfigured")
    assert (status.level, status.message) == (OK, "unconfigured")
    assert (status.name, status.hardware_id) == ("depthrefl", "CPU")
    assert values["received"] == values["processed"] == values["dropped"] == "0"


def test_every_frame_is_accounted_for(diagnostics):
    for reason in DROP_REASONS:
        diagnostics.count("received")
        diagnostics.drop(reason)
    diagnostics.count("received")
    diagnostics.count("processed")
    _, values = values_of(diagnostics)
    assert int(values["received"]) == int(values["processed"]) + int(values["dropped"])
    assert values["dropped_superseded"] == "1"


def test_an_unknown_reason_is_a_mistake_of_ours(diagnostics):
    with pytest.raises(KeyError):
        diagnostics.drop("bored")
    assert diagnostics.counts() == {}


def test_steps_of_a_model_that_is_gone_are_forgotten(diagnostics):
    diagnostics.add_steps({"engine": 7.0})
    diagnostics.clear_facts()
    assert not [name for name in values_of(diagnostics)[1] if name.startswith("step_ms")]


def test_steps_by_median_and_99th_percentile(diagnostics):
    for milliseconds in range(1, 101):
        diagnostics.add_steps({"engine": float(milliseconds)})
    _, values = values_of(diagnostics)
    assert float(values["step_ms_engine_p50"]) == 50.0
    assert float(values["step_ms_engine_p99"]) == 99.0
    for _ in range(WINDOW):
        diagnostics.add_steps({"engine": 7.0})
    _, values = values_of(diagnostics)
    assert float(values["step_ms_engine_p99"]) == 7.0


@pytest.mark.parametrize(
    "values, fraction, expected",
    [([3.0], 0.5, 3.0), ([4.0, 1.0], 0.5, 1.0), ([4.0, 1.0], 0.51, 4.0), ([1, 2, 3], 1.0, 3)],
)
def test_percentile(values, fraction, expected):
    assert percentile(values, fraction) == expected


def test_the_worst_problem_gives_the_level_and_speaks_first(diagnostics):
    diagnostics.problem("image", "step is 3", WARN)
    diagnostics.problem("engine", "no engine works", ERROR, lasting=True)
    status, values = values_of(diagnostics)
    assert (status.level, status.message) == (ERROR, "no engine works; step is 3")
    assert values["last_problem"] == "no engine works"


def test_problems_pass_unless_they_last(diagnostics, clock):
    diagnostics.problem("image", "step is 3")
    diagnostics.problem("transition", "no model", ERROR, lasting=True)
    assert values_of(diagnostics)[0].message == "no model; step is 3"
    clock.now_s += PROBLEM_SECONDS + 0.1
    assert values_of(diagnostics)[0].message == "no model"
    diagnostics.solve("transition")
    status, values = values_of(diagnostics)
    assert (status.level, status.message) == (OK, "active")
    assert values["last_problem"] == "no model"


def test_facts_are_shown_until_stated_anew(diagnostics):
    diagnostics.state_fact("model", "a")
    diagnostics.state_fact("model", "b")
    assert values_of(diagnostics)[1]["model"] == "b"


def test_the_last_frames_numbers_are_told(diagnostics):
    diagnostics.measure("gated_edge_percent", 12.3456)
    diagnostics.measure("gated_edge_percent", 3.14159)
    assert values_of(diagnostics)[1]["gated_edge_percent"] == "3.142"
    diagnostics.clear_facts()
    assert "gated_edge_percent" not in values_of(diagnostics)[1]


class Log:
    """A node's logger that keeps what it is told."""

    def __init__(self):
        self.told = []

    def warning(self, text):
        self.told.append(("warning", text))

    def error(self, text):
        self.told.append(("error", text))


def test_the_log_hears_of_each_kind_once_a_period(diagnostics, clock):
    log = Log()
    diagnostics.log_to(log)
    for _ in range(3):
        diagnostics.warn("image", "step is 3")
        diagnostics.error("failed", "a frame failed", "a frame failed: Traceback ...")
    assert log.told == [("warning", "step is 3"), ("error", "a frame failed: Traceback ...")]
    clock.now_s += LOG_PERIOD_S - 0.1
    diagnostics.warn("image", "step is 4")
    assert len(log.told) == 2
    clock.now_s += 0.1
    diagnostics.warn("image", "step is 5")
    assert log.told[2:] == [("warning", "step is 5")]


def test_what_the_log_does_not_hear_again_diagnostics_still_have(diagnostics):
    diagnostics.log_to(Log())
    for text in ("step is 3", "step is 4"):
        diagnostics.warn("image", text)
    assert values_of(diagnostics)[0].message == "step is 4"
    assert values_of(diagnostics)[0].level == WARN
    diagnostics.error("failed", "a frame failed", "with its traceback")
    status, _ = values_of(diagnostics)
    assert (status.level, status.message) == (ERROR, "a frame failed; step is 4")


def test_several_frames_may_be_dropped_at_once(diagnostics):
    diagnostics.count("received", 4)
    diagnostics.drop("missed", 3)
    diagnostics.count("processed")
    _, values = values_of(diagnostics)
    assert (values["dropped_missed"], values["dropped"]) == ("3", "3")


def test_facts_can_be_withdrawn():
    diagnostics = Diagnostics()
    diagnostics.state_fact("model", "indoor_tiny")
    diagnostics.clear_facts()
    keys = {item.key for item in diagnostics.status("depthrefl", "unconfigured", "").values}
    assert "model" not in keys


def test_a_problem_is_told_once_however_rare_the_status_is(diagnostics, clock):
    diagnostics.problem("image", "unreadable")
    clock.now_s += 10 * PROBLEM_SECONDS
    assert values_of(diagnostics)[0].message == "unreadable"
    assert values_of(diagnostics)[0].message == "active"


def test_what_no_longer_holds_is_withdrawn(diagnostics):
    diagnostics.state_fact("camera_pose", "0.50 m up by TF")
    diagnostics.measure("floor_offset_m", 0.02)
    diagnostics.withdraw("camera_pose", "floor_offset_m", "never_stated")
    assert not {"camera_pose", "floor_offset_m"} & set(values_of(diagnostics)[1])

import pytest

from depthrefl_ros.ros.diagnostics import (
    DROP_REASONS,
    ERROR,
    OK,
    PROBLEM_SECONDS,
    WARN,
    WINDOW,
    Diagnostics,
    percentile,
)
from depthrefl_ros.ros.rate_limit import RateLimit
from depthrefl_ros.ros.throttle import Throttle


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


def test_throttle_lets_each_kind_speak_once_a_period(clock):
    throttle = Throttle(5.0, clock)
    assert throttle.allows("a") and throttle.allows("b")
    assert not throttle.allows("a")
    clock.now_s += 5.0
    assert throttle.allows("a")


@pytest.mark.parametrize(
    "camera_hz, limit_hz, expected_hz",
    [(30.0, 0.0, 30.0), (30.0, 15.0, 15.0), (30.0, 10.0, 10.0), (30.0, 60.0, 30.0)],
)
def test_rate_limit_under_jitter(camera_hz, limit_hz, expected_hz):
    limit = RateLimit()
    jitter = [0.0, 0.002, -0.003, 0.001, -0.001]
    times = [index / camera_hz + jitter[index % 5] for index in range(300)]
    passed = sum(limit.allows(now_s, limit_hz) for now_s in times)
    assert passed / 10.0 == pytest.approx(expected_hz, rel=0.03)


def test_a_raised_rate_limit_holds_at_once():
    limit = RateLimit()
    assert [limit.allows(second, 0.01) for second in (0.0, 1.0, 2.0, 3.0)][-1] is False
    assert not limit.allows(3.0, 30.0)
    assert limit.allows(3.1, 30.0)


def test_facts_can_be_withdrawn():
    diagnostics = Diagnostics()
    diagnostics.state_fact("model", "indoor_tiny")
    diagnostics.clear_facts()
    keys = {item.key for item in diagnostics.status("depthrefl", "unconfigured", "").values}
    assert "model" not in keys

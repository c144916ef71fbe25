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

import threading
import time

import pytest

from depthrefl_ros.ros.worker import NewestWorker, RateLimit


class Gate:
    """Work that waits until it is let through, and remembers what it worked on."""

    def __init__(self):
        self.done = []
        self.began = threading.Event()
        self.open = threading.Event()

    def __call__(self, item):
        self.began.set()
        assert self.open.wait(5)
        self.done.append(item)


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()


def names_of_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def test_a_newer_item_replaces_the_one_that_waits(gate):
    worker = NewestWorker(gate, "tested")
    assert worker.submit(1) is None
    assert gate.began.wait(5)
    assert worker.submit(2) is None
    assert worker.submit(3) == 2
    gate.began.clear()
    gate.open.set()
    assert gate.began.wait(5)
    assert worker.stop(5.0) == (True, None)
    assert gate.done == [1, 3]


def test_stop_waits_for_the_item_at_work_and_hands_back_the_one_that_waits(gate):
    worker = NewestWorker(gate, "tested to stop")
    worker.submit(1)
    assert gate.began.wait(5)
    worker.submit(2)
    threading.Timer(0.1, gate.open.set).start()
    assert worker.stop(5.0) == (True, 2)
    assert gate.done == [1]
    assert "tested to stop" not in names_of_threads()


def test_a_thread_that_hangs_is_left_behind_in_time_and_takes_nothing_more(gate):
    worker = NewestWorker(gate, "left behind")
    worker.submit(1)
    assert gate.began.wait(5)
    worker.submit(2)
    start_s = time.monotonic()
    assert worker.stop(0.2) == (False, 2)
    assert 0.2 <= time.monotonic() - start_s < 1.0
    assert "left behind" in names_of_threads()
    gate.open.set()  # it comes back after all: it ends, and the item that waited stays undone
    end_s = time.monotonic() + 5.0
    while "left behind" in names_of_threads():
        assert time.monotonic() < end_s
        time.sleep(0.01)
    assert gate.done == [1]


def test_the_time_at_work_is_that_of_the_present_item(gate):
    worker = NewestWorker(gate, "timed")
    assert worker.busy_s == 0.0
    worker.submit(1)
    assert gate.began.wait(5)
    time.sleep(0.1)
    first_s = worker.busy_s
    assert 0.1 <= first_s < 2.0
    time.sleep(0.05)
    assert worker.busy_s >= first_s + 0.05
    gate.open.set()
    assert worker.stop(5.0) == (True, None)
    assert worker.busy_s == 0.0


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

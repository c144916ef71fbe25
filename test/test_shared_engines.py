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

"""Several cameras of a process use one engine: who opens it, whose turn it is, who closes it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from bundle_copies import copy_bundle

from depthrefl_ros.engine import selection
from depthrefl_ros.engine.base import BuildStoppedError, EngineError, WithdrawnError
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.openvino_engine import OpenVinoEngine
from depthrefl_ros.engine.selection import EngineChoice, OpenedEngine
from depthrefl_ros.engine.shared_engines import SharedEngines
from depthrefl_ros.engine.tensorrt.source import PlanSource

OPENVINO = EngineChoice("openvino")


@pytest.fixture(scope="module")
def bundle():
    return Bundle.load("indoor_nano")


class Camera:
    """One of those who ask for an engine."""

    def __init__(self, engines: SharedEngines):
        self._engines = engines
        self.plans = PlanSource(batch=engines.cameras)
        self.steps: list[str] = []

    def open(self, bundle: Bundle, choice=OPENVINO, skip=frozenset()) -> OpenedEngine:
        return self._engines.open(bundle, choice, self.plans, self._tell, skip)

    def _tell(self, step: str, is_problem: bool) -> None:
        self.steps.append(step)


@pytest.fixture
def cameras():
    engines = SharedEngines(3)
    return [Camera(engines) for _ in range(3)]


@pytest.fixture
def opened_count(monkeypatch):
    """Count how often OpenVINO is opened; ``may_open`` holds it up until it is set."""
    seen = SimpleNamespace(count=0, may_open=threading.Event(), begun=threading.Event())
    seen.may_open.set()

    def counted(*arguments, **more):
        seen.count += 1
        seen.begun.set()
        assert seen.may_open.wait(20)
        return OpenVinoEngine(*arguments, **more)

    monkeypatch.setattr(selection, "OpenVinoEngine", counted)
    return seen


def first_image(bundle) -> np.ndarray:
    return bundle.golden().images[:1]


def is_open(opened, bundle) -> bool:
    try:
        opened.engine.infer(first_image(bundle))
    except AttributeError:
        return False
    return True


def test_who_asks_later_gets_the_engine_that_is_open(cameras, bundle, opened_count):
    first, second = (camera.open(bundle) for camera in cameras[:2])
    assert opened_count.count == 1 and (first.rung, first.report) == (second.rung, second.report)
    assert cameras[1].steps == [f"{cameras[0].steps[-1]}; opened for another camera"]
    mine, theirs = (one.engine.infer(first_image(bundle)) for one in (first, second))
    assert np.array_equal(mine["depth"], theirs["depth"])
    for name in ("name", "device", "precision", "height", "width", "channels", "max_batch"):
        assert getattr(second.engine, name) == getattr(first.engine, name)


def test_the_last_one_closes_it(cameras, bundle, opened_count):
    first, second = (camera.open(bundle) for camera in cameras[:2])
    first.engine.close()
    first.engine.close()  # again is nothing
    assert is_open(second, bundle)
    second.engine.close()
    assert not is_open(second, bundle)
    assert is_open(cameras[2].open(bundle), bundle) and opened_count.count == 2


def test_who_wants_another_model_or_engine_gets_its_own(cameras, bundle, opened_count):
    opened = [
        cameras[0].open(bundle),
        cameras[1].open(bundle, EngineChoice("openvino", threads=1)),
        cameras[2].open(Bundle.load("indoor_tiny")),
    ]
    assert opened_count.count == 3
    opened[0].engine.close()
    assert [is_open(opened[1], bundle), is_open(opened[2], Bundle.load("indoor_tiny"))] == [
        True
    ] * 2


def test_who_asks_meanwhile_waits_for_the_same_search(cameras, bundle, opened_count):
    opened_count.may_open.clear()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(cameras[0].open, bundle)
        assert opened_count.begun.wait(20)
        second = pool.submit(cameras[1].open, bundle)
        time.sleep(0.1)
        assert not second.done()
        opened_count.may_open.set()
        assert first.result(20).rung == second.result(20).rung and opened_count.count == 1


def test_who_waits_is_told_of_the_build_that_it_waits_for(cameras, bundle, opened_count):
    opened_count.may_open.clear()
    told = []
    second = PlanSource(on_progress=lambda *progress: told.append(progress))
    with ThreadPoolExecutor() as pool:
        first = pool.submit(cameras[0].open, bundle)
        assert opened_count.begun.wait(20)
        cameras[1].plans = second
        waiting = pool.submit(cameras[1].open, bundle)
        cameras[0].plans.tell("tensorrt fp16: tactics", 0.25)
        end_s = time.monotonic() + 5
        while not told and time.monotonic() < end_s:
            time.sleep(0.01)
        opened_count.may_open.set()
        first.result(20), waiting.result(20)
    assert told == [("tensorrt fp16: tactics", 0.25)]


def test_who_waits_may_give_up(cameras, bundle, opened_count):
    opened_count.may_open.clear()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(cameras[0].open, bundle)
        assert opened_count.begun.wait(20)
        second = pool.submit(cameras[1].open, bundle)
        cameras[1].plans.stop()
        with pytest.raises(BuildStoppedError, match="stopped"):
            second.result(2)
        opened_count.may_open.set()
        assert is_open(first.result(20), bundle)


def test_a_search_that_fails_leaves_the_next_one_to_look_for_itself(
    cameras, bundle, opened_count, monkeypatch
):
    counted, outcomes = selection.OpenVinoEngine, [EngineError("not now")]

    def at_second_attempt(*arguments, **more):
        engine = counted(*arguments, **more)
        if outcomes:
            engine.close()
            raise outcomes.pop()
        return engine

    monkeypatch.setattr(selection, "OpenVinoEngine", at_second_attempt)
    opened_count.may_open.clear()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(cameras[0].open, bundle)
        assert opened_count.begun.wait(20)
        second = pool.submit(cameras[1].open, bundle)
        opened_count.may_open.set()
        with pytest.raises(EngineError, match="not now"):
            first.result(20)
        assert is_open(second.result(20), bundle)


def test_an_engine_that_fails_is_given_to_nobody_more(cameras, bundle, opened_count):
    first, second = (camera.open(bundle) for camera in cameras[:2])
    first.retire()
    first.engine.close()
    anew = cameras[0].open(bundle)
    assert opened_count.count == 2 and is_open(second, bundle)
    second.retire()  # it has noticed, too; the new one is not the one that fails
    second.engine.close()
    assert not is_open(second, bundle)
    again = cameras[1].open(bundle)
    assert opened_count.count == 2
    anew.engine.close()
    assert is_open(again, bundle)


@pytest.fixture
def queue(cameras, bundle, monkeypatch):
    """Three cameras' shares of an engine that is held up at its first image.

    ``batches`` has what the engine was given, as which of the golden images.
    """
    images = bundle.golden().images
    seen = SimpleNamespace(batches=[], begun=threading.Event(), go_on=threading.Event())
    run = OpenVinoEngine._run

    def held_up(self, given):
        seen.batches.append(
            [next(i for i, g in enumerate(images) if (g == one).all()) for one in given]
        )
        seen.begun.set()
        assert seen.go_on.wait(20)
        if seen.fails:
            raise EngineError("the device is gone")
        return run(self, given)

    opened = [camera.open(bundle) for camera in cameras]
    monkeypatch.setattr(OpenVinoEngine, "_run", held_up)
    seen.fails = False

    def start(pool, max_batch, goes_on=True):
        """Give the engine image 0 of the first camera, then 1 and 2 of the others, in order."""
        monkeypatch.setattr(OpenVinoEngine, "max_batch", max_batch)
        waiting = []
        for i, one in enumerate(opened):
            waiting.append(pool.submit(one.engine.infer, images[i : i + 1]))
            assert seen.begun.wait(20)
            time.sleep(0.05)  # until it stands in the queue
        if goes_on:
            seen.go_on.set()
        return waiting

    seen.start, seen.opened = start, opened
    return seen


@pytest.mark.parametrize("max_batch, batches", [(1, [[0], [1], [2]]), (2, [[0], [1, 2]])])
def test_what_waits_together_is_run_together_and_in_order(queue, bundle, max_batch, batches):
    with ThreadPoolExecutor() as pool:
        results = [one.result(20) for one in queue.start(pool, max_batch)]
    assert queue.batches == batches
    golden = bundle.golden()
    for i, result in enumerate(results):
        assert result["depth"].shape == golden.depth[i : i + 1].shape
        assert np.allclose(result["depth"][0], golden.depth[i], rtol=0.01)


def test_who_gives_up_waits_for_nobody_and_the_others_go_on(queue, bundle):
    with ThreadPoolExecutor() as pool:
        running, waiting, last = queue.start(pool, 1, goes_on=False)
        queue.opened[1].withdraw()
        with pytest.raises(WithdrawnError):
            waiting.result(2)
        queue.opened[0].withdraw()  # too late: the engine has it
        assert not running.done() and not last.done()
        queue.go_on.set()
        assert len(running.result(20)["depth"]) == len(last.result(20)["depth"]) == 1
    assert queue.batches == [[0], [2]]
    images = bundle.golden().images
    assert len(queue.opened[1].engine.infer(images[1:2])["depth"]) == 1  # and may ask again


def test_who_is_served_first_does_not_wait_for_those_behind(queue, monkeypatch):
    with ThreadPoolExecutor() as pool:
        first, *others = queue.start(pool, 1, goes_on=False)
        begun = queue.batches.copy()
        slow = threading.Event()
        run = OpenVinoEngine._run

        def slow_from_now_on(self, given):
            assert slow.wait(20)
            return run(self, given)

        monkeypatch.setattr(OpenVinoEngine, "_run", slow_from_now_on)
        queue.go_on.set()
        first.result(20)
        assert begun == [[0]] and not any(one.done() for one in others)
        slow.set()
        for one in others:
            one.result(20)


def test_a_failure_reaches_all_whose_images_were_in_it_and_no_others(queue, bundle):
    queue.fails = True
    with ThreadPoolExecutor() as pool:
        waiting = queue.start(pool, 2)
        for one in waiting:
            with pytest.raises(EngineError, match="the device is gone"):
                one.result(20)
        queue.fails = False
        assert len(queue.start(pool, 2)[2].result(20)["depth"]) == 1


def test_the_files_say_which_model_it_is_and_not_the_folder(cameras, opened_count, tmp_path):
    cameras[0].open(Bundle.load("indoor_tiny"))
    cameras[1].open(copy_bundle(tmp_path / "copy", {}))
    assert opened_count.count == 1

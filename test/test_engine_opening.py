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

"""The node while its engine is opened and built: real builds in real child processes, over DDS."""

import logging
import os
import signal
import sys
import threading
import time

import psutil
import pytest
from bundle_copies import copy_bundle, onnx_with_wrong_weights
from conftest import RunningProcess
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from node_harness import MODULE, Harness, depth_of
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from depthrefl_ros.engine import selection
from depthrefl_ros.engine.base import EngineError
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.selection import EngineChoice
from depthrefl_ros.engine.shared_engines import SharedEngines
from depthrefl_ros.engine.tensorrt.store import PlanStore
from depthrefl_ros.ros.diagnostics import Diagnostics
from depthrefl_ros.ros.engine_opening import EngineOpening

pytest.importorskip("tensorrt_rtx", reason="real builds need: pip install tensorrt-rtx")

from filelock import FileLock  # noqa: E402

from depthrefl_ros.engine.tensorrt.api import find_flavour  # noqa: E402
from depthrefl_ros.engine.tensorrt.plan import (
    ONNX_FILES,  # noqa: E402
    plan_key,  # noqa: E402
)

pytestmark = pytest.mark.skipif(
    find_flavour("tensorrt_rtx").can_run, reason="with a GPU the engine that was built runs"
)
STILL_OPENING = "the engine is not open yet; nothing is published until it is"
NO_GPU = "engine tensorrt_rtx was asked for; openvino runs"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = PlanStore()
    cache.folder.mkdir(mode=0o700)
    return cache


@pytest.fixture
def key():
    return plan_key(Bundle.load("indoor_tiny"), "tensorrt_rtx", "fp16")


@pytest.fixture
def slow_build(cache, key):
    """Build last until ``release``: the child waits for another process that builds the same."""
    lock = FileLock(str(cache.path(key).with_suffix(".lock")))
    lock.acquire()
    yield lock
    lock.release()


@pytest.fixture
def start(ros, tmp_path, without_torch):
    """Start a node, with a module of its own in front of all others; it ends with the test."""
    harnesses = []

    def start(*parameters: str, module: str = "", source: str = "") -> Harness:
        arguments = ["--ros-args", "-p", "diagnostics_period:=0.1"]
        for parameter in ("engine:=tensorrt_rtx", *parameters):
            arguments += ["-p", parameter]
        environment = without_torch
        if module:
            (tmp_path / f"{module}.py").write_text(source)
            folders = (str(tmp_path), without_torch["PYTHONPATH"])
            environment = {"PYTHONPATH": os.pathsep.join(folders)}
        harness = Harness()
        harnesses.append(harness)
        harness.process = RunningProcess(
            tmp_path / "log.txt", MODULE, *arguments, environment=environment
        )
        harness.depth = harness.collect(Image, "depth/image", qos_profile_sensor_data)
        return harness

    yield start
    for harness in harnesses:
        harness.process.process.kill()
        harness.close()


def children(harness) -> list[psutil.Process]:
    return psutil.Process(harness.process.process.pid).children()


def says(harness, text: str) -> bool:
    return harness.spin_until(lambda: text in harness.values().get("message", ""), 30)


def assert_works(harness, complaint: str) -> None:
    """Check that the node fell back to OpenVINO, and says so."""
    assert harness.spin_until(lambda: harness.depth, 30, do=harness.send), harness.process.output()
    assert depth_of(harness.depth[-1]).size
    assert says(harness, complaint), harness.values()
    values = harness.fresh_values()
    assert values["level"] == DiagnosticStatus.WARN
    assert values["engine"].startswith("openvino fp32 on ")
    assert values["engine_selection"].index("tensorrt_rtx") < values["engine_selection"].index(
        "openvino fp32: chosen"
    )
    assert not children(harness)


def test_the_node_answers_while_it_builds_and_goes_on_with_what_works(start, slow_build):
    node = start("autostart:=false")
    assert node.state() == "unconfigured"
    for number in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        start_s = time.monotonic()
        assert node.transition(number)
        assert time.monotonic() - start_s < 4.0
    assert says(node, "building tensorrt_rtx fp16: another process is building it (0%)")
    assert node.spin_until(lambda: node.number("dropped_no_engine") > 3, do=node.send)
    values = node.fresh_values()
    assert (values["state"], values["level"]) == ("active", DiagnosticStatus.WARN)
    assert "nothing is published until it is done" in values["message"]
    assert values["engine"].startswith("building tensorrt_rtx fp16")
    assert int(values["received"]) == int(values["dropped_no_engine"])
    start_s = time.monotonic()
    assert node.state() == "active" and node.set("max_range", 5.0) == ""
    assert time.monotonic() - start_s < 1.0
    assert not node.depth
    slow_build.release()
    assert_works(node, NO_GPU)
    for step in ("tensorrt_rtx fp16: built, ", "tensorrt_rtx: CUDA", "openvino fp32: chosen"):
        assert f"engine {step}" in node.process.output()
    assert node.process.stop(signal.SIGTERM) == 0, node.process.output()
    assert "Traceback" not in node.process.output()


def test_deactivation_ends_the_build_and_activation_begins_it_anew(start, slow_build):
    node = start()
    assert says(node, "another process is building it")
    (child,) = children(node)
    assert node.transition(Transition.TRANSITION_DEACTIVATE)
    assert not child.is_running()
    assert "Traceback" not in node.process.output()
    values = node.fresh_values()
    assert values["engine"] == "none yet" and "building" not in values["message"]
    assert node.transition(Transition.TRANSITION_ACTIVATE)
    assert says(node, "another process is building it")
    slow_build.release()
    assert_works(node, NO_GPU)
    assert node.transition(Transition.TRANSITION_DEACTIVATE)
    assert node.transition(Transition.TRANSITION_ACTIVATE)
    assert_works(node, NO_GPU)


def test_cleanup_ends_a_build_that_began_with_configure(start, slow_build):
    node = start("autostart:=false")
    assert node.transition(Transition.TRANSITION_CONFIGURE)
    assert says(node, "another process is building it")
    (child,) = children(node)
    assert node.transition(Transition.TRANSITION_CLEANUP)
    assert not child.is_running()
    values = node.fresh_values()
    assert (values["message"], values["level"]) == ("unconfigured", DiagnosticStatus.OK)
    assert "engine" not in values


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_build_ends_with_the_node(start, slow_build, number):
    node = start()
    assert says(node, "another process is building it")
    (child,) = children(node)
    start_s = time.monotonic()
    code = node.process.stop(number)
    assert code == (-number if number == signal.SIGKILL else 0), node.process.output()
    assert time.monotonic() - start_s < 2.0
    psutil.wait_procs([child], 2.0)
    assert not child.is_running()
    assert "Traceback" not in node.process.output()


def test_force_builds_what_is_there(start, cache, key):
    cache.find_or_build(key, lambda: b"an engine of yesterday")
    node = start("build:=force")
    assert_works(node, NO_GPU)
    assert len(cache.find(key)) > 1e6


def test_where_nothing_works_after_all_the_lifecycle_ends_in_error_and_the_node_says_why(
    start, slow_build
):
    node = start(module="openvino", source="raise ImportError('not here')")
    assert says(node, "another process is building it")
    slow_build.release()
    assert says(node, "no engine works for model indoor_tiny")
    assert node.spin_until(lambda: node.values().get("state") == "unconfigured")
    values = node.fresh_values()
    assert values["level"] == DiagnosticStatus.ERROR
    assert "no engine works for model indoor_tiny" in values["message"]
    assert node.state() == "unconfigured"
    assert "nothing will be published: no engine works" in node.process.output()
    assert node.process.stop(signal.SIGTERM) == 0, node.process.output()
    assert "Traceback" not in node.process.output()


# The search for an engine by itself, without a node.


@pytest.fixture
def diagnostics():
    return Diagnostics()


@pytest.fixture
def open_in_background(cache, diagnostics, caplog):
    """Start a search; what it finds is closed with the test."""
    caplog.set_level(logging.INFO)
    opened = []

    def open_in_background(bundle, kind, skip=(), on_end=lambda: None, **choice):
        opening = EngineOpening(
            SharedEngines(),
            bundle,
            EngineChoice(kind, falls_back=True, **choice),
            frozenset(skip),
            diagnostics,
            logging.getLogger("node"),
            on_end,
        )
        opened.append(opening)
        return opening

    yield open_in_background
    for opening in opened:
        opening.stop(30.0)


def told(diagnostics) -> dict[str, str]:
    status = diagnostics.status("depthrefl", "active", "")
    return {**{item.key: item.value for item in status.values}, "message": status.message}


def end(opening, within_s=20.0):
    """Return what was found."""
    end_s = time.monotonic() + within_s
    while not opening.has_ended:
        assert time.monotonic() < end_s
        time.sleep(0.01)
    return opening.take()


@pytest.fixture
def slow_openvino(monkeypatch, diagnostics):
    """OpenVINO opens when the test says so; ``seen`` is what diagnostics told then."""
    may_open, engine = threading.Event(), selection.OpenVinoEngine
    may_open.seen = []

    def slow(*arguments, **more):
        may_open.seen.append(told(diagnostics))
        assert may_open.wait(20)
        return engine(*arguments, **more)

    monkeypatch.setattr(selection, "OpenVinoEngine", slow)
    yield may_open
    may_open.set()


def test_nobody_waits_longer_for_a_runtime_than_they_want(
    open_in_background, slow_openvino, bundle, diagnostics
):
    opening = open_in_background(bundle, "openvino")
    start_s = time.monotonic()
    opening.wait(0.2)
    assert 0.2 <= time.monotonic() - start_s < 2.0 and not opening.has_ended
    values = told(diagnostics)
    assert values["engine"] == "being opened"
    assert values["message"] == STILL_OPENING
    slow_openvino.set()
    found = end(opening)
    assert told(diagnostics)["engine"] == f"openvino fp32 on {found.engine.device}"
    assert told(diagnostics)["message"] == "active"
    found.engine.close()


def test_the_end_of_a_search_is_told_once_and_of_one_that_is_given_up_never(
    open_in_background, slow_openvino, bundle, diagnostics
):
    ends = []
    given_up = open_in_background(bundle, "openvino", on_end=lambda: ends.append("given up"))
    assert not given_up.stop(0.1)  # it is inside a runtime that cannot be interrupted
    assert told(diagnostics)["engine"] == "none yet"
    slow_openvino.set()
    assert given_up.stop(30.0) and not given_up.has_ended and not ends
    found = end(open_in_background(bundle, "openvino", on_end=lambda: ends.append("found")))
    assert ends == ["found"]
    found.engine.close()


def test_a_rung_that_failed_while_it_ran_is_passed_over(
    open_in_background, slow_openvino, bundle, diagnostics, monkeypatch
):
    monkeypatch.setitem(sys.modules, "torch", None)
    slow_openvino.set()
    opening = open_in_background(bundle, "openvino", skip=("openvino",))
    with pytest.raises(EngineError, match="openvino: not tried again, it failed while it ran"):
        end(opening)
    assert told(diagnostics)["engine"] == "none"
    assert not slow_openvino.seen


def test_a_build_that_is_over_is_not_told_of_any_longer(
    open_in_background, slow_openvino, tmp_path, diagnostics
):
    broken = copy_bundle(tmp_path / "broken", {"model_fp16.onnx": b"no network"})
    slow_openvino.set()
    found = end(open_in_background(broken, "tensorrt_rtx"))
    (seen,) = slow_openvino.seen
    assert seen["engine"] == "being opened" and "building" not in seen["message"]
    failed, built, *_ = found.steps
    assert failed.startswith("tensorrt_rtx fp16: ") and "refuses" in failed
    assert built.startswith("tensorrt_rtx fp32: built")
    values = told(diagnostics)
    assert values["engine_selection"] == "; ".join(found.steps)
    assert "model_fp16.onnx" in values["message"]
    found.engine.close()


def test_tensorrt_that_computes_wrongly_is_told_of_with_its_version_and_a_hint(
    open_in_background, bundle, diagnostics, caplog, monkeypatch
):
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    from cuda_stand_in import stand_in

    stand_in(monkeypatch, "tensorrt", max_batch=1)
    for precision in ("fp16", "fp32"):
        wrong = onnx_with_wrong_weights(bundle.path(ONNX_FILES[precision]))
        PlanStore().find_or_build(plan_key(bundle, "tensorrt", precision), lambda p=wrong: p)
    found = end(open_in_background(bundle, "tensorrt"))
    assert found.engine.name == "openvino"
    values = told(diagnostics)
    for precision in ("fp16", "fp32"):
        (problem,) = (one for one in found.problems if one.startswith(f"tensorrt {precision}"))
        assert "fails the self-test" in problem and "(tensorrt 10.3.0; TensorRT 10.3" in problem
        assert problem in values["engine_selection"] and problem in values["message"]
        (record,) = (one for one in caplog.records if problem in one.message)  # logged once
        assert record.levelno == logging.WARNING
    for step in found.steps:
        assert sum(step in record.message for record in caplog.records) == 1
    (other,) = (one for one in caplog.records if "was asked for" in one.message)
    assert other.levelno == logging.WARNING
    found.engine.close()

"""The node while its engine is built: real builds in real child processes, over DDS."""

import hashlib
import os
import shutil
import signal
import time

import psutil
import pytest
from conftest import RunningProcess
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from node_harness import MODULE, Harness, depth_of
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.cache import EngineCache

pytest.importorskip("tensorrt_rtx", reason="real builds need: pip install tensorrt-rtx")

from filelock import FileLock  # noqa: E402

from depthrefl_ros.engine.plan_key import engine_key  # noqa: E402
from depthrefl_ros.engine.tensorrt_api import find_flavour  # noqa: E402

pytestmark = pytest.mark.skipif(
    find_flavour("tensorrt_rtx").can_run, reason="with a GPU the engine that was built runs"
)
NO_GPU = "engine tensorrt_rtx was asked for; openvino runs"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = EngineCache()
    cache.folder.mkdir(mode=0o700)
    return cache


@pytest.fixture
def key():
    return engine_key(Bundle.load("indoor_tiny"), "tensorrt_rtx", "fp16")


@pytest.fixture
def slow_build(cache, key):
    """Builds last until ``release``: the child waits for another process that builds the same."""
    lock = FileLock(str(cache.path(key).with_suffix(".lock")))
    lock.acquire()
    yield lock
    lock.release()


@pytest.fixture
def start(ros, tmp_path, without_torch):
    """Starts a node, with a module of its own in front of all others; it ends with the test."""
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


@pytest.fixture
def broken_half(tmp_path):
    """The shipped bundle with a half-precision file that is no network, by its own description."""
    shipped = Bundle.load("indoor_tiny")
    folder = tmp_path / "broken_half"
    shutil.copytree(shipped.folder, folder, copy_function=os.symlink)
    for name in ("model_fp16.onnx", "model.yaml"):
        (folder / name).unlink()
    (folder / "model_fp16.onnx").write_bytes(b"no network")
    text = (shipped.folder / "model.yaml").read_text()
    before = shipped.description["files"]["model_fp16.onnx"]
    after = hashlib.sha256(b"no network").hexdigest()
    (folder / "model.yaml").write_text(text.replace(before, after))
    return folder


def children(harness) -> list[psutil.Process]:
    return psutil.Process(harness.process.process.pid).children()


def says(harness, text: str) -> bool:
    return harness.spin_until(lambda: text in harness.values().get("message", ""), 30)


def assert_works(harness, complaint: str) -> None:
    """The node fell back to OpenVINO, and says so."""
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
    for step in ("tensorrt_rtx fp16: built, 11", "tensorrt_rtx: CUDA", "openvino fp32: chosen"):
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


def test_configure_does_not_wait_for_a_runtime_that_takes_long_to_load(start):
    slow = "import time\ntime.sleep(6.0)\nraise ImportError('not here')"
    node = start("autostart:=false", "engine:=torch", module="torch", source=slow)
    assert node.state() == "unconfigured"
    start_s = time.monotonic()
    assert node.transition(Transition.TRANSITION_CONFIGURE)
    assert 2.5 < time.monotonic() - start_s < 4.0
    assert node.transition(Transition.TRANSITION_ACTIVATE)
    assert says(node, "the engine is still being opened; nothing is published until it is")
    assert node.fresh_values()["engine"] == "being opened"
    assert node.spin_until(lambda: node.depth, 30, do=node.send), node.process.output()
    assert says(node, "engine torch was asked for; openvino runs")


def test_never_builds_nothing(start, cache):
    node = start("build:=never")
    assert_works(node, f"not in the cache {cache.folder}, and build is never")
    assert cache.entries() == []


def test_force_builds_what_is_there(start, cache, key):
    cache.find_or_build(key, lambda: b"an engine of yesterday")
    node = start("build:=force")
    assert_works(node, NO_GPU)
    assert len(cache.find(key)) > 1e6


def test_what_is_cached_is_not_built(start, cache, key):
    cache.find_or_build(key, lambda: b"an engine of yesterday")
    node = start("build:=auto")
    assert_works(node, NO_GPU)
    assert cache.find(key) == b"an engine of yesterday"
    assert "tensorrt_rtx fp16: from the cache" in node.process.output()


def test_a_build_that_fails_falls_to_the_next(start, cache, broken_half):
    node = start(f"model:={broken_half}")
    assert_works(node, "model_fp16.onnx")
    selection = node.values()["engine_selection"]
    assert "tensorrt_rtx fp16: tensorrt_rtx" in selection and "refuses" in selection
    assert selection.index("tensorrt_rtx fp16") < selection.index("tensorrt_rtx fp32: built")


def test_where_nothing_works_after_all_the_node_says_so_and_stays_up(start, slow_build):
    node = start(module="openvino", source="raise ImportError('not here')")
    assert says(node, "another process is building it")
    slow_build.release()
    assert says(node, "no engine works for model indoor_tiny")
    values = node.fresh_values()
    assert (values["state"], values["level"]) == ("active", DiagnosticStatus.ERROR)
    assert values["engine"] == "none"
    assert node.transition(Transition.TRANSITION_DEACTIVATE)
    assert node.transition(Transition.TRANSITION_CLEANUP)
    assert node.fresh_values()["level"] == DiagnosticStatus.OK

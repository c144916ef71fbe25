"""The executable from start to end: bad bundles, bad parameters, signals."""

import os
import shutil
import signal
import time

import pytest
import yaml
from conftest import RunningProcess
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from node_harness import MODULE, Harness
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from depthrefl_ros.engine.bundle import Bundle


@pytest.fixture
def spoiled_bundles(tmp_path):
    """Copies of the shipped bundle, each wrong in its own way."""
    shipped = Bundle.load("indoor_tiny").folder
    truncated, other_version = tmp_path / "truncated", tmp_path / "other_version"
    for folder in (truncated, other_version):
        shutil.copytree(shipped, folder, copy_function=os.symlink)
    onnx = truncated / "model.onnx"
    data = onnx.read_bytes()
    onnx.unlink()
    onnx.write_bytes(data[: len(data) // 2])
    description = other_version / "model.yaml"
    content = yaml.safe_load(description.read_text())
    description.unlink()
    description.write_text(yaml.safe_dump({**content, "format_version": 99}))
    return {"truncated": truncated, "format_version 99": other_version}


def test_a_bad_bundle_fails_configure_and_the_node_can_be_configured_again(
    ros, tmp_path, spoiled_bundles, without_torch
):
    process = RunningProcess(
        tmp_path / "log.txt",
        MODULE,
        *("--ros-args", "-r", "__ns:=/bad", "-p", "model:=no_such_model"),
        *("-p", "diagnostics_period:=0.1"),
        environment=without_torch,
    )
    harness = Harness("/bad/depthrefl", "/bad/image")
    try:
        assert harness.spin_until(lambda: "no_such_model" in harness.values().get("message", ""))
        assert harness.values()["level"] == DiagnosticStatus.ERROR
        assert harness.state() == "unconfigured"
        for complaint, folder in spoiled_bundles.items():
            assert harness.set("model", str(folder)) == ""
            assert not harness.transition(Transition.TRANSITION_CONFIGURE)
            values = harness.fresh_values()
            assert values["level"] == DiagnosticStatus.ERROR
            assert str(folder) in values["message"] and complaint in values["message"]
        assert harness.set("model", "indoor_tiny") == ""
        assert harness.transition(Transition.TRANSITION_CONFIGURE)
        assert harness.transition(Transition.TRANSITION_ACTIVATE)
        assert harness.fresh_values()["state"] == "active"
        assert harness.values()["model"] == "indoor_tiny"
    finally:
        harness.close()
        assert process.stop(signal.SIGINT) == 0, process.output()
    # Told in a line each, without a traceback.
    assert "Traceback" not in process.output()


@pytest.mark.parametrize(
    "signals", [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGINT, signal.SIGINT)]
)
def test_signals_end_a_busy_node_within_two_seconds_with_code_0(ros, tmp_path, signals):
    process = RunningProcess(
        tmp_path / "log.txt",
        MODULE,
        *("--ros-args", "-r", "image:=/camera/image_rect", "-p", "diagnostics_period:=0.1"),
    )
    harness = Harness(image_topic="/camera/image_rect")
    try:
        depth = harness.collect(Image, "depth/image", qos_profile_sensor_data)
        assert harness.spin_until(lambda: depth, 30, do=harness.send), process.output()
        start = time.monotonic()
        assert process.stop(*signals) == 0, process.output()
        assert time.monotonic() - start < 2.0
    finally:
        process.process.kill()
        harness.close()
    assert "image_is_rectified" in process.output()
    assert "Traceback" not in process.output()


def test_parameters_that_cannot_be_taken_end_the_start_with_a_clear_line(tmp_path):
    process = RunningProcess(tmp_path / "log.txt", MODULE, "--ros-args", "-p", "engine:=fast")
    assert process.process.wait(20) == 1
    assert "engine is 'fast'; it must be one of" in process.output()
    assert "Traceback" not in process.output()

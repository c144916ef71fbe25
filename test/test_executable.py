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

"""The executable from start to end: bad bundles, bad parameters, signals."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import yaml
from conftest import ROOT, RunningProcess
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from node_harness import MODULE, Harness
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.ros.executable import LAST_RESORT_S, doubtful_arguments


@pytest.fixture
def spoiled_bundles(tmp_path):
    """Return copies of the shipped bundle, each wrong in its own way."""
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


@pytest.mark.parametrize(
    "values, told",
    [
        (["engine:=fast"], "engine is 'fast'; it must be one of"),
        (["device:=nonsense"], "device is 'nonsense'; known are the index of a CUDA GPU"),
        (["engine:=openvino", "device:=cuda:0"], "engine openvino takes CPU, GPU"),
        (["use_sim_time:=1"], "'use_sim_time' to '1' of type 'INTEGER', expecting type 'BOOL'"),
        (
            ["qos_overrides./points.publisher.depth:=two"],
            "qos_overrides./points.publisher.depth is 'two'; it must be a whole number from 0",
        ),
    ],
)
def test_parameters_that_cannot_be_taken_end_the_start_with_a_clear_line(tmp_path, values, told):
    arguments = [argument for value in values for argument in ("-p", value)]
    process = RunningProcess(tmp_path / "log.txt", MODULE, "--ros-args", *arguments)
    assert process.process.wait(20) == 1
    (line,) = process.output().splitlines()
    assert told in line


@pytest.mark.parametrize(
    "arguments, named",
    [
        (("--params-file", "/nowhere.yaml"), "params file: '--params-file /nowhere.yaml'"),
        (("-r", "image:=9bad"), "remap rule: '-r image:=9bad'"),
    ],
)
def test_ros_arguments_that_cannot_be_read_end_the_start_with_one_line(tmp_path, arguments, named):
    process = RunningProcess(tmp_path / "log.txt", MODULE, "--ros-args", *arguments)
    assert process.process.wait(20) == 1
    *by_rcl, line = process.output().splitlines()
    assert line.startswith("depthrefl_node: ") and named in line
    assert "/src/" not in line and len(by_rcl) <= 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_does_not_end_by_itself_is_ended_in_time_with_code_0(tmp_path, number):
    (tmp_path / "stubborn.py").write_text(
        "import time\n"
        "from depthrefl_ros.ros.executable import StopSignals\n"
        "stop = StopSignals()\n"
        "print('ready', flush=True)\n"
        "stop.stopping.wait()\n"
        "print('asked to end', flush=True)\n"
        "time.sleep(30)\n"
    )
    environment = {"PYTHONPATH": str(tmp_path)}
    process = RunningProcess(tmp_path / "log.txt", "stubborn", environment=environment)
    end_s = time.monotonic() + 20.0
    while "ready" not in process.output():
        assert time.monotonic() < end_s, process.output()
        time.sleep(0.02)
    start_s = time.monotonic()
    assert process.stop(number) == 0, process.output()
    assert LAST_RESORT_S <= time.monotonic() - start_s < LAST_RESORT_S + 1.0
    assert "asked to end" in process.output() and "Traceback" not in process.output()


def run_without_ros(*arguments: str) -> subprocess.CompletedProcess:
    code = (
        "import sys\n"
        "sys.modules['rclpy'] = None\n"
        "from depthrefl_ros.ros.executable import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)


def test_without_ros_one_line_says_what_is_missing_and_help_is_there():
    done = run_without_ros()
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "rclpy" in line and "source a ROS 2 installation" in line
    helped = run_without_ros("--help")
    assert helped.returncode == 0 and helped.stdout.startswith("usage: depthrefl_node")


# Arguments that nobody will ever use.


@pytest.fixture
def doubts_of(peer, tmp_path):
    """Return what is doubtful about arguments, by the node ``/front/depthrefl``."""
    import rclpy

    node = rclpy.create_node("depthrefl", namespace="/front")

    def doubts_of(*arguments: str, params: str = "") -> list[str]:
        if params:
            (tmp_path / "params.yaml").write_text(params)
            arguments += ("--ros-args", "--params-file", str(tmp_path / "params.yaml"))
        return doubtful_arguments([node], ["depthrefl_node", *arguments])

    yield doubts_of
    node.destroy_node()


@contextmanager
def two_cameras(*arguments: str):
    """Make the nodes of two cameras in this process."""
    import rclpy

    nodes = [
        rclpy.create_node("depthrefl", namespace=name, cli_args=list(arguments))
        for name in ("/front", "/right")
    ]
    yield nodes
    for node in nodes:
        node.destroy_node()


@pytest.fixture
def doubts_of_two(ros, tmp_path):
    """Return what is doubtful about arguments, by the nodes of two cameras."""

    def doubts_of_two(*arguments: str, params: str = "") -> list[str]:
        if params:
            (tmp_path / "params.yaml").write_text(params)
            arguments += ("--ros-args", "--params-file", str(tmp_path / "params.yaml"))
        with two_cameras() as nodes:
            return doubtful_arguments(nodes, ["depthrefl_node", *arguments])

    return doubts_of_two


@pytest.mark.parametrize(
    "rule",
    [
        "image:=/camera/image_raw",
        "image/compressed:=/camera/image_raw/compressed",
        "/front/camera_info:=/camera/camera_info",
        "depthrefl:image:=/camera/image_raw",
        "points/marking:=/obstacles",
        "imu:=/imu/data",
        "__ns:=/front",
        "/tf:=tf",
        "/clock:=/sim/clock",
        "bond:=/bond",
        "~/get_state:=/x/get_state",
        "depthrefl/get_state:=/x/get_state",
        "/front/depthrefl/get_state:=/x/get_state",
        "rostopic://image:=/camera/image_raw",
        "rosservice://~/get_state:=/x/get_state",
        "/diagnostics:=/front/diagnostics",
    ],
)
def test_remaps_of_what_there_is_are_no_doubt(doubts_of, rule):
    assert doubts_of("--ros-args", "-r", rule) == []
    assert doubts_of("--ros-args", "--remap", rule, "-p", "max_range:=6.0") == []


@pytest.mark.parametrize(
    "arguments, doubt",
    [
        (("--fast",), "argument '--fast' is not known; ROS arguments come after --ros-args"),
        (
            ("--ros-args", "-r", "imge:=/camera/image_raw"),
            "remap 'imge:=/camera/image_raw': there is no topic 'imge'; did you mean 'image'?",
        ),
        (
            ("--ros-args", "-p", "max_range:=6.0", "--remap", "/point:=/cloud"),
            "remap '/point:=/cloud': there is no topic '/point'; did you mean 'points'?",
        ),
        (
            ("--ros-args", "-r", "/camera_info:=/cam/info"),
            "remap '/camera_info:=/cam/info': there is no topic '/camera_info'; "
            "did you mean 'camera_info'?",
        ),
        (
            ("--ros-args", "-r", "tf:=/x/tf"),
            "remap 'tf:=/x/tf': there is no topic 'tf'; did you mean '/tf'?",
        ),
        (
            ("--ros-args", "-r", "image:=/a", "--", "--slow"),
            "argument '--slow' is not known; ROS arguments come after --ros-args",
        ),
    ],
)
def test_arguments_without_effect_are_told_with_the_name_that_was_meant(
    doubts_of, arguments, doubt
):
    assert doubts_of(*arguments) == [doubt]


def test_a_renamed_node_in_no_namespace_has_its_own_topics_and_services(ros):
    import rclpy

    rules = ["__node:=cam", "image:=/front/image", "/front/image/compressed:=/jpeg", "tf:=/x/tf"]
    rules += ["clock:=/sim/clock", "/camera_info:=/front/info", "/cam/get_state:=/x/get_state"]
    arguments = ["depthrefl_node", "--ros-args", *(one for rule in rules for one in ("-r", rule))]
    node = rclpy.create_node("depthrefl", cli_args=arguments)
    assert doubtful_arguments([node], arguments) == []
    (doubt,) = doubtful_arguments([node], [*arguments, "-r", "/depthrefl/get_state:=/y"])
    assert "there is no topic '/depthrefl/get_state'" in doubt
    node.destroy_node()


VALUES = "ros__parameters: {max_range: 6.0}"


@pytest.mark.parametrize(
    "params",
    [
        f"/**: {{{VALUES}}}",
        f"/*: {{{VALUES}}}",
        f"depthrefl: {{{VALUES}}}",
        f"/front/depthrefl: {{{VALUES}}}",
        f"front: {{depthrefl: {{{VALUES}}}}}",
        f"other: {{{VALUES}}}\ndepthrefl: {{{VALUES}}}",
    ],
)
def test_a_section_for_this_node_is_no_doubt(doubts_of, params):
    assert doubts_of(params=params) == []


@pytest.mark.parametrize(
    "params, named",
    [
        (f"depthrefll: {{{VALUES}}}", "depthrefll; did you mean 'depthrefll'?"),
        (f"/camera: {{{VALUES}}}", "/camera"),
        ("{}", "it has none"),
    ],
)
def test_a_file_without_a_section_for_this_node_is_told(doubts_of, params, named):
    (doubt,) = doubts_of(params=params)
    assert "params.yaml: no section is for this node, /front/depthrefl: " in doubt
    assert doubt.endswith(named)


@pytest.mark.parametrize(
    "params, named",
    [
        (f"depthrefl: {{{VALUES}}}", "depthrefl"),
        (f"/**: {{{VALUES}}}\n/rihgt/depthrefl: {{{VALUES}}}", "/rihgt/depthrefl"),
        (f"/right/sub/depthrefl: {{{VALUES}}}", "/right/sub/depthrefl"),
        (f"/camera: {{{VALUES}}}", "/camera"),
    ],
)
def test_a_section_for_none_of_several_cameras_is_told(doubts_of_two, params, named):
    (doubt,) = doubts_of_two(params=params)
    start = (
        f"params.yaml: no section is for these nodes, /front/depthrefl, /right/depthrefl: {named}"
    )
    assert start in doubt


@pytest.mark.parametrize(
    "params",
    [
        f"/**: {{{VALUES}}}",
        f"/*/depthrefl: {{{VALUES}}}",
        f"/**/depthrefl: {{{VALUES}}}\n/front/depthrefl: {{{VALUES}}}\n/other: {{{VALUES}}}",
    ],
)
def test_a_section_for_one_of_several_cameras_is_no_doubt(doubts_of_two, params):
    assert doubts_of_two(params=params) == []


def test_a_remap_of_one_of_several_cameras_is_no_doubt(doubts_of_two):
    assert doubts_of_two("--ros-args", "-r", "/right/image:=/usb_cam/image_raw") == []
    (doubt,) = doubts_of_two("--ros-args", "-r", "/left/image:=/usb_cam/image_raw")
    assert "there is no topic '/left/image'" in doubt


def test_cameras_that_take_the_same_images_are_told(ros):
    with two_cameras("--ros-args", "-r", "image:=/usb_cam/image_raw") as nodes:
        (doubt,) = doubtful_arguments(nodes, ["depthrefl_node"])
    assert doubt.startswith(
        "cameras /front and /right take the same /usb_cam/image_raw: remap image"
    )


def test_a_value_that_one_camera_cannot_take_names_the_camera(tmp_path):
    (tmp_path / "params.yaml").write_text(
        "/**: {ros__parameters: {cameras: [front, left]}}\n"
        "/left/depthrefl: {ros__parameters: {engine: fast}}\n"
    )
    process = RunningProcess(
        tmp_path / "log.txt", MODULE, "--ros-args", "--params-file", str(tmp_path / "params.yaml")
    )
    assert process.process.wait(20) == 1
    (line,) = (one for one in process.output().splitlines() if "FATAL" in one)
    assert "[left.depthrefl]: engine is 'fast'; it must be one of" in line


@pytest.mark.parametrize("value", ["front front", "front/left", "2nd"])
def test_names_that_no_camera_can_have_end_the_process_with_what_would_be_right(tmp_path, value):
    process = RunningProcess(tmp_path / "log.txt", MODULE, "--ros-args", "-p", f"cameras:={value}")
    assert process.process.wait(20) == 1
    assert "it must be different names with spaces between them" in process.output()

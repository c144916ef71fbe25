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

"""The launch files, run by the real launch and launch_ros where they are installed."""

import importlib.util
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import GetParameters

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.launch_files import LaunchError

# Not "launch": from the root of the tree Python takes the folder launch/ for a package.
pytest.importorskip("launch.actions", reason="launch is not installed (it is not on PyPI)")
pytest.importorskip("launch_ros.actions", reason="launch_ros is not installed (not on PyPI)")

import launch  # noqa: E402

LAUNCH_FILE = ROOT / "launch" / "depthrefl.launch.py"
NAV2_DEMO = ROOT / "launch" / "nav2_demo.launch.py"
ARGUMENTS = {
    "image_topic",
    "camera_info_topic",
    "image_transport",
    "image_is_rectified",
    "optical_frame_id",
    "fixed_frame",
    "model",
    "engine",
    "params_file",
    "use_sim_time",
    "autostart",
    "use_rviz",
    "namespace",
    "log_level",
}


def load_launch_file(path=LAUNCH_FILE):
    spec = importlib.util.spec_from_file_location("launch_file", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def entities(path=LAUNCH_FILE, **arguments):
    """Return the nodes that the launch file starts with these arguments, and what it says."""
    module = load_launch_file(path)
    context = launch.LaunchContext()
    for name, (default, _) in module.ARGUMENTS.items():
        context.launch_configurations[name] = arguments.pop(name, default)
    context.launch_configurations.update(arguments)
    started = module.start(context)
    said = [launch.utilities.perform_substitutions(context, one.msg)
            for one in started if isinstance(one, launch.actions.LogInfo)]  # fmt: skip
    return [one for one in started if hasattr(one, "node_package")], said


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Return an ament prefix with the package as installed, its executable running this tree."""
    install(tmp_path, "depthrefl_ros", "depthrefl_node", "-m depthrefl_ros.ros.executable")
    (tmp_path / "share/depthrefl_ros").symlink_to(ROOT)
    monkeypatch.setenv(
        "AMENT_PREFIX_PATH", f"{tmp_path}:{os.environ.get('AMENT_PREFIX_PATH', '')}".rstrip(":")
    )


def install(prefix, package, executable, python_arguments):
    """Put a package with one executable, which is Python with these arguments, into a prefix."""
    index = prefix / "share/ament_index/resource_index/packages"
    index.mkdir(parents=True, exist_ok=True)
    (index / package).touch()
    path = prefix / "lib" / package / executable
    path.parent.mkdir(parents=True)
    path.write_text(
        f"#!/bin/sh\nexport PYTHONPATH={ROOT}:$PYTHONPATH\n"
        f'exec {sys.executable} {python_arguments} "$@"\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


# Nav2 and tf2 are not on PyPI. In their place a node says which name and parameters it was given.
STAND_IN = """
import json, sys
import rclpy
rclpy.init(args=sys.argv)
node = rclpy.create_node("unnamed", automatically_declare_parameters_from_overrides=True)
values = {name: one.value for name, one in node.get_parameters_by_prefix("").items()}
own = rclpy.utilities.remove_ros_args(sys.argv)[1:]
said = {"node": node.get_fully_qualified_name(), "parameters": values, "arguments": own}
print("STAND_IN " + json.dumps(said, default=str), flush=True)
try:
    rclpy.spin(node)
except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
    pass
"""


@pytest.fixture
def nav2_installed(installed, tmp_path):
    """Stand-ins for what the Nav2 demonstration starts beside our node."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    for package, executable in (
        ("tf2_ros", "static_transform_publisher"),
        ("nav2_costmap_2d", "nav2_costmap_2d"),
        ("nav2_lifecycle_manager", "lifecycle_manager"),
    ):
        install(tmp_path, package, executable, script)


def stand_ins(output):
    """Return what the stand-ins have said so far, by the node's name."""
    said = [json.loads(line.split("STAND_IN ", 1)[1]) for line in output.splitlines()
            if "STAND_IN " in line]  # fmt: skip
    return {one["node"]: one for one in said}


# What ``ros2 launch`` does with a file and its arguments; LaunchService wants a main thread.
RUNNER = """
import sys
import launch
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
service = launch.LaunchService(noninteractive=True)
arguments = [tuple(one.split(":=", 1)) for one in sys.argv[2:]]
source = PythonLaunchDescriptionSource(sys.argv[1])
service.include_launch_description(
    launch.LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
)
sys.exit(service.run())
"""


class RunningLaunch:
    """The launch file run by a process group of its own, as from a terminal."""

    def __init__(self, log: Path, launch_file: Path = LAUNCH_FILE, **arguments):
        given = [f"{name}:={value}" for name, value in arguments.items()]
        self._log = log
        with log.open("w") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-c", RUNNER, str(launch_file), *given],
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def output(self) -> str:
        return self._log.read_text()

    def wait(self, seconds: float) -> int:
        """Wait until it ends by itself, and return the exit code."""
        try:
            return self._process.wait(seconds)
        finally:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def interrupt(self) -> int:
        """Ctrl-C: SIGINT to the whole group, on top of which launch sends the node its own."""
        os.killpg(self._process.pid, signal.SIGINT)
        try:
            return self._process.wait(15)
        finally:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)


def test_every_argument_is_declared_with_a_description():
    description = load_launch_file().generate_launch_description()
    declared = {argument.name: argument for argument in description.get_launch_arguments()}
    assert set(declared) == ARGUMENTS
    assert all(len(argument.description) > 10 for argument in declared.values())


def packages(nodes):
    return [node.node_package for node in nodes]


def test_rviz_only_where_asked_for_and_installed(installed, tmp_path):
    nodes, _ = entities()
    assert packages(nodes) == ["depthrefl_ros"]
    with pytest.raises(LaunchError, match="rviz2 .for use_rviz:=true.*apt install .*-rviz2"):
        entities(use_rviz="true")
    install(tmp_path, "rviz2", "rviz2", "")
    nodes, _ = entities(use_rviz="true", fixed_frame="cam")
    assert packages(nodes) == ["depthrefl_ros", "rviz2"]
    assert ["-f", "cam"] == texts(nodes[1])[2:4]


def texts(node):
    """Return the plain arguments that a node is started with."""
    return [one[0].text for one in node.cmd[1:]
            if isinstance(one[0], launch.substitutions.TextSubstitution)]  # fmt: skip


def test_a_slip_in_an_arguments_name_is_told():
    _, said = entities(imagetopic="/camera/image_raw")
    assert said == ["WARNING: argument imagetopic is not known; did you mean image_topic?"]


def test_rviz_shows_image_preview_and_cloud():
    config = yaml.safe_load((ROOT / "config" / "depthrefl.rviz").read_text())
    displays = config["Visualization Manager"]["Displays"]
    topics = {one["Topic"]["Value"] for one in displays if "Topic" in one}
    assert topics == {"/image", *load_launch_file().RESULTS}


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        ({"autostart": "perhaps"}, "autostart is 'perhaps'; it must be true or false"),
        ({"image_transport": "theora"}, "image_transport is 'theora'; it must be one of raw"),
        ({"image_topic": "front cam"}, "image_topic is 'front cam'; a topic's name"),
        ({"params_file": "/none.yaml"}, "params_file is '/none.yaml': there is no such file"),
        ({"log_level": "loud"}, "log_level is 'loud'; it must be one of debug"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(arguments, complaint):
    with pytest.raises(LaunchError, match=complaint):
        entities(**arguments)


@pytest.mark.parametrize(
    "launch_file, arguments, complaint",
    [
        (LAUNCH_FILE, {"use_rviz": "true"}, "not installed: rviz2 (for use_rviz:=true)"),
        (LAUNCH_FILE, {"params_file": "/none.yaml"}, "'/none.yaml': there is no such file"),
        (NAV2_DEMO, {}, "not installed: nav2_costmap_2d (for the costmap), nav2_lifecycle_manager"),
    ],
)
def test_it_ends_with_one_line_and_nothing_left_running(
    installed, tmp_path, launch_file, arguments, complaint
):
    running = RunningLaunch(tmp_path / "log.txt", launch_file, **arguments)
    assert running.wait(20) == 1
    [line] = [one for one in running.output().splitlines() if "ERROR" in one]
    assert complaint in line
    assert "process started" not in running.output()


def test_launch_starts_the_node_as_its_arguments_say(installed, peer, tmp_path):
    params_file = tmp_path / "params.yaml"
    params_file.write_text(
        yaml.safe_dump({"depthrefl": {"ros__parameters": {"max_rate": 7.5, "use_sim_time": True}}})
    )
    arrays = peer.collect(DiagnosticArray, "/diagnostics")
    running = RunningLaunch(
        tmp_path / "log.txt",
        params_file=str(params_file),
        namespace="robot",
        image_topic="/camera/image_raw/",
        camera_info_topic="/camera/camera_info",
        engine="openvino",
        log_level="warn",
    )
    try:

        def is_active():
            return any("active" in [item.value for item in one.status[0].values] for one in arrays)

        assert peer.spin_until(is_active, 30), running.output()
        graph, node = peer.node, ("depthrefl", "/robot")
        taken = {"/camera/image_raw", "/camera/camera_info"}
        assert peer.spin_until(
            lambda: taken <= set(dict(graph.get_subscriber_names_and_types_by_node(*node)))
        )
        given = {"/robot/points", "/robot/depth/image"}
        assert peer.spin_until(
            lambda: given <= set(dict(graph.get_publisher_names_and_types_by_node(*node)))
        )
        names = ["max_rate", "engine", "model", "use_sim_time"]
        answer = peer.call(
            GetParameters, "/robot/depthrefl/get_parameters", GetParameters.Request(names=names)
        )
        rate, engine, model, sim_time = answer.values
        assert (rate.double_value, engine.string_value) == (7.5, "openvino")
        assert (model.string_value, sim_time.bool_value) == ("indoor_tiny", True)
    finally:
        code = running.interrupt()
    assert code == 0, running.output()
    assert "process has finished cleanly" in running.output()
    assert "Traceback" not in running.output()
    assert "openvino fp32: chosen" not in running.output()  # told at level info


@pytest.mark.parametrize("where", ["argument", "file"])
def test_launch_without_autostart_leaves_the_node_unconfigured(installed, peer, tmp_path, where):
    arrays = peer.collect(DiagnosticArray, "/diagnostics")
    arguments = {"autostart": "false"}
    if where == "file":
        params_file = tmp_path / "params.yaml"
        params_file.write_text("/**: {ros__parameters: {autostart: false}}")
        arguments = {"params_file": str(params_file)}
    running = RunningLaunch(tmp_path / "log.txt", **arguments)
    try:
        assert peer.spin_until(lambda: len(arrays) >= 2, 30)
        assert arrays[-1].status[0].message == "unconfigured"
    finally:
        code = running.interrupt()
    assert code == 0, running.output()
    assert "process has finished cleanly" in running.output()
    assert "Traceback" not in running.output()


def test_the_config_lies_where_the_launch_file_looks():
    config = load_launch_file().CONFIG
    assert config == Path(ROOT) / "config"
    assert (config / "depthrefl.yaml").is_file() and (config / "depthrefl.rviz").is_file()


def test_every_argument_of_the_nav2_demonstration_is_described():
    description = load_launch_file(NAV2_DEMO).generate_launch_description()
    declared = {argument.name: argument for argument in description.get_launch_arguments()}
    assert {"camera_height", "camera_pitch", "optical_frame", "layer", "use_rviz"} <= set(declared)
    assert all(len(argument.description) > 10 for argument in declared.values())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [({}, 5), ({"publish_mount": "false"}, 3), ({"fixed_odometry": "true", "use_rviz": "true"}, 7)],
)
def test_the_nav2_demonstration_starts_what_it_is_told(
    nav2_installed, tmp_path, arguments, expected
):
    install(tmp_path, "rviz2", "rviz2", "")
    nodes, said = entities(NAV2_DEMO, **arguments)
    assert len(nodes) == expected
    # Without odometry the costmap would wait without a word of ours.
    is_fixed = "fixed_odometry" in arguments
    assert any("fixed_odometry:=true" in one for one in said) != is_fixed
    if is_fixed:
        assert texts(nodes[-1])[2:4] == ["-f", "odom"]


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        ({"camera_height": "high"}, "camera_height is 'high'; it must be a number"),
        ({"layer": "voxels"}, "layer is 'voxels'; it must be one of camera_layer"),
        ({"costmap_file": "/none.yaml"}, "costmap_file is '/none.yaml': there is no such file"),
        ({"use_rviz": "true"}, "not installed: rviz2"),
    ],
)
def test_the_nav2_demonstration_refuses_what_cannot_be(nav2_installed, arguments, complaint):
    with pytest.raises(LaunchError, match=complaint):
        entities(NAV2_DEMO, **arguments)


def test_the_nav2_demonstration_names_its_nodes_as_its_files_do(nav2_installed, peer, tmp_path):
    arrays = peer.collect(DiagnosticArray, "/diagnostics")
    running = RunningLaunch(
        tmp_path / "log.txt",
        NAV2_DEMO,
        camera_height="1",
        camera_pitch="10",
        layer="camera_voxel_layer",
        image_transport="compressed",
    )
    try:
        assert peer.spin_until(lambda: len(stand_ins(running.output())) == 4, 30), running.output()
        assert peer.spin_until(lambda: len(arrays) >= 1, 30), running.output()
        assert arrays[-1].status[0].message == "unconfigured"  # the lifecycle manager's to start
        answer = peer.call(
            GetParameters,
            "/depthrefl/get_parameters",
            GetParameters.Request(
                names=["base_frame", "image_transport", "camera_height", "camera_pitch"]
            ),
        )
        frame, transport, *numbers = answer.values
        assert [frame.string_value, transport.string_value] == ["base_footprint", "compressed"]
        assert [one.double_value for one in numbers] == [1.0, 10.0]
        said = stand_ins(running.output())
    finally:
        code = running.interrupt()
    assert code == 0, running.output()
    assert "Traceback" not in running.output()
    costmap = said["/local_costmap/local_costmap"]["parameters"]
    assert costmap["plugins"] == ["camera_voxel_layer", "inflation_layer"]
    assert costmap["robot_base_frame"] == "base_footprint"
    assert costmap["camera_voxel_layer.z_voxels"] == 16  # of config/nav2_costmap.yaml
    manager = said["/lifecycle_manager_depthrefl"]["parameters"]
    assert [f"/{name}" for name in manager["node_names"]] == [
        "/depthrefl",
        "/local_costmap/local_costmap",
    ]
    assert manager["bond_timeout"] == 0.0 and manager["autostart"] is True
    mount = transform(said["/camera_link_mount"]["arguments"])
    assert mount == pytest.approx({"z": 1.0, "x": 0.0, "pitch": np.radians(10), "roll": 0.0})


def test_the_mount_on_tf_is_the_one_that_the_parameters_mean():
    """REP-103: the two transforms together are `Pose.from_mount` of the same numbers."""
    module = load_launch_file(NAV2_DEMO)
    values = {name: default for name, (default, _) in module.ARGUMENTS.items()}
    values |= {"camera_x": 0.2, "camera_height": 0.6, "camera_pitch": 12.0, "camera_roll": 5.0}
    rotation, translation = np.eye(3), np.zeros(3)
    for node in module.mount(values):
        given = texts(node)
        amounts = transform(given[: given.index("--ros-args")])
        offset = np.array([amounts.get(axis, 0.0) for axis in "xyz"])
        translation = rotation @ offset + translation
        rotation = rotation @ rpy(*(amounts.get(one, 0.0) for one in ("roll", "pitch", "yaw")))
    pose = Pose.from_mount(0.6, np.radians(12), np.radians(5), 0.2)
    np.testing.assert_allclose(rotation, pose.rotation, atol=1e-12)
    np.testing.assert_allclose(translation, pose.translation, atol=1e-12)


def transform(arguments):
    """Metres and radians by name, of static_transform_publisher's arguments."""
    pairs = dict(zip(arguments[::2], arguments[1::2], strict=True))
    return {name[2:]: float(text) for name, text in pairs.items() if "frame" not in name}


def rpy(roll, pitch, yaw):
    """Return tf2's rotation of roll, pitch, yaw: about the fixed axes x, then y, then z."""
    turns = []
    for (first, second), angle in zip(((1, 2), (2, 0), (0, 1)), (roll, pitch, yaw), strict=True):
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        turns.append(turn)
    return turns[2] @ turns[1] @ turns[0]


def test_the_nav2_demonstration_finds_its_files():
    module = load_launch_file(NAV2_DEMO)
    for name in ("params_file", "costmap_file"):
        assert Path(module.ARGUMENTS[name][0]).is_file()
    rviz = yaml.safe_load((module.CONFIG / "nav2_demo.rviz").read_text())["Visualization Manager"]
    topics = {one["Topic"]["Value"] for one in rviz["Displays"] if "Topic" in one}
    assert topics == {
        "/image", "/points/marking", "/points/clearing", "/local_costmap/costmap"
    }  # fmt: skip

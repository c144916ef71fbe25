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

"""nav2_demo.launch.py, run by the real launch and launch_ros where they are installed."""

from pathlib import Path

import launch
import numpy as np
import pytest
import yaml
from conftest import ROOT
from diagnostic_msgs.msg import DiagnosticArray
from launch_bench import (  # noqa: F401
    STAND_IN,
    RunningLaunch,
    entities,
    install,
    installed,
    load_launch_file,
    stand_ins,
    texts,
)
from rcl_interfaces.srv import GetParameters

from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.launch_files import LaunchError

NAV2_DEMO = ROOT / "launch" / "nav2_demo.launch.py"


@pytest.fixture
def nav2_installed(installed, tmp_path):  # noqa: F811
    """Stand-ins for what the Nav2 demonstration starts beside our node."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    for package, executable in (
        ("tf2_ros", "static_transform_publisher"),
        ("nav2_costmap_2d", "nav2_costmap_2d"),
        ("nav2_lifecycle_manager", "lifecycle_manager"),
    ):
        install(tmp_path, package, executable, script)


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
        ({"camera_height": "nan"}, "camera_height is 'nan'; it must be a finite number"),
        ({"layer": "voxels"}, "layer is 'voxels'; it must be one of camera_layer"),
        ({"costmap_file": "/none.yaml"}, "costmap_file is '/none.yaml': there is no such file"),
        ({"costmap_file": str(ROOT / "README.md")}, "costmap_file: .*README.md is no "),
        ({"costmap_file": str(ROOT / "ruff.toml")}, "costmap_file: .*ruff.toml is no "),
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


def test_on_humble_the_costmap_has_the_name_that_its_executable_takes(
    nav2_installed, peer, tmp_path, monkeypatch
):
    monkeypatch.setenv("ROS_DISTRO", "humble")
    running = RunningLaunch(tmp_path / "log.txt", NAV2_DEMO)
    try:
        assert peer.spin_until(lambda: len(stand_ins(running.output())) == 4, 30), running.output()
        said = stand_ins(running.output())
    finally:
        running.interrupt()
    given = said["/costmap/costmap"]["given"]
    assert "/costmap/costmap:=/local_costmap/costmap" in given  # where RViz looks
    parameters = said["/costmap/costmap"]["parameters"]
    assert parameters["rolling_window"] is True  # of config/nav2_costmap.yaml
    assert parameters["robot_base_frame"] == "base_footprint"
    manager = said["/lifecycle_manager_depthrefl"]["parameters"]
    assert manager["node_names"] == ["depthrefl", "costmap/costmap"]


def test_a_pushed_namespace_has_both_files_and_the_topics_between_them(
    nav2_installed, peer, tmp_path
):
    params = tmp_path / "p.yaml"
    params.write_text("depthrefl: {ros__parameters: {max_rate: 3.0}}")
    running = RunningLaunch(tmp_path / "log.txt", NAV2_DEMO, pushed="robot", params_file=params)
    try:
        assert peer.spin_until(lambda: len(stand_ins(running.output())) == 4, 30), running.output()
        request = GetParameters.Request(names=["max_rate"])
        answer = peer.call(GetParameters, "/robot/depthrefl/get_parameters", request).values
        said = stand_ins(running.output())
    finally:
        code = running.interrupt()
    assert code == 0 and "WARNING: " not in running.output(), running.output()
    assert answer[0].double_value == 3.0
    costmap = said["/robot/local_costmap/local_costmap"]
    assert costmap["parameters"]["rolling_window"] is True  # of config/nav2_costmap.yaml
    clouds = {f"/points/{one}:=/robot/points/{one}" for one in ("marking", "clearing")}
    assert clouds <= set(costmap["given"])
    manager = said["/robot/lifecycle_manager_depthrefl"]["parameters"]
    assert manager["node_names"] == ["depthrefl", "local_costmap/local_costmap"]


def test_rviz_looks_into_the_pushed_namespace(nav2_installed, tmp_path):
    install(tmp_path, "rviz2", "rviz2", "")
    for pushed, expected in (("/robot", "/robot"), ("", None)):
        nodes, _ = entities(NAV2_DEMO, ros_namespace=pushed, use_rviz="true")
        rviz = nodes[-1]
        rviz._perform_substitutions(launch.LaunchContext())
        remaps = dict(rviz.expanded_remapping_rules)
        assert remaps["/image"] == "/camera/image_raw"
        for topic in ("/points/marking", "/points/clearing", "/local_costmap/costmap"):
            assert remaps.get(topic) == (expected and expected + topic)


def test_humbles_costmap_cannot_be_in_a_pushed_namespace(nav2_installed, monkeypatch):
    monkeypatch.setenv("ROS_DISTRO", "humble")
    with pytest.raises(LaunchError, match="takes no namespace, and robot is pushed"):
        entities(NAV2_DEMO, ros_namespace="/robot")


def test_frames_of_any_name_are_mounted(nav2_installed):
    frames = {"camera_frame": "front/camera_link", "base_frame": "base-link"}
    nodes, _ = entities(NAV2_DEMO, **frames, optical_frame="3d", fixed_odometry="true")
    mounts = [one for one in nodes if one.node_package == "tf2_ros"]
    context = launch.LaunchContext()
    for node in mounts:
        node._perform_substitutions(context)  # what fails where a name is none
    names = {node.node_name for node in mounts}
    assert {one.rpartition("/")[2] for one in names} == {
        "front_camera_link_mount", "_3d_mount", "base_link_mount"
    }  # fmt: skip
    assert "front/camera_link" in texts(mounts[0])  # on TF it keeps its name


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

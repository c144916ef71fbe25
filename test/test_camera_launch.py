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

"""camera.launch.py, run by the real launch and launch_ros where they are installed."""

import pytest
from conftest import ROOT
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

from depthrefl_ros.camera_recipes import RECIPES
from depthrefl_ros.launch_files import LaunchError

CAMERA = ROOT / "launch" / "camera.launch.py"
# A driver's own launch file, as strict as some are, with a default of its own for our arguments.
DRIVER_LAUNCH = """
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
def generate_launch_description():
    return LaunchDescription([
        DeclareLaunchArgument("use_sim_time", default_value="false", choices=["true", "false"]),
        DeclareLaunchArgument("namespace", default_value="zed"),
        DeclareLaunchArgument("log_level", default_value="debug"),
        DeclareLaunchArgument("params_file", default_value="its own"),
        DeclareLaunchArgument("model", default_value="its own"),
        DeclareLaunchArgument("use_rviz", default_value="its own"),
        DeclareLaunchArgument("camera_model"),
        Node(package="zed_wrapper", executable="driver", namespace="zed", name="zed_node",
             parameters=[{"model": LaunchConfiguration("camera_model"),
                          "file": LaunchConfiguration("params_file"),
                          "namespace": LaunchConfiguration("namespace"),
                          "log_level": LaunchConfiguration("log_level"),
                          "network": LaunchConfiguration("model"),
                          "rviz": LaunchConfiguration("use_rviz")}], output="screen"),
    ])
"""


@pytest.fixture
def drivers(installed, tmp_path):  # noqa: F811
    """Stand-ins for the drivers, which are not on PyPI."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    for recipe in RECIPES.values():
        if recipe.driver is not None:
            install(tmp_path, recipe.driver.package, recipe.driver.executable or "driver", script)
            share = tmp_path / "share" / recipe.driver.package / "launch"
            share.mkdir(parents=True)
            if recipe.driver.launch_file:
                (share / recipe.driver.launch_file).write_text(DRIVER_LAUNCH)
    return tmp_path


def test_every_argument_is_described():
    description = load_launch_file(CAMERA).generate_launch_description()
    declared = {argument.name: argument for argument in description.get_launch_arguments()}
    assert {"camera", "start_driver", "image_topic", "use_rviz"} <= set(declared)
    assert all(len(argument.description) > 10 for argument in declared.values())


@pytest.mark.parametrize("name", [one for one, recipe in RECIPES.items() if recipe.driver])
def test_a_camera_needs_its_drivers_package(installed, name):  # noqa: F811
    package = RECIPES[name].driver.package
    with pytest.raises(LaunchError, match=f"not installed: {package} .for camera:={name}"):
        entities(CAMERA, camera=name)


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        ({"camera": "webcam"}, "camera is 'webcam'; it must be one of v4l2_camera"),
        ({}, "camera is ''; it must be one of"),
        ({"camera": "bag"}, "bag is ''; give bag:=RECORDING, or start_driver:=false"),
        ({"camera": "bag", "bag": "/none"}, "bag is '/none': there is no such file or folder"),
        ({"camera": "usb_cam", "image_topic": "a b"}, "image_topic is 'a b'"),
        ({"camera": "usb_cam", "start_driver": "2"}, "start_driver is '2'; it must be true or"),
    ],
)
def test_what_cannot_be_is_refused(drivers, arguments, complaint):
    with pytest.raises(LaunchError, match=complaint):
        entities(CAMERA, **arguments)


@pytest.mark.parametrize("start_driver", ["true", "false"])
def test_a_slip_in_an_arguments_name_is_told_once(drivers, start_driver):
    given = {"start_driver": start_driver, "camera_model": "zed2i", "ros_namespace": "/robot"}
    _, said = entities(CAMERA, camera="zed", bagg="x", **given)
    assert said == ["WARNING: argument bagg is not known; did you mean bag?"]
    # depthrefl.launch.py, which gets it, too, tells this one.
    assert entities(CAMERA, camera="zed", imagetopic="/a", **given)[1] == []


def test_gazebos_bridge_has_the_topics_that_the_node_takes(drivers):
    nodes, _ = entities(CAMERA, camera="gazebo", image_topic="/front/image")
    bridged = [one for one in texts(nodes[0]) if "gz.msgs" in one]
    assert bridged[0].startswith("/front/image@sensor_msgs/msg/Image[")
    assert bridged[1].startswith("/camera/camera_info@") and bridged[2].startswith("/clock@")


def test_a_bag_is_played_with_its_clock(drivers, tmp_path):
    module = load_launch_file(CAMERA)
    values = {name: default for name, (default, _) in module.ARGUMENTS.items()}
    [play] = module.driver(
        {**values, "camera": "bag", "bag": str(tmp_path)}, RECIPES["bag"], {}, {}, ()
    )
    words = [one[0].text for one in play.cmd]
    assert words == ["ros2", "bag", "play", str(tmp_path), "--clock"]


def parameters_of(peer, names):
    request = GetParameters.Request(names=names)
    answer = peer.call(GetParameters, "/depthrefl/get_parameters", request).values
    return [one.string_value or one.bool_value for one in answer]


def test_a_driver_that_is_a_node_and_ours_on_its_topics(drivers, peer, tmp_path):
    settings = tmp_path / "driver.yaml"
    settings.write_text("/**: {ros__parameters: {pixel_format: mjpeg2rgb, framerate: 15.0}}")
    running = RunningLaunch(
        tmp_path / "log.txt",
        CAMERA,
        camera="usb_cam",
        video_device="/dev/video7",
        driver_params_file=str(settings),
        autostart="false",
        image_transport="compressed",
    )
    try:
        assert peer.spin_until(lambda: stand_ins(running.output()), 30), running.output()
        names = ["image_transport", "image_is_rectified", "use_sim_time"]
        assert parameters_of(peer, names) == ["compressed", False, False]
        [said] = stand_ins(running.output()).values()
    finally:
        code = running.interrupt()
    assert code == 0 and "Traceback" not in running.output(), running.output()
    assert said["node"].startswith("/camera/")
    given = said["parameters"]
    assert given["video_device"] == "/dev/video7" and "camera_info_url" not in given
    assert given["pixel_format"] == "mjpeg2rgb" and given["framerate"] == 15.0
    assert given["frame_id"] == "camera_optical_frame"


def test_a_drivers_launch_file_keeps_its_arguments_to_itself(drivers, peer, tmp_path):
    running = RunningLaunch(
        tmp_path / "log.txt", CAMERA, camera="zed", camera_model="zed2i", autostart="false"
    )
    try:
        assert peer.spin_until(lambda: stand_ins(running.output()), 30), running.output()
        # Not in the driver's namespace; rectified as the recipe says.
        assert parameters_of(peer, ["image_is_rectified", "use_sim_time"]) == [True, False]
        said = stand_ins(running.output())["/zed/zed_node"]
    finally:
        code = running.interrupt()
    assert code == 0 and "Traceback" not in running.output(), running.output()
    assert said["parameters"]["model"] == "zed2i"


def test_the_nodes_arguments_do_not_reach_a_drivers_launch_file(drivers, peer, tmp_path):
    """Inside a pushed namespace, which moves the driver, too."""
    params = tmp_path / "node.yaml"
    params.write_text("depthrefl: {ros__parameters: {autostart: false, max_rate: 3.0}}")
    running = RunningLaunch(
        tmp_path / "log.txt",
        CAMERA,
        pushed="robot",
        camera="zed",
        camera_model="zed2i",
        params_file=str(params),
        namespace="front",
        log_level="warn",
        model="indoor_nano",
        start_drvier="true",
    )
    try:
        assert peer.spin_until(lambda: stand_ins(running.output()), 30), running.output()
        request = GetParameters.Request(names=["max_rate", "model"])
        answer = peer.call(GetParameters, "/robot/front/depthrefl/get_parameters", request).values
        said = stand_ins(running.output())["/robot/zed/zed_node"]
    finally:
        code = running.interrupt()
    assert code == 0 and "Traceback" not in running.output(), running.output()
    assert (answer[0].double_value, answer[1].string_value) == (3.0, "indoor_nano")
    given = {name: said["parameters"][name] for name in ("file", "namespace", "log_level", "rviz")}
    assert given == {"file": "its own", "namespace": "zed", "log_level": "debug", "rviz": "its own"}
    assert said["parameters"]["network"] == "its own" and said["parameters"]["model"] == "zed2i"
    warnings = [line for line in running.output().splitlines() if "WARNING: " in line]
    assert [line.partition("argument ")[2] for line in warnings] == [
        "start_drvier is not known; did you mean start_driver?"
    ]

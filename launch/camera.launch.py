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

"""Start a camera's driver and the node depthrefl on its topics; RViz where it is asked for.

ros2 launch depthrefl_ros camera.launch.py camera:=realsense
ros2 launch depthrefl_ros camera.launch.py camera:=bag bag:=drive image_transport:=compressed
ros2 launch depthrefl_ros camera.launch.py camera:=zed camera_model:=zed2i use_rviz:=true

Arguments of a driver's own launch file, such as camera_model, are handed on to it.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    GroupAction,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    UnsetLaunchConfiguration,
)
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from depthrefl_ros import launch_files
from depthrefl_ros.camera_recipes import RECIPES, CameraRecipe, Driver

HERE = Path(__file__).resolve().parent
# name -> (default, description)
ARGUMENTS = {
    "camera": ("", f"One of {', '.join(RECIPES)}."),
    "start_driver": ("true", "Start the camera's driver, Gazebo's bridge or the bag as well."),
    "driver_params_file": ("", "Parameter file of a driver that is a node; overrides ours."),
    "video_device": ("/dev/video0", "Video device, for v4l2_camera and usb_cam."),
    "camera_info_url": ("", "Calibration for the driver: file:///home/me/camera.yaml."),
    "bag": ("", "Recording that 'ros2 bag play' plays, with camera:=bag."),
    # Of depthrefl.launch.py; empty: the camera's own.
    "image_topic": ("", "Image topic, without /compressed; empty: the driver's default."),
    "camera_info_topic": ("", "CameraInfo topic; empty: the driver's default."),
    "image_transport": ("", "raw or compressed."),
    "image_is_rectified": ("", "true for images that are rectified."),
    "use_sim_time": ("", "true: take the time from /clock."),
    "fixed_frame": ("", "RViz's Fixed Frame: the frame_id of the images."),
    "use_rviz": ("false", "Start RViz."),
}


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Check everything, then start it.

    Raises:
        LaunchError: an argument or a package is wrong; nothing was started.
    """
    values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    recipe = RECIPES[launch_files.one_of("camera", values["camera"], RECIPES)]
    given = recipe.launch_arguments()
    given.update((name, values[name]) for name in (*given, "use_rviz") if values[name])
    for name in ("image_topic", "camera_info_topic"):
        given[name] = launch_files.topic(name, given[name])
    node = PythonLaunchDescriptionSource(str(HERE / "depthrefl.launch.py"))
    of_node = {one.name for one in node.get_launch_description(context).get_launch_arguments()}
    ours = sorted({*ARGUMENTS, *of_node})
    others = {k: v for k, v in context.launch_configurations.items() if k not in ours}
    # What is nearly a name of the node's own file is told there.
    told_here = [name for name in others if not launch_files.misspelt([name], of_node)]
    entities: list[LaunchDescriptionEntity] = [
        LogInfo(msg=f"WARNING: {one}") for one in launch_files.misspelt(told_here, ARGUMENTS)
    ]
    if launch_files.truth("start_driver", values["start_driver"]):
        entities += driver(values, recipe, given, others, ours)
    return [*entities, IncludeLaunchDescription(node, launch_arguments=given.items())]


def driver(
    values: dict[str, str],
    recipe: CameraRecipe,
    given: dict[str, str],
    others: dict[str, str],
    ours: Collection[str],
) -> list[LaunchDescriptionEntity]:
    """Return what publishes the camera's images.

    Args:
        values: of our arguments.
        recipe: of the camera.
        given: to the node.
        others: arguments that are neither ours nor the node's; a driver's launch file gets them.
        ours: names of both our files' arguments, which a driver's launch file does not get.
    """
    if values["camera"] == "bag":
        if not values["bag"]:
            raise launch_files.LaunchError(
                "bag is ''; give bag:=RECORDING, or start_driver:=false where it is played already"
            )
        path = launch_files.existing_path("bag", values["bag"])
        return [ExecuteProcess(cmd=["ros2", "bag", "play", path, "--clock"], output="screen")]
    found = recipe.driver
    if found is None:
        return [LogInfo(msg=f"waiting for images of {values['camera']} on {given['image_topic']}")]
    launch_files.require_packages({found.package: f"camera:={values['camera']}"})
    if found.launch_file:
        share = launch_files.package_share(found.package)
        source = PythonLaunchDescriptionSource(str(share / "launch" / found.launch_file))
        include = IncludeLaunchDescription(source, launch_arguments=others.items())
        # Our arguments are not the driver's, and what it declares is not ours.
        unset = [UnsetLaunchConfiguration(name) for name in ours]
        return [GroupAction([*unset, include], scoped=True)]
    return [driver_node(found, values, given)]


def driver_node(found: Driver, values: dict[str, str], given: dict[str, str]) -> Node:
    """Return a driver that is a node."""
    parameters: dict[str, object] = {}
    for name, value in found.parameters.items():
        if isinstance(value, str) and value.startswith("{"):
            value = values[value[1:-1]]
        if value != "":
            parameters[name] = value
    files = []
    if values["driver_params_file"]:
        files = [launch_files.existing_file("driver_params_file", values["driver_params_file"])]
    return Node(
        package=found.package,
        executable=found.executable,
        namespace=found.namespace,
        parameters=[parameters, *files] if parameters or files else [],
        arguments=[one.format(**given) for one in found.arguments],
        output="screen",
    )


def generate_launch_description() -> LaunchDescription:
    """Return what ``ros2 launch`` runs."""
    declarations = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declarations, OpaqueFunction(function=start)])

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

"""Start a camera's mount, the node depthrefl and a Nav2 costmap fed by it; RViz if asked.

ros2 launch depthrefl_ros nav2_demo.launch.py camera_height:=0.5 camera_pitch:=4.0 use_rviz:=true
ros2 run depthrefl_ros depthrefl camera_source corridor.mcap --loop   # or your camera

Costmap and TF only, no planner and no controller: the robot does not move. The costmap is on
/local_costmap/costmap. Without odometry fixed_odometry:=true stands in for it: the robot then
stays where it is. Inside PushRosNamespace all of it is in that namespace, but for TF.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from depthrefl_ros import launch_files

# This file lies in launch/ beside config/, in the source tree and where it is installed.
CONFIG = Path(__file__).resolve().parents[1] / "config"
COSTMAP = "local_costmap/local_costmap"  # the node's name in its namespace
# The executable of Humble takes no other name [costmap_2d_node.cpp, costmap_2d_ros.cpp].
COSTMAP_OF_HUMBLE = "costmap/costmap"
CLOUDS = ("points/marking", "points/clearing")  # of depthrefl, for the costmap
COSTMAP_TOPICS = ("costmap", "costmap_raw", "costmap_updates", "published_footprint")
ODOMETRY = "odom"

# name -> (default, description)
ARGUMENTS = {
    "image_topic": ("/camera/image_raw", "The camera's image topic, without /compressed."),
    "camera_info_topic": ("/camera/camera_info", "The camera's CameraInfo."),
    "image_transport": ("", "raw or compressed; empty leaves it to params_file."),
    "params_file": (str(CONFIG / "depthrefl.yaml"), "Parameters of depthrefl."),
    "costmap_file": (str(CONFIG / "nav2_costmap.yaml"), "Parameters of the costmap."),
    "layer": ("camera_layer", "The costmap's camera layer: camera_layer or camera_voxel_layer."),
    "base_frame": ("base_footprint", "The robot's frame on the floor: its z = 0 is the floor."),
    "camera_frame": ("camera_link", "The mount's frame: x forward, y left, z up."),
    "optical_frame": ("camera_optical_frame", "The frame_id of the images."),
    "camera_x": ("0.0", "Distance of the camera ahead of base_frame, metres."),
    "camera_height": ("0.5", "Height of the camera above the floor, metres."),
    "camera_pitch": ("0.0", "Angle by which the camera looks down, degrees."),
    "camera_roll": ("0.0", "Tilt of the camera, clockwise seen from behind, degrees."),
    "publish_mount": ("true", "Publish the mount on TF; false where the robot does."),
    "fixed_odometry": ("false", "Publish a fixed odom -> base_frame: a robot without odometry."),
    "use_sim_time": ("", "true: take the time from /clock (simulation, bags); empty: params_file."),
    "use_rviz": ("false", "Start RViz with the costmap and both clouds."),
}
LAYERS = ("camera_layer", "camera_voxel_layer")
TRANSPORTS = ("raw", "compressed")
NUMBERS = ("camera_x", "camera_height", "camera_pitch", "camera_roll")
SWITCHES = ("publish_mount", "fixed_odometry", "use_rviz")


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Check everything, then start it.

    Raises:
        LaunchError: an argument or a package is wrong; nothing was started.
    """
    texts = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    pushed = launch_files.pushed_namespace(context.launch_configurations)
    values = checked(texts, pushed)
    entities: list[LaunchDescriptionEntity] = [
        LogInfo(msg=f"WARNING: {one}")
        for one in launch_files.misspelt(context.launch_configurations, ARGUMENTS)
    ]
    if values["publish_mount"]:
        entities += mount(values)
    if values["fixed_odometry"]:
        entities.append(static_transform(ODOMETRY, values["base_frame"]))
    else:
        entities.append(
            LogInfo(
                msg=f"the costmap waits for {ODOMETRY} -> {values['base_frame']} on TF, which the "
                "robot's odometry publishes; without odometry pass fixed_odometry:=true"
            )
        )
    entities += [depthrefl(values), costmap(values), lifecycle_manager(values)]
    if values["use_rviz"]:
        entities.append(rviz(values))
    return entities


def checked(texts: dict[str, str], pushed: str = "") -> dict[str, str | float | bool]:
    """Return the arguments' values, and the namespace that is pushed as ``namespace``.

    Raises:
        LaunchError: one of them, or a package that they ask for, is wrong or missing.
    """
    if pushed and costmap_name() != COSTMAP:
        raise launch_files.LaunchError(
            f"the costmap's executable of ROS 2 Humble takes no namespace, and {pushed} is pushed: "
            "include nav2_demo.launch.py outside PushRosNamespace"
        )
    values: dict[str, str | float | bool] = {**texts, "namespace": pushed}
    values |= {name: launch_files.number(name, texts[name]) for name in NUMBERS}
    values |= {name: launch_files.truth(name, texts[name]) for name in SWITCHES}
    for name in ("image_topic", "camera_info_topic"):
        values[name] = launch_files.topic(name, texts[name])
    launch_files.one_of("layer", texts["layer"], LAYERS)
    if texts["image_transport"]:
        launch_files.one_of("image_transport", texts["image_transport"], TRANSPORTS)
    path = launch_files.existing_file("costmap_file", texts["costmap_file"])
    full_name = below(pushed, costmap_name())
    values["costmap_file"] = launch_files.renamed_section("costmap_file", path, COSTMAP, full_name)
    values["params_file"] = launch_files.params_file("params_file", texts["params_file"], pushed)
    if texts["use_sim_time"]:
        values["use_sim_time"] = launch_files.truth("use_sim_time", texts["use_sim_time"])
    else:
        in_file = launch_files.value_in(values["params_file"], "use_sim_time", pushed)
        values["use_sim_time"] = bool(in_file)
    needed = {
        "nav2_costmap_2d": "the costmap",
        "nav2_lifecycle_manager": "the costmap",
    }
    if values["publish_mount"] or values["fixed_odometry"]:
        needed["tf2_ros"] = "the mount on TF"
    if values["use_rviz"]:
        needed["rviz2"] = "use_rviz:=true"
    launch_files.require_packages(needed)
    return values


def depthrefl(values: dict) -> LifecycleNode:
    """Return the node with what a costmap needs of it; the lifecycle manager starts it."""
    given = {
        "autostart": False,
        "base_frame": values["base_frame"],
        # Stand in for TF where tf2's Python package is not installed.
        "camera_height": values["camera_height"],
        "camera_pitch": values["camera_pitch"],
        "camera_roll": values["camera_roll"],
        "use_sim_time": values["use_sim_time"],
    }
    if values["image_transport"]:
        given["image_transport"] = values["image_transport"]
    return LifecycleNode(
        package="depthrefl_ros",
        executable="depthrefl_node",
        name="depthrefl",
        namespace="",
        parameters=[values["params_file"], given],
        remappings=[
            ("image", values["image_topic"]),
            ("camera_info", values["camera_info_topic"]),
        ],
        output="screen",
    )


def below(namespace: str, name: str) -> str:
    """Return a name within a namespace, neither with a slash around it; it may be empty."""
    return f"{namespace}/{name}" if namespace else name


def costmap_name() -> str:
    """Return the costmap's full name without the first slash: that of its file, but on Humble."""
    return COSTMAP_OF_HUMBLE if os.environ.get("ROS_DISTRO") == "humble" else COSTMAP


def costmap(values: dict) -> LifecycleNode:
    """Return a costmap without planner or controller, on the topics below local_costmap."""
    full_name = costmap_name()
    namespace, _, name = full_name.rpartition("/")
    remappings = moved(CLOUDS, values["namespace"])  # the costmap's file names them in full
    if full_name != COSTMAP:
        to = COSTMAP.rpartition("/")[0]
        remappings = [(f"/{namespace}/{topic}", f"/{to}/{topic}") for topic in COSTMAP_TOPICS]
    return LifecycleNode(
        package="nav2_costmap_2d",
        executable="nav2_costmap_2d",
        name=name,
        namespace=namespace,
        remappings=remappings,
        parameters=[
            values["costmap_file"],
            {
                "plugins": [values["layer"], "inflation_layer"],
                "robot_base_frame": values["base_frame"],
                "use_sim_time": values["use_sim_time"],
            },
        ],
        output="screen",
    )


def moved(topics: Iterable[str], namespace: str) -> list[tuple[str, str]]:
    """Return the remaps of topics, written without their first slash, into a namespace."""
    return [(f"/{one}", f"/{namespace}/{one}") for one in topics if namespace]


def lifecycle_manager(values: dict) -> Node:
    """Return the manager that configures and activates both, depthrefl first."""
    return Node(
        package="nav2_lifecycle_manager",
        executable="lifecycle_manager",
        name="lifecycle_manager_depthrefl",
        parameters=[
            {
                "autostart": True,
                "node_names": ["depthrefl", costmap_name()],
                # A costmap by itself makes no bond: waiting for one would end in failure.
                "bond_timeout": 0.0,
                "use_sim_time": values["use_sim_time"],
            },
        ],
        output="screen",
    )


def mount(values: dict) -> list[Node]:
    """Return the camera on the robot (REP-103 angles), and its optical frame (z forward)."""
    quarter = math.pi / 2
    to_camera = {
        "x": values["camera_x"],
        "z": values["camera_height"],
        "pitch": math.radians(values["camera_pitch"]),
        "roll": math.radians(values["camera_roll"]),
    }
    to_optical = {"roll": -quarter, "yaw": -quarter}
    base, camera, optical = (values[f"{one}_frame"] for one in ("base", "camera", "optical"))
    return [
        static_transform(base, camera, **to_camera),
        static_transform(camera, optical, **to_optical),
    ]


def static_transform(parent: str, child: str, **amounts: float) -> Node:
    """Return one transform on /tf_static.

    Amounts are x, y, z in metres, roll, pitch and yaw in radians.
    """
    given = [text for key, amount in amounts.items() for text in (f"--{key}", str(amount))]
    return Node(
        package="tf2_ros",
        executable="static_transform_publisher",
        name=launch_files.node_name(f"{child}_mount"),
        arguments=[*given, "--frame-id", parent, "--child-frame-id", child],
        output="screen",
    )


def rviz(values: dict) -> Node:
    """Return RViz with the costmap and what fills it."""
    shown = (*CLOUDS, *(f"local_costmap/{topic}" for topic in COSTMAP_TOPICS))
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(CONFIG / "nav2_demo.rviz"), "-f", ODOMETRY],
        remappings=[("/image", values["image_topic"]), *moved(shown, values["namespace"])],
        parameters=[{"use_sim_time": values["use_sim_time"]}],
    )


def generate_launch_description() -> LaunchDescription:
    """Return what ``ros2 launch`` runs."""
    declarations = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declarations, OpaqueFunction(function=start)])

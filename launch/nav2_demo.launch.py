"""Starts a camera's mount, the node depthrefl and a Nav2 costmap that it fills; RViz if asked.

ros2 launch depthrefl_ros nav2_demo.launch.py camera_height:=0.5 camera_pitch:=4.0 use_rviz:=true
ros2 run depthrefl_ros depthrefl camera_source corridor.mcap --loop   # or your camera

Costmap and TF only, no planner and no controller: the robot does not move. The costmap is on
/local_costmap/costmap. Without odometry fixed_odometry:=true stands in for it: the robot then
stays where it is.
"""

from __future__ import annotations

import math
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

# This file lies in launch/ beside config/, in the source tree and where it is installed.
CONFIG = Path(__file__).resolve().parents[1] / "config"
COSTMAP = "local_costmap"

# name -> (default, description)
ARGUMENTS = {
    "image_topic": ("/camera/image_raw", "The camera's images."),
    "camera_info_topic": ("/camera/camera_info", "The camera's CameraInfo."),
    "params_file": (str(CONFIG / "depthrefl.yaml"), "Parameters of depthrefl."),
    "costmap_file": (str(CONFIG / "nav2_costmap.yaml"), "Parameters of the costmap."),
    "layer": ("camera_layer", "The costmap's camera layer: camera_layer or camera_voxel_layer."),
    "base_frame": ("base_link", "The robot's frame; its z = 0 must be the floor."),
    "camera_frame": ("camera_link", "The mount's frame: x forward, y left, z up."),
    "optical_frame": ("camera_optical_frame", "The frame_id of the images."),
    "camera_x": ("0.0", "Metres that the camera is ahead of base_frame."),
    "camera_height": ("0.5", "Metres that the camera is above the floor."),
    "camera_pitch": ("0.0", "Degrees that the camera looks down."),
    "camera_roll": ("0.0", "Degrees that the camera is tilted clockwise, seen from behind."),
    "publish_mount": ("true", "Publish the mount on TF; false where the robot does."),
    "fixed_odometry": ("false", "Publish odom -> base_frame as one that never moves."),
    "use_sim_time": ("false", "Take the time from /clock, for simulation and bags."),
    "use_rviz": ("false", "Start RViz with the costmap and both clouds."),
}
SIM_TIME = {"use_sim_time": LaunchConfiguration("use_sim_time")}


def start(context: LaunchContext) -> list[Node]:
    """Everything that the demonstration may start, some of it under a condition."""
    values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    odometry = static_transform("fixed_odometry", "odom", values["base_frame"])
    return [
        *mount(values),
        odometry,
        depthrefl(values),
        costmap(values),
        lifecycle_manager(),
        rviz(),
    ]


def depthrefl(values: dict[str, str]) -> LifecycleNode:
    """The node with what a costmap needs of it; the lifecycle manager starts it."""
    return LifecycleNode(
        package="depthrefl_ros",
        executable="depthrefl_node",
        name="depthrefl",
        namespace="",
        parameters=[
            values["params_file"],
            {
                "autostart": False,
                "base_frame": values["base_frame"],
                # Stand in for TF where tf2's Python package is not installed.
                "camera_height": float(values["camera_height"]),
                "camera_pitch": float(values["camera_pitch"]),
                "camera_roll": float(values["camera_roll"]),
            },
            SIM_TIME,
        ],
        remappings=[
            ("image", values["image_topic"]),
            ("camera_info", values["camera_info_topic"]),
        ],
        output="screen",
    )


def costmap(values: dict[str, str]) -> LifecycleNode:
    """A costmap without planner or controller, under the name that its file uses."""
    return LifecycleNode(
        package="nav2_costmap_2d",
        executable="nav2_costmap_2d",
        name=COSTMAP,
        namespace=COSTMAP,
        parameters=[
            values["costmap_file"],
            {
                "plugins": [values["layer"], "inflation_layer"],
                "robot_base_frame": values["base_frame"],
            },
            SIM_TIME,
        ],
        output="screen",
    )


def lifecycle_manager() -> Node:
    """Configures and activates both, depthrefl first."""
    return Node(
        package="nav2_lifecycle_manager",
        executable="lifecycle_manager",
        name="lifecycle_manager_depthrefl",
        parameters=[
            {
                "autostart": True,
                "node_names": ["depthrefl", f"{COSTMAP}/{COSTMAP}"],
                # Neither of the two makes a bond: waiting for one would end in failure.
                "bond_timeout": 0.0,
            },
            SIM_TIME,
        ],
        output="screen",
    )


def mount(values: dict[str, str]) -> list[Node]:
    """The camera on the robot (REP-103 angles), and its optical frame (REP-103, z forward)."""
    quarter = str(math.pi / 2)
    to_camera = {
        "x": values["camera_x"],
        "z": values["camera_height"],
        "pitch": str(math.radians(float(values["camera_pitch"]))),
        "roll": str(math.radians(float(values["camera_roll"]))),
    }
    to_optical = {"roll": f"-{quarter}", "yaw": f"-{quarter}"}
    base, camera, optical = (values[f"{one}_frame"] for one in ("base", "camera", "optical"))
    return [
        static_transform("publish_mount", base, camera, **to_camera),
        static_transform("publish_mount", camera, optical, **to_optical),
    ]


def static_transform(condition: str, parent: str, child: str, **amounts: str) -> Node:
    """One transform on /tf_static, if the launch argument `condition` is true.

    Amounts are x, y, z in metres, roll, pitch and yaw in radians.
    """
    given = [text for key, amount in amounts.items() for text in (f"--{key}", amount)]
    return Node(
        package="tf2_ros",
        executable="static_transform_publisher",
        name=f"{child}_mount",
        arguments=[*given, "--frame-id", parent, "--child-frame-id", child],
        condition=IfCondition(LaunchConfiguration(condition)),
        output="screen",
    )


def rviz() -> Node:
    """RViz with the costmap and what fills it."""
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(CONFIG / "nav2_demo.rviz")],
        remappings=[("/image", LaunchConfiguration("image_topic"))],
        parameters=[SIM_TIME],
        condition=IfCondition(LaunchConfiguration("use_rviz")),
    )


def generate_launch_description() -> LaunchDescription:
    """What ``ros2 launch`` runs."""
    declarations = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declarations, OpaqueFunction(function=start)])

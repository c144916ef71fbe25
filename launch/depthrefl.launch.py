"""Starts the node depthrefl, and RViz where it is asked for.

ros2 launch depthrefl_ros depthrefl.launch.py image_topic:=/camera/image_raw \
    camera_info_topic:=/camera/camera_info use_rviz:=true
"""

from __future__ import annotations

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

# This file lies in launch/ beside config/, in the source tree and where it is installed.
CONFIG = Path(__file__).resolve().parents[1] / "config"

# name -> (default, description)
ARGUMENTS = {
    "image_topic": ("image", "The camera's images."),
    "camera_info_topic": ("camera_info", "The camera's CameraInfo."),
    "model": ("", "Name of a shipped model or path of a bundle; empty leaves it to params_file."),
    "engine": ("", "auto, tensorrt, tensorrt_rtx, openvino or torch; empty: params_file."),
    "params_file": (str(CONFIG / "depthrefl.yaml"), "Parameters of the node."),
    "use_sim_time": ("false", "Take the time from /clock, for simulation and bags."),
    "autostart": ("true", "Configure and activate at start; false under a lifecycle manager."),
    "use_rviz": ("false", "Start RViz; set its Fixed Frame to your camera's optical frame."),
    "namespace": ("", "Of the node and its results."),
    "log_level": ("info", "debug, info, warn, error or fatal."),
}
RESULTS = ("/depth/preview", "/points", "/points/marking", "/points/clearing")


def start_node(context: LaunchContext) -> list[LifecycleNode]:
    """The node; arguments that were left empty do not override the parameter file."""
    values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    overrides = {
        "use_sim_time": is_true("use_sim_time", values["use_sim_time"]),
        "autostart": is_true("autostart", values["autostart"]),
    }
    overrides.update((name, values[name]) for name in ("model", "engine") if values[name])
    node = LifecycleNode(
        package="depthrefl_ros",
        executable="depthrefl_node",
        name="depthrefl",
        namespace=values["namespace"],
        parameters=[values["params_file"], overrides],
        remappings=[
            ("image", values["image_topic"]),
            ("camera_info", values["camera_info_topic"]),
        ],
        arguments=["--ros-args", "--log-level", values["log_level"]],
        output="screen",
    )
    return [node]


def is_true(name: str, value: str) -> bool:
    """The truth value of a launch argument.

    Raises:
        ValueError: it is neither true nor false.
    """
    if value.lower() not in ("true", "false"):
        raise ValueError(f"{name} is {value!r}; it must be true or false")
    return value.lower() == "true"


def start_rviz(context: LaunchContext) -> list[Node]:
    """RViz with our displays, listening where the node publishes."""
    namespace = LaunchConfiguration("namespace").perform(context).strip("/")
    image_topic = LaunchConfiguration("image_topic").perform(context)
    node = Node(
        package="rviz2",
        executable="rviz2",
        namespace=namespace,
        arguments=["-d", str(CONFIG / "depthrefl.rviz")],
        remappings=[("/image", image_topic), *((topic, topic[1:]) for topic in RESULTS)],
        parameters=[{"use_sim_time": LaunchConfiguration("use_sim_time")}],
        condition=IfCondition(LaunchConfiguration("use_rviz")),
    )
    return [node]


def generate_launch_description() -> LaunchDescription:
    """What ``ros2 launch`` runs."""
    declarations = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription(
        [*declarations, OpaqueFunction(function=start_node), OpaqueFunction(function=start_rviz)]
    )

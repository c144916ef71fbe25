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

"""Start the node depthrefl, and RViz where it is asked for.

ros2 launch depthrefl_ros depthrefl.launch.py image_topic:=/camera/image_raw \
    camera_info_topic:=/camera/camera_info use_rviz:=true
ros2 launch depthrefl_ros depthrefl.launch.py cameras:=front,left image_topic:=image_raw
"""

from __future__ import annotations

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from depthrefl_ros import launch_files
from depthrefl_ros.camera_recipes import RECIPES

# This file lies in launch/ beside config/, in the source tree and where it is installed.
CONFIG = Path(__file__).resolve().parents[1] / "config"

# name -> (default, description)
ARGUMENTS = {
    "image_topic": ("image", "The camera's image topic, without /compressed."),
    "camera_info_topic": ("camera_info", "The camera's CameraInfo."),
    "cameras": ("", "Names of cameras that share one process: front,left. Each is a namespace."),
    "image_transport": ("", "raw or compressed; empty leaves it to params_file."),
    "image_is_rectified": ("", "true for images that are rectified; empty: params_file."),
    "camera_height": ("", "Metres from floor to lens, where TF does not say; empty: params_file."),
    "camera_pitch": ("", "Degrees that it looks down, where TF does not say; empty: params_file."),
    "scale_correction": ("", "none, motion (by odometry on TF), auto ...; empty: params_file."),
    "optical_frame_id": ("", "frame_id of all results, where the images state a wrong one."),
    "model": ("", "Name of a shipped model or path of a bundle; empty leaves it to params_file."),
    "engine": ("", "auto, tensorrt, tensorrt_rtx, openvino or torch; empty: params_file."),
    "params_file": (str(CONFIG / "depthrefl.yaml"), "Parameters of the node."),
    "use_sim_time": ("", "true: take the time from /clock (simulation, bags); empty: params_file."),
    "autostart": ("", "false under a lifecycle manager, else true; empty: params_file."),
    "use_rviz": ("false", "Start RViz."),
    "fixed_frame": ("camera_optical_frame", "RViz's Fixed Frame: the frame_id of the images."),
    "namespace": ("", "Namespace of the node and its topics."),
    "log_level": ("info", "debug, info, warn, error or fatal."),
}
TRANSPORTS = ("raw", "compressed")
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")
RESULTS = ("/depth/preview", "/points", "/points/marking", "/points/clearing")


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Check everything, then start it.

    Raises:
        LaunchError: an argument or a package is wrong; nothing was started.
    """
    values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    for name in ("image_topic", "camera_info_topic"):
        values[name] = launch_files.topic(name, values[name])
    values["namespace"] = launch_files.namespace("namespace", values["namespace"])
    launch_files.one_of("log_level", values["log_level"], LOG_LEVELS)
    pushed = launch_files.pushed_namespace(context.launch_configurations)
    full_namespace = "/".join(filter(None, (pushed, values["namespace"])))
    given = overrides(values)
    file = launch_files.params_file("params_file", values["params_file"], full_namespace)
    names = cameras(values, launch_files.value_in(file, "cameras", full_namespace))
    entities = [LogInfo(msg=f"WARNING: {one}") for one in _misspelt(context)]
    if names:
        own = {f"{full_namespace}/{name}/depthrefl": given for name in names}
        own["/**"] = {"cameras": " ".join(names)}
        full_namespace = f"{full_namespace}/*".strip("/")  # a section for all of them
        file = launch_files.params_file("params_file", values["params_file"], full_namespace)
        entities.append(Node(**_arguments(values, [file, launch_files.section_file(own)])))
    else:
        files = [file, given] if given else [file]
        entities.append(LifecycleNode(name="depthrefl", **_arguments(values, files)))
    if launch_files.truth("use_rviz", values["use_rviz"]):
        launch_files.require_packages({"rviz2": "use_rviz:=true"})
        in_file = launch_files.value_in(file, "use_sim_time", full_namespace)
        namespace = "/".join(filter(None, (values["namespace"], *names[:1])))
        entities.append(rviz(values, namespace, given.get("use_sim_time", bool(in_file))))
    return entities


def overrides(values: dict[str, str]) -> dict[str, str | bool | float]:
    """Return the parameters that arguments give; what is left empty stays as the file has it."""
    given: dict[str, str | bool | float] = {}
    for name in ("use_sim_time", "autostart", "image_is_rectified"):
        if values[name]:
            given[name] = launch_files.truth(name, values[name])
    for name in ("camera_height", "camera_pitch"):
        if values[name]:
            given[name] = launch_files.number(name, values[name])
    if values["image_transport"]:
        transport = launch_files.one_of("image_transport", values["image_transport"], TRANSPORTS)
        given["image_transport"] = transport
    texts = ("model", "engine", "optical_frame_id", "scale_correction")
    given.update((name, values[name]) for name in texts if values[name])
    return given


def cameras(values: dict[str, str], in_file: object) -> list[str]:
    """Return the names of the cameras that share a process; none for a camera alone.

    Args:
        values: of the arguments.
        in_file: what the parameter file says of it, or None.

    Raises:
        LaunchError: one is no name, or all would take the same images.
    """
    names = launch_files.names("cameras", values["cameras"] or in_file)
    topic = values["image_topic"]
    if len(names) > 1 and topic.startswith("/"):
        raise launch_files.LaunchError(
            f"image_topic is {topic!r}, which cameras {', '.join(names)} would all take; give the "
            f"part after the camera's name, such as image_raw for /{names[0]}/image_raw"
        )
    return names


def _misspelt(context: LaunchContext) -> list[str]:
    given = dict(context.launch_configurations)
    if given.get("camera") in RECIPES:  # of camera.launch.py, which includes this file
        del given["camera"]
    return launch_files.misspelt(given, ARGUMENTS)


def _arguments(values: dict[str, str], parameters: list[object]) -> dict[str, object]:
    return {
        "package": "depthrefl_ros",
        "executable": "depthrefl_node",
        "namespace": values["namespace"],
        "parameters": parameters,
        "remappings": [
            ("image", values["image_topic"]),
            ("camera_info", values["camera_info_topic"]),
        ],
        "arguments": ["--ros-args", "--log-level", values["log_level"]],
        "output": "screen",
    }


def rviz(values: dict[str, str], namespace: str, use_sim_time: bool) -> Node:
    """Return RViz with our displays, listening where the first node publishes."""
    return Node(
        package="rviz2",
        executable="rviz2",
        namespace=namespace,
        arguments=["-d", str(CONFIG / "depthrefl.rviz"), "-f", values["fixed_frame"]],
        remappings=[
            ("/image", values["image_topic"]),
            *((topic, topic[1:]) for topic in RESULTS),
        ],
        parameters=[{"use_sim_time": use_sim_time}],
    )


def generate_launch_description() -> LaunchDescription:
    """Return what ``ros2 launch`` runs."""
    declarations = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declarations, OpaqueFunction(function=start)])

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

"""The node's parameters: the settings of every part, nested, and their way into ROS and YAML.

Each setting is declared once, on the field that uses it (``depthrefl_ros.settings``). Declaration,
description, validation and ``config/depthrefl.yaml`` are derived from those fields by loop.
"""

from __future__ import annotations

import difflib
import sys
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import yaml
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, ParameterType
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from depthrefl_ros.engine.selection import EngineChoice
from depthrefl_ros.estimator import EstimatorSettings
from depthrefl_ros.geometry.correction import CorrectionSettings
from depthrefl_ros.geometry.obstacles import ObstacleSettings
from depthrefl_ros.geometry.scan import ScanSettings
from depthrefl_ros.settings import (
    Changeable,
    Setting,
    SettingError,
    changed,
    check,
    described,
    setting,
    setting_of,
)

# The lifecycle states in which a change is taken.
_STATES = {
    Changeable.ALWAYS: ("unconfigured", "inactive", "active"),
    Changeable.INACTIVE: ("unconfigured", "inactive"),
    Changeable.UNCONFIGURED: ("unconfigured",),
    Changeable.AT_START: (),
}
_FINAL = "finalized"  # the state that no transition leaves
_TYPES = {
    bool: ParameterType.PARAMETER_BOOL,
    int: ParameterType.PARAMETER_INTEGER,
    float: ParameterType.PARAMETER_DOUBLE,
    str: ParameterType.PARAMETER_STRING,
}
_OFF = "none"  # how an enumeration says that something is off: YAML reads `off` as false


@dataclass(frozen=True)
class InputSettings:
    """What is subscribed to, and which frames are dropped."""

    image_transport: str = setting(
        "raw",
        "raw subscribes to Image on 'image', compressed to CompressedImage on 'image/compressed'.",
        choices=("raw", "compressed"),
        changeable=Changeable.INACTIVE,
    )
    image_reliability: str = setting(
        "auto",
        "Reliability of the image subscription. auto is reliable where every publisher offers it: "
        "best effort loses large images between processes.",
        choices=("auto", "reliable", "best_effort"),
        changeable=Changeable.INACTIVE,
    )
    camera_info_url: str = setting(
        "",
        "Calibration file instead of CameraInfo: a path, file:///path or package://name/path.",
    )
    assumed_horizontal_fov_deg: float = setting(
        0.0,
        "Horizontal field of view for images without a usable CameraInfo. The scale of all depth "
        "is then a guess, and /diagnostics warns of it. 0 is off.",
        limits=(0.0, 170.0),
    )
    self_mask: str = setting(
        "",
        "Image file of the camera's size; depth under its non-zero pixels becomes NaN. It hides "
        "the robot's own bumper.",
    )
    reference_depth_tolerance_s: float = setting(
        0.05,
        "Largest difference between the stamp of an image and that of its depth image on "
        "reference_depth.",
        limits=(0.0, 1.0),
    )
    max_rate_hz: float = setting(
        0.0, "Frames that come faster are dropped. 0 is off.", limits=(0.0, 1000.0)
    )
    max_age_s: float = setting(
        1.0,
        "Time since receipt after which a waiting frame is dropped. 0 is off.",
        limits=(0.0, 60.0),
    )
    max_stamp_age_s: float = setting(
        0.0,
        "Time since its stamp after which a frame is dropped. 0 is off: bags carry old stamps.",
        limits=(0.0, 3600.0),
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class MountSettings:
    """Where the camera stands on the robot."""

    base_frame: str = setting(
        "base_footprint",
        "Frame with z up and z = 0 ON THE FLOOR (REP-120). Heights are measured in it. If TF does "
        "not know base_footprint, base_link is used instead, with a warning.",
    )
    camera_height_m: float = setting(
        0.0,
        "Height of the lens above the floor, used only where TF never gives the camera's pose. 0 "
        "means unknown: it is then estimated from the floor in view, with the error of the depth.",
        limits=(0.0, 100.0),
    )
    camera_pitch_deg: float = setting(
        0.0,
        "Angle by which the camera looks down, used only where TF never gives the camera's pose.",
        limits=(-90.0, 90.0),
    )
    camera_roll_deg: float = setting(
        0.0,
        "Angle by which the camera is tilted clockwise, seen from behind, used only where TF never "
        "gives the camera's pose.",
        limits=(-180.0, 180.0),
    )
    odom_frame: str = setting(
        "odom",
        "Frame in which the robot drives (REP-105), for scale_correction: motion. Its transform "
        "must not jump, as that of map does.",
    )
    use_mount: bool = setting(
        True,
        "Give the network the camera's height and angles, from TF or from the parameters above. "
        "Only models with four input channels use them.",
    )
    transform_timeout_s: float = setting(
        0.1,
        "Longest wait for the transform at an image's stamp, for cameras that move on the robot. "
        "If it comes later, the frame marks and clears nothing.",
        limits=(0.0, 1.0),
    )

    def __post_init__(self) -> None:
        check(self)
        if not self.base_frame:
            raise SettingError(
                "base_frame is ''; it must be a frame of TF whose z = 0 is the floor, such as "
                "base_footprint"
            )


@dataclass(frozen=True)
class CloudSettings:
    """What ``points`` holds."""

    stride: int = setting(
        1, "points has every n-th row and column.", name="cloud_stride", limits=(1, 64)
    )
    colour: bool = setting(True, "points has a field rgb.", name="cloud_colour")
    confidence: bool = setting(False, "points has a field confidence.", name="cloud_confidence")
    voxel_size_m: float = setting(
        0.0,
        "points has one point per voxel of this size, the most certain one, and no rows. 0 is off.",
        name="cloud_voxel_size",
        limits=(0.0, 1.0),
    )

    def __post_init__(self) -> None:
        check(self)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the cloud's fields, in order."""
        return (
            "x",
            "y",
            "z",
            *(("rgb",) if self.colour else ()),
            *(("confidence",) if self.confidence else ()),
        )


@dataclass(frozen=True)
class Parameters:
    """The values of all parameters at one moment."""

    model: str = setting(
        "indoor_tiny",
        "Name of a shipped model, or path of a bundle folder.",
        changeable=Changeable.UNCONFIGURED,
    )
    engine: EngineChoice = EngineChoice(falls_back=True)
    cameras: str = setting(
        "",
        "Names of cameras that share this process and its engine, such as 'front left': each has "
        "its node, /front/depthrefl, and topics, /front/image. Empty: one camera, in no namespace.",
        changeable=Changeable.AT_START,
    )
    autostart: bool = setting(
        True,
        "Configure and activate at start. Turn off where a lifecycle manager does it.",
        changeable=Changeable.AT_START,
    )
    inputs: InputSettings = InputSettings()
    estimator: EstimatorSettings = EstimatorSettings(min_range_m=0.0, max_range_m=0.0)
    correction: CorrectionSettings = CorrectionSettings()
    mount: MountSettings = MountSettings()
    obstacles: ObstacleSettings = ObstacleSettings()
    scan_frame: str = setting(
        "", "Frame of scan, from whose origin its ranges are measured; empty is base_frame."
    )
    scan: ScanSettings = ScanSettings()
    cloud: CloudSettings = CloudSettings()
    optical_frame_id: str = setting(
        "", "frame_id of everything published, for cameras that state a wrong one. Empty keeps it."
    )
    diagnostics_period_s: float = setting(
        1.0, "Time between two messages on /diagnostics.", limits=(0.1, 60.0)
    )

    def __post_init__(self) -> None:
        check(self)


def declare(node: Node) -> Parameters:
    """Declare every parameter on the node and read the values that the user has set.

    Raises:
        SettingError: a value has the wrong type, is out of range, or cannot be taken.
    """
    # Neither the way from YAML nor rclpy turns 6 into 6.0; so the user's values are turned first.
    overrides = node._parameter_overrides
    values = {}
    for one, default in described(Parameters()):
        given = overrides.get(one.name)
        if given is not None:
            overrides[one.name] = Parameter(one.name, value=understood(one, default, given.value))
        try:
            parameter = node.declare_parameter(one.name, default, descriptor(one, default))
        except ParameterException as error:
            raise SettingError(f"parameter {one.name}: {error}") from error
        values[one.name] = parameter.value
    return changed(Parameters(), values)


def understood(one: Setting, default: Any, value: Any) -> Any:
    """Return a value as its setting has it.

    6 for a number is 6.0, 1 for a text, such as ``device``, is ``"1"``, the list ``cameras`` is a
    text of its words, and YAML's `off` is ``none``.
    """
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if isinstance(default, str) and type(value) is int:
        return str(value)
    if one.name == "cameras" and isinstance(value, list):
        return " ".join(map(str, value))
    if one.choices is not None and _OFF in one.choices and value in (False, "off"):
        return _OFF
    return value


def descriptor(one: Setting, default: Any) -> ParameterDescriptor:
    """Return what ``ros2 param describe`` shows of a setting."""
    message = ParameterDescriptor(name=one.name, type=_TYPES[type(default)])
    message.description = f"[{one.unit}] {one.description}" if one.unit else one.description
    constraints = [f"Can be changed {one.changeable.value}."]
    if one.choices is not None:
        constraints.insert(0, f"One of {', '.join(one.choices)}.")
    message.additional_constraints = " ".join(constraints)
    if one.limits is not None:
        low, high = one.limits
        if isinstance(default, int):
            message.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        else:
            message.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    return message


def check_changeable(names: Iterable[str], state: str) -> None:
    """Check whether parameters may change now.

    Args:
        names: of the parameters; names that are not ours are ignored.
        state: the node's lifecycle state: ``unconfigured``, ``inactive``, ``active``...

    Raises:
        SettingError: one may not; says when it may.
    """
    known = {one.name: one.changeable for one, _ in described(Parameters())}
    for name in names:
        if name in known and state == _FINAL:
            raise SettingError(f"{name} cannot be changed any more: the node is {_FINAL}")
        changeable = known.get(name, Changeable.ALWAYS)
        if name in known and state not in _STATES[changeable]:
            raise SettingError(f"{name} can be changed {changeable.value} (the node is {state})")


def unknown_parameters(node: Node) -> list[str]:
    """Return a sentence for each value that the user gave to a parameter that does not exist."""
    known = [one.name for one, _ in described(Parameters())]
    others = ("use_sim_time", "start_type_description_service")
    return [
        f"there is no parameter {name!r}{nearest(name, known)}"
        for name in node._parameter_overrides
        if name not in known and name not in others and not name.startswith("qos_overrides.")
    ]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the known name nearest to a wrong one, or nothing."""
    found = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {found[0]!r}?" if found else ""


SECTIONS = {
    "model": "The model and what runs it",
    "inputs": "What comes in, and which frames are dropped",
    "estimator": "What may be believed. /diagnostics has each gate's share (gated_edge_percent...)",
    "correction": "From frame to frame",
    "mount": "Where the camera stands on the robot. z = 0 of base_frame must be the floor",
    "obstacles": "For costmaps: points/marking and points/clearing",
    "scan_frame": "For costmaps: scan",
    "cloud": "For RViz and mapping: points",
    "optical_frame_id": "What goes out",
}
_HEAD = """\
Every parameter of the node depthrefl, with its default. Made by
  python -m depthrefl_ros.ros.parameters > config/depthrefl.yaml
Copy the file, keep what you change, and pass it on:
  ros2 launch depthrefl_ros depthrefl.launch.py params_file:=/path/to/your.yaml
Parameters without a note can change while the node runs and take effect with the next frame:
  ros2 param set /depthrefl max_range 6.0"""
_TAIL = """\
Publishers are reliable with a depth of 1. ROS's own overrides change that, for example:
qos_overrides:
  /points:
    publisher:
      reliability: best_effort"""


def config_text() -> str:
    """Return ``config/depthrefl.yaml``: every parameter with its default and what it means."""
    lines = [f"# {line}".rstrip() for line in _HEAD.splitlines()]
    lines += ["/**:", "  ros__parameters:"]
    for item in fields(Parameters):
        if item.name in SECTIONS:
            title = f"# --- {SECTIONS[item.name]} "
            lines += [f"    {title.ljust(95, '-')}", ""]
        value = getattr(Parameters(), item.name)
        found = described(value) if is_dataclass(value) else [(setting_of(item), value)]
        for one, default in found:
            lines += [f"    # {line}" for line in textwrap.wrap(_explained(one), 93)]
            lines += [f"    {one.name}: {_yaml_value(default)}", ""]
    lines += [f"    # {line}".rstrip() for line in _TAIL.splitlines()]
    return "\n".join(lines) + "\n"


def _explained(one: Setting) -> str:
    words = [one.description]
    if one.choices is not None:
        words.append(f"One of {', '.join(one.choices)}.")
    if one.limits is not None:
        unit = f" {one.unit}" if one.unit else ""
        words.append(f"{one.limits[0]:g} to {one.limits[1]:g}{unit}.")
    elif one.unit:
        words.append(f"In {one.unit}.")
    if one.changeable is not Changeable.ALWAYS:
        words.append(f"Can be changed {one.changeable.value}.")
    return " ".join(words)


def _yaml_value(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return yaml.safe_dump(value).splitlines()[0]


if __name__ == "__main__":
    sys.stdout.write(config_text())

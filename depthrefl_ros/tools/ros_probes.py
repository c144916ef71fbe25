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

"""Looks at ROS or cv_bridge, in a process of its own: either can end the process that imports it.

rcl exits where the middleware that was chosen is not installed, and a cv_bridge that was built for
another numpy may crash. ``python -m depthrefl_ros.tools.ros_probes ROS`` (or ``cv_bridge``) prints
one finding as JSON, in its last line.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import distributions
from typing import Any

from depthrefl_ros.ros import middleware
from depthrefl_ros.tools.machine import Finding, guarded, package_version

_LAST_DOMAIN = 232  # a higher one has no UDP ports


def _ros() -> Finding:
    wheel = next(filter(None, map(_distribution_of, distributions())), "")
    distribution = os.environ.get("ROS_DISTRO") or wheel
    facts = {"distribution": distribution, "domain": os.environ.get("ROS_DOMAIN_ID", "0")}
    if importlib.util.find_spec("rclpy") is None:
        hint = "source a ROS 2 workspace, or in the checkout pip install '.[ros]'"
        return Finding("ROS", "missing", f"the node cannot run without rclpy: {hint}", facts)
    try:
        import rclpy
        import sensor_msgs.msg  # noqa: F401  what the node needs is that it can be imported
        from rclpy.utilities import get_rmw_implementation_identifier

        facts["rmw"] = get_rmw_implementation_identifier()
    except Exception as error:  # a workspace half sourced raises anything
        facts["rmw"] = os.environ.get("RMW_IMPLEMENTATION", "")
        chosen = f" with RMW_IMPLEMENTATION={facts['rmw']}" if facts["rmw"] else ""
        hint = "source one ROS 2 workspace that was built for this Python and has the middleware"
        return Finding("ROS", "error", f"the node cannot run{chosen} ({error}): {hint}", facts)
    if problem := _domain_problem(facts["domain"], facts["rmw"]):
        return Finding("ROS", "error", f"no node can start: {problem}", facts)
    try:
        facts["notes"] = middleware.prepare_environment()
        rclpy.init(signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
        rclpy.create_node("depthrefl_doctor").destroy_node()
        rclpy.shutdown()
    except Exception as error:  # RCLError of each release is another class
        return Finding("ROS", "error", f"no node can start: {_first_line(error)}", facts)
    facts["rclpy"] = package_version(f"ros-{distribution}-rclpy", "rclpy")
    origin = "sourced" if os.environ.get("ROS_DISTRO") else "from PyPI" if wheel else "not sourced"
    text = f"{distribution or 'unknown distribution'} ({origin}), rclpy {facts['rclpy']}"
    text += f", {facts['rmw']}; a node starts"
    # What the transport lacks is told with the large clouds.
    told = [note for note in facts["notes"] if note != middleware.large_message_transport().problem]
    return Finding("ROS", "warning" if told else "ok", "; ".join([text, *told]), facts)


def _domain_problem(domain: str, rmw: str) -> str:
    """Return what is wrong with ``ROS_DOMAIN_ID``, at which DDS ends the process; or nothing."""
    try:
        is_possible = "zenoh" in rmw or int(domain or 0) <= _LAST_DOMAIN
    except ValueError:
        is_possible = False
    return "" if is_possible else f"ROS_DOMAIN_ID is {domain!r}; 0 to {_LAST_DOMAIN} are possible"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _distribution_of(package: Any) -> str:
    """Return ``kilted`` for the package ``ros-kilted-rclpy``; empty for any other."""
    # A broken package's metadata may lack the name.
    match = re.fullmatch(r"ros[-_]([a-z]+)[-_]rclpy", package.metadata["Name"] or "")
    return match.group(1) if match else ""


def _cv_bridge() -> Finding:
    if importlib.util.find_spec("cv_bridge") is None:
        text = "not installed; plain encodings are read without it, YUV and Bayer by OpenCV"
        return Finding("cv_bridge", "missing", text)
    try:
        import cv2
        import numpy as np
        from cv_bridge import CvBridge
        from sensor_msgs.msg import Image
    except Exception as error:  # one built for numpy 1 raises anything under numpy 2
        text = f"cannot be imported ({type(error).__name__}: {error}); the node does without it"
        return Finding("cv_bridge", "warning", text)
    known = package_version("cv-bridge", "cv_bridge") or "of unknown version"
    faults = _faults(CvBridge(), np, Image)
    facts = {"version": known, "numpy": np.__version__, "opencv": cv2.__version__, "faults": faults}
    text = f"{known} with numpy {np.__version__} and OpenCV {cv2.__version__}"
    if not faults:
        return Finding("cv_bridge", "ok", text, facts)
    listed = "; ".join(f"{name}: {why}" for name, why in faults.items())
    hint = "the node works around these, other nodes in this environment may not"
    return Finding("cv_bridge", "warning", f"{text} fails on {listed} ({hint})", facts)


def _faults(bridge: Any, np: Any, image: type) -> dict[str, str]:
    """Return what this very cv_bridge does wrong, tried out on small images."""
    grey = np.arange(24, dtype=np.uint8).reshape(4, 6)

    def message(encoding: str, pixels: Any, step: int | None = None, big: int = 0) -> Any:
        made = image(height=4, width=6, encoding=encoding, is_bigendian=big)
        made.step = step or pixels.nbytes // 4
        made.data = pixels.tobytes()
        return made

    def reads(made: Any, expected: Any) -> None:
        found = bridge.imgmsg_to_cv2(made, "passthrough")
        if not np.array_equal(found, expected):
            raise ValueError("comes out wrong")

    colour = np.repeat(grey[..., None], 3, axis=2)
    deep = grey.astype(np.uint16) * 100
    padded = np.pad(grey, ((0, 0), (0, 2)))
    tries: dict[str, Callable[[], Any]] = {
        "bgr8": lambda: reads(message("bgr8", colour), colour),
        "padded rows": lambda: reads(message("mono8", padded, step=8), grey),
        "16UC1": lambda: reads(message("16UC1", deep), deep),
        "big-endian 16UC1": lambda: reads(message("16UC1", deep.byteswap(), big=1), deep),
        "yuv422_yuy2": lambda: bridge.imgmsg_to_cv2(
            message("yuv422_yuy2", np.full((4, 6, 2), 128, np.uint8)), "bgr8"
        ),
        "writing messages": lambda: bridge.cv2_to_imgmsg(colour, "bgr8"),
    }
    faults = {}
    for name, attempt in tries.items():
        try:
            attempt()
        except Exception as error:
            faults[name] = f"{type(error).__name__}: {error}"
    return faults


if __name__ == "__main__":
    name = sys.argv[1]
    print(json.dumps(asdict(guarded(name, {"ROS": _ros, "cv_bridge": _cv_bridge}[name]))))

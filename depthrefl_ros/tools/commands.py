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

"""The command line ``depthrefl COMMAND``: finds a command's module and runs it.

Only the module of the chosen command is imported, so that one command's packages (torch, rclpy,
Blender's bpy) are not needed for another.
"""

from __future__ import annotations

import difflib
import importlib
import sys

import depthrefl_ros
from depthrefl_ros.tools.command_line import EXIT_USER_ERROR, what_is_missing

# Module in this folder -> what it does, in one line.
COMMANDS = {
    "demo": "play a recording, video or webcam through the node and write an overview",
    "predict": "estimate the depth of photographs, videos and recordings, without ROS",
    "view": "show a running node on a web page, with sliders for its parameters",
    "annotate": "copy a recording and add depth to it, without ROS",
    "camera_source": "publish a recording, video, image folder or webcam as a ROS camera",
    "record": "record what the node publishes, with its timing",
    "doctor": "report what this machine has and which engine the node will use",
    "evaluate": "measure a model's accuracy on images with known depth",
    "train": "train, fine-tune, average and finish a depth network",
    "export_bundle": "turn a finished training run into a model bundle",
    "convert": "turn a third-party depth network into a model bundle",
    "build_engine": "build a TensorRT engine before the robot needs it",
    "dataset": "make a folder to train on out of recordings with colour and depth",
    "find_mounts": "find where the camera stood in images with known depth",
    "render": "render synthetic indoor scenes with exact depth",
    "truth_clouds": "publish obstacle clouds from a recording's true depth",
}
NODE = "depthrefl_node"


def usage() -> str:
    """Return the list of all commands with one line each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: depthrefl COMMAND [ARGUMENTS]",
            "",
            *lines,
            "",
            f"'depthrefl COMMAND --help' explains a command. The node itself is {NODE}.",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command that the first argument names; return its exit code."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help", "help"):
        print(usage())
        return 0
    if name == "--version":
        print(f"depthrefl_ros {depthrefl_ros.__version__}")
        return 0
    command = name.replace("-", "_")
    if command not in COMMANDS:
        return refuse(name)
    try:
        return importlib.import_module(f"depthrefl_ros.tools.{command}").main(rest) or 0
    except ImportError as error:
        missing = what_is_missing(error)
        if missing is None:
            raise
        if {"-h", "--help"} & {*rest}:
            # The options are defined beside what needs the package.
            print(f"usage: depthrefl {command} [ARGUMENTS]\n\n{COMMANDS[command]}")
        print(f"depthrefl {command}: error: {missing}", file=sys.stderr)
        return EXIT_USER_ERROR


def refuse(name: str) -> int:
    """Say that there is no such command and which comes nearest; return the exit code."""
    if name.startswith("--ros-args"):
        hint = f"ROS arguments belong to the node: {NODE} --ros-args ..."
    elif nearest := difflib.get_close_matches(name.replace("-", "_"), COMMANDS, n=1):
        hint = f"did you mean 'depthrefl {nearest[0]}'?"
    else:
        hint = f"commands are {', '.join(COMMANDS)}"
    print(f"depthrefl: error: no command {name!r}; {hint}", file=sys.stderr)
    return EXIT_USER_ERROR

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

"""Launch files, run by the real launch and launch_ros, among packages that stand in for others."""

import importlib.util
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

# Not "launch": from the root of the tree Python takes the folder launch/ for a package.
pytest.importorskip("launch.actions", reason="launch is not installed (it is not on PyPI)")
pytest.importorskip("launch_ros.actions", reason="launch_ros is not installed (not on PyPI)")

import launch  # noqa: E402


def load_launch_file(path):
    """Return a launch file as a module."""
    spec = importlib.util.spec_from_file_location("launch_file", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def entities(path, **arguments):
    """Return the nodes that the launch file starts with these arguments, and what it says."""
    module = load_launch_file(path)
    context = launch.LaunchContext()
    for name, (default, _) in module.ARGUMENTS.items():
        context.launch_configurations[name] = arguments.pop(name, default)
    context.launch_configurations.update(arguments)
    started = module.start(context)
    said = [launch.utilities.perform_substitutions(context, one.msg)
            for one in started if isinstance(one, launch.actions.LogInfo)]  # fmt: skip
    return [one for one in started if hasattr(one, "node_package")], said


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Return an ament prefix with the package as installed, its executable running this tree."""
    install(tmp_path, "depthrefl_ros", "depthrefl_node", "-m depthrefl_ros.ros.executable")
    (tmp_path / "share/depthrefl_ros").symlink_to(ROOT)
    monkeypatch.setenv(
        "AMENT_PREFIX_PATH", f"{tmp_path}:{os.environ.get('AMENT_PREFIX_PATH', '')}".rstrip(":")
    )


def install(prefix, package, executable, python_arguments):
    """Put a package with one executable, which is Python with these arguments, into a prefix."""
    index = prefix / "share/ament_index/resource_index/packages"
    index.mkdir(parents=True, exist_ok=True)
    (index / package).touch()
    path = prefix / "lib" / package / executable
    path.parent.mkdir(parents=True)
    path.write_text(
        f"#!/bin/sh\nexport PYTHONPATH={ROOT}:$PYTHONPATH\n"
        f'exec {sys.executable} {python_arguments} "$@"\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


# Nav2, tf2 and drivers are not on PyPI. In their place a node says which name and parameters it
# was given.
STAND_IN = """
import json, sys
import rclpy
rclpy.init(args=sys.argv)
node = rclpy.create_node("unnamed", automatically_declare_parameters_from_overrides=True)
values = {name: one.value for name, one in node.get_parameters_by_prefix("").items()}
own = rclpy.utilities.remove_ros_args(sys.argv)[1:]
said = {"node": node.get_fully_qualified_name(), "parameters": values, "arguments": own}
said["given"] = sys.argv[1:]
print("STAND_IN " + json.dumps(said, default=str), flush=True)
try:
    rclpy.spin(node)
except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
    pass
"""


def stand_ins(output):
    """Return what the stand-ins have said so far, by the node's name."""
    said = [json.loads(line.split("STAND_IN ", 1)[1]) for line in output.splitlines()
            if "STAND_IN " in line]  # fmt: skip
    return {one["node"]: one for one in said}


# What ``ros2 launch`` does with a file and its arguments; LaunchService wants a main thread.
RUNNER = """
import sys
import launch
from launch.actions import GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import PushRosNamespace
service = launch.LaunchService(noninteractive=True)
arguments = [tuple(one.split(":=", 1)) for one in sys.argv[3:]]
source = PythonLaunchDescriptionSource(sys.argv[1])
include = IncludeLaunchDescription(source, launch_arguments=arguments)
pushed = [PushRosNamespace(sys.argv[2])] if sys.argv[2] else []
service.include_launch_description(launch.LaunchDescription([GroupAction([*pushed, include])]))
sys.exit(service.run())
"""


class RunningLaunch:
    """The launch file run by a process group of its own, as from a terminal.

    Where ``pushed`` is given, it is included by another one within PushRosNamespace.
    """

    def __init__(self, log: Path, launch_file: Path, pushed: str = "", **arguments):
        given = [f"{name}:={value}" for name, value in arguments.items()]
        self._log = log
        with log.open("w") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-c", RUNNER, str(launch_file), pushed, *given],
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def output(self) -> str:
        return self._log.read_text()

    def wait(self, seconds: float) -> int:
        """Wait until it ends by itself, and return the exit code."""
        try:
            return self._process.wait(seconds)
        finally:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def interrupt(self) -> int:
        """Ctrl-C: SIGINT to the whole group, on top of which launch sends the node its own."""
        os.killpg(self._process.pid, signal.SIGINT)
        try:
            return self._process.wait(15)
        finally:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)


def texts(node):
    """Return the plain arguments that a node is started with."""
    return [one[0].text for one in node.cmd[1:]
            if isinstance(one[0], launch.substitutions.TextSubstitution)]  # fmt: skip

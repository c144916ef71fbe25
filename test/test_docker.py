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

"""The container files: what they name exists, and what a robot needs is in them."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
import yaml
from conftest import ROOT

FOLDER = ROOT / "docker"
FILES = ["Dockerfile", "Dockerfile.jetson"]
SCREENS = {"rviz2", "nav2_costmap_2d", "nav2_lifecycle_manager"}  # not what runs in a container
OF_ROS_BASE = {"rclpy", "sensor_msgs", "std_msgs", "geometry_msgs", "lifecycle_msgs",
               "rcl_interfaces", "builtin_interfaces", "tf2_msgs", "launch", "launch_ros",
               "ament_index_python"}  # fmt: skip


def instructions(name: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile, continued lines joined."""
    lines = [one for one in (FOLDER / name).read_text().splitlines() if not one.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


@pytest.mark.parametrize("name", FILES)
def test_what_is_copied_and_started_exists(name):
    steps = instructions(name)
    assert [kind for kind, _ in steps if kind == "FROM"] == ["FROM"]
    for kind, text in steps:
        if kind == "COPY":
            *sources, _ = text.split()
            assert all((ROOT / one).exists() for one in sources), text
    command = next(text for kind, text in steps if kind == "CMD")
    *_, package, launch_file = yaml.safe_load(command)
    assert package == "depthrefl_ros" and (ROOT / "launch" / launch_file).is_file()


@pytest.mark.parametrize("name", ["entrypoint.sh", "try_build.sh"])
def test_scripts_are_executable_shell(name):
    assert (FOLDER / name).stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(FOLDER / name)], check=True)


@pytest.mark.parametrize("name", FILES)
def test_apt_brings_what_the_manifest_asks_for(name):
    text = (FOLDER / name).read_text()
    brought = {one.replace("-", "_") for one in re.findall(r"ros-\$\{ROS_DISTRO\}-([\w-]+)", text)}
    brought |= set(re.findall(r"\bpython3-\w+", text))
    manifest = ElementTree.parse(ROOT / "package.xml").getroot()
    needed = {one.text for one in manifest.iter("exec_depend")}
    assert needed - SCREENS - OF_ROS_BASE <= brought


@pytest.mark.parametrize("name", FILES)
def test_pip_adds_extras_that_exist(name):
    text = " ".join(text for kind, text in instructions(name) if kind == "RUN")
    [words] = re.findall(r"requirements/setup\.py\s+(.*?)\s+>", text)
    default = dict(re.findall(r"^ARG (\w+)=(\S+)", (FOLDER / name).read_text(), re.MULTILINE))
    extras = [default["ENGINE"] if one == '"${ENGINE}"' else one for one in words.split()]
    run = [sys.executable, str(FOLDER / "requirements.py"), str(ROOT / "setup.py")]
    done = subprocess.run([*run, *extras], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert any(one.startswith("openvino") for one in done.stdout.splitlines())
    assert any(one.startswith("rosbags") for one in done.stdout.splitlines())
    done = subprocess.run([*run, "warp"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and "no extra 'warp'; there are ros, " in done.stderr


def test_the_services_build_these_files_on_the_hosts_network():
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    assert set(services) == {"cpu", "rtx", "jetson"}
    for service in services.values():
        assert (service["network_mode"], service["ipc"]) == ("host", "host")
        assert (FOLDER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        text = (FOLDER / service["build"]["context"] / service["build"]["dockerfile"]).read_text()
        assert all(f"ARG {name}=" in text for name in service["build"]["args"])
        assert service["volumes"] == ["engines:/cache"] and "XDG_CACHE_HOME=/cache" in text
        declared = (ROOT / "launch" / "depthrefl.launch.py").read_text()
        arguments = [one.split(":=")[0] for one in service["command"] if ":=" in one]
        assert arguments and all(f'"{one}": (' in declared for one in arguments)
    [device] = services["rtx"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"] and services["jetson"]["runtime"] == "nvidia"


def test_what_is_built_is_sent_along():
    left_out = (ROOT / ".dockerignore").read_text().split()
    for part in ("depthrefl_ros", "launch", "config", "resource", "setup.py", "package.xml"):
        assert part not in left_out
    assert "test" in left_out and "!test/data/corridor.mcap" in left_out  # what setup.py installs

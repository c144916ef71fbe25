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

"""The package as others get it: built by colcon, installed by pip."""

import email
import os
import re
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import pytest
import yaml

import depthrefl_ros

ROOT = Path(__file__).resolve().parents[1]
PARTS = (
    *("depthrefl_ros", "launch", "config", "resource", "test/data"),
    *("setup.py", "setup.cfg", "pyproject.toml", "package.xml"),
)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Return a copy of the sources, so that nothing is built among them."""
    folder = tmp_path_factory.mktemp("workspace") / "depthrefl_ros"
    folder.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.part")
            shutil.copytree(ROOT / part, folder / part, ignore=ignored)
        else:
            shutil.copy(ROOT / part, folder / part)
    return folder


def run(*command, **options) -> str:
    done = subprocess.run(command, text=True, capture_output=True, timeout=240, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def starts_and_stops(command, environment) -> str:
    """Run the node until it is active, interrupt it, and return what it said."""
    process = subprocess.Popen(
        command,
        env={**environment, "ROS_DOMAIN_ID": "93", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    said = ""
    try:
        for line in process.stdout:
            said += line
            if "self-test" in line:
                process.send_signal(signal.SIGINT)
                break
        said += process.communicate(timeout=20)[0]
    finally:
        process.kill()
    assert process.returncode == 0, said
    return said


def test_the_version_is_the_same_everywhere():
    manifest = ElementTree.parse(ROOT / "package.xml")
    setup = re.search(r'version="([^"]+)"', (ROOT / "setup.py").read_text())[1]
    changelog = (ROOT / "CHANGELOG.rst").read_text()
    assert manifest.findtext("version") == setup == depthrefl_ros.__version__
    assert f"\n{setup} (" in changelog


def test_the_manifest_is_ament_python_with_a_real_maintainer():
    manifest = ElementTree.parse(ROOT / "package.xml").getroot()
    assert manifest.get("format") == "3"
    assert manifest.findtext("export/build_type") == "ament_python"
    # An invalid address makes colcon take the package for plain Python.
    assert re.fullmatch(r"[^@\s]+@[^@\s]+\.[a-z]+", manifest.find("maintainer").get("email"))
    needed = {element.text for element in manifest.iter("exec_depend")}
    assert {"rclpy", "sensor_msgs", "cv_bridge", "tf2_ros_py", "python3-opencv"} <= needed
    assert "bond" in needed  # whose message ros/bond.py sends
    for file in (ROOT / "launch").glob("*.launch.py"):
        started = set(re.findall(r'package="(\w+)"', file.read_text()))
        assert started - {"depthrefl_ros"} <= needed, file


# Import name -> rosdep key, where they differ.
KEYS = {
    **{"tf2_ros": "tf2_ros_py", "cv2": "python3-opencv", "yaml": "python3-yaml"},
    **{name: f"python3-{name}" for name in ("numpy", "tornado", "tqdm", "filelock")},
}
ROS_PACKAGES = {"rclpy", "launch", "launch_ros", "cv_bridge", "tf2_ros", "bond",
                "builtin_interfaces", "rcl_interfaces", "ament_index_python"}  # fmt: skip


def test_everything_of_ros_that_is_imported_is_in_the_manifest():
    imported = set()
    for path in [*(ROOT / "depthrefl_ros").rglob("*.py"), *(ROOT / "launch").glob("*.py")]:
        imported |= set(re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE))
    wanted = {one for one in imported if one in ROS_PACKAGES | KEYS.keys() or one[-5:] == "_msgs"}
    assert {"sensor_msgs", "tf2_msgs", "rclpy", "cv2"} <= wanted
    manifest = ElementTree.parse(ROOT / "package.xml").getroot()
    needed = {element.text for element in manifest.iter("exec_depend")}
    assert {KEYS.get(one, one) for one in wanted} - needed == set()


def test_the_workflow_runs_on_every_distribution_and_both_machines():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    matrix = workflow["jobs"]["ros"]["strategy"]["matrix"]
    assert matrix == {
        "ros": ["humble", "jazzy", "kilted", "lyrical"], "machine": ["x86-64", "arm64"]
    }  # fmt: skip
    for name in ("wheels", "ros"):
        steps = workflow["jobs"][name]["steps"]
        assert ".ci/run" in steps[-1]["run"] and "checkout" in steps[0]["uses"]
    for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text())
        assert path.name == "config.yml" or (form["name"] and form["body"])


def test_colcon_builds_it_and_the_installed_executable_runs(source, tmp_path):
    workspace = source.parent
    colcon = (sys.executable, "-m", "colcon", "--log-base", str(tmp_path / "log"))
    assert "ros.ament_python" in run(*colcon, "list", cwd=workspace)
    install = tmp_path / "install"
    bases = ("--build-base", str(tmp_path / "build"), "--install-base", str(install))
    run(*colcon, "build", *bases, cwd=workspace)

    prefix = install / "depthrefl_ros"
    assert (prefix / "share/ament_index/resource_index/packages/depthrefl_ros").is_file()
    assert (prefix / "share/depthrefl_ros/launch/depthrefl.launch.py").is_file()
    assert (prefix / "share/depthrefl_ros/config/fastdds_large_clouds.xml").is_file()
    executable = prefix / "lib/depthrefl_ros/depthrefl_node"
    # The executable belongs to the environment that built it.
    assert executable.read_text().splitlines()[0] == f"#!{sys.executable}"

    script = f'. "{install}/local_setup.sh" && env -0'
    sourced = run("sh", "-c", script, cwd=tmp_path)
    environment = dict(item.split("=", 1) for item in sourced.split("\0") if "=" in item)
    where = "import depthrefl_ros, os; print(os.path.dirname(depthrefl_ros.__file__))"
    module = run(sys.executable, "-c", where, cwd=tmp_path, env=environment).strip()
    assert Path(module).is_relative_to(prefix)
    # What `ros2 run depthrefl_ros depthrefl --version` runs.
    tools = str(prefix / "lib/depthrefl_ros/depthrefl")
    version = run(tools, "--version", cwd=tmp_path, env=environment)
    assert version == f"depthrefl_ros {depthrefl_ros.__version__}\n"
    assert sorted(path.name for path in executable.parent.iterdir()) == [
        "depthrefl",
        "depthrefl_node",
    ]
    said = starts_and_stops([str(executable)], environment)
    assert "openvino fp32: chosen" in said or "torch on CUDA" in said


def check_requirements(wheel):
    """Extras that every pip finds, and nothing forced on robots that do not use it."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = [one for one in archive.namelist() if one.endswith(".dist-info/METADATA")]
        fields = email.message_from_bytes(archive.read(name))
        assert {"live_page.html", "live_page.js", "live_settings.js"} <= {
            Path(one).name for one in archive.namelist()
        }
    extras = fields.get_all("Provides-Extra")
    # pip 23 looks for the name as it is normalised: with hyphens.
    assert all(re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", extra) for extra in extras), extras
    assert {"openvino", "bags", "tensorrt", "tensorrt-rtx", "ros", "train", "test"} <= set(extras)
    assert {"view", "foxglove"} <= set(extras)
    needed = fields.get_all("Requires-Dist")
    always = {re.split(r"[^\w-]", one)[0].lower() for one in needed if "extra ==" not in one}
    assert "numpy" in always
    assert not always & {"openvino", "rosbags", "mcap", "torch", "cuda-python", "tensorrt-rtx"}
    # A version of its own would replace JetPack's build, and with it CUDA.
    assert not any(one.startswith("torch==") for one in needed)


def test_pip_installs_it_into_a_virtual_environment(source, tmp_path):
    wheels = tmp_path / "wheels"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(source))
    (wheel,) = wheels.glob("depthrefl_ros-*.whl")
    check_requirements(wheel)
    home = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", str(home))
    python = home / "bin/python"
    run(*pip, "--python", str(python), "install", "-q", "--no-deps", str(wheel))
    # What the package depends on comes from the environment that runs this test.
    libraries = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    (home / libraries / "outer.pth").write_text(f"import site; site.addsitedir('{SITE}')\n")

    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    where = "import depthrefl_ros; print(depthrefl_ros.__file__)"
    module = run(str(python), "-c", where, cwd=tmp_path, env=environment).strip()
    assert Path(module).is_relative_to(home)
    for file in ("config/depthrefl.yaml", "test/data/corridor.mcap"):
        assert (home / "share/depthrefl_ros" / file).is_file()
    assert "model indoor_tiny: " in starts_and_stops(
        [str(home / "bin/depthrefl_node")], environment
    )
    own = {path.name for path in (home / "bin").iterdir() if "depthrefl" in path.name}
    assert own == {"depthrefl", "depthrefl_node"}
    assert "evaluate" in run(str(home / "bin/depthrefl"), cwd=tmp_path, env=environment)


SITE = Path(pytest.__file__).resolve().parents[1]

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

"""The Makefile in a folder of its own: .venv is made really, pip's installing is only spoken."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
# What a shell with ROS, another environment or an outer make has set.
FOREIGN = ("AMENT_PREFIX_PATH", "PYTHONPATH", "ROS_DISTRO", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL")
SPOKEN = "PIP_INSTALL=echo PIP"


def copy_to(folder):
    for name in ("depthrefl_ros", "test", "benchmark", "launch"):
        (folder / name).mkdir(parents=True)
    for name in ("Makefile", "setup.py"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture
def checkout(tmp_path):
    return copy_to(tmp_path / "my robot")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Return a checkout in which ``make setup`` has run, and what it said."""
    folder = copy_to(tmp_path_factory.mktemp("first") / "my robot")
    said, code = make(folder, "setup", SPOKEN)
    assert code == 0, said
    return folder, said


@pytest.fixture
def made(first, checkout):
    shutil.copytree(first[0] / ".venv", checkout / ".venv", symlinks=True)
    return checkout


def make(folder, *arguments, **variables):
    """Return what make said, and its exit code."""
    environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    done = subprocess.run(
        ["make", f"PYTHON={sys.executable}", *arguments],
        cwd=folder,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout + done.stderr, done.returncode


def mark_of_tests(folder):
    """Return what the Makefile calls the mark of installed tests; its key is that of the node's."""
    [runs] = (folder / ".venv").glob("runs-*")
    return f".venv/tests-{runs.name.split('-')[1]}"


def modules(folder, **texts):
    """Return a folder for PYTHONPATH with modules of these texts."""
    folder.mkdir()
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    return str(folder)


def test_it_is_made_once_in_a_path_with_spaces(first):
    checkout, said = first
    assert "about 200 MB to download" in said and "--editable .[openvino,bags,view,ros]" in said
    assert (checkout / ".venv/made").read_text() == "wheels\n"
    assert (checkout / ".venv/bin/pip3").exists()
    again, code = make(checkout, "setup", SPOKEN)
    assert code == 0 and "Nothing to be done" in again


def test_what_fails_is_not_taken_for_done(made):
    checkout = made
    for mark in (".venv/made", *checkout.glob(".venv/runs-*")):
        (checkout / mark).unlink()
    said, code = make(checkout, "setup", "PIP_INSTALL=false")
    assert code != 0 and not (checkout / ".venv/made").exists()
    said, code = make(checkout, "setup", SPOKEN)
    assert code == 0 and "PIP --upgrade pip" in said
    # Other requirements are installed anew, and until then the old mark must not count.
    with (checkout / "setup.py").open("a") as file:
        file.write("# another\n")
    said, code = make(checkout, "setup", "PIP_INSTALL=false")
    assert code != 0
    said, code = make(checkout, "setup", SPOKEN)
    assert code == 0 and "PIP --no-build-isolation" in said
    assert len(list((checkout / ".venv").glob("runs-*"))) == 1


def test_other_extras_are_added_and_those_of_before_stay(made):
    extras = "EXTRAS=tensorrt-rtx,bags"
    said, code = make(made, "setup", SPOKEN, extras)
    assert code == 0 and "--editable .[tensorrt-rtx,bags,ros]" in said, said
    for again in ([extras], []):
        said, code = make(made, "setup", SPOKEN, *again)
        assert code == 0 and "Nothing to be done" in said, said


def test_the_options_of_the_demo_reach_it(made):
    options = ["SOURCE=my photos", "HFOV=70", "DEMO_ARGS=--model indoor_nano", "LIVE=1"]
    said, code = make(made, "--dry-run", "demo", *options)
    assert code == 0
    assert said.splitlines()[-1].endswith(
        'demo --output "demo" --source "my photos" --hfov 70 --live --model indoor_nano'
    )
    said, code = make(made, "--dry-run", "demo")
    assert said.endswith('demo --output "demo"\n')


def test_other_wheels_of_ros_get_an_environment_of_their_own(checkout):
    said, code = make(checkout, "setup", SPOKEN, "WHEELS=ros-jazzy", "VENV=.venv-jazzy")
    assert code == 0 and "--editable .[openvino,bags,view,ros-jazzy]" in said, said
    assert (checkout / ".venv-jazzy/made").exists() and not (checkout / ".venv").exists()


def test_an_environment_without_pip_is_made_again(checkout):
    venv.create(checkout / ".venv", with_pip=False)  # as Debian's own attempt leaves it
    said, code = make(checkout, "setup", SPOKEN)
    assert code == 0, said
    assert (checkout / ".venv/bin/pip3").exists()


def test_without_ensurepip_the_pip_of_the_system_does_it(checkout, tmp_path):
    pytest.importorskip("pip")
    ensurepip = pytest.importorskip("ensurepip", reason="all tests here do without it")
    hidden = modules(tmp_path / "hidden", ensurepip="raise ImportError('as on Debian')\n")
    bundled = str(Path(ensurepip.__file__).parent / "_bundled")
    said, code = make(
        checkout, "setup", SPOKEN, PYTHONPATH=hidden, PIP_NO_INDEX="1", PIP_FIND_LINKS=bundled
    )
    assert code == 0, said
    assert (checkout / ".venv/bin/pip").exists()  # or an activated shell finds the system's
    python = checkout / ".venv/bin/python"
    where = "import pip, sys; print(pip.__file__.startswith(sys.prefix))"
    done = subprocess.run([python, "-I", "-c", where], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_without_any_pip_one_line_names_the_package(checkout, tmp_path):
    missing = "raise ImportError('not here')\n"
    hidden = modules(tmp_path / "hidden", ensurepip=missing, pip=missing)
    said, code = make(checkout, "setup", SPOKEN, PYTHONPATH=hidden)
    assert code != 0 and "neither pip nor ensurepip: sudo apt install python3-pip" in said
    assert not (checkout / ".venv").exists()


def test_a_python_that_is_none_is_named(checkout):
    said, code = make(checkout, "setup", SPOKEN, "PYTHON=python0.9")
    assert code != 0 and "python0.9 is no Python; choose one: make PYTHON=..." in said


def test_inside_the_activated_environment_nothing_is_made_again(made):
    # Its packages, as the wheels of ROS in it, are not the system's.
    [site] = (made / ".venv/lib").glob("python*/site-packages")
    for name in ("rclpy", "sensor_msgs"):
        (site / f"{name}.py").touch()
    search = f"{made}/.venv/bin:{os.environ['PATH']}"
    said, code = make(made, "setup", SPOKEN, "PYTHON=python3", PATH=search)
    assert code == 0 and "Nothing to be done" in said


def test_a_sourced_ros_is_used_and_must_stay(checkout, tmp_path):
    sourced = {
        "PYTHONPATH": modules(tmp_path / "ros", rclpy="", sensor_msgs=""),
        "AMENT_PREFIX_PATH": "/opt/ros/jazzy",
    }
    said, code = make(checkout, "setup", SPOKEN, **sourced)
    assert code == 0 and "--editable .[openvino,bags,view]" in said, said
    config = (checkout / ".venv/pyvenv.cfg").read_text()
    assert "include-system-site-packages = true" in config
    said, code = make(checkout, "setup", SPOKEN)
    assert code != 0 and "source it, or make distclean" in said
    for goal in ("help", "distclean"):
        said, code = make(checkout, goal)
        assert code == 0, said


def test_a_ros_that_is_sourced_later_does_not_reach_the_wheels(made, tmp_path):
    (made / "more.mk").write_text("include Makefile\nspeak:\n\t@env\n")
    sourced = {
        "PYTHONPATH": modules(tmp_path / "ros", rclpy="", sensor_msgs=""),
        "AMENT_PREFIX_PATH": "/opt/ros/jazzy",
        "ROS_DISTRO": "jazzy",
    }
    said, code = make(made, "-f", "more.mk", "speak", **sourced)
    assert code == 0 and not {"PYTHONPATH", "AMENT_PREFIX_PATH", "ROS_DISTRO"} & {
        line.partition("=")[0] for line in said.splitlines()
    }
    said, code = make(made, "setup", SPOKEN, **sourced)
    assert code == 0 and "Nothing to be done" in said


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_the_cpu_build_of_pytorch_is_tried_first_and_sizes_are_told(made, kind):
    tests = mark_of_tests(made)
    # The CPU build is not to be had.
    pip = made / "pip.sh"
    pip.write_text('echo "PIP $*"\ncase "$*" in *+cpu*) exit 1;; esac\n')
    said, code = make(made, tests, "PIP_INSTALL=sh pip.sh", f"TORCH_FOR={kind}")
    assert code == 0, said
    lines = [line for line in said.splitlines() if line.startswith("PIP ")]
    tried = [line.rsplit("torch==", 1)[1] for line in lines if "torch==" in line]
    assert tried == (["2.13.0+cpu", "2.13.0"] if kind == "cpu" else ["2.13.0"])
    assert "with CUDA into .venv: about 3 GB to download" in said
    assert ("for CPUs into .venv: about 200 MB to download" in said) == (kind == "cpu")


def test_a_torch_that_is_there_stays(made):
    [site] = (made / ".venv/lib").glob("python*/site-packages")
    (site / "torch.py").touch()
    said, code = make(made, mark_of_tests(made), SPOKEN)
    assert code == 0 and "torch==" not in said and "--editable .[test]" in said

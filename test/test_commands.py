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

"""The command line: every command is found, explains itself and says what it lacks."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from without_packages import run_without

from depthrefl_ros.tools.commands import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / "depthrefl_ros" / "tools"
# What each command cannot do without; with an argument line that gets as far as that.
NEEDS = {
    "camera_source": ("rclpy", ["test/data/corridor.mcap"]),
    "record": ("rclpy", []),
    "demo": ("rclpy", []),
    "view": ("rclpy", []),
    "truth_clouds": ("rclpy", ["test/data/corridor.mcap", "--camera-height", "0.5"]),
    "train": ("torch", ["finish", "--run", "none"]),
    "export_bundle": ("torch", ["run", "bundle", "--golden", "a", "b", "c"]),
    "convert": ("onnxruntime", ["--onnx", "a.onnx", "--preset", "midas-small", "bundle"]),
    "render": ("bpy", ["rooms", "no_folder"]),
}


def test_every_tool_with_a_main_is_a_command():
    tools = {
        path.stem
        for path in TOOLS.glob("*.py")
        if any(getattr(node, "name", "") == "main" for node in ast.parse(path.read_text()).body)
    }
    assert tools - {"commands"} == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_answers_help_with_examples(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: depthrefl {command}")
    assert f"examples:\n  depthrefl {command}" in said


def test_the_list_names_every_command_and_the_node(capsys):
    for arguments in ([], ["--help"]):
        assert main(arguments) == 0
        said = capsys.readouterr().out
        for command, text in COMMANDS.items():
            assert any(line.split(None, 1) == [command, text] for line in said.splitlines())
        assert "depthrefl_node" in said


@pytest.mark.parametrize(
    "typed, hint",
    [
        ("evalute", "did you mean 'depthrefl evaluate'?"),
        ("camera-sorce", "did you mean 'depthrefl camera_source'?"),
        ("zzz", "commands are demo, predict"),
        ("--ros-args", "depthrefl_node --ros-args"),
    ],
)
def test_an_unknown_command_names_the_nearest(typed, hint, capsys):
    assert main([typed]) == 2
    error = capsys.readouterr().err
    assert hint in error and repr(typed) in error and error.count("\n") == 1


def test_dashes_do_for_underscores(capsys):
    with pytest.raises(SystemExit):
        main(["camera-source", "--help"])
    assert "usage: depthrefl camera_source" in capsys.readouterr().out


@pytest.mark.parametrize("command", NEEDS)
def test_a_missing_package_is_told_in_one_line(command):
    package, arguments = NEEDS[command]
    done = run_without({package}, command, *arguments)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"depthrefl {command}: error: ")
    assert done.stderr.count("\n") == 1 and package in done.stderr
    assert "install" in done.stderr


def test_the_live_page_says_what_it_needs_besides_ros():
    pytest.importorskip("rclpy")
    done = run_without({"tornado"}, "view")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "tornado is needed" in done.stderr and "pip install '.[view]'" in done.stderr


@pytest.mark.parametrize("command", NEEDS)
def test_help_is_answered_without_the_package(command):
    package, _ = NEEDS[command]
    done = run_without({package}, command, "--help")
    assert done.stdout.startswith(f"usage: depthrefl {command}")
    assert done.returncode == 0 or (done.returncode == 2 and package in done.stderr)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - set(NEEDS)))
def test_the_other_commands_explain_themselves_without_ros_torch_and_blender(command):
    done = run_without({"rclpy", "torch", "bpy"}, command, "--help")
    assert done.returncode == 0 and done.stderr == ""


@pytest.mark.parametrize("arguments", [["--help"], ["doctor", "--help"], ["predict", "--help"]])
def test_help_needs_no_progress_bar(arguments):
    done = run_without({"tqdm"}, *arguments)
    assert done.returncode == 0 and done.stderr == ""


def test_a_command_with_a_progress_bar_says_what_it_needs(tmp_path):
    done = run_without({"tqdm"}, "annotate", "test/data/corridor.mcap", tmp_path / "out.mcap")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "tqdm is needed and not installed for this Python: pip install tqdm" in done.stderr


def test_one_command_does_not_import_the_packages_of_another():
    code = (
        "import sys\nfrom depthrefl_ros.tools.commands import main\n"
        "try:\n    main(['evaluate', '--help'])\nexcept SystemExit:\n    pass\n"
        "print({'torch', 'rclpy', 'openvino', 'bpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, cwd=ROOT)
    assert done.stdout.endswith("set()\n"), done.stderr


def test_a_fault_of_our_own_is_no_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "depthrefl_ros.tools.evaluate", None)
    with pytest.raises(ImportError, match="depthrefl_ros.tools.evaluate"):
        main(["evaluate"])


@pytest.mark.parametrize("module", ["difflib", "rosbags"])  # of every command, of this one
def test_ctrl_c_while_modules_are_imported_is_one_line(tmp_path, module):
    (tmp_path / f"{module}.py").write_text("raise KeyboardInterrupt\n")
    done = subprocess.run(
        [sys.executable, "-m", "depthrefl_ros", "annotate", "a.mcap", "b.mcap"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 130
    assert done.stderr == "depthrefl annotate: interrupted\n" and done.stdout == ""

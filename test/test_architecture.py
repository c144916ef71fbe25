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

"""ROS at the rim, mathematics in the middle; nothing in the middle imports the rim."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "depthrefl_ros"

# What each room may know of the others (design: no arrow runs back).
MAY_IMPORT = {
    "settings": {"settings"},
    "image_files": {"image_files"},
    "text_files": {"text_files"},
    "geometry": {"geometry", "settings", "text_files"},
    "network": {"network"},
    "engine": {"engine", "network", "settings"},
    "conversion": {"conversion", "network", "engine", "geometry"},
    "frames": {"engine", "geometry"},
    "estimator": {"frames", "engine", "geometry", "settings"},
    "ros": {"ros", "estimator", "frames", "engine", "geometry", "settings", "image_files"},
    "training": {"training", "network", "geometry", "image_files", "text_files"},
}
ROS_PACKAGES = {"rclpy", "sensor_msgs", "std_msgs", "cv_bridge", "diagnostic_msgs"}


def imported(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, lazily or not."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def files_of(room: str) -> list[Path]:
    single = PACKAGE / f"{room}.py"
    return [single] if single.is_file() else sorted((PACKAGE / room).rglob("*.py"))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_no_arrow_runs_back(room):
    files = files_of(room)
    assert files
    for path in files:
        for name in imported(path):
            top, _, rest = name.partition(".")
            if top == "depthrefl_ros" and rest:
                assert rest.split(".")[0] in MAY_IMPORT[room], f"{path} imports {name}"
            assert room == "ros" or top not in ROS_PACKAGES, f"{path} imports {name}"


def test_the_estimator_needs_neither_torch_nor_ros():
    code = (
        "import sys, depthrefl_ros.estimator, depthrefl_ros.engine.selection\n"
        "print({'torch', 'rclpy', 'openvino'} & set(sys.modules))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert said.stdout.strip() == "set()"


def test_no_module_name_stands_twice():
    names = [path.stem for path in PACKAGE.rglob("*.py") if not path.stem.startswith("__")]
    count = Counter(names)
    assert not {name for name, times in count.items() if times > 1}

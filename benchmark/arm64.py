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

"""Which wheels an arm64 board gets: every extra that a robot uses, for Humble's and Jazzy's Python.

python benchmark/arm64.py [--extras openvino,bags,tensorrt] [--json FILE]

Needs network and uv (``pip install uv``), which resolves for another platform: pip evaluates the
markers of the machine that it runs on. Nothing is built or installed. ROS itself comes from apt on
a board, where its wheels do not exist. Ends with exit code 1 if something has no wheel.
"""

from __future__ import annotations

import argparse
import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
# Python -> the newest manylinux that the board's glibc runs: Ubuntu 22.04 and 24.04.
BOARDS = {"3.10": "aarch64-manylinux_2_35", "3.12": "aarch64-manylinux_2_39"}


def requirements(extra: str) -> list[str]:
    """Return what the package and one of its extras need; of ``-`` the package alone."""
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"))
    given = setup.call_args.kwargs
    return [*given["install_requires"], *(given["extras_require"][extra] if extra != "-" else ())]


def find_uv() -> str | None:
    """Return the path of uv: beside this Python, or on the PATH."""
    return shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")


def resolved(wanted: list[str], python: str, platform: str) -> tuple[list[str], str]:
    """Return the releases that have wheels for a platform, or none and why."""
    command = [find_uv() or sys.exit("no uv: pip install uv"), "pip", "compile", "-q"]
    command += ["--python-version", python, "--python-platform", platform, "--no-header"]
    command += ["--only-binary", ":all:", "--no-annotate", "-"]
    done = subprocess.run(command, input="\n".join(wanted), capture_output=True, text=True)
    if done.returncode:
        return [], " ".join(done.stderr.split())
    return done.stdout.split("\n")[:-1], ""


def main() -> int:
    """Resolve and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--extras", default="-,openvino,bags,tensorrt,train")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    table: dict[str, dict[str, list[str]]] = {}
    failed = False
    for python, platform in BOARDS.items():
        for extra in args.extras.split(","):
            releases, why = resolved(requirements(extra), python, platform)
            table.setdefault(python, {})[extra] = releases
            failed |= not releases
            print(f"Python {python}, {platform}, {extra}: {why or f'{len(releases)} wheels'}")
            print("  " + " ".join(releases))
    if args.json:
        args.json.write_text(json.dumps(table, indent=2))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

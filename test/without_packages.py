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

"""The command line in a process where some packages are not installed."""

from __future__ import annotations

import subprocess
import sys

from conftest import ROOT

_RUN = """
import runpy
import sys


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


assert not {packages} & set(sys.modules)
sys.meta_path.insert(0, Missing())
sys.argv = ["depthrefl", *sys.argv[1:]]
runpy.run_module("depthrefl_ros", run_name="__main__")
"""


def run_without(packages: set[str], *arguments: object) -> subprocess.CompletedProcess:
    """Run ``depthrefl ARGUMENTS`` where importing any of the packages fails."""
    return subprocess.run(
        [sys.executable, "-c", _RUN.format(packages=repr(packages)), *map(str, arguments)],
        text=True, capture_output=True, cwd=ROOT, timeout=120,
    )  # fmt: skip

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

"""The interpreter that has Blender, for tests of what is built in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SYNTH_PYTHON = Path(
    os.environ.get("DEPTHREFL_SYNTH_PYTHON", ROOT / ".venv-synth" / "bin" / "python")
)


def skip_without_blender() -> None:
    """Skip the test where the interpreter or what requirements-synth.txt names is missing."""
    command = [SYNTH_PYTHON, "-c", "import bpy, OpenEXR, collada"]
    if (
        not SYNTH_PYTHON.is_file()
        or subprocess.run(command, capture_output=True, timeout=60).returncode
    ):
        pytest.skip(f"{SYNTH_PYTHON} has no bpy: install requirements-synth.txt into .venv-synth")


def run_in_blender(code: str, *words: object) -> subprocess.CompletedProcess:
    """Run code there; its words are sys.argv[1:]. Its exit code must be 0."""
    done = subprocess.run(
        [SYNTH_PYTHON, "-c", code, *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done

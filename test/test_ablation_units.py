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

"""The processes in which several units of an ablation are trained at once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dataset_folders import write_plain_folder
from small_network import CONFIG

from depthrefl_ros.network.checkpoints import save_weights
from depthrefl_ros.network.model import create_model


@pytest.mark.parametrize("stop", ["SIGTERM", "SIGINT"])
def test_a_stop_ends_the_processes_of_the_jobs(tmp_path, stop):
    write_plain_folder(tmp_path / "train", count=2)
    write_plain_folder(tmp_path / "val", count=2)
    (tmp_path / "stage1").mkdir()
    save_weights(tmp_path / "stage1" / "ema.safetensors", create_model(CONFIG))
    (tmp_path / "stage1" / "state.json").write_text(json.dumps({"model": CONFIG.to_dict()}))
    command = [
        sys.executable, "-m", "depthrefl_ros", "train", "--ablation", "--run", tmp_path / "run",
        "--backbone", tmp_path / "stage1" / "ema.safetensors", "--data", tmp_path / "train",
        "--val-data", tmp_path / "val", "--heads", "log_regression,classification", "--views", "1",
        "--steps", "1000000", "--jobs", "2",
    ]  # fmt: skip
    with subprocess.Popen(
        list(map(str, command)), stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # fmt: skip
        group = os.getpgid(process.pid)
        try:
            wait_until(lambda: len(workers_of(group)) == 2, process)
            # As a terminal does it, to all; systemd and `kill` to one.
            to = (os.killpg, group) if stop == "SIGINT" else (os.kill, process.pid)
            to[0](to[1], getattr(signal, stop))
            assert process.wait(60) != 0
            wait_until(lambda: not workers_of(group))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        said = process.stderr.read()
        assert "Traceback" not in said and "Process Spawn" not in said


def workers_of(group: int) -> list[int]:
    """Return the processes of a group that train units."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"spawn_main" in (folder / "cmdline").read_bytes():
                found += [int(folder.name)] if os.getpgid(int(folder.name)) == group else []
    return found


def wait_until(is_so, process=None):
    until = time.monotonic() + 90
    while not is_so():
        assert time.monotonic() < until and (process is None or process.poll() is None)
        time.sleep(0.1)

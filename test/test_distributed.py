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

"""Two processes that torchrun starts train as one would."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from dataset_folders import write_plain_folder
from train_together import train

from depthrefl_ros.training.distributed import Processes, joined

SCRIPT = Path(__file__).with_name("train_together.py")


def torchrun(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    paths = [str(SCRIPT.parent), str(SCRIPT.parents[1]), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    return subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment)


@pytest.fixture
def data(tmp_path):
    """Return a plain folder in which some images have much less truth than others."""
    root = write_plain_folder(tmp_path / "plain", count=4)
    for name in ("0001", "0002"):
        depth_mm = cv2.imread(str(root / "depth" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        depth_mm[8:] = 0
        cv2.imwrite(str(root / "depth" / f"{name}.png"), depth_mm)
    return root


@pytest.mark.parametrize("stage", [1, 2])
def test_two_processes_equal_one(tmp_path, data, stage):
    done = torchrun(str(SCRIPT), str(data), str(stage), str(tmp_path))
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for name, weight in first["weights"].items():
        assert torch.equal(weight, second["weights"][name]), name
    assert torch.equal(first["losses"], second["losses"])

    alone = train(Processes(), data, stage)
    torch.testing.assert_close(first["losses"][0], alone["losses"][0], rtol=1e-5, atol=0)
    assert set(first["gradients"]) == set(alone["gradients"])
    # float32 sums in another order: what cancels to almost nothing is compared with the whole.
    whole = torch.cat([gradient.flatten() for gradient in alone["gradients"].values()]).norm()
    for name, gradient in alone["gradients"].items():
        difference = (gradient - first["gradients"][name]).norm()
        assert difference <= 1e-3 * gradient.norm() + 1e-5 * whole, name


def test_the_command_runs_under_torchrun(tmp_path, data):
    options = [
        "stage2", "--run", str(tmp_path / "run"), "--data", str(data), "--val-data", str(data),
        "--steps", "2", "--batch", "2", "--height", "64", "--width", "64", "--bins", "8",
        "--decoder-channels", "8", "8", "8", "8", "--workers", "1", "--threads", "1",
    ]  # fmt: skip
    # Without -- torchrun takes our --run for an abbreviation of its own --run-path.
    done = torchrun("-m", "--", "depthrefl_ros", "train", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("step 2 of 2") == 1  # only the first process speaks
    stage = tmp_path / "run" / "stage2"
    assert (stage / "checkpoint-00000002").is_dir() and (stage / "tensorboard").is_dir()
    with (stage / "log.csv").open() as stream:
        assert [row["step"] for row in csv.DictReader(stream)] == ["1", "2"]
    assert len((stage / "validation.csv").read_text().split()) == 2
    assert json.loads((stage / "data.json").read_text())[0]["sets"]["plain"]["images"] == 4


def test_a_process_on_its_own_needs_no_torchrun(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as processes:
        assert processes == Processes(0, 1, torch.device("cpu"))
        assert processes.is_main and processes.decide(True) and not processes.decide(False)
        tensor = torch.tensor(np.arange(3.0))
        assert processes.gather(tensor) is tensor


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_named():
    with (
        pytest.raises(ValueError, match="'cuda', and PyTorch finds no CUDA device"),
        joined("cuda"),
    ):
        pass

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

"""What ``--data`` names: files need no package that reads recordings, recordings say which."""

from __future__ import annotations

import json
import shutil

import pytest
from conftest import ROOT
from without_packages import run_without

from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.sample_sources import open_samples
from depthrefl_ros.training.datasets import PlainFolder, parse_data_option

RECORDING = ROOT / "test" / "data" / "corridor.mcap"
BAGS_AND_ROS = {"zstandard", "mcap", "rosbags", "rclpy", "sensor_msgs"}
SMALL = [
    "--height", "64", "--width", "64", "--bins", "8", "--embedding", "8",
    "--decoder-channels", "8", "8", "8", "8", "--workers", "0", "--threads", "1", "--device", "cpu",
    "--batch", "2", "--steps", "1",
]  # fmt: skip


def trained_images(run):
    """Images of each set by the record of a run, which must have gone its one step."""
    assert (run / "stage1" / "checkpoint-00000001" / "model.safetensors").is_file()
    sets = json.loads((run / "stage1" / "data.json").read_text())[0]["sets"]
    return {name: told["images"] for name, told in sets.items()}


def test_a_folder_is_a_data_set_and_a_recording_takes_no_options_of_one(rooms):
    assert isinstance(open_samples(parse_data_option(str(rooms))), PlainFolder)
    for option in ("list=a.txt", "kind=plain", "depth_factor=5", "mounts=some.yaml"):
        with pytest.raises(ToolError, match="depth_factor and mounts are not for recordings"):
            open_samples(parse_data_option(f"{RECORDING},{option}"))


def test_plain_folders_are_trained_on_without_what_reads_recordings(tmp_path, rooms):
    run = tmp_path / "run"
    command = ["train", "stage1", "--run", run, "--data", rooms, "--val-data", rooms, *SMALL]
    done = run_without(BAGS_AND_ROS, *command)
    assert done.returncode == 0, done.stderr
    assert "rooms: 3 images, 2 a step" in done.stdout and "step 1 of 1" in done.stdout
    assert trained_images(run) == {"rooms": 3}


def test_photographs_are_labelled_without_what_reads_recordings(tmp_path, rooms):
    photos, run = tmp_path / "photos", tmp_path / "run"
    photos.mkdir()
    for path in (rooms / "rgb").iterdir():
        shutil.copy(path, photos)
    unlabelled = ["--unlabelled", f"{photos},hfov=60", "--teacher", "indoor_nano"]
    done = run_without(BAGS_AND_ROS, "train", "stage1", "--run", run, *unlabelled, *SMALL)
    assert done.returncode == 0, done.stderr
    assert "photos: 3 images labelled by indoor_nano" in done.stderr
    assert trained_images(run) == {"photos": 3}


def test_plain_folders_are_evaluated_and_predicted_without_what_reads_recordings(tmp_path, rooms):
    report, model = tmp_path / "report.json", ("--model", "indoor_nano")
    command = ["evaluate", "--data", rooms, *model, "--json", report, "--threads", "1"]
    done = run_without(BAGS_AND_ROS, *command)
    assert done.returncode == 0, done.stderr
    assert json.loads(report.read_text())["images"] == 3
    output = ["--output", tmp_path / "depth", "--write", "npy"]
    done = run_without(BAGS_AND_ROS, "predict", rooms, *model, *output)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["image"] for line in done.stdout.splitlines()] == [
        "0000", "0001", "0002",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("package", "command"),
    [
        ("zstandard", "train stage1 --run {run} --data some.mcap --steps 1"),
        ("mcap", "train stage1 --run {run} --data {rooms} --val-data {recording} --steps 1"),
        ("rosbags", "train stage1 --run {run} --unlabelled {recording} --teacher indoor_nano"
         " --steps 1"),
        ("zstandard", "train --finetune indoor_nano --run {run} --data {recording}"),
        ("mcap", "evaluate --model indoor_nano --data {recording}"),
        ("rosbags", "predict {recording} --output {run}"),
        ("mcap", "annotate {recording} {run}"),
        ("zstandard", "dataset {recording} {run}"),
    ],
)  # fmt: skip
def test_a_recording_names_the_package_it_needs_and_what_installs_it(
    tmp_path, rooms, package, command
):
    places = {"run": tmp_path / "run", "rooms": rooms, "recording": RECORDING}
    done = run_without({package}, *command.format(**places).split())
    assert done.returncode == 2, done.stderr
    assert done.stderr == (
        f"depthrefl {command.split()[0]}: error: {package} is needed and not installed for this "
        "Python: in the checkout, pip install '.[bags]'\n"
    )

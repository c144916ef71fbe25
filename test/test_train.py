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

"""The command ``train``: from data to a finished run, and what it says when something is wrong."""

from __future__ import annotations

import json
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_folders import (
    write_kitti,
    write_nyu_folder,
    write_nyu_mat,
    write_plain_folder,
    write_tum,
)
from mounted_disk import mounted_disk

from depthrefl_ros.tools import train as tool
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.train_options import augment_changes, model_config_of, settings_of
from depthrefl_ros.training.trainer import latest_checkpoint

# The smallest network that the options allow, on one core.
SMALL = [
    "--height", "64", "--width", "64", "--bins", "8", "--embedding", "8",
    "--decoder-channels", "8", "8", "8", "8", "--workers", "0", "--threads", "1", "--device", "cpu",
]  # fmt: skip


def leg(run: Path, data: Path, *more: str, stage: str = "stage2", steps: int = 1) -> list[str]:
    options = ["--run", str(run), "--data", str(data), "--steps", str(steps), "--batch", "2"]
    return [stage, *options, *SMALL, *more]


def test_the_command_trains_both_stages_and_finishes(tmp_path, rooms, capsys):
    nyu = write_nyu_folder(tmp_path / "nyu", count=2)
    run, held_out = tmp_path / "run", f"{nyu},list={nyu / 'list.txt'}"
    mixed = ["--data", f"{nyu},weight=3", "--val-data", held_out, "--augment", "max_zoom=2"]
    assert tool.main(leg(run, rooms, *mixed, stage="stage1")) == 0
    assert tool.main(leg(run, rooms, *mixed)) == 0
    output = capsys.readouterr().out
    assert "starting from ImageNet weights" in output
    assert f"starting from {run / 'stage1' / 'checkpoint-00000001'}" in output
    assert "rooms: 3 images, 0.5 a step" in output and "nyu: 2 images, 1.5 a step" in output
    report = tmp_path / "report.json"
    both = ["--val-data", held_out, "--val-data", str(rooms)]
    assert tool.main(["finish", "--run", str(run), *both, "--json", str(report)]) == 0
    assert json.loads(report.read_text())["validation"]["images"] == 2
    report = json.loads((run / "metrics.json").read_text())
    assert set(report["training_data"]) == {"nyu", "rooms"}
    described = report["training_data"]["rooms"]
    assert described["images"] == 3 and described["weight"] == 1.0
    assert described["kind"] == "plain" and len(described["sha256"]) == 64
    assert [entry["from_step"] for entry in report["training_history"]] == [0]
    assert report["training_history"][0]["augment"] == {"max_zoom": 2.0}
    assert report["validation_data"]["name"] == "nyu"
    assert set(report["calibration_data"]) == {"nyu", "rooms"}
    assert "began from ImageNet" in report["initial_weights"]
    assert report["steps"] == 1 and 0 <= report["validation"]["delta1"] <= 1
    calibration = json.loads((run / "calibration.json").read_text())
    assert len(calibration["quantile"]) == len(calibration["probability"]) == 101
    assert (run / "final.safetensors").stat().st_size > 10e6
    # A leg that ended before its first step, as an earlier release recorded it.
    legs = run / "stage2" / "data.json"
    (trained,) = json.loads(legs.read_text())
    stepless = {"from_step": 1, "sets": {"hall": {}}, "augment": {}}
    legs.write_text(json.dumps([trained, stepless]))
    assert tool.main(["finish", "--run", str(run), "--val-data", held_out]) == 0
    again = json.loads((run / "metrics.json").read_text())
    assert set(again["training_data"]) == {"nyu", "rooms"}
    assert again["training_history"] == report["training_history"]


def test_truth_that_is_empty_ends_before_the_first_step(tmp_path, rooms, capsys):
    for path in (rooms / "depth").iterdir():
        cv2.imwrite(str(path), np.zeros((48, 64), np.uint16))
    run = tmp_path / "run"
    assert tool.main(leg(run, rooms, stage="stage1")) == 2
    assert "rooms: none of the 3 images looked at has depth above 0" in capsys.readouterr().err
    assert latest_checkpoint(run / "stage1") is None


def test_a_wrong_unit_is_told_before_the_first_step(tmp_path, rooms, capsys):
    command = ["--finetune", "indoor_tiny", "--data", f"{rooms},depth_factor=20", "--steps", "1",
               "--minutes", "0", "--batch", "1", "--workers", "0", "--cap", "1000",
               "--run", str(tmp_path / "run")]  # fmt: skip
    assert tool.main(command) == 3  # no time for a step
    said = capsys.readouterr().err
    assert "warning: rooms: the network's depth is 0.0" in said and "(depth_factor=" in said


def test_images_without_depth_or_camera_are_counted(tmp_path, rooms, capsys):
    (rooms / "depth" / "0002.png").unlink()
    text = (rooms / "intrinsics.yaml").read_text()
    (rooms / "intrinsics.yaml").write_text(text.replace("'0001':", "'0007':"))
    assert tool.main(leg(tmp_path / "run", rooms, stage="stage1")) == 0
    said = "rooms: 1 images, 2 a step; 1 without depth are left out; 1 without a camera are left"
    assert said in capsys.readouterr().out


def test_a_balanced_set_is_trained_on_and_told(tmp_path, rooms):
    run = tmp_path / "run"
    assert tool.main(leg(run, f"{rooms},balance=depth", stage="stage1")) == 0
    told = json.loads((run / "stage1" / "data.json").read_text())[0]["sets"]["rooms"]
    assert told["balance"] == "depth" and told["images"] == 3


@pytest.mark.parametrize(
    ("write", "folder", "images"),
    [
        (write_kitti, "kitti", 4),
        (write_tum, "rgbd_dataset_freiburg1_desk", 2),
        (write_nyu_mat, "nyu_depth_v2_labeled.mat", 3),
    ],
)
def test_every_format_can_be_trained_on(tmp_path, capsys, write, folder, images):
    data = write(tmp_path / folder)
    assert tool.main(leg(tmp_path / "run", data, "--val-data", str(data), "--cap", "80")) == 0
    assert f"{data.stem}: {images} images, 2 a step" in capsys.readouterr().out
    header, row = (tmp_path / "run" / "stage2" / "validation.csv").read_text().split()
    figures = dict(zip(header.split(","), row.split(","), strict=True))
    assert float(figures["images"]) == images and float(figures["abs_rel"]) > 0


def test_a_leg_that_runs_out_of_time_is_continued(tmp_path, rooms, capsys):
    run = tmp_path / "run"
    command = leg(run, rooms, "--minutes", "0", steps=3)
    assert tool.main(command) == 3
    first = latest_checkpoint(run / "stage2")
    assert tool.main([*command, "--minutes", "10"]) == 0
    output = capsys.readouterr().out
    assert f"continuing from {first}" in output and "step 3 of 3" in output
    assert latest_checkpoint(run / "stage2").name == "checkpoint-00000003"


def test_a_signal_ends_a_leg_with_a_checkpoint(tmp_path, rooms):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "depthrefl_ros.tools.train"]
    command += leg(run, rooms, "--workers", "1", steps=100000)
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[1], stderr=subprocess.PIPE
    ) as process:
        log = run / "stage2" / "log.csv"
        while process.poll() is None and not (log.exists() and log.stat().st_size):
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == 3, errors
    rows = log.read_text().split()
    assert latest_checkpoint(run / "stage2").name == f"checkpoint-{len(rows) - 1:08d}"


def test_ctrl_c_while_the_data_is_looked_at_ends_like_any_other(tmp_path):
    data = write_plain_folder(tmp_path / "rooms", count=32, size=(480, 640))
    command = [sys.executable, "-m", "depthrefl_ros", "train", "--finetune", "indoor_nano",
               "--data", str(data), "--run", str(tmp_path / "run"), "--steps", "9",
               "--workers", "0", "--threads", "1", "--device", "cpu"]  # fmt: skip
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline().startswith("starting from bundle indoor_nano")
        process.send_signal(signal.SIGINT)
        told = process.stderr.readline()
        process.send_signal(signal.SIGINT)  # impatient
        errors = told + process.communicate(timeout=60)[1]
    assert process.returncode == 3, errors
    assert errors.splitlines() == ["depthrefl train: interrupted; run the same command to go on"]


def test_another_network_in_the_run_folder_is_named(tmp_path, rooms, capsys):
    run = tmp_path / "run"
    assert tool.main(leg(run, rooms)) == 0
    capsys.readouterr()
    assert tool.main(leg(run, rooms, "--height", "96")) == 2
    assert "height is 64, and the options say 96" in capsys.readouterr().err


def test_options_become_settings_and_network():
    options = [
        "stage2", "--run", "r", "--data", "d", "--steps", "7", "--encoder", "lite1",
        "--decoder-channels", "64", "48", "32", "16", "--bins", "32", "--embedding", "24",
        "--distribution", "softmax", "--height", "288", "--width", "384", "--z-max", "80",
        "--ema-decay", "0.9", "--likelihood-weight", "0.1", "--gradient-weight", "0.3",
        "--relative-weight", "0.4", "--balance", "0.5", "--freeze-norm", "--no-bf16",
        "--freeze", "backbone.encoder", "--freeze", "reflector.bins",
    ]  # fmt: skip
    arguments = tool.build_parser().parse_args(options)
    settings, config = settings_of(arguments, 2), model_config_of(arguments)
    assert (settings.stage, settings.steps, settings.bf16, settings.freeze_norm) == (
        2,
        7,
        False,
        True,
    )
    assert settings.freeze == ("backbone.encoder", "reflector.bins")
    assert (settings.ema_decay, settings.balance) == (0.9, 0.5)
    weights = (settings.likelihood_weight, settings.gradient_weight, settings.relative_weight)
    assert weights == (0.1, 0.3, 0.4)
    assert config.backbone.encoder == "lite1"
    assert config.backbone.decoder_channels == (64, 48, 32, 16)
    reflector = config.reflector
    assert (reflector.bins, reflector.embedding, reflector.distribution) == (32, 24, "softmax")
    assert (config.height, config.width, config.focal_px, config.z_max_m) == (288, 384, 360.0, 80.0)


def test_augmentation_is_changed_by_key():
    changes = augment_changes(["max_zoom=2", "flip_chance=0"])
    assert changes == {"max_zoom": 2.0, "flip_chance": 0.0}
    with pytest.raises(ToolError, match="'zoom=2': known keys are .*max_zoom"):
        augment_changes(["zoom=2"])
    with pytest.raises(ToolError, match="'max_zoom=wide': a value such as"):
        augment_changes(["max_zoom=wide"])


def test_augmentation_that_cannot_be_is_refused_before_anything_is_loaded(tmp_path, capsys):
    command = leg(tmp_path / "run", tmp_path / "absent", "--augment", "flip_chance=7")
    assert tool.main(command) == 2
    said = capsys.readouterr().err
    assert "--augment 'flip_chance=7': flip_chance is 7.0; from 0 to 1 is needed" in said


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--workers", "-3"], "--workers: '-3' must be a whole number, 0 or more"),
        (["--seed", "-1"], "--seed: '-1' must be a whole number, 0 or more"),
        (["--minutes", "-1"], "--minutes: '-1' must be a number, 0 or more"),
        (["--minutes", "nan"], "--minutes: 'nan' must be a number, 0 or more"),
    ],
)
def test_numbers_below_0_are_refused(tmp_path, capsys, option, said):
    with pytest.raises(SystemExit, match="2"):
        tool.main(leg(tmp_path / "run", tmp_path / "absent", *option))
    assert said in capsys.readouterr().err


def test_options_that_stand_for_subcommands():
    rest = ["--data", "d"]
    assert tool.subcommand_first(["--finetune", "m", *rest]) == ["finetune", "m", *rest]
    assert tool.subcommand_first([*rest, "--finetune=m"]) == ["finetune", "m", *rest]
    assert tool.subcommand_first(["--ablation", *rest]) == ["ablation", *rest]
    assert tool.subcommand_first(["stage1", *rest]) == ["stage1", *rest]


def corrupt_colour(rooms: Path) -> None:
    (rooms / "rgb" / "0001.jpg").write_bytes(b"no image")


def shrink_depth(rooms: Path) -> None:
    cv2.imwrite(str(rooms / "depth" / "0002.png"), np.ones((24, 32), np.uint16))


def remove_images(rooms: Path) -> None:
    for path in (rooms / "rgb").iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "data", "message"),
    [
        (corrupt_colour, "{rooms}", "0001.jpg: not an image, or a damaged one"),
        (shrink_depth, "{rooms}", "0002.png: 32x24, 64x48 is needed"),
        (remove_images, "{rooms}", "rooms: no images"),
        (None, "{rooms},list={rooms}/empty.txt", "empty.txt: list file is empty"),
        (None, "{rooms},list={rooms}/absent.txt", "absent.txt: list file missing"),
        (None, "{rooms}/absent", "absent: no such folder or file"),
        (None, "{rooms},kind=tum", "rgb.txt: list file missing"),
        (None, "{rooms},share=2", "'share=2' is not one of list=FILE"),
    ],
)
def test_bad_data_is_one_line_and_exit_code_2(tmp_path, rooms, capsys, damage, data, message):
    (rooms / "empty.txt").write_text("\n")
    if damage:
        damage(rooms)
    command = leg(tmp_path / "run", data.format(rooms=rooms))
    assert tool.main(command) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "steps is 0"),
        (["--height", "60"], "height is 60"),
        (["--encoder", "b7"], "encoder is 'b7'"),
        (["--start-from", "absent.safetensors"], "absent.safetensors cannot be read"),
    ],
)
def test_bad_options_are_one_line_and_exit_code_2(tmp_path, rooms, capsys, options, message):
    assert tool.main(leg(tmp_path / "run", rooms, *options)) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


def test_a_loss_that_explodes_stops_with_the_last_good_checkpoint(tmp_path, rooms, capsys):
    run = tmp_path / "run"
    assert tool.main(leg(run, rooms)) == 0
    kept = latest_checkpoint(run / "stage2")
    capsys.readouterr()
    fast = ["--learning-rate", "1e30", "--warmup-steps", "0", "--no-bf16"]
    assert tool.main(leg(run, rooms, *fast, steps=9)) == 4
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("depthrefl train: error: step ") and "not finite: loss" in error
    assert "images of the batch: rooms/000" in error
    assert error.endswith(f"the last good checkpoint is {kept}")
    assert latest_checkpoint(run / "stage2") == kept
    assert tool.main(["finish", "--run", str(run), "--val-data", str(rooms)]) == 0


@pytest.fixture
def small_disk(tmp_path):
    """Return a disk of 80 MB: one checkpoint of the small network fits (55 MB), two do not."""
    with mounted_disk(tmp_path / "disk", megabytes=80) as disk:
        yield disk


def checkpoint_contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in latest_checkpoint(folder).iterdir()}


def test_a_full_disk_leaves_the_old_checkpoint(small_disk, rooms, capsys):
    run = small_disk / "run"
    assert tool.main(leg(run, rooms)) == 0
    before = checkpoint_contents(run / "stage2")
    assert tool.main(leg(run, rooms, steps=2)) == 4
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "step 2 cannot be saved: No space left on device" in error
    assert error.endswith(f"the last good checkpoint is {run / 'stage2' / 'checkpoint-00000001'}")
    assert checkpoint_contents(run / "stage2") == before
    assert not (run / "stage2" / "writing").exists()  # it would keep the disk full


def test_a_file_that_cannot_grow_leaves_the_old_checkpoint(tmp_path, rooms):
    run = tmp_path / "run"
    assert tool.main(leg(run, rooms)) == 0
    before = checkpoint_contents(run / "stage2")
    done = subprocess.run(
        [sys.executable, "-m", "depthrefl_ros.tools.train", *leg(run, rooms, steps=2)],
        capture_output=True, text=True, cwd=Path(__file__).parents[1],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20)),
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert "step 2 cannot be saved: File too large; the last good" in done.stderr
    assert checkpoint_contents(run / "stage2") == before


def test_finish_without_a_run_is_refused(tmp_path, capsys):
    assert tool.main(["finish", "--run", str(tmp_path), "--val-data", "x"]) == 2
    assert "x: no such folder or file" in capsys.readouterr().err
    assert tool.main(["finish", "--run", str(tmp_path)]) == 2
    assert "run stage2 first" in capsys.readouterr().err


def test_every_documented_command_is_understood():
    pages = (Path(tool.__file__).parents[1] / "training").glob("*.md")
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    blocks = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("depthrefl train ")]
    assert len(commands) > 15
    for _, _, *words in commands:
        tool.build_parser().parse_args(tool.subcommand_first(words))

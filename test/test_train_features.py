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

"""``train stage2 --freeze`` keeps a backbone's features: what is said, shared, refused, resumed."""

from __future__ import annotations

import argparse
import csv
import json

import pytest
import torch
from dataset_folders import write_plain_folder
from safetensors.torch import load_file

from depthrefl_ros.network.efficientnet import EfficientNetLiteConfig
from depthrefl_ros.network.model import ModelConfig, create_model
from depthrefl_ros.tools import train as tool
from depthrefl_ros.tools import train_features
from depthrefl_ros.tools.train_run import make_batches
from depthrefl_ros.training.augment import AugmentConfig
from depthrefl_ros.training.datasets import PlainFolder
from depthrefl_ros.training.train_settings import TrainSettings
from depthrefl_ros.training.trainer import Trainer, latest_checkpoint

SMALL = [
    "--height", "64", "--width", "96", "--bins", "8", "--embedding", "8",
    "--decoder-channels", "8", "8", "8", "8", "--workers", "0", "--threads", "1", "--device", "cpu",
    "--batch", "2", "--freeze",
]  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def train(run, rooms, *more) -> int:
    return tool.main(["stage2", "--run", str(run), "--data", str(rooms), *SMALL, *map(str, more)])


def error_of(capsys, run, rooms, *more) -> str:
    assert train(run, rooms, *more) == 2
    return capsys.readouterr().err.splitlines()[-1]


def losses_of(run) -> list[float]:
    with (run / "stage2" / "log.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_features_are_kept_once_and_shared_by_runs(tmp_path, rooms, capsys):
    shared = tmp_path / "shared"
    more = ["--views", "2", "--features", shared, "--steps", "3"]
    assert train(tmp_path / "a", rooms, *more, "--seed", "1") == 0
    said = capsys.readouterr().out
    assert f"features: 2 views of 3 images in {shared}, 0.00 GB" in said
    stamp = (shared / "rooms" / "features.npy").stat().st_mtime_ns
    weights = latest_checkpoint(tmp_path / "a" / "stage2") / "model.safetensors"
    assert train(tmp_path / "b", rooms, *more, "--seed", "1") == 0
    assert (shared / "rooms" / "features.npy").stat().st_mtime_ns == stamp
    again = load_file(latest_checkpoint(tmp_path / "b" / "stage2") / "model.safetensors")
    for name, value in load_file(weights).items():
        assert torch.equal(value, again[name])  # the same views in the same order
    assert train(tmp_path / "c", rooms, *more, "--seed", "2") == 2  # ImageNet's decoder is drawn
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"{shared / 'rooms'} holds features of another backbone than is asked for" in said
    assert train(tmp_path / "d", rooms, *more, "--start-from", weights, "--seed", "2") == 0
    assert losses_of(tmp_path / "d") != losses_of(tmp_path / "a")


def test_a_stopped_run_goes_on_where_it_was(tmp_path, rooms, monkeypatch, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(whole, rooms, "--views", "2", "--steps", "4", "--save-every", "2") == 0
    real = train_features.open_features
    monkeypatch.setattr(
        train_features, "open_features", lambda *args: real(*args[:4], stop=lambda: True)
    )
    some = ["--views", "2", "--steps", "4", "--save-every", "2"]
    assert train(parts, rooms, *some) == 3
    assert "0 of 6 views; the same command goes on" in capsys.readouterr().out
    monkeypatch.undo()
    assert train(parts, rooms, *some) == 0
    assert losses_of(parts) == losses_of(whole)


def test_what_cannot_be_kept_is_told(tmp_path, rooms, capsys, monkeypatch):
    run, steps = tmp_path / "run", ["--steps", "1"]
    said = error_of(capsys, run, rooms, *steps, "--views", "4", "--feature-limit", "0.0005")
    assert "--views 4: the features of 3 images take 0.0 GiB, and --feature-limit is" in said
    assert "0.0005: 3 fit" in said
    assert train(run, rooms, *steps, "--feature-limit", "1e-7") == 0
    said = capsys.readouterr().err
    assert "no features are kept, since one view of 3 images takes 0.0 GiB" in said
    assert not list(run.rglob("*.npy"))
    run = tmp_path / "trained"
    trained = ["--views", "2", "--freeze", "backbone.encoder"]
    command = ["stage2", "--run", str(run), "--data", str(rooms), *SMALL[:-1], *steps, *trained]
    assert tool.main(command) == 2
    assert "--views 2: the backbone is trained: give --freeze" in capsys.readouterr().err
    taught = tmp_path / "taught"
    said = error_of(capsys, taught, rooms, *steps, "--views", "2", "--teacher", "indoor_nano")
    assert "--teacher needs the images at every step: let it label --unlabelled" in said
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(train_features.shutil, "disk_usage", lambda path: usage)
    said = error_of(capsys, tmp_path / "full", rooms, *steps)
    assert "the features take 0.0 GiB and 0.0 are free; give fewer --views" in said


def test_two_sets_of_one_name_have_folders_of_their_own(tmp_path, rooms):
    other = write_plain_folder(tmp_path / "other" / "rooms", count=2)
    assert train(tmp_path / "run", rooms, "--data", other, "--steps", "1", "--views", "1") == 0
    kept = sorted((tmp_path / "run" / "features").glob("*/recipe.json"))
    assert [path.parent.name for path in kept] == ["rooms", "rooms-2"]
    assert [json.loads(path.read_text())["done"] for path in kept] == [3, 2]


def test_a_step_on_kept_features_runs_no_encoder(tmp_path, rooms):
    backbone = EfficientNetLiteConfig(decoder_channels=(8, 8, 8, 8))
    model = create_model(ModelConfig(backbone=backbone, height=96, width=128))
    settings = TrainSettings(stage=2, steps=20, freeze=("backbone",))
    dataset = PlainFolder(rooms)
    for views, runs in ((0, 2), (1, 0)):
        trainer = Trainer(model, settings)
        arguments = argparse.Namespace(
            views=views, features=tmp_path / "features", feature_limit=1.0, batch=4
        )
        batches = make_batches(arguments, trainer, [(dataset, 1.0)], AugmentConfig(), lambda: False)
        calls = []
        encoder = trainer.model.backbone.encoder
        encoder.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        for step in range(2):
            trainer.train_step(batches[step])
        assert len(calls) == runs

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

"""A stage stops and continues exactly, logs every step, and never loses its last checkpoint."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import torch
from dataset_folders import write_plain_folder
from small_network import CONFIG, make_trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from depthrefl_ros.training.augment import Augmenter
from depthrefl_ros.training.batches import StepBatches
from depthrefl_ros.training.datasets import DatasetError, PlainFolder
from depthrefl_ros.training.distillation import Teacher
from depthrefl_ros.training.evaluation import torch_infer
from depthrefl_ros.training.loop import TrainError, run_stage
from depthrefl_ros.training.previews import preview_images
from depthrefl_ros.training.trainer import latest_checkpoint


@pytest.fixture
def dataset(tmp_path):
    return PlainFolder(write_plain_folder(tmp_path / "plain", count=4))


@pytest.fixture
def batches(dataset):
    return StepBatches([(dataset, 1.0)], Augmenter(64, 64), seed=1, steps=100, batch=2)


@pytest.mark.parametrize(("stage", "steps"), [(1, 4), (2, 20)])
def test_all_steps_in_one_go_equal_half_and_half(tmp_path, batches, stage, steps):
    whole = make_trainer(stage, steps)
    run_stage(whole, batches, tmp_path / "whole", workers=0)

    first = make_trainer(stage, steps)
    for step in range(steps // 2):
        first.train_step(batches[step])
    first.save(tmp_path / "parts")
    second = make_trainer(stage, steps)
    second.restore(latest_checkpoint(tmp_path / "parts"))
    assert second.step == steps // 2
    assert run_stage(second, batches, tmp_path / "parts", workers=0)

    for expected, found in ((whole.model, second.model), (whole.ema, second.ema)):
        for name, tensor in expected.state_dict().items():
            assert torch.equal(tensor, found.state_dict()[name]), name


def test_a_resumed_student_mixes_the_same_pictures(tmp_path, batches):
    """A teacher draws mixtures and mirror images from torch's numbers, which a checkpoint keeps."""
    teacher = make_trainer(stage=1).save(tmp_path / "teacher") / "ema.safetensors"
    made = [
        make_trainer(steps=4, teacher=Teacher([teacher], CONFIG.focal_px), mix_share=0.5)
        for _ in range(3)
    ]
    whole, first, second = made
    torch.manual_seed(5)
    run_stage(whole, batches, tmp_path / "whole", workers=0)
    torch.manual_seed(5)
    run_stage(first, batches, tmp_path / "parts", workers=0, stop=lambda: first.step == 2)
    second.restore(latest_checkpoint(tmp_path / "parts"))
    assert second.step == 2 and run_stage(second, batches, tmp_path / "parts", workers=0)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name


def test_fewer_steps_than_are_done_are_complete(tmp_path, batches):
    trainer = make_trainer(steps=2)
    trainer.step = 3
    assert run_stage(trainer, batches, tmp_path, workers=0)


def test_a_process_of_its_own_prepares_the_same_batches(tmp_path, batches):
    here, there = make_trainer(steps=2), make_trainer(steps=2)
    run_stage(here, batches, tmp_path / "here", workers=0)
    run_stage(there, batches, tmp_path / "there", workers=1)
    for name, tensor in here.model.state_dict().items():
        assert torch.equal(tensor, there.model.state_dict()[name]), name


def test_time_ends_a_leg_with_a_checkpoint(tmp_path, batches):
    trainer = make_trainer(steps=100)
    assert not run_stage(trainer, batches, tmp_path, minutes=0.0, workers=0)
    assert latest_checkpoint(tmp_path).name == f"checkpoint-{trainer.step:08d}"


def test_the_log_has_one_row_a_step_after_a_crash(tmp_path, batches):
    run_stage(make_trainer(steps=2), batches, tmp_path, workers=0)
    with (tmp_path / "log.csv").open("a") as stream:
        stream.write("3,0.5,0.")  # as a killed process leaves it
    again = make_trainer(steps=3)
    again.train_step(batches[0])  # as if the checkpoint was of step 1
    run_stage(again, batches, tmp_path, workers=0, validate=lambda model: {"figure": 1.0})
    with (tmp_path / "log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    assert float(rows[2]["step_s"]) > 0 and float(rows[2]["data_s"]) >= 0
    assert (tmp_path / "validation.csv").read_text().split() == ["step,figure", "3,1"]


def test_tensorboard_gets_losses_rate_figures_and_pictures(tmp_path, batches, dataset):
    def preview(model):
        return preview_images(torch_infer(model), dataset, (64, 64), CONFIG.focal_px)

    trainer = make_trainer(steps=3)
    run_stage(
        trainer, batches, tmp_path / "run", workers=0, validate_steps=2,
        validate=lambda model: {"abs_rel": 0.25}, preview=preview,
    )  # fmt: skip
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    with (tmp_path / "run" / "log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    for name in ("loss", "silog", "likelihood", "rate", "gradient_norm"):
        logged = board.Scalars(f"training/{name}")
        assert [event.step for event in logged] == [1, 2, 3]
        expected = [float(row[name]) for row in rows]
        assert [event.value for event in logged] == pytest.approx(expected, rel=1e-4)
    scores = board.Scalars("validation/abs_rel")
    assert [(event.step, event.value) for event in scores] == [(2, 0.25), (3, 0.25)]
    assert board.Tags()["images"] == dataset.names
    assert (board.Images("0000")[0].width, board.Images("0000")[0].height) == (3 * 64, 48)


def test_previews_show_colour_prediction_and_truth(dataset):
    model = make_trainer().model.eval()
    pictures = preview_images(torch_infer(model), dataset, (64, 64), CONFIG.focal_px)
    assert list(pictures) == dataset.names
    picture = pictures["0000"]
    assert picture.shape == (48, 3 * 64, 3) and picture.dtype == np.uint8
    assert np.array_equal(picture[:, :64], dataset[0].image)
    truth = picture[:, 128:].astype(int)
    assert len(np.unique(truth[0, 0])) == 1  # unknown: grey
    assert truth[1, 5, 2] > truth[1, 5, 0] and truth[-1, 5, 0] > truth[-1, 5, 2]  # far blue


def test_a_loss_that_is_not_finite_names_batch_and_checkpoint(tmp_path, batches):
    trainer = make_trainer(steps=5)
    trainer.train_step(batches[0])
    kept = trainer.save(tmp_path)
    with torch.no_grad():
        trainer.model.reflector.bins.logits[-1].bias.fill_(math.nan)
    names = ", ".join(batches.names(1))
    with pytest.raises(TrainError, match=f"step 1: .*{names}; the last good checkpoint is {kept}"):
        run_stage(trainer, batches, tmp_path, workers=0)
    assert latest_checkpoint(tmp_path) == kept
    make_trainer().restore(kept)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_breaks_while_training_is_one_line(tmp_path, batches, dataset, workers):
    broken = dataset.root / "rgb" / "0002.jpg"
    broken.write_bytes(b"no image")
    with pytest.raises(DatasetError) as caught:
        run_stage(make_trainer(), batches, tmp_path / "run", workers=workers)
    assert str(caught.value) == f"{broken}: not an image, or a damaged one"

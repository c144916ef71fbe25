"""Training learns, stops and continues exactly, and its command line says what is wrong."""

from __future__ import annotations

import csv
import json
import math

import pytest
import torch
from dataset_folders import write_nyu_folder, write_plain_folder

from depthrefl_ros.network.model import BackboneConfig, ModelConfig, ReflectorConfig, create_model
from depthrefl_ros.tools import train as tool
from depthrefl_ros.training.augment import Augmenter
from depthrefl_ros.training.batches import StepBatches
from depthrefl_ros.training.datasets import PlainFolder
from depthrefl_ros.training.train import (
    Trainer,
    TrainSettings,
    latest_checkpoint,
    rate_at,
    run_stage,
    update_average,
)

CONFIG = ModelConfig(
    backbone=BackboneConfig(bottleneck_channels=16, decoder_channels=(8, 8, 8, 8), head_channels=4),
    reflector=ReflectorConfig(bins=8, embedding=8),
    height=64,
    width=64,
)


@pytest.fixture
def batches(tmp_path):
    dataset = PlainFolder(write_plain_folder(tmp_path / "plain", count=4))
    return StepBatches([(dataset, 2)], Augmenter(64, 64), seed=1, steps=100)


def make_trainer(stage=2, steps=4, **settings) -> Trainer:
    torch.manual_seed(0)
    settings = {"bf16": False, "warmup_steps": 2, **settings}
    return Trainer(create_model(CONFIG), TrainSettings(stage=stage, steps=steps, **settings))


@pytest.mark.parametrize("stage", [1, 2])
def test_four_steps_equal_two_and_two(tmp_path, batches, stage):
    whole = make_trainer(stage)
    run_stage(whole, batches, tmp_path / "whole", workers=0)

    first = make_trainer(stage)
    for step in range(2):
        first.train_step(batches[step])
    first.save(tmp_path / "parts")
    second = make_trainer(stage)
    second.restore(latest_checkpoint(tmp_path / "parts"))
    assert second.step == 2
    assert run_stage(second, batches, tmp_path / "parts", workers=0)

    for expected, found in ((whole.model, second.model), (whole.ema, second.ema)):
        for name, tensor in expected.state_dict().items():
            assert torch.equal(tensor, found.state_dict()[name]), name


def test_a_process_of_its_own_prepares_the_same_batches(tmp_path, batches):
    here, there = make_trainer(steps=2), make_trainer(steps=2)
    run_stage(here, batches, tmp_path / "here", workers=0)
    run_stage(there, batches, tmp_path / "there", workers=1)
    for name, tensor in here.model.state_dict().items():
        assert torch.equal(tensor, there.model.state_dict()[name]), name


def test_stage_2_learns_a_simple_scene(batches):
    trainer = make_trainer(steps=40, learning_rate=3e-3, encoder_factor=1.0)
    # One batch over and over: how well it can be learnt at all.
    losses = [trainer.train_step(batches[0])["silog"] for _ in range(40)]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_stage_1_trains_the_backbone_only(batches):
    trainer = make_trainer(stage=1)
    before = {name: tensor.clone() for name, tensor in trainer.model.named_parameters()}
    figures = trainer.train_step(batches[0])
    assert set(figures) == {"loss", "relative", "gradient_norm", "rate"}
    changed = {
        name for name, now in trainer.model.named_parameters() if not torch.equal(now, before[name])
    }
    assert changed and all(name.startswith("backbone.") for name in changed)


def test_bfloat16_steps_are_finite(batches):
    figures = make_trainer(bf16=True).train_step(batches[0])
    assert all(math.isfinite(value) for value in figures.values())


def test_the_encoder_learns_slower():
    trainer = make_trainer(learning_rate=1e-2, encoder_factor=0.1)
    encoder = {id(p) for p in trainer.model.backbone.encoder.parameters()}
    for group in trainer.optimizer.param_groups:
        is_encoder = {id(p) in encoder for p in group["params"]}
        assert is_encoder == {group["base_lr"] < 5e-3}
        assert all((p.ndim > 1) == (group["weight_decay"] > 0) for p in group["params"])


def test_the_rate_warms_up_and_falls():
    settings = TrainSettings(stage=1, steps=100, warmup_steps=10)
    rates = [rate_at(step, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[10] == pytest.approx(1.0)
    assert all(a > b for a, b in zip(rates[10:], rates[11:], strict=False))
    assert rates[-1] < 0.02


def test_the_average_follows_weights_and_statistics():
    trainer = make_trainer()
    with torch.no_grad():
        for tensor in trainer.model.state_dict().values():
            tensor.fill_(3)
    before = {name: tensor.clone() for name, tensor in trainer.ema.state_dict().items()}
    update_average(trainer.ema, trainer.model, decay=0.75, step=1000)
    for name, tensor in trainer.ema.state_dict().items():
        if tensor.dtype.is_floating_point:
            assert torch.allclose(tensor, before[name] * 0.75 + 0.75), name
        else:
            assert (tensor == 3).all()


def test_a_loss_that_is_not_finite_stops_training(batches):
    trainer = make_trainer()
    with torch.no_grad():
        trainer.model.reflector.bins.logits[-1].bias.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="step 0: loss is nan"):
        trainer.train_step(batches[0])


def test_time_ends_a_leg_with_a_checkpoint(tmp_path, batches):
    trainer = make_trainer(steps=100)
    assert not run_stage(trainer, batches, tmp_path, minutes=0.0, workers=0)
    assert latest_checkpoint(tmp_path).name == f"checkpoint-{trainer.step:08d}"


def test_old_checkpoints_go_and_an_unfinished_one_does_not_count(tmp_path):
    trainer = make_trainer()
    trainer.save(tmp_path)
    trainer.step = 7
    (tmp_path / "writing").mkdir()  # as a crash would leave it
    trainer.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000007"]


def test_the_log_has_one_row_a_step_after_a_crash(tmp_path, batches):
    run_stage(make_trainer(steps=2), batches, tmp_path, workers=0)
    again = make_trainer(steps=3)
    again.train_step(batches[0])  # as if the checkpoint was of step 1
    run_stage(again, batches, tmp_path, workers=0, validate=lambda model: {"figure": 1.0})
    with (tmp_path / "log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    assert float(rows[2]["step_s"]) > 0 and float(rows[2]["data_s"]) >= 0
    assert (tmp_path / "validation.csv").read_text().split() == ["step,figure", "3,1"]


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="stage is 3"):
        TrainSettings(stage=3, steps=1)
    with pytest.raises(ValueError, match="steps is 0"):
        TrainSettings(stage=1, steps=0)


def test_images_per_step():
    assert tool.images_per_step(2, True, 8, 2) == [4, 2, 2]
    assert tool.images_per_step(0, True, 8, 2) == [8]
    assert tool.images_per_step(2, False, 5, 2) == [3, 2]
    with pytest.raises(tool.ToolError, match=r"\[0, 8\] images a step"):
        tool.images_per_step(1, True, 8, 8)


def test_the_command_trains_both_stages_and_finishes(tmp_path, capsys):
    nyu = write_nyu_folder(tmp_path / "nyu", count=1)
    rooms = write_plain_folder(tmp_path / "rooms", count=1)
    names = str(nyu / "list.txt")
    data = ["--run", str(tmp_path / "run"), "--nyu", str(nyu), "--val-list", names]
    leg = [*data, "--train-list", names, "--plain", str(rooms), "--plain-share", "1"]
    leg += ["--steps", "1", "--batch", "2", "--workers", "0", "--threads", "1"]
    assert tool.main(["stage1", *leg]) == 0
    assert tool.main(["stage2", *leg]) == 0
    output = capsys.readouterr().out
    assert "starting from ImageNet weights" in output
    assert f"starting from {tmp_path / 'run' / 'stage1'}" in output
    report = tmp_path / "report.json"
    assert tool.main(["finish", *data, "--json", str(report)]) == 0
    assert json.loads(report.read_text())["validation"]["images"] > 0
    report = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert set(report["training_data"]) == {"nyu", "rooms"}
    rooms = report["training_data"]["rooms"]
    assert rooms["images"] == rooms["images_per_step"] == 1 and len(rooms["sha256"]) == 64
    assert [leg["from_step"] for leg in report["training_history"]] == [0]
    assert report["steps"] == 1 and 0 <= report["validation"]["delta1"] <= 1
    calibration = json.loads((tmp_path / "run" / "calibration.json").read_text())
    assert len(calibration["quantile"]) == len(calibration["probability"]) == 101
    assert (tmp_path / "run" / "final.safetensors").stat().st_size > 10e6


def test_a_change_of_data_is_recorded_and_told(tmp_path, capsys):
    folder = write_plain_folder(tmp_path / "rooms", count=2)
    path = tmp_path / "run" / "data.json"
    tool.record_data(path, 0, {"rooms": PlainFolder(folder)}, [8])
    tool.record_data(path, 500, {"rooms": PlainFolder(folder)}, [8])
    assert capsys.readouterr().out == ""
    (folder / "rgb" / "0001.jpg").unlink()
    tool.record_data(path, 900, {"rooms": PlainFolder(folder)}, [8])
    assert "changed since step 0" in capsys.readouterr().out
    history = json.loads(path.read_text())
    assert [entry["from_step"] for entry in history] == [0, 900]
    assert [entry["sets"]["rooms"]["images"] for entry in history] == [2, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "1"], "no data: give --nyu"),
        (["--steps", "1", "--nyu", "absent"], "--nyu needs --train-list"),
        (["--steps", "1", "--plain", "absent"], "intrinsics.yaml: missing"),
        (["--steps", "0", "--plain", "absent"], "steps is 0"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys, arguments, message):
    assert tool.main(["stage1", "--run", str(tmp_path), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1


def test_finish_without_a_run_is_refused(tmp_path, capsys):
    assert tool.main(["finish", "--run", str(tmp_path)]) == 2
    assert "run stage2 first" in capsys.readouterr().err

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

import argparse
import json
import math

import cv2
import numpy as np
import pytest
import torch
from dataset_folders import write_plain_folder
from safetensors.torch import load_file

from depthrefl_ros.network.checkpoints import load_weights, save_weights
from depthrefl_ros.network.efficientnet import EfficientNetLiteConfig
from depthrefl_ros.network.model import ModelConfig, create_model
from depthrefl_ros.training import head_training
from depthrefl_ros.training.ablation import (
    add_ablation_options,
    best_heads,
    best_rate,
    run_ablation,
)
from depthrefl_ros.training.ablation_table import markdown, summarise, summarise_sets
from depthrefl_ros.training.ablation_units import load_backbone
from depthrefl_ros.training.datasets import DatasetError
from depthrefl_ros.training.head_training import new_head
from depthrefl_ros.training.loop import TrainError
from depthrefl_ros.training.train_settings import rate_at
from depthrefl_ros.training.trainer import update_average

HEADS = "reflector,log_regression,classification"


def result(head: str, seed: int, errors: list[float], slope: float = 1.0, **more) -> dict:
    values = {name: errors for name in ("abs_rel", "delta1", "rmse", "ause_abs_rel")}
    values["median_truth_m"] = [2.0**index for index in range(len(errors))]
    values["median_depth_m"] = [2.0 ** (slope * index) for index in range(len(errors))]
    names = [f"room_{index // 2}/{index}" for index in range(len(errors))]
    of_set = {"names": names, "values": values}
    return {
        "head": head, "seed": seed, "rate": 0.002, "parameters": 1234, "has_sigma": True,
        "step_s": 0.1, **of_set, "sets": {"rooms": of_set}, **more,
    }  # fmt: skip


def test_summary_by_hand():
    results = [
        result("reflector", 1, [0.1, 0.1, 0.2, 0.2]),
        result("reflector", 2, [0.3, 0.3, 0.2, 0.2]),
        result("other", 1, [0.3, 0.3, 0.3, 0.3], has_sigma=False),
    ]
    summary = summarise(results)
    figure = summary["reflector"]["figures"]["abs_rel"]
    assert figure["mean"] == pytest.approx(0.2)
    assert figure["spread"] == pytest.approx(np.std([0.15, 0.25], ddof=1))
    assert "difference" not in summary["reflector"]
    assert summary["other"]["figures"]["abs_rel"]["spread"] is None
    assert "ause_abs_rel" not in summary["other"]["figures"]
    difference = summary["other"]["difference"]["abs_rel"]
    assert difference["by_seed"] == pytest.approx([0.15])  # of the seed that both have
    assert [difference[key] for key in ("mean", "low", "high")] == pytest.approx([0.1] * 3)


def test_the_slope_of_log_medians_by_hand():
    errors = [0.1] * 6
    results = [
        result("reflector", 1, errors, slope=0.9),
        result("reflector", 2, errors, slope=0.7),
        result("other", 1, errors, slope=0.5),
        result("other", 2, errors, slope=0.7),
    ]
    summary = summarise(results)
    figure = summary["reflector"]["figures"]["slope_log_median"]
    assert figure["mean"] == pytest.approx(0.8) and figure["by_seed"] == pytest.approx([0.9, 0.7])
    difference = summary["other"]["difference"]["slope_log_median"]
    assert difference["by_seed"] == pytest.approx([-0.4, 0.0])
    # Medians lie on straight lines, so every resample has the same slopes.
    assert [difference[key] for key in ("mean", "low", "high")] == pytest.approx([-0.2] * 3)


def test_every_set_has_its_own_summary():
    one = result("reflector", 1, [0.1, 0.1])
    halls = result("reflector", 1, [0.3, 0.3, 0.3])["sets"]["rooms"]
    one["sets"]["halls"] = halls
    summaries = summarise_sets([one])
    means = {name: s["reflector"]["figures"]["abs_rel"]["mean"] for name, s in summaries.items()}
    assert means == pytest.approx({"rooms": 0.1, "halls": 0.3})


def test_the_table_has_a_row_a_head_the_best_first():
    results = [
        result("reflector", 1, [0.2] * 4),
        result("other", 1, [0.1] * 4, has_sigma=False),
    ]
    lines = markdown(summarise(results), {"other": 12.34}).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| other | 0.100 | 0.100 | 1.000 | 0.100 | - | -0.1000")
    assert lines[2].endswith("| 1,234 | 12.3 |")
    assert lines[3].startswith("| reflector | 0.200")
    assert lines[3].endswith("| - | - | - | 1,234 | - |")


def test_other_images_are_not_compared():
    other = result("other", 1, [0.1, 0.2])
    with pytest.raises(ValueError, match="other was measured on other images"):
        summarise([result("reflector", 1, [0.1] * 4), other])


def test_a_missing_figure_of_an_image_is_left_out():
    summary = summarise([result("reflector", 1, [0.1, None])])
    assert summary["reflector"]["figures"]["abs_rel"]["mean"] == pytest.approx(0.1)


def test_best_rate_and_best_heads():
    results = [
        result("a", 1, [0.3, 0.3], rate=0.1),
        result("a", 1, [0.2, 0.2], rate=0.01),
        result("b", 1, [0.1, 0.1], rate=0.1),
    ]
    assert best_rate(results, "a") == 0.01
    summary = summarise([result(n, 1, [e]) for n, e in (("a", 0.3), ("b", 0.1), ("c", 0.2))])
    assert best_heads(summary, ["a", "b", "c"]) == ["b", "c"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    root = tmp_path_factory.mktemp("ablation")
    write_plain_folder(root / "train")
    write_plain_folder(root / "more")
    write_plain_folder(root / "val", count=2)
    write_plain_folder(root / "far", count=2)
    torch.manual_seed(0)
    backbone = EfficientNetLiteConfig(decoder_channels=(8, 8, 8, 8), bottleneck_channels=8)
    model = create_model(ModelConfig(backbone=backbone, height=64, width=96))
    (root / "stage1").mkdir()
    save_weights(root / "stage1" / "ema.safetensors", model)
    state = json.dumps({"model": model.config.to_dict()})
    (root / "stage1" / "state.json").write_text(state)
    return root


def options(root, run: str, **changes) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_ablation_options(parser)
    values = {
        "run": root / run, "backbone": root / "stage1" / "ema.safetensors",
        "data": root / "train", "val-data": root / "val", "heads": HEADS, "views": 1, "steps": 2,
        "batch": 2, "seeds": 2, "jobs": 1, "joint-steps": 1, **changes,
    }  # fmt: skip
    lists = {name: value if isinstance(value, list) else [value] for name, value in values.items()}
    return parser.parse_args(
        [f"--{name}={text}" for name, value in lists.items() for text in value]
    )


def test_the_heads_that_are_trained_jointly_can_be_chosen(inputs):
    chosen = {"seeds": 1, "steps": 1, "joint-heads": "log_regression_control,reflector_softmax"}
    assert run_ablation(options(inputs, "chosen", **chosen)) == 0
    report = json.loads((inputs / "chosen" / "ablation.json").read_text())
    assert set(report["joint"]["val"]) == {"log_regression_control", "reflector_softmax"}
    with pytest.raises(ValueError, match="--joint-heads hourglass: known are"):
        run_ablation(options(inputs, "chosen", **{"joint-heads": "hourglass"}))


def test_an_ablation_leaves_tables_and_continues_where_it_stopped(inputs):
    arguments = options(inputs, "run")
    timed = []

    def time_engines(models):
        timed.extend(models)
        return dict.fromkeys(models, 7.0)

    assert run_ablation(arguments, time_engines) == 0
    run = inputs / "run"
    report = json.loads((run / "ablation.json").read_text())
    assert timed == HEADS.split(",")
    features, joint = report["features"]["val"], report["joint"]["val"]
    assert set(features) == set(HEADS.split(",")) == set(joint)
    for head, entry in features.items():
        assert entry["seeds"] == [1, 2] and entry["step_s"] > 0
        assert math.isfinite(entry["figures"]["abs_rel"]["mean"])
        assert ("ause_abs_rel" in entry["figures"]) == (head != "log_regression")
    table = (run / "ablation.md").read_text()
    assert table.count("| reflector |") == 2 and "| 7.0 |" in table

    units = sorted((run / "units").glob("*.json"))
    assert len(units) == 3 * 2 + 3
    gone = run / "units" / "features-classification-steps2-rate0.002-seed2.json"
    before = {path: path.stat().st_mtime_ns for path in units}
    lost = json.loads(gone.read_text())
    gone.unlink()
    assert run_ablation(arguments) == 0
    again = json.loads(gone.read_text())
    assert again["sets"] == lost["sets"]
    assert all(path.stat().st_mtime_ns == before[path] for path in units if path != gone)


@pytest.mark.parametrize("steps", [0, 1])
def test_several_sets_are_mixed_and_measured(inputs, steps):
    run = f"several{steps}"
    several = {
        "data": [f"{inputs / 'train'},weight=3", inputs / "more"],
        "val-data": [inputs / "val", inputs / "far"],
        "heads": "classification", "joint-heads": "reflector", "seeds": 1, "steps": steps,
    }  # fmt: skip
    assert run_ablation(options(inputs, run, **several)) == 0
    report = json.loads((inputs / run / "ablation.json").read_text())
    assert set(report) - {"options", "engine_ms"} == ({"joint", "features"} if steps else {"joint"})
    assert (inputs / run / "features").exists() == bool(steps)
    assert list(report["joint"]) == ["val", "far"]
    for summary in report["joint"].values():
        assert math.isfinite(summary["reflector"]["figures"]["abs_rel"]["mean"])
    assert (inputs / run / "ablation.md").read_text().count("measured on far") == 1 + bool(steps)


@pytest.mark.parametrize("kind", ["joint", "features"])
def test_a_head_goes_on_where_its_training_stopped(inputs, monkeypatch, kind):
    monkeypatch.setattr(head_training, "SAVE_EVERY", 2)
    which = {"steps": 3, "joint-steps": 0} if kind == "features" else {"steps": 0, "joint-steps": 3}
    which |= {
        "heads": "localbins",
        "joint-heads": "localbins",
        "seeds": 1,
    }  # it draws while trained
    result = f"units/{kind}-localbins-steps3-rate{'0.002' if kind == 'features' else '0.001'}-seed1"
    assert run_ablation(options(inputs, f"whole_{kind}", **which)) == 0

    def stopped():
        raise KeyboardInterrupt

    arguments = options(inputs, f"stopped_{kind}", **which)
    with monkeypatch.context() as during:
        during.setattr(head_training, "update_average", failing_at(3, update_average, stopped))
        with pytest.raises(KeyboardInterrupt):
            run_ablation(arguments)
    steps = []
    monkeypatch.setattr(head_training, "rate_at", counted(steps))
    assert run_ablation(arguments) == 0
    assert set(steps) == {2}  # once for each group of parameters
    whole, again = (
        load_file(inputs / f"{run}_{kind}" / f"{result}.safetensors")
        for run in ("whole", "stopped")
    )
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    left = {path.suffix for path in (inputs / f"stopped_{kind}" / "units").iterdir()}
    assert left == {".json", ".safetensors"}


def failing_at(count, function, failure):
    """Return the function, which fails when it is called for the ``count``-th time."""
    calls = []

    def called(*arguments):
        calls.append(arguments)
        return failure() if len(calls) == count else function(*arguments)

    return called


def counted(steps):
    """Return ``rate_at``, which keeps the steps that it is asked for."""

    def called(step, settings):
        steps.append(step)
        return rate_at(step, settings)

    return called


def test_a_unit_leaves_its_weights(inputs):
    arguments = options(inputs, "weights", steps=0, **{"joint-heads": "localbins"})
    run_ablation(arguments)
    model = load_backbone(arguments.backbone)
    trained = new_head("localbins", model)
    weights = inputs / "weights" / "units" / "joint-localbins-steps1-rate0.001-seed1.safetensors"
    load_weights(weights, trained)
    assert list(trained.head.parameters())[0].isfinite().all()


def test_results_of_another_batch_size_are_not_taken(inputs):
    small = {"heads": "log_regression", "seeds": 1, "joint-steps": 0, "steps": 1}
    run_ablation(options(inputs, "batches", **small))
    unit = inputs / "batches" / "units" / "features-log_regression-steps1-rate0.002-seed1.json"
    assert json.loads(unit.read_text())["shared"]["batch"] == 2
    run_ablation(options(inputs, "batches", **small, **{"batch": 3}))
    result = json.loads(unit.read_text())
    assert result["shared"]["batch"] == 3
    # A result that older versions wrote is kept.
    del result["shared"]["val_data_sha256"]
    unit.write_text(json.dumps({**result, "mark": 1}))
    run_ablation(options(inputs, "batches", **small, **{"batch": 3}))
    assert json.loads(unit.read_text())["mark"] == 1


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"heads": "reflector,hourglass"}, "--heads hourglass: known are"),
        ({"rates": "fast"}, "--rates fast"),
        ({"rates": "0"}, "above 0"),
        ({"joint-seeds": 0}, "--joint-seeds 0"),
        ({"steps": 0}, "--steps 0: only what is joint"),
        ({"steps": -1}, "--steps -1: at least 0"),
    ],
)
def test_a_bad_option_is_named(inputs, changes, named):
    with pytest.raises(ValueError, match=named):
        run_ablation(options(inputs, "bad", **changes))


def test_training_images_are_not_measured_on(inputs):
    with pytest.raises(DatasetError, match="must be apart"):
        run_ablation(options(inputs, "bad", **{"val-data": [inputs / "val", inputs / "train"]}))


def test_a_set_is_not_balanced_by_depth(inputs):
    with pytest.raises(DatasetError, match="train: balance=depth is for"):
        run_ablation(options(inputs, "bad", data=f"{inputs / 'train'},balance=depth"))


def test_a_loss_that_is_not_finite_stops_and_is_named(inputs):
    # At this rate the first step throws the weights out of float32's range.
    arguments = options(inputs, "diverges", heads="log_regression", rates=1e30, steps=3)
    with pytest.raises(TrainError, match="log_regression, seed 1, step [12]: loss is"):
        run_ablation(arguments)
    assert not list((inputs / "diverges" / "units").glob("*.json"))


def test_results_of_data_that_has_changed_since_are_not_taken(inputs, tmp_path):
    data = {name: write_plain_folder(tmp_path / name, count=2) for name in ("train", "val")}
    small = {"heads": "log_regression", "seeds": 1, "steps": 1, "data": data["train"],
             "val-data": data["val"]}  # fmt: skip
    run = tmp_path / "run"
    run_ablation(options(inputs, run, **small))
    before = errors_of(run)
    for path in (data["val"] / "depth").iterdir():
        depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), depth // 2)
    run_ablation(options(inputs, run, **small))
    assert errors_of(run) != before


def errors_of(run):
    report = json.loads((run / "ablation.json").read_text())
    return report["features"]["val"]["log_regression"]["figures"]["abs_rel"]["by_seed"]

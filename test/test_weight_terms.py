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

"""The terms of trained weights follow from where they come from."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import yaml
from dataset_folders import write_nyu_folder, write_plain_folder
from exact_bundle import exact_bundle
from test_teacher_labels import CAMERA, train, write_photos
from test_train import leg

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.tools import export_bundle
from depthrefl_ros.tools import train as tool
from depthrefl_ros.tools.weight_terms import (
    LICENCE,
    keep_terms,
    terms_of_bundle,
    terms_of_folder,
    terms_of_legs,
    terms_of_run,
)
from depthrefl_ros.training.datasets import open_dataset
from depthrefl_ros.training.trainer import latest_checkpoint


def finished(run, rooms):
    assert tool.main(["finish", "--run", str(run), "--val-data", str(rooms)]) == 0
    return terms_of_run(json.loads((run / "metrics.json").read_text()))


def test_of_data_of_ones_own_nothing_is_claimed(tmp_path, rooms):
    assert tool.main(leg(tmp_path / "run", rooms)) == 0
    told = finished(tmp_path / "run", rooms)
    assert told["licence"] == (
        "weights under the terms of the data that they were trained on (rooms); code Apache-2.0"
    )
    assert told["commercial"] == "unknown"


def test_the_terms_of_who_labelled_come_along_to_the_bundle(tmp_path, rooms):
    photos = write_photos(tmp_path / "photos")
    teacher = exact_bundle(tmp_path / "large", CAMERA, kind="metric", focal_px=None)
    more = ["--teacher", teacher, "--unlabelled", f"{photos},hfov=68.75"]
    run = tmp_path / "run"
    assert train(run, *more) == 0
    told = finished(run, rooms)
    taught = terms_of_bundle(Bundle.load(str(teacher)))
    assert told["licence"] == taught["licence"] and told["commercial"] == taught["commercial"]
    images = []
    for name in "abc":
        images.append(str(tmp_path / f"{name}.png"))
        cv2.imwrite(images[-1], np.zeros((48, 64, 3), np.uint8))
    target = tmp_path / "student"
    assert export_bundle.main([str(run), str(target), "--golden", *images]) == 0
    bundle = Bundle.load(str(target))
    assert bundle.licence == taught["licence"]
    assert "images labelled by exact" in bundle.description["training"]["initial_weights"]
    # What is gone on with, or trained on the labels elsewhere, has them too.
    start = latest_checkpoint(run / "stage2") / "ema.safetensors"
    assert tool.main(leg(tmp_path / "next", rooms, "--start-from", str(start))) == 0
    assert finished(tmp_path / "next", rooms)["licence"] == taught["licence"]
    assert tool.main(leg(tmp_path / "other", run / "labelled" / "photos")) == 0
    assert finished(tmp_path / "other", rooms)["licence"] == taught["licence"]
    mean = ["average", "--run", str(tmp_path / "mean"), str(run), str(tmp_path / "next")]
    assert tool.main(mean) == 0
    assert finished(tmp_path / "mean", rooms)["licence"] == taught["licence"]


def test_the_mean_of_what_came_from_a_shipped_model_has_its_terms(tmp_path, rooms):
    run = tmp_path / "tuned"
    options = ["--batch", "2", "--steps", "1", "--workers", "0", "--threads", "1"]
    command = ["--finetune", "indoor_nano", "--data", str(rooms), "--run", str(run), *options]
    assert tool.main(command) == 0
    [bundle] = [path.parent for path in run.glob("*/model.yaml")]
    assert Bundle.load(str(bundle)).licence == LICENCE
    mean = tmp_path / "mean"
    assert tool.main(["average", "--run", str(mean), str(run)]) == 0
    assert finished(mean, rooms)["licence"] == LICENCE


def terms(licence, commercial):
    return {"of": licence, "licence": licence, "licence_details": "", "commercial": commercial}


@pytest.mark.parametrize(
    "noted, kind, commercial",
    [
        (["yes"], "plain", "yes"),
        (["yes", "unknown"], "plain", "unknown"),
        (["yes", "unknown", "no"], "plain", "no"),
        (["yes"], "nyu_mat", "no"),
    ],
)
def test_the_strictest_terms_count(noted, kind, commercial):
    sets = {"rooms": {"kind": kind}}
    legs = [{"sets": sets, "terms": [terms(f"licence {word}", word)]} for word in noted]
    told = terms_of_run({"training_history": legs})
    assert told["commercial"] == commercial
    assert all(f"licence {word}" in told["licence"] for word in noted)
    assert (LICENCE in told["licence"]) == (kind == "nyu_mat")


def test_a_run_that_noted_no_terms_is_not_called_free():
    (told,) = terms_of_legs([{"sets": {"rooms": {"kind": "plain"}}}])
    assert told["commercial"] == "no" and "not known" in told["licence"]
    assert terms_of_legs([{"sets": {"nyu": {"images": 9}}}])[0]["licence"] == LICENCE


def test_what_is_made_of_photographs_keeps_their_terms(tmp_path):
    nyu, closer = tmp_path / "nyu", tmp_path / "closer"
    write_nyu_folder(nyu, count=2)
    closer.mkdir()
    recording = tmp_path / "packed.mcap"
    for made in (closer, recording):
        keep_terms(open_dataset(nyu), made)
        assert [one["licence"] for one in terms_of_folder(made)] == [LICENCE]
    again = write_plain_folder(tmp_path / "again", count=1)
    (again / "terms.yaml").write_bytes((closer / "terms.yaml").read_bytes())
    keep_terms(open_dataset(again), tmp_path / "third.mcap")
    assert [one["licence"] for one in terms_of_folder(tmp_path / "third.mcap")] == [LICENCE]


def test_data_of_ones_own_has_no_terms_and_old_closer_views_have_unknown_ones(tmp_path, rooms):
    keep_terms(open_dataset(rooms), tmp_path / "rooms.mcap")
    assert terms_of_folder(tmp_path / "rooms.mcap") == terms_of_folder(rooms) == []
    (rooms / "recipe.yaml").write_text(yaml.safe_dump({"command": "closer", "seed": 1}))
    assert [one["commercial"] for one in terms_of_folder(rooms)] == ["unknown"]

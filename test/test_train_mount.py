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

"""``train --mount``: from weights that know no mount to a bundle that takes it."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
import yaml
from dataset_folders import write_plain_folder
from exact_bundle import encoded, exact_bundle
from safetensors.torch import load_file
from small_network import CONFIG
from told_bundle import small_bundle

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.network.checkpoints import unfolded_tensors
from depthrefl_ros.network.model import create_model
from depthrefl_ros.tools import export_bundle
from depthrefl_ros.tools import train as tool

SMALL = [
    "--height", "64", "--width", "64", "--bins", "8", "--embedding", "8",
    "--decoder-channels", "8", "8", "8", "8", "--workers", "0", "--threads", "1", "--device", "cpu",
    "--batch", "2",
]  # fmt: skip


def write_mounts(folder, names):
    mounts = {
        name: {"height_m": 0.3 + 0.2 * number, "pitch_rad": 0.3, "roll_rad": 0.0}
        for number, name in enumerate(names)
    }
    (folder / "mounts.yaml").write_text(yaml.safe_dump(mounts))
    return folder


@pytest.fixture
def rooms(tmp_path):
    return write_mounts(write_plain_folder(tmp_path / "rooms", count=3), ["0000", "0001"])


def train(run, *more, steps=2) -> int:
    options = ["--run", run, "--steps", steps, *SMALL, *more]
    return tool.main(["stage2", *map(str, options)])


def weights_of(run):
    (checkpoint,) = (run / "stage2").glob("checkpoint-*")
    return checkpoint / "ema.safetensors"


def test_a_run_is_told_the_mount_from_weights_that_know_none(tmp_path, rooms, capsys):
    plain, told = tmp_path / "plain", tmp_path / "told"
    assert train(plain, "--data", rooms) == 0
    assert "mount" not in capsys.readouterr().out
    start = ["--data", rooms, "--mount", "--start-from", weights_of(plain)]
    more = ["--val-data", rooms, "--augment", "mount_chance=1", "--augment", "mount_tilt_deg=0.5"]
    assert train(told, *start, *more, "--learning-rate", "0.01") == 0
    assert "rooms: 3 images, 2 a step, 2 with a mount" in capsys.readouterr().out
    before, after = load_file(weights_of(plain)), load_file(weights_of(told))
    new = set(after) - set(before)
    assert len(new) == 45 and all(name.startswith("mount.") for name in new)
    assert any(after[name].any() for name in new if name.endswith("2.weight"))
    record = json.loads((told / "stage2" / "data.json").read_text())[0]
    assert record["sets"]["rooms"]["mounts"] == 2
    assert record["augment"] == {"mount_chance": 1.0, "mount_tilt_deg": 0.5}
    header, row = (told / "stage2" / "validation.csv").read_text().split()
    figures = dict(zip(header.split(","), row.split(","), strict=True))
    assert figures["abs_rel"] != figures["abs_rel_untold"]

    # What has learnt the mount goes on with it, and not without it.
    again = ["--data", rooms, "--start-from", weights_of(told)]
    assert train(tmp_path / "again", *again, "--mount") == 0
    capsys.readouterr()
    assert train(tmp_path / "other", *again) == 2
    said = capsys.readouterr().err
    assert "no place for mount.deep.0.0.bias and 44 others; it takes the mount: --mount" in said
    assert train(told, "--data", rooms, steps=4) == 2
    said = capsys.readouterr().err
    assert "has another network: mount is True, and the options say False" in said


def test_a_finished_run_is_measured_told_and_not(tmp_path, rooms, capsys):
    run = tmp_path / "run"
    assert train(run, "--data", rooms, "--mount", "--learning-rate", "0.01") == 0
    assert tool.main(["finish", "--run", str(run), "--val-data", str(rooms)]) == 0
    assert " without the mount" in capsys.readouterr().out
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["model"]["mount"] is True
    assert metrics["validation"]["abs_rel"] != metrics["validation_untold"]["abs_rel"]
    model, told = export_bundle.load_run(run)
    assert model.config.channels == 4
    assert told["accuracy_without_mount"]["images"] == told["accuracy"]["images"] == 3
    # The same weights finish another run that was trained on the held-out images too.
    other = ["finish", "--run", str(run), "--figures-of", str(run)]
    assert tool.main(other) == 0
    assert "validation_untold" in json.loads((run / "metrics.json").read_text())


def test_held_out_images_without_mounts_are_measured_once(tmp_path, rooms, capsys):
    run, bare = tmp_path / "run", write_plain_folder(tmp_path / "bare", count=2)
    assert train(run, "--data", rooms, "--mount", "--val-data", bare) == 0
    assert tool.main(["finish", "--run", str(run), "--val-data", str(bare)]) == 0
    assert "validation_untold" not in json.loads((run / "metrics.json").read_text())
    assert "untold" not in (run / "stage2" / "validation.csv").read_text()


def test_kept_features_are_not_for_a_network_that_is_told_the_mount(tmp_path, rooms, capsys):
    more = ["--data", rooms, "--mount", "--freeze"]
    assert train(tmp_path / "run", *more) == 0
    assert not (tmp_path / "run" / "features").exists()
    capsys.readouterr()
    assert train(tmp_path / "other", *more, "--views", "2") == 2
    assert "--views 2: --mount reaches into the decoder" in capsys.readouterr().err


def test_a_teacher_is_distilled_into_a_student_that_is_told_the_mount(tmp_path, capsys):
    """Photographs whose mounts are known, and a network without a mount, make one that takes it."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(4):
        picture = encoded(np.full((72, 96), 2.0 + 0.1 * index))
        cv2.imwrite(str(photos / f"photo_{index}.png"), np.ascontiguousarray(picture[..., ::-1]))
    write_mounts(photos, [f"photo_{index}" for index in range(3)])
    camera = Camera.from_horizontal_fov(96, 72, 1.2)
    teacher = exact_bundle(tmp_path / "large", camera, kind="metric", focal_px=None)
    run = tmp_path / "run"
    lesson = ["--teacher", teacher, "--unlabelled", f"{photos},hfov=68.75", "--mount"]
    assert train(run, *lesson, "--learning-rate", "0.01") == 0
    assert "photos: 4 images, 2 a step, 3 with a mount" in capsys.readouterr().out
    labelled = run / "labelled" / "photos"
    written = yaml.safe_load((labelled / "mounts.yaml").read_text())["images"]
    assert written["photo_2"] == {"height_m": 0.7, "pitch_rad": 0.3, "roll_rad": 0.0}
    assert set(written) == {"photo_0", "photo_1", "photo_2"}
    after = load_file(weights_of(run))
    assert any(after[name].any() for name in after if name.startswith("mount.deep.4.2"))

    assert tool.main(["finish", "--run", str(run), "--val-data", str(labelled)]) == 0
    golden = [str(photos / f"photo_{index}.png") for index in range(3)]
    target = tmp_path / "student"
    assert export_bundle.main([str(run), str(target), "--golden", *golden]) == 0
    bundle = Bundle.load(str(target))
    assert bundle.channels == 4 and bundle.golden().images.shape == (4, 64, 64, 4)
    assert bundle.description["accuracy_without_mount"]["images"] == 4
    assert torch.equal(load_file(target / "model.safetensors")["mount.deep.0.2.bias"],
                       after["mount.deep.0.2.bias"])  # fmt: skip

    # Such a bundle is tuned further without being asked to take the mount.
    rooms = write_mounts(write_plain_folder(tmp_path / "rooms", count=3), ["0000", "0002"])
    tuned = ["--finetune", target, "--data", rooms, "--run", tmp_path / "tuned", "--steps", "1"]
    machine = ["--batch", "2", "--workers", "0", "--threads", "1", "--device", "cpu"]
    assert tool.main([*map(str, tuned), *machine]) == 0
    again = Bundle.load(str(tmp_path / "tuned" / "student_rooms"))
    assert again.channels == 4 and again.description["training"]["steps"] == 1
    np.testing.assert_array_equal(again.golden().images, bundle.golden().images)

    # Its backbone serves a network that takes no mount.
    assert train(tmp_path / "other", "--data", rooms, "--backbone", target) == 0
    assert not any("mount." in name for name in load_file(weights_of(tmp_path / "other")))

    # Labels that were made with other mounts are not taken for these.
    write_mounts(photos, ["photo_0"])
    assert train(run, *lesson, steps=3) == 2
    assert "recipe.yaml has mounts: " in capsys.readouterr().err


def test_a_bundle_without_a_mount_is_tuned_to_take_it(tmp_path, rooms):
    untold = small_bundle(tmp_path / "untold", create_model(CONFIG).eval())
    command = ["--finetune", untold.folder, "--mount", "--data", rooms, "--run", tmp_path / "run",
               "--minutes", "0", "--workers", "0", "--device", "cpu"]  # fmt: skip
    assert tool.main([*map(str, command)]) == 3  # no time for a step
    (checkpoint,) = (tmp_path / "run" / "finetune").glob("checkpoint-*")
    record = json.loads((checkpoint / "state.json").read_text())
    assert record["model"]["mount"] is True and "bundle untold" in record["origin"]
    stored = load_file(untold.path("model.safetensors"))
    before = unfolded_tensors(stored, create_model(CONFIG))
    after = load_file(checkpoint / "ema.safetensors")
    assert set(after) - set(before) == {name for name in after if name.startswith("mount.")}
    assert not after["mount.deep.0.2.weight"].any()

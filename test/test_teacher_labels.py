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

"""A student learns from images without depth, by what another bundle says of them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from dataset_folders import write_plain_folder
from exact_bundle import FINE, encoded, exact_bundle
from test_image_files import with_exif

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.tools import convert, evaluate, export_bundle
from depthrefl_ros.tools import train as tool
from depthrefl_ros.tools.command_line import StopRequest
from depthrefl_ros.tools.sample_sources import open_samples
from depthrefl_ros.training.datasets import parse_data_option
from depthrefl_ros.training.synth.folder import RenderedFolder

SMALL = [
    "--height", "64", "--width", "64", "--bins", "8", "--embedding", "8",
    "--decoder-channels", "8", "8", "8", "8", "--workers", "0", "--threads", "1", "--device", "cpu",
    "--batch", "2", "--steps", "1",
]  # fmt: skip
CAMERA = Camera.from_horizontal_fov(96, 72, 1.2)


def write_photos(folder, count=4, metres=2.0):
    """Pictures that the exact network reads as a wall at this distance."""
    folder.mkdir()
    for index in range(count):
        picture = encoded(np.full((72, 96), metres + 0.1 * index))
        cv2.imwrite(str(folder / f"photo_{index}.png"), np.ascontiguousarray(picture[..., ::-1]))
    return folder


def train(run, *more, stage="stage2") -> int:
    return tool.main([stage, "--run", str(run), *SMALL, *map(str, more)])


def error_of(capsys, run, *more) -> str:
    assert train(run, *more) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_photographs_and_a_teacher_are_enough_for_both_stages(tmp_path, capsys):
    """Our own larger network teaches the smallest one that the options allow."""
    photos = write_photos(tmp_path / "photos")
    teacher = exact_bundle(tmp_path / "large", CAMERA, kind="metric", focal_px=None)
    more = ["--teacher", teacher, "--unlabelled", f"{photos},hfov=68.75"]
    run = tmp_path / "run"
    assert train(run, *more, stage="stage1") == 0
    said = capsys.readouterr()
    assert "photos: 4 images labelled by exact (made by a test)" in said.err
    assert "photos: 4 images, 2 a step" in said.out

    labelled = run / "labelled" / "photos"
    samples = open_samples(parse_data_option(str(labelled)))
    assert [one.name for one in samples] == [f"photo_{index}" for index in range(4)]
    for index, sample in enumerate(samples):
        known = sample.depth_m[sample.depth_m > 0]
        assert known.size > 0.8 * sample.depth_m.size
        assert known == pytest.approx(2.0 + 0.1 * index, abs=0.01)
        assert sample.intrinsics[0] == pytest.approx(CAMERA.fx, rel=1e-3)
    stamps = [path.stat().st_mtime_ns for path in sorted((labelled / "rgb").iterdir())]

    assert train(run, *more) == 0
    assert stamps == [path.stat().st_mtime_ns for path in sorted((labelled / "rgb").iterdir())]
    told = json.loads((run / "stage2" / "data.json").read_text())[0]["sets"]
    assert told["photos"]["images"] == 4
    recipe = yaml.safe_load((labelled / "recipe.yaml").read_text())
    assert recipe["network"] == Bundle.load(str(teacher)).network_digest("model.onnx")


def test_a_photograph_that_is_turned_keeps_its_focal_length(tmp_path):
    photos = write_photos(tmp_path / "photos", 2)
    for index, path in enumerate(sorted(photos.iterdir())):
        jpeg = cv2.imencode(".jpg", cv2.imread(str(path)), [cv2.IMWRITE_JPEG_QUALITY, 100])[1]
        path.with_suffix(".jpg").write_bytes(with_exif(jpeg.tobytes(), 1 + 5 * index))
        path.unlink()
    teacher = exact_bundle(tmp_path / "large", CAMERA, kind="metric", focal_px=None)
    run = tmp_path / "run"
    more = ["--teacher", teacher, "--unlabelled", f"{photos},hfov=68.75"]
    assert train(run, *more, stage="stage1") == 0
    content = yaml.safe_load((run / "labelled" / "photos" / "intrinsics.yaml").read_text())
    cameras = content["images"].values()
    assert [camera["width"] for camera in cameras] == [96, 72]
    focal_px = [camera["fx"] for camera in cameras]
    assert focal_px == pytest.approx([CAMERA.fx] * 2, rel=1e-3)


def test_a_shipped_model_labels_a_recording_beside_data_with_truth(tmp_path, capsys):
    rooms = write_plain_folder(tmp_path / "rooms")
    photos = write_photos(tmp_path / "photos", 2)
    more = ["--data", rooms, "--teacher", "indoor_nano", "--unlabelled", f"{photos},hfov=60"]
    assert train(tmp_path / "run", *more, stage="stage1") == 0
    said = capsys.readouterr().out
    assert "rooms: 3 images, 1 a step" in said and "photos: 2 images, 1 a step" in said
    more = [
        "--data",
        rooms,
        "--teacher",
        "indoor_nano",
        "--unlabelled",
        f"{photos},hfov=60,weight=3",
        "--steps",
        "2",
    ]
    assert train(tmp_path / "run", *more, stage="stage1") == 0
    assert "photos: 2 images, 1.5 a step" in capsys.readouterr().out


def test_a_bundle_teaches_by_its_weights_where_nothing_is_unlabelled(tmp_path, capsys):
    rooms = write_plain_folder(tmp_path / "rooms")
    assert train(tmp_path / "run", "--data", rooms, "--teacher", "indoor_nano") == 0
    assert "taught by" in capsys.readouterr().out
    converted = exact_bundle(tmp_path / "converted", CAMERA)
    said = error_of(capsys, tmp_path / "other", "--data", rooms, "--teacher", converted)
    assert "has no model.safetensors, so it can only label images" in said


def test_a_source_and_a_run_may_have_commas_in_their_paths(tmp_path, capsys):
    photos, run = write_photos(tmp_path / "hall, upstairs", 2), tmp_path / "run, first"
    teacher = exact_bundle(tmp_path / "exact", CAMERA, kind="metric", focal_px=None)
    some = ["--teacher", teacher, "--unlabelled", f"{photos},hfov=68.75"]
    assert train(run, *some, stage="stage1") == 0
    assert "hall, upstairs: 2 images, 2 a step" in capsys.readouterr().out
    assert train(run, *some) == 0


def test_sources_of_one_name_are_labelled_apart(tmp_path, capsys):
    run, names = tmp_path / "run", ("a/x", "b/x", "v1.0", "v1.5")
    sources = [tmp_path / name for name in names]
    for count, source in enumerate(sources, 1):
        source.parent.mkdir(exist_ok=True)
        write_photos(source, count)
    teacher = exact_bundle(tmp_path / "exact", CAMERA, kind="metric", focal_px=None)
    some = [f"--unlabelled={source},hfov=68.75" for source in sources]
    assert train(run, "--teacher", teacher, *some, stage="stage1") == 0
    said = capsys.readouterr().out
    for count, name in enumerate(("x", "x-2", "v1", "v1-2"), 1):
        assert f"{name}: {count} images" in said
    labelled = {path.name for path in (run / "labelled").iterdir()}
    assert labelled == {"x", "x-2", "v1.0", "v1.5"}


def test_what_is_missing_or_cannot_teach_is_told(tmp_path, capsys):
    photos = write_photos(tmp_path / "photos", 2)
    run = tmp_path / "run"
    assert "train needs --data, or --unlabelled with --teacher" in error_of(capsys, run)
    some = ["--unlabelled", f"{photos},hfov=60"]
    said = error_of(capsys, run, *some)
    assert "--unlabelled needs one --teacher that is a bundle; 0 of 0 are" in said
    relative = exact_bundle(
        tmp_path / "relative", CAMERA, ("relative",), FINE, kind="inverse_relative",
        focal_px=None, calibration=None,
    )  # fmt: skip
    said = error_of(capsys, run, *some, "--teacher", relative)
    assert "gives relative depth, no metres; a metric teacher is needed" in said
    teacher = ["--teacher", exact_bundle(tmp_path / "exact", CAMERA)]
    said = error_of(capsys, run, "--unlabelled", f"{photos},hfov=wide", *teacher)
    assert "hfov=wide: hfov: " in said
    said = error_of(capsys, run, "--unlabelled", f"{photos},weight=0,hfov=60", *teacher)
    assert "weight=0,hfov=60: weight: " in said
    assert "absent" in error_of(capsys, run, "--unlabelled", tmp_path / "absent", *teacher)


def test_labels_of_one_teacher_are_not_taken_for_anothers(tmp_path, capsys):
    photos = write_photos(tmp_path / "photos", 2)
    some = ["--unlabelled", f"{photos},hfov=60"]
    run = tmp_path / "run"
    first = exact_bundle(tmp_path / "first", CAMERA)
    assert train(run, *some, "--teacher", first, stage="stage1") == 0
    said = error_of(capsys, run, *some, "--teacher", "indoor_nano")
    assert "labelled_by: exact; indoor_nano was asked for" in said
    said = error_of(capsys, run, "--unlabelled", f"{photos},hfov=70", "--teacher", first)
    assert "hfov=60; " in said and "hfov=70 was asked for" in said


def test_labelling_that_was_stopped_goes_on_and_loses_no_image(tmp_path, monkeypatch, capsys):
    photos = write_photos(tmp_path / "photos")
    some = ["--unlabelled", f"{photos},hfov=60", "--teacher", exact_bundle(tmp_path / "t", CAMERA)]
    run = tmp_path / "run"
    asked = iter([False, False, True])
    monkeypatch.setattr(StopRequest, "__bool__", lambda self: next(asked))
    assert train(run, *some) == 3
    assert "stopped; run the same command to go on" in capsys.readouterr().err
    monkeypatch.undo()
    labelled = run / "labelled" / "photos"
    assert RenderedFolder(labelled).known() == ["photo_0", "photo_1"]
    # As a crash leaves it: pictures whose cameras were not written yet.
    (labelled / "intrinsics.yaml").unlink()
    assert train(run, *some, stage="stage1") == 0
    assert "photos: 4 images, 2 a step" in capsys.readouterr().out


def test_images_in_which_the_teacher_believes_nothing_are_left_out(tmp_path, capsys):
    photos = write_photos(tmp_path / "photos", 2, metres=60.0)  # beyond its range
    teacher = exact_bundle(tmp_path / "exact", CAMERA, kind="metric", focal_px=None)
    said = error_of(
        capsys, tmp_path / "run", "--unlabelled", f"{photos},hfov=60", "--teacher", teacher
    )
    assert "finds no valid depth in any of 2 images" in said


PAGE = Path(tool.__file__).parents[1] / "training" / "README.md"
TOOLS = {
    "convert": convert.main, "train": tool.main, "export_bundle": export_bundle.main,
    "evaluate": evaluate.main,
}  # fmt: skip
# What is added to a documented command so that it ends within seconds.
FEW = {
    "convert": ["--size", "98x70", "--no-comparison"],
    "stage1": [*SMALL, "--encoder", "lite0"],
    "stage2": [*SMALL, "--encoder", "lite0"],
}


def commands_of(heading):
    """Return the commands of the first block below a heading of the page, word by word."""
    text = PAGE.read_text(encoding="utf-8").partition(f"\n### {heading}\n")[2]
    block = text.split("```")[1].replace("\\\n", " ")
    return [shlex.split(line) for line in block.splitlines() if line.strip()]


def test_the_documented_afternoon_runs_to_its_end(tmp_path, monkeypatch, capsys):
    """Every command as it stands, with a small DA3METRIC of random weights for the teacher."""
    authors = pytest.importorskip("authors_files")
    monkeypatch.chdir(tmp_path)
    network = authors.depth_anything(authors.V2)
    file, _ = authors.da3metric_file(network, tmp_path / "made")
    fetched = tmp_path / "depth-anything" / "DA3METRIC-LARGE"  # a folder goes before the Hub
    fetched.mkdir(parents=True)
    file.rename(fetched / "model.safetensors")
    config = {"model_name": "da3metric-large", "config": {"net": {}}}
    (fetched / "config.json").write_text(json.dumps(config))
    write_photos(tmp_path / "photos")
    rooms = write_plain_folder(tmp_path / "my_folder", count=3)
    for name, picture in zip("abc", sorted((rooms / "rgb").iterdir()), strict=True):
        shutil.copy(picture, f"{name}.jpg")

    commands = commands_of("An afternoon with a large teacher")
    assert len(commands) == 6
    for program, name, *words in commands:
        assert program == "depthrefl"
        stage = words[0] if name == "train" else name
        assert TOOLS[name]([*words, *FEW.get(stage, [])]) == 0, capsys.readouterr().err
    said = capsys.readouterr()
    assert re.search(r"photos: [1-4] images labelled by teacher", said.err)  # what it believes in
    teacher, student = (Bundle.load(f"models/{name}") for name in ("teacher", "student"))
    assert (teacher.kind, teacher.focal_px) == ("canonical", 300.0)
    assert student.outputs == ("depth", "sigma", "relative") and student.has_sigma
    recipe = yaml.safe_load(Path("runs/student/labelled/photos/recipe.yaml").read_text())
    assert recipe["network"] == teacher.network_digest("model.onnx")


def test_a_teacher_that_takes_the_mount_is_told_it(tmp_path):
    """It believes the floor by half: what it says of a far wall comes nearer where it is told."""
    photos = write_photos(tmp_path / "photos", 2, metres=3.0)
    mount = {"height_m": 0.5, "pitch_rad": 1.2, "roll_rad": 0.0}
    mounts = tmp_path / "of_photos.yaml"
    mounts.write_text(yaml.safe_dump({"photo_0": mount}))
    teacher = exact_bundle(tmp_path / "large", CAMERA, trust=0.5)
    lesson = ["--teacher", teacher, "--unlabelled", f"{photos},hfov=68.75,mounts={mounts}"]
    assert train(tmp_path / "run", *lesson) == 0
    option = parse_data_option(str(tmp_path / "run" / "labelled" / "photos"))
    told, untold = option.open()
    assert told.mount is not None and untold.mount is None
    assert np.median(untold.depth_m) == pytest.approx(3.1, abs=0.02)
    # The floor lies about 0.5 m away along the axis.
    assert 1.6 < np.median(told.depth_m) < 2.0


def test_labels_of_photographs_that_are_gone_are_not_trained_on(tmp_path, capsys):
    photos, run = write_photos(tmp_path / "photos", 3), tmp_path / "run"
    some = ["--unlabelled", f"{photos},hfov=60", "--teacher", exact_bundle(tmp_path / "t", CAMERA)]
    assert train(run, *some, stage="stage1") == 0
    (photos / "photo_1.png").unlink()
    said = error_of(capsys, run, *some)
    assert f"{run / 'labelled' / 'photos'} holds 1 images that {photos} no longer has" in said
    assert "photo_1" in said


def test_finetuning_labels_into_the_folder_of_its_run(tmp_path, monkeypatch):
    write_photos(tmp_path / "photos", 3)
    monkeypatch.chdir(tmp_path)
    command = ["--finetune", "indoor_nano", "--teacher", "indoor_nano", "--batch", "2",
               "--unlabelled", "photos,hfov=60", "--steps", "1", "--workers", "0", "--threads", "1",
               "--minutes", "0"]  # fmt: skip
    assert tool.main(command) == 3
    assert [path.name for path in Path("runs").iterdir()] == ["indoor_nano_photos"]
    assert Path("runs/indoor_nano_photos/labelled/photos").is_dir()

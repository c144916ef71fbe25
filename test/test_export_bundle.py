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

"""From a finished run to a bundle that the engines take."""

import json
import shutil

import cv2
import numpy as np
import pytest
from bundle_copies import copy_bundle

from depthrefl_ros.engine.bundle import Bundle, file_digest
from depthrefl_ros.engine.selection import open_engine
from depthrefl_ros.network.checkpoints import save_weights
from depthrefl_ros.network.efficientnet import EfficientNetLiteConfig
from depthrefl_ros.network.model import ModelConfig, create_model
from depthrefl_ros.network.reflector import ReflectorConfig
from depthrefl_ros.tools.export_bundle import main, warn_of_later_weights
from depthrefl_ros.tools.output_folder import is_export_of

CONFIG = ModelConfig(
    backbone=EfficientNetLiteConfig(
        bottleneck_channels=8, decoder_channels=(8, 8, 8, 8), head_channels=8
    ),
    reflector=ReflectorConfig(bins=8, embedding=8),
    height=64,
    width=64,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    folder.mkdir()
    save_weights(folder / "final.safetensors", create_model(CONFIG))
    probability = [0.0, 0.5, 1.0]
    calibration = {"probability": probability, "quantile": [0.0, 1.0, 4.0]}
    (folder / "calibration.json").write_text(json.dumps(calibration))
    metrics = {
        "validation": {"abs_rel": 0.2, "delta1": 0.7, "tau_depth_relative": None},
        "validation_protocol": "crop none, cap 10 m, alignment none",
        "validation_data": {"name": "nyuv2", "kind": "nyu", "images": 3, "sha256": "ab" * 32},
        "calibration_data": {"nyuv2": {"kind": "nyu", "images": 3, "sha256": "ab" * 32}},
        "training_data": {"nyuv2": {"kind": "nyu", "images": 9, "sha256": "cd" * 32}},
        "initial_weights": "ImageNet weights x.pth",
        "training_history": [{"from_step": 0, "sets": {"nyu": {"images": 9}}}],
        "steps": 12,
        "settings": {"seed": 1},
        "model": CONFIG.to_dict(),
        "weights_sha256": file_digest(folder / "final.safetensors"),
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    generator = np.random.default_rng(0)
    paths = [tmp_path_factory.mktemp("images") / f"{name}.png" for name in "abc"]
    for path in paths:
        cv2.imwrite(str(path), generator.integers(0, 255, (48, 64, 3), np.uint8))
    return [str(path) for path in paths]


@pytest.fixture(scope="module")
def exported(run, images, tmp_path_factory):
    """Return the bundle of the run, and the report of its export; exporting takes long."""
    target = tmp_path_factory.mktemp("bundles") / "my_model"
    report = target.with_name("report.json")
    assert main([str(run), str(target), "--golden", *images, "--json", str(report)]) == 0
    return target, report


def test_a_run_becomes_a_bundle_that_runs(exported):
    target, report = exported
    bundle = Bundle.load(str(target))
    assert bundle.name == "my_model"
    assert bundle.description["accuracy"]["delta1"] == 0.7
    assert bundle.description["training"]["data"][0]["sha256"] == "cd" * 32
    assert "Silberman" in bundle.description["training"]["data"][0]["cite"]
    assert bundle.description["training"]["initial_weights"] == "ImageNet weights x.pth"
    assert bundle.description["accuracy"]["protocol"].startswith(
        "held-out images of NYU Depth v2, rows 45:471, columns 41:601, crop none, cap 10 m"
    )
    assert "research" in bundle.licence
    assert open_engine(bundle, "openvino").engine.height == 64
    assert json.loads(report.read_text())["bytes"]["model.onnx"] > 0


def test_an_unfinished_run_is_named(tmp_path, images, capsys):
    assert main([str(tmp_path), str(tmp_path / "out"), "--golden", *images]) == 2
    assert "metrics.json cannot be read" in capsys.readouterr().err


def test_weights_that_are_not_those_that_were_finished_are_refused(run, images, tmp_path, capsys):
    other = shutil.copytree(run, tmp_path / "other")
    save_weights(other / "final.safetensors", create_model(CONFIG))
    assert main([str(other), str(tmp_path / "out"), "--golden", *images]) == 2
    assert "final.safetensors are other weights than" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_that_has_gone_on_since_it_was_finished_says_so(run, tmp_path, capsys):
    gone_on = shutil.copytree(run, tmp_path / "gone_on")
    finished = file_digest(gone_on / "final.safetensors")
    checkpoint = gone_on / "stage2" / "checkpoint-00000013"
    checkpoint.mkdir(parents=True)
    shutil.copy(gone_on / "final.safetensors", checkpoint / "ema.safetensors")
    warn_of_later_weights(gone_on, finished)
    assert capsys.readouterr().err == ""
    save_weights(checkpoint / "ema.safetensors", create_model(CONFIG))
    warn_of_later_weights(gone_on, finished)
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {checkpoint} is not what was finished")


def test_terms_of_ones_own_take_the_place_of_what_is_known(exported, tmp_path, capsys):
    folder = shutil.copytree(exported[0], tmp_path / "mine")
    terms = ["--licence", "CC0-1.0, trained on photos of mine", "--commercial", "yes"]
    assert main([str(folder), str(folder), *terms]) == 0
    bundle = Bundle.load(str(folder))
    assert (bundle.licence, bundle.commercial) == (terms[1], "yes")
    assert bundle.description["licence_details"] == ""
    assert main([str(folder), str(folder), "--commercial", "yes"]) == 2
    assert "give both" in capsys.readouterr().err


def test_a_golden_file_that_is_no_image_is_named(run, images, tmp_path, capsys):
    wrong = tmp_path / "a.png"
    wrong.write_text("no image")
    assert main([str(run), str(tmp_path / "out"), "--golden", str(wrong), *images[1:]]) == 2
    assert "a.png is no image" in capsys.readouterr().err


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("target", ["run", "photos"])
def test_a_folder_that_holds_something_else_stays_as_it_is(run, images, tmp_path, capsys, target):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.txt").write_text("dear to somebody")
    before = everything(tmp_path)
    assert main([str(tmp_path / "run"), str(tmp_path / target), "--golden", *images]) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / target} holds other things" in error and error.count("\n") == 1
    assert everything(tmp_path) == before


def test_a_bundle_is_written_anew_in_its_own_place(exported, tmp_path):
    folder = tmp_path / "second"
    shutil.copytree(exported[0], folder)
    (folder / "notes.txt").write_text("mine")
    old = Bundle.load(str(folder))
    assert main([str(folder), str(folder), "--max-range", "6"]) == 0
    new = Bundle.load(str(folder))
    assert (new.name, new.max_range_m, new.min_range_m) == ("second", 6.0, old.min_range_m)
    assert (new.commercial, new.sources) == ("no", old.sources)
    assert list(old.sources) == ["final.safetensors"]
    assert new.description["training"] == old.description["training"]
    assert (folder / "notes.txt").read_text() == "mine"
    # The weights were half precision already: nothing changes any more.
    for name in ("model.weights", "model.safetensors", "golden.npz"):
        assert new.files[name] == old.files[name]


def test_a_bundle_with_other_weights_stays(exported, run, images, tmp_path, capsys):
    keep = tmp_path / "keep"
    copy_bundle(keep, {})
    before = everything(keep)
    for source in (run, exported[0]):
        assert main([str(source), str(keep), "--golden", *images]) == 2
        said = capsys.readouterr().err
        assert f"{keep} is a bundle that an export of {source}, with the data and the" in said
        assert "did not make, and stays as it is: give another folder, or --overwrite" in said
    assert everything(keep) == before
    assert main([str(exported[0]), str(keep), "--overwrite"]) == 0
    assert Bundle.load(str(keep)).sources == Bundle.load(str(exported[0])).sources
    assert main([str(run), str(keep), "--golden", *images]) == 0  # the same weights


def test_another_state_of_the_same_run_replaces_the_earlier_one(exported):
    described = Bundle.load(str(exported[0])).description
    training = described["training"]
    later = {**described, "training": {**training, "weights_sha256": "0" * 64}}
    assert is_export_of(described, later)
    assert not is_export_of(described, {**later, "architecture": {}})
    others = {**later["training"], "data": [{"name": "other rooms"}]}
    assert not is_export_of(described, {**later, "training": others})
    assert not is_export_of({**described, "training": "somebody else's"}, later)


def test_a_run_replaces_its_bundle_when_sigma_was_fitted(exported):
    described = Bundle.load(str(exported[0])).description
    training, head = described["training"], {"error_head": True}
    leg = {"sets": {"nyu": {}}, "weights_sha256": training["weights_sha256"]}
    fitted = {"sets": {"unseen": {}}, "fitted": "error_head"}
    later = {
        "architecture": {**described["architecture"], **head},
        "training": {
            **training,
            "weights_sha256": "0" * 64,
            "data": [{"name": "nyu"}, {"name": "rooms"}, {"name": "unseen"}],
            "history": [{**leg, "sets": {"rooms": {}}}, leg, fitted],
        },
    }
    assert is_export_of(described, later)  # the head is of these very weights
    later["training"]["history"] = [{**leg, "weights_sha256": "1" * 64}, fitted]
    assert not is_export_of(described, later)
    # Of weights that were trained further on the same data, and the other way round.
    later["training"]["data"] = [*training["data"], {"name": "unseen"}]
    assert is_export_of(described, later) and is_export_of(later, described)
    later["architecture"] |= {"height": 96}
    assert not is_export_of(described, later)


def test_a_range_that_is_none_is_refused_before_anything_is_written(exported, tmp_path, capsys):
    folder = shutil.copytree(exported[0], tmp_path / "second")
    before = (folder / "model.yaml").read_bytes()
    assert main([str(folder), str(folder), "--min-range", "20"]) == 2
    assert "range_m.min is 20.0; it must be less than max" in capsys.readouterr().err
    assert (folder / "model.yaml").read_bytes() == before


def test_a_run_needs_images_for_the_self_test(run, tmp_path, capsys):
    assert main([str(run), str(tmp_path / "out")]) == 2
    assert "--golden is missing" in capsys.readouterr().err


def test_a_damaged_bundle_is_named(exported, tmp_path, capsys):
    shutil.copytree(exported[0], tmp_path / "first")
    (tmp_path / "first" / "model.safetensors").write_bytes(b"")
    assert main([str(tmp_path / "first"), str(tmp_path / "second")]) == 2
    assert "model.safetensors has SHA-256" in capsys.readouterr().err


def test_a_network_gets_another_input_size_and_computes_the_same(exported, tmp_path, capsys):
    bundle, wide = exported[0], tmp_path / "wide"
    assert main([str(bundle), str(wide), "--size", "96x64"]) == 0
    before, after = Bundle.load(str(bundle)), Bundle.load(str(wide))
    assert (after.height, after.width, after.focal_px) == (64, 96, before.focal_px)
    assert after.description["trained_size"] == {"height": 64, "width": 64}
    assert after.description["accuracy"] == before.description["accuracy"]
    assert after.files["model.safetensors"] == before.files["model.safetensors"]
    # Golden outputs are the network's own at that size: the engine passes the self-test.
    engine = open_engine(after, "openvino").engine
    depth = engine.infer(after.golden().images[:1])["depth"]
    assert depth.shape == (1, 1, 64, 96)
    # The size it was trained at stays known however often it is changed.
    assert main([str(wide), str(wide), "--size", "64x96"]) == 0
    again = Bundle.load(str(wide))
    assert (again.height, again.description["trained_size"]["width"]) == (96, 64)


def test_a_size_that_the_network_cannot_have_is_refused(exported, tmp_path, capsys):
    assert main([str(exported[0]), str(tmp_path / "wide"), "--size", "100x64"]) == 2
    told = "--size is 100x64: width is 100; a positive multiple of 32 is needed"
    assert told in capsys.readouterr().err
    assert not (tmp_path / "wide").exists()


def test_a_shipped_model_may_be_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["indoor_nano", "wide", "--size", "192x128"]) == 0
    wide = Bundle.load(str(tmp_path / "wide"))
    assert (wide.name, wide.height, wide.width, wide.channels) == ("wide", 128, 192, 4)
    open_engine(wide, "openvino").engine.close()


def test_the_examples_can_be_typed_as_they_are(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    examples = capsys.readouterr().out.split("examples:\n")[1].strip().splitlines()
    assert len(examples) == 3
    assert all(line.strip().startswith("depthrefl export_bundle ") for line in examples)

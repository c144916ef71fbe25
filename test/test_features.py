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

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from dataset_folders import write_plain_folder

from depthrefl_ros.network.backbone import BackboneFeatures
from depthrefl_ros.network.efficientnet import EfficientNetLiteConfig
from depthrefl_ros.network.model import ModelConfig, create_model
from depthrefl_ros.training import features
from depthrefl_ros.training.augment import AugmentConfig, Augmenter
from depthrefl_ros.training.datasets import PlainFolder
from depthrefl_ros.training.features import (
    FeatureBatches,
    FeatureCache,
    FeaturesStopped,
    make_recipe,
    open_features,
    recipe_key,
    view_bytes,
)
from depthrefl_ros.training.losses import canonical_truth
from depthrefl_ros.training.train_settings import TrainSettings
from depthrefl_ros.training.trainer import Trainer

VIEWS = 2


def small_model(seed=0):
    torch.manual_seed(seed)
    backbone = EfficientNetLiteConfig(decoder_channels=(8, 8, 8, 8), bottleneck_channels=8)
    model = create_model(ModelConfig(backbone=backbone, height=64, width=96))
    # One look at other images sets the norms' statistics; without, all features are about 0.
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train().backbone(torch.randn(8, 3, 64, 96))
    return model.eval()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("features")
    dataset = PlainFolder(write_plain_folder(root / "data"))
    model = small_model()
    recipe = make_recipe(model, dataset, VIEWS)
    return root, dataset, model, open_features(root / "cache", model, dataset, recipe)


def test_a_batch_is_what_the_backbone_gives_for_the_views(made):
    _, dataset, model, cache = made
    assert len(cache) == VIEWS * len(dataset)
    seen, truth = cache.batch(np.array([4, 1]))
    assert truth.shape == (2, 1, 64, 96)
    config = model.config
    for place, view in enumerate((4, 1)):
        augmenter = Augmenter(config.height, config.width)
        made_view = augmenter(dataset[view // VIEWS], np.random.default_rng([0, view]))
        image = torch.from_numpy(made_view.image).permute(2, 0, 1)[None].float()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            expected = model.backbone(model.backbone.normalise(image))
        for kept, exact in zip(
            [seen.bottleneck, *seen.blocks, seen.head, seen.relative],
            [expected.bottleneck, *expected.blocks, expected.head, expected.relative],
            strict=True,
        ):
            # bfloat16 has 8 bits; a batch of another size rounds otherwise.
            error = (kept[place] - exact[0].float()).abs().max()
            assert 0 < exact.abs().max() and error < 0.05 * exact.abs().max()
        depth_m = torch.from_numpy(made_view.depth_m)[None, None]
        exact, known = canonical_truth(
            depth_m, torch.tensor([made_view.focal_px]), config.focal_px, 0.15, 24.0
        )
        assert known.any() and torch.equal(truth[place] > 0, known[0])
        torch.testing.assert_close(truth[place][known[0]], exact[known], rtol=5e-4, atol=0.0)
    change = (seen.head[0] - seen.head[1]).abs().max()
    assert change > 0.2 * seen.head.abs().max()  # so that a wrong view would be noticed


def test_channels_are_innermost_without_a_copy(made):
    features, _ = made[3].batch(np.array([0, 1, 2]))
    assert all(b.is_contiguous(memory_format=torch.channels_last) for b in features.blocks)


def test_a_whole_cache_is_used_again_and_another_is_refused(made, tmp_path):
    root, dataset, model, cache = made
    path = root / "cache" / "recipe.json"
    written = path.stat().st_mtime_ns
    open_features(root / "cache", model, dataset, make_recipe(model, dataset, VIEWS))
    assert path.stat().st_mtime_ns == written

    other = small_model(seed=1)
    few = PlainFolder(write_plain_folder(tmp_path / "data", count=2))
    turned = dataset.subset(dataset.names[::-1])  # the same files, so view 0 is of another image
    in_other_units = PlainFolder(dataset.root, depth_factor=5000)
    shifted = create_model(replace(model.config, focal_px=100.0))
    shifted.load_state_dict(model.state_dict())
    for recipe, words in (
        (make_recipe(other, dataset, VIEWS), "of another backbone"),
        (make_recipe(shifted, dataset, VIEWS), "of another canonical camera or range"),
        (make_recipe(model, few, VIEWS), "of other images"),
        (make_recipe(model, turned, VIEWS), "of other images"),
        (make_recipe(model, in_other_units, VIEWS), "of other images"),
        (make_recipe(model, dataset, 3), "of another number of views"),
        (make_recipe(model, dataset, VIEWS, AugmentConfig(max_zoom=2.0)), "of other views"),
        (make_recipe(model, dataset, VIEWS, bf16=False), "of another precision"),
    ):
        assert recipe_key(recipe) != recipe_key(cache.recipe)
        with pytest.raises(ValueError, match=f"{words} than is asked for: delete it"):
            open_features(root / "cache", other, dataset, recipe)
    assert path.stat().st_mtime_ns == written


def test_a_head_of_other_weights_changes_no_features(made):
    _, dataset, model, cache = made
    other = small_model()
    torch.nn.init.normal_(other.reflector.bins.logits[-1].weight)
    assert make_recipe(other, dataset, VIEWS) == cache.recipe


def test_what_was_stopped_goes_on_and_gives_the_same(made, tmp_path, monkeypatch):
    _, dataset, model, cache = made
    monkeypatch.setattr(features, "BATCH", 2)
    asked = iter([False, False, True])
    recipe = make_recipe(model, dataset, VIEWS)
    with pytest.raises(FeaturesStopped, match="4 of 6 views; the same command goes on"):
        open_features(tmp_path / "cache", model, dataset, recipe, lambda: next(asked))
    with pytest.raises(ValueError, match="delete the folder"):
        FeatureCache(tmp_path / "cache")  # not whole
    kept = np.load(tmp_path / "cache" / "features.npy", mmap_mode="r+")
    kept[0] = 1.0  # what is there is not done again
    kept.flush()
    again = open_features(tmp_path / "cache", model, dataset, recipe)
    assert (again.batch(np.array([0]))[0].head == 1.0).all()
    views = np.arange(1, 6)
    for one, other in zip(again.batch(views), cache.batch(views), strict=True):
        planes = one.blocks if isinstance(one, BackboneFeatures) else [one]
        others = other.blocks if isinstance(other, BackboneFeatures) else [other]
        for mine, theirs in zip(planes, others, strict=True):
            # bfloat16, and a batch of another size.
            torch.testing.assert_close(mine, theirs, rtol=0.05, atol=0.05 * float(theirs.max()))


def test_no_cache_or_a_damaged_one_is_told(made, tmp_path):
    with pytest.raises(ValueError, match="no cache of features"):
        FeatureCache(tmp_path)
    _, dataset, model, _ = made
    folder, recipe = tmp_path / "cut", make_recipe(model, dataset, VIEWS)
    open_features(folder, model, dataset, recipe)
    np.save(folder / "truth.npy", np.load(folder / "truth.npy")[:-1])
    with pytest.raises(ValueError, match="delete the folder"):
        FeatureCache(folder)
    (folder / "recipe.json").write_text("{")
    with pytest.raises(ValueError, match="recipe.json is damaged .*; delete the folder"):
        open_features(folder, model, dataset, recipe)


def test_what_half_precision_cannot_hold_is_refused(made, tmp_path):
    _, dataset, _, _ = made
    model = small_model()
    with torch.no_grad():
        model.backbone.decoder[-1].normalise_blend.weight.fill_(1e7)
    recipe = make_recipe(model, dataset, 1)
    with pytest.raises(ValueError, match="exceed half precision .* train with --views 0"):
        open_features(tmp_path / "cache", model, dataset, recipe)


def test_a_view_takes_what_is_said(made):
    root, _, model, cache = made
    written = sum((root / "cache" / name).stat().st_size for name in ("features.npy", "truth.npy"))
    assert written == pytest.approx(len(cache) * view_bytes(model), abs=256)


def test_each_epoch_shows_each_image_once_as_its_next_view(made):
    _, dataset, model, cache = made
    batches = FeatureBatches([(dataset, 1.0)], [cache], 90.0, seed=3, steps=6, batch=3)
    views = [[batches._view(step, index)[1] for index in range(3)] for step in range(6)]
    assert [sorted(view // VIEWS for view in one) for one in views] == [[0, 1, 2]] * 6
    assert [{view % VIEWS for view in one} for one in views] == [{0}, {1}, {0}, {1}, {0}, {1}]
    batch = batches[1]
    expected, truth = cache.batch(np.array(views[1]))
    assert torch.equal(batch["features"].head, expected.head)
    assert torch.equal(batch["depth_m"], truth) and batch["focal_px"].tolist() == [90.0] * 3
    assert batch["names"] == [f"data/{dataset.names[view // VIEWS]}" for view in views[1]]


@pytest.mark.parametrize("bf16", [False, True])
def test_seen_give_the_losses_of_their_images(made, tmp_path, bf16):
    _, dataset, model, _ = made
    recipe = make_recipe(model, dataset, VIEWS, bf16=bf16)
    cache = open_features(tmp_path / "cache", model, dataset, recipe)
    batches = FeatureBatches(
        [(dataset, 1.0)], [cache], model.config.focal_px, seed=1, steps=4, batch=3
    )
    settings = TrainSettings(stage=2, steps=4, freeze=("backbone",), bf16=bf16, warmup_steps=1)
    losses = []
    for is_kept in (False, True):
        trainer = Trainer(copy.deepcopy(model), settings)
        losses.append([])
        for step in range(4):
            views = [batches._view(step, index)[1] for index in range(3)]
            batch = batches[step] if is_kept else batch_of_images(model.config, dataset, views)
            losses[-1].append(trainer.train_step(batch))
    for exact, kept in zip(*losses, strict=True):
        assert kept.keys() == exact.keys()
        for name in ("loss", "silog", "likelihood", "gradient", "relative"):
            assert kept[name] == pytest.approx(exact[name], rel=0.02 if bf16 else 1e-3)
    assert losses[0][0]["loss"] != pytest.approx(losses[0][3]["loss"], rel=0.01)  # it learns


def batch_of_images(config, dataset, views):
    """Return the batch that StepBatches would give of the views that are in the cache."""
    augmenter = Augmenter(config.height, config.width)
    made = [augmenter(dataset[v // VIEWS], np.random.default_rng([0, v])) for v in views]
    return {
        "image": torch.from_numpy(np.stack([view.image for view in made])).permute(0, 3, 1, 2),
        "depth_m": torch.from_numpy(np.stack([view.depth_m for view in made])[:, None]),
        "focal_px": torch.tensor([view.focal_px for view in made], dtype=torch.float32),
        "names": [dataset.names[v // VIEWS] for v in views],
    }

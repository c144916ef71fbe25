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

import numpy as np
import pytest
import torch
from dataset_folders import write_plain_folder

from depthrefl_ros.network.efficientnet import EfficientNetLiteConfig
from depthrefl_ros.network.model import ModelConfig, create_model
from depthrefl_ros.training.augment import Augmenter
from depthrefl_ros.training.datasets import PlainFolder
from depthrefl_ros.training.features import FeatureCache, cache_key, open_features
from depthrefl_ros.training.losses import canonical_truth

VIEWS = 2


def small_model():
    torch.manual_seed(0)
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
    cache = open_features(root / "cache", model, dataset, VIEWS, "key")
    return root, dataset, model, cache


def test_a_batch_is_what_the_backbone_gives_for_the_views(made):
    _, dataset, model, cache = made
    assert len(cache) == VIEWS * len(dataset)
    features, truth, valid = cache.batch(np.array([4, 1]))
    config = model.config
    for place, view in enumerate((4, 1)):
        augmenter = Augmenter(config.height, config.width)
        made_view = augmenter(dataset[view // VIEWS], np.random.default_rng([0, view]))
        image = torch.from_numpy(made_view.image).permute(2, 0, 1)[None].float()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            expected = model.backbone(model.backbone.normalise(image))
        for kept, exact in zip(
            [features.bottleneck, *features.blocks, features.head, features.relative],
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
        coarse = torch.nn.functional.interpolate(exact, size=(16, 24), mode="nearest-exact")
        know = torch.nn.functional.interpolate(known.float(), size=(16, 24), mode="nearest-exact")
        assert torch.equal(valid[place], know[0] > 0.5)
        torch.testing.assert_close(truth[place][valid[place]] * 24.0, coarse[0][valid[place]])
    change = (features.head[0] - features.head[1]).abs().max()
    assert change > 0.2 * features.head.abs().max()  # so that a wrong view would be noticed
    assert valid.any() and (truth[~valid] == 1.0).all()


def test_channels_are_innermost_without_a_copy(made):
    features, _, _ = made[3].batch(np.array([0, 1, 2]))
    assert all(b.is_contiguous(memory_format=torch.channels_last) for b in features.blocks)


def test_a_whole_cache_is_used_again_and_another_key_rebuilds_it(made):
    root, dataset, model, _ = made
    description = root / "cache" / "features.json"
    written = description.stat().st_mtime_ns
    open_features(root / "cache", model, dataset, VIEWS, "key")
    assert description.stat().st_mtime_ns == written
    open_features(root / "cache", model, dataset, VIEWS, "key2")
    assert FeatureCache(root / "cache").description["key"] == "key2"


def test_a_cache_without_description_or_of_another_size_is_refused(made, tmp_path):
    with pytest.raises(ValueError, match="no cache of features"):
        FeatureCache(tmp_path)
    root, dataset, model, _ = made
    folder = tmp_path / "cut"
    open_features(folder, model, dataset, VIEWS, "key")
    np.save(folder / "truth.npy", np.load(folder / "truth.npy")[:-1])
    with pytest.raises(ValueError, match="delete the folder"):
        FeatureCache(folder)


def test_the_key_follows_weights_data_and_views(made, tmp_path):
    _, dataset, model, _ = made
    other = PlainFolder(write_plain_folder(tmp_path / "data", count=2))
    keys = {
        cache_key("a", model, dataset, 2),
        cache_key("b", model, dataset, 2),
        cache_key("a", model, dataset, 3),
        cache_key("a", model, other, 2),
    }
    assert len(keys) == 4

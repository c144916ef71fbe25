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

"""What the files of public checkpoints say of kind, range, normalisation and size."""

import pytest

from depthrefl_ros.conversion.families import read_recipes
from depthrefl_ros.conversion.licences import card_licence, find_terms
from depthrefl_ros.conversion.meaning import IMAGENET_MEAN, ConversionError

OWNER = "depth-anything/Depth-Anything-V2-"
METRIC = {"model_type": "depth_anything", "depth_estimation_type": "metric", "max_depth": 20}
DA1 = {"model_type": "da1metric", "metric_head": {"bin_configurations": [{"max_depth": 80.0}]}}
ZOE = {"model_type": "zoedepth", "bin_configurations": [{"min_depth": 1e-3, "max_depth": 10.0}]}
DPT = {"model_type": "dpt"}
SWIN = {
    **DPT,
    "backbone_config": {
        "model_type": "swinv2", "image_size": 256, "patch_size": 4, "window_size": 16,
        "num_heads": [2, 4, 8, 16],
    },
}  # fmt: skip


def one(config, name="a/b", processor=None, **more):
    (recipe,) = read_recipes(config, processor or {}, name, **more)
    return recipe


@pytest.mark.parametrize(
    "config, name, kind, reach",
    [
        ({"model_type": "depth_anything"}, OWNER + "Small-hf", "inverse_relative", 20.0),
        (METRIC, OWNER + "Metric-Indoor-Small-hf", "metric", 20.0),
        ({**METRIC, "max_depth": 80}, OWNER + "Metric-Outdoor-Large-hf", "metric", 80.0),
        (DPT, "Intel/dpt-large", "inverse_relative", 20.0),
        (DPT, "Intel/dpt-hybrid-midas", "inverse_relative", 20.0),
        (DPT, "facebook/dpt-dinov2-small-nyu", "metric", 10.0),
        (DPT, "facebook/dpt-dinov2-giant-kitti", "metric", 80.0),
        ({"model_type": "glpn", "max_depth": 80}, "vinvino02/glpn-kitti", "metric", 80.0),
        (ZOE, "Intel/zoedepth-nyu", "metric", 10.0),
        ({"model_type": "tipsv2_dpt", "max_depth": 10.0}, "google/tipsv2-b14-dpt", "metric", 10.0),
        (DA1, "depth-anything-metric-depth-outdoor", "metric", 80.0),
        ({"model_type": "depth_pro"}, "apple/DepthPro-hf", "canonical", 50.0),
    ],
)
def test_kind_and_range_of_the_families(config, name, kind, reach):
    meaning = one(config, name).meaning
    assert (meaning.kind, meaning.range_m[1]) == (kind, reach)
    assert meaning.source == name


def test_the_processor_decides_the_normalisation_and_its_absence_is_told():
    usual = one({"model_type": "depth_anything"}).meaning
    assert (usual.mean, usual.scale) == (IMAGENET_MEAN, 1 / 255)
    other = {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3], "rescale_factor": 0.01}
    meaning = one({"model_type": "depth_anything"}, processor=other).meaning
    assert (meaning.mean, meaning.std, meaning.scale) == ((0.1, 0.2, 0.3), (1, 2, 3), 0.01)
    assert one(DPT, "x-nyu", {"do_rescale": False}).meaning.scale == 1.0
    glpn = one({"model_type": "glpn"}).meaning
    assert (glpn.mean, glpn.std) == ((0, 0, 0), (1, 1, 1))
    (recipe,) = read_recipes({"model_type": "glpn"}, None, "a/b")
    assert "no preprocessor_config.json" in recipe.notes[-1]


def test_zoedepth_for_kitti_reaches_80_metres_though_its_config_says_10():
    recipe = one(ZOE, "Intel/zoedepth-kitti")
    assert recipe.meaning.range_m[1] == 80.0 and "80 is used" in recipe.notes[0]
    assert dict(recipe.config)["bin_configurations"][0]["max_depth"] == 80.0
    assert not one(ZOE, "Intel/zoedepth-nyu").config


def test_zoedepth_on_the_encoder_that_its_class_was_written_for_is_taken():
    assert one({**ZOE, "backbone_config": {"model_type": "beit"}}).meaning.kind == "metric"


def test_zoedepth_with_two_heads_is_two_recipes():
    heads = [
        {"name": "nyu", "min_depth": 1e-3, "max_depth": 10.0},
        {"name": "kitti", "min_depth": 1e-3, "max_depth": 80.0},
    ]
    found = read_recipes({**ZOE, "bin_configurations": heads}, {}, "Intel/zoedepth-nyu-kitti")
    assert [(r.domain, r.meaning.range_m[1]) for r in found] == [("nyu", 10.0), ("kitti", 80.0)]


@pytest.mark.parametrize(
    "config, name, kind, words",
    [
        ({"model_type": "bert"}, "a/b", None, "model_type 'bert'"),
        ({"model_type": "zoedepht"}, "a/b", None, "did you mean 'zoedepth'"),
        ({"model_type": "chmv2"}, "a/b", None, "height of trees"),
        ({"model_type": "prompt_depth_anything"}, "a/b", None, "second input"),
        (
            {**ZOE, "backbone_config": {"model_type": "dinov2"}},
            "me/depth-anything-indoor",
            None,
            r"me/depth-anything-indoor has model_type 'dinov2' in backbone_config of config.json.* "
            r"with 'beit' only: .*take Depth Anything's own depth_anything_metric_depth_indoor\.pt",
        ),
        (DPT, "me/dpt-mine", None, "say --kind metric or --kind inverse_relative"),
        (DPT, "me/dpt-x-nyu", "inverse_relative", "--kind inverse_relative contradicts"),
        (
            {**SWIN, "backbone_config": {**SWIN["backbone_config"], "window_size": 2}},
            "Intel/dpt-swinv2-mine",
            None,
            "stage 2 of its Swin has 4 heads and windows of 2x2 pixels; "
            "OpenVINO mixes equal numbers up",
        ),
        ({**METRIC, "max_depth": 1}, "a/b", None, "max_depth 1: 20 is right"),
        (METRIC, OWNER + "Small-hf", None, "is relative by its name and metric with max_depth 20"),
        (
            {"model_type": "depth_anything"},
            OWNER + "Metric-Indoor-Small-hf",
            None,
            "is metric with max_depth 20 by its name and relative by its config.json",
        ),
        (METRIC, OWNER + "Metric-Outdoor-Base-hf", None, "max_depth 80 by its name and .* 20 by"),
    ],
)
def test_what_cannot_be_known_is_asked_for(config, name, kind, words):
    with pytest.raises(ConversionError, match=words) as refused:
        read_recipes(config, {}, name, kind)
    assert "\n" not in str(refused.value)


def test_a_network_of_ones_own_may_have_any_name():
    recipe = one(METRIC, "me/depth-anything-mine")
    assert (recipe.meaning.kind, recipe.meaning.maximum) == ("metric", 20.0)


def test_swin_sees_the_square_that_its_windows_are_set_for():
    for processor, side in (({"size": {"height": 384, "width": 384}}, 384), ({}, 256)):
        recipe = one(SWIN, "Intel/dpt-swinv2-tiny-256", processor)
        assert (recipe.inner, recipe.inner_size) == ("stretch", (side, side))
        assert recipe.meaning.kind == "inverse_relative" and recipe.meaning.mean == (0.5,) * 3


def test_a_stated_kind_decides_where_nothing_else_does():
    assert one(DPT, "me/dpt-mine", kind="metric").meaning.kind == "metric"


def test_the_card_tells_the_licence_before_what_is_known_of_the_name():
    card = "---\nlicense: cc-by-nc-4.0\ntags: [x]\n---\n# A network\n"
    assert card_licence(card) == "cc-by-nc-4.0"
    assert card_licence("---\nlicense: other\nlicense_name: apple-amlr\n---\n") == "apple-amlr"
    assert card_licence("# no head") == card_licence("---\n: [\n---\n") == ""
    assert find_terms("a/b", "cc-by-nc-4.0").commercial == "no"
    assert find_terms("a/b", "apache-2.0").commercial == "yes"
    assert find_terms(OWNER + "Small-hf").commercial == "yes"
    assert find_terms(OWNER + "Large-hf").commercial == "no"
    assert find_terms(OWNER + "Metric-Indoor-Small-hf").commercial == "unknown"
    assert find_terms("me/mine").commercial == "unknown"

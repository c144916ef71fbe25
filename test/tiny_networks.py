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

"""Small networks of ``transformers``' depth classes with weights drawn at unit gain.

At its own initialisation many a class gives the same everywhere, and a parity test proves nothing.
"""

from __future__ import annotations

import json
import math

import torch
import transformers
from transformers.models.tipsv2.configuration_tipsv2 import Tipsv2VisionConfig

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
_NECK = {"neck_hidden_sizes": [8, 12, 16, 24], "fusion_hidden_size": 16}
_VIT = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
_TAPS = {"out_indices": [1, 2, 3, 4], "reshape_hidden_states": False}


def _dinov2(patch=14, image=70, **more):
    return transformers.Dinov2Config(
        **_VIT, mlp_ratio=2, image_size=image, patch_size=patch, **{**_TAPS, **more}
    )


def _depth_anything(**more):
    return transformers.DepthAnythingConfig(
        backbone_config=_dinov2(), reassemble_hidden_size=32, head_hidden_size=8, **_NECK, **more
    )


def _zoedepth(*heads, **more):
    backbone = transformers.BeitConfig(
        **_VIT, intermediate_size=64, image_size=64, patch_size=16,
        use_relative_position_bias=True, use_mask_token=False, reshape_hidden_states=False,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    bins = [
        {"n_bins": 8, "min_depth": 1e-3, "max_depth": reach, "name": name} for name, reach in heads
    ]
    return transformers.ZoeDepthConfig(
        backbone_config=backbone, bottleneck_features=16, num_relative_features=8,
        bin_embedding_dim=16, num_attractors=[4, 3, 2, 1], bin_configurations=bins,
        num_patch_transformer_layers=4, patch_transformer_hidden_size=128,
        patch_transformer_intermediate_size=32, patch_transformer_num_attention_heads=2,
        **_NECK, **more,
    )  # fmt: skip


def _depth_pro():
    side = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 32, "patch_size": 8, "mlp_ratio": 2}  # fmt: skip
    encoders = ("image_model_config", "patch_model_config", "fov_model_config")
    return transformers.DepthProConfig(
        patch_size=32, fusion_hidden_size=16, intermediate_hook_ids=[1, 0],
        intermediate_feature_dims=[16, 16], scaled_images_ratios=[0.5, 1],
        scaled_images_overlap_ratios=[0.0, 0.5], scaled_images_feature_dims=[16, 16],
        use_fov_model=True, **{name: transformers.Dinov2Config(**side) for name in encoders},
    )  # fmt: skip


def _dpt(**more):
    return transformers.DPTConfig(
        **_VIT, intermediate_size=64, image_size=64, patch_size=16,
        backbone_out_indices=[0, 1, 2, 3], **_NECK, **more,
    )  # fmt: skip


def _dpt_swin():
    backbone = transformers.Swinv2Config(
        image_size=64, patch_size=4, embed_dim=16, depths=[1, 2, 1, 1], num_heads=[1, 2, 4, 8],
        window_size=8, out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    widths = {"neck_hidden_sizes": [16, 32, 64, 128], "fusion_hidden_size": 16}
    return transformers.DPTConfig(backbone_config=backbone, hidden_size=128, **widths)


def _dpt_dinov2():
    # The projection before the head takes 256 channels, whatever the configuration says.
    return transformers.DPTConfig(
        backbone_config=_dinov2(apply_layernorm=False), hidden_size=32, add_projection=True,
        use_bias_in_fusion_residual=False, **{**_NECK, "fusion_hidden_size": 256},
    )  # fmt: skip


def _glpn():
    return transformers.GLPNConfig(
        hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 4],
        mlp_ratios=[2] * 4, decoder_hidden_size=16, max_depth=10,
    )  # fmt: skip


def _tips():
    backbone = Tipsv2VisionConfig(
        **_VIT, mlp_ratio=2, image_size=70, patch_size=14, apply_layernorm=True, **_TAPS
    )
    return transformers.Tipsv2DptConfig(backbone_config=backbone, num_depth_bins=12, **_NECK)


# Name on the Hub that the folder plays -> class, config, processor.
NETWORKS = {
    "depth-anything-v2-small": ("DepthAnything", _depth_anything, IMAGENET),
    "depth-anything-v2-metric-indoor-small": (
        "DepthAnything", lambda: _depth_anything(depth_estimation_type="metric", max_depth=20),
        IMAGENET,
    ),
    "zoedepth-nyu": ("ZoeDepth", lambda: _zoedepth(("nyu", 10.0)), HALF),
    "zoedepth-kitti": (
        "ZoeDepth", lambda: _zoedepth(("nyu", 10.0), bin_centers_type="normed"), HALF
    ),
    "zoedepth-nyu-kitti": ("ZoeDepth", lambda: _zoedepth(("nyu", 10.0), ("kitti", 80.0)), HALF),
    "depthpro-hf": ("DepthPro", _depth_pro, HALF),
    "dpt-large": ("DPT", _dpt, {**HALF, "size": {"height": 64, "width": 64}}),
    "dpt-swinv2-tiny-256": ("DPT", _dpt_swin, {**HALF, "size": {"height": 64, "width": 64}}),
    "dpt-dinov2-small-nyu": (
        "DPT", _dpt_dinov2,
        {"do_rescale": False, "image_mean": [123.675, 116.28, 103.53],
         "image_std": [58.395, 57.12, 57.375]},
    ),
    "glpn-nyu": ("GLPN", _glpn, {"do_rescale": True, "size_divisor": 32}),
    "tipsv2-b14-dpt": ("Tipsv2Dpt", _tips, {"do_normalize": False}),
}  # fmt: skip


def make_network(name, seed=0):
    """Return the public class of a name in ``NETWORKS`` with weights of unit gain."""
    owner, config, _ = NETWORKS[name]
    return draw_weights(getattr(transformers, f"{owner}ForDepthEstimation")(config()).eval(), seed)


def draw_weights(model, seed=0):
    """Redraw a model's weights at unit gain, in place: spread goes through undiminished."""
    torch.manual_seed(seed)
    owner = type(model).__name__.removesuffix("ForDepthEstimation")
    with torch.no_grad():
        for key, value in model.named_parameters():
            if value.dim() > 1 and "position" not in key and "token" not in key:
                fan_in = value[0].numel()
                if "Transpose" in type(_owner(model, key)).__name__:
                    fan_in = value.shape[0]
                value.copy_(torch.randn_like(value) * math.sqrt(1.5 / fan_in))
                if owner in _SMOOTH and _SMOOTH[owner] in key and value.shape[-1] == 3:
                    value.copy_(value.mean((2, 3), keepdim=True).expand_as(value) * 3.0)
            elif "bias_table" in key or "position" in key or "token" in key:
                value.copy_(0.5 * torch.randn_like(value))
            elif "lambda" in key:
                value.fill_(0.5)
            elif key.endswith("bias"):
                value.copy_(0.1 * torch.randn_like(value))
            if "seed_bin_regressor" in key and "conv2" in key:
                value.mul_(4.0)  # bins of metres, far enough apart for attractors to matter
            if "conditional_log_binomial" in key and value.dim() > 1:
                value.mul_(0.5)  # a sharper choice of bins would magnify how sums are rounded
        if owner in _LAST:
            name, mean, deviation = _LAST[owner]
            if getattr(model.config, "depth_estimation_type", "") == "metric":
                mean = _METRIC_MEAN
            _centre(model, name, mean, deviation)
    return model


# Before the sigmoid of Depth Anything's metric class: rooms are nearer than half of its reach.
_METRIC_MEAN = -1.5
# Class -> its last convolutions, which average their neighbourhood: depth is smooth in pictures.
_SMOOTH = {"DepthAnything": "head.conv", "DPT": "head.head"}
# Class -> its last convolution, and the mean and deviation that its output shall have for the
# smooth image. In pictures of rooms DPT strays up to 12 of these deviations from the mean, and its
# ReLU makes 0 m of what is negative.
_LAST = {
    "DepthAnything": ("head.conv3", 2.0, 0.6),
    "DepthPro": ("head.layers.4", 0.8, 0.2),
    "DPT": ("head.head.4", 4.0, 0.3),
    "GLPN": ("head.head.2", -1.0, 0.7),
}


def _centre(model, name, mean, deviation):
    """Scale and shift the last convolution, whose ReLU would cut half of the output off."""
    last, seen = model.get_submodule(name), []
    hook = last.register_forward_hook(lambda *args: seen.append(args[2]))
    side = 64 if hasattr(model, "dpt") or not hasattr(model, "backbone") else 70
    model(pixel_values=smooth_image(side, side))
    hook.remove()
    factor = deviation / seen[0].std()
    last.weight.mul_(factor)
    last.bias.copy_((last.bias - seen[0].mean()) * factor + mean)


def smooth_image(height, width, seed=0):
    """Return (1, 3, height, width) of about unit deviation, smooth as pictures are."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 3, 6, 8, generator=random)
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")


def save_network(model, folder, name):
    """Write the folder as its authors would put it on the Hub: the real file formats."""
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(NETWORKS[name][2]))
    return folder


def _owner(model, key):
    return model.get_submodule(key.rpartition(".")[0])

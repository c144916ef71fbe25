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

"""Checkpoints as their authors publish them, small and with drawn weights, and their bundles."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from test_adapters import authors_depth
from tiny_networks import draw_weights, make_network, save_network
from torch.nn.functional import interpolate
from transformers.models.zoedepth.modeling_zoedepth import ZoeDepthMetricDepthEstimationHead

from depthrefl_ros.conversion.da3metric import keep_authors_positions
from depthrefl_ros.conversion.hub_converter import convert_original
from depthrefl_ros.conversion.key_maps import (
    da1metric_pairs,
    depth_anything_pairs,
    zoedepth_pairs,
)
from depthrefl_ros.conversion.meaning import IMAGENET_MEAN, IMAGENET_STD
from depthrefl_ros.engine.bundle import Bundle

ZOE = "core.core.pretrained.model."
ROUTER = "patch_transformer.transformer_encoder."
PARTS = ("query", "key", "value")  # of attention, in the order in which the authors join them
SIZE = (70, 98)
V2, V1 = [3, 6, 9, 12], [9, 10, 11, 12]  # layers that feed the neck
# Bins of Depth Anything V1 metric and how far normed ones go, metres. Its authors' commands give
# softplus bins to both networks; their code has normed ones for KITTI too.
DA1_BINS = {"indoor": ("softplus", 10.0), "outdoor": ("normed", 80.0)}


def to_authors(tensors, pairs, encoder: str):
    """Return transformers' tensors under the authors' names: ``to_transformers`` turned round."""
    names = {theirs: own for own, theirs in pairs}
    found = {names[name]: tensor for name, tensor in tensors.items() if name in names}
    rest = {name: tensor for name, tensor in tensors.items() if name not in names}
    has_key_bias = any(name.endswith("attention.key.bias") for name in rest)
    for name, tensor in rest.items():
        layer = re.match(r"backbone\.encoder\.layer\.(\d+)\.", name)
        router = re.match(rf"metric_head\.{re.escape(ROUTER)}(\d+)\.", name)
        if layer:
            target = f"{encoder}blocks.{layer[1]}.attn.qkv."
        elif router:
            target = f"{ROUTER}layers.{router[1]}.self_attn.in_proj_"
        else:
            found[name] = tensor
            continue
        stem, part, end = name.rsplit(".", 2)
        if layer and end == "bias" and not has_key_bias:
            found[f"{target.removesuffix('qkv.')}{part[0]}_bias"] = tensor
        elif part == "query":
            found[target + end] = torch.cat(
                [rest[f"{stem}.{p}.{end}"] for p in ("query", "key", "value")]
            )
    return found


def depth_anything(taps, **more):
    """Return the public class with twelve layers of one head of 64 channels, as published."""
    backbone = transformers.Dinov2Config(
        hidden_size=64, num_hidden_layers=12, num_attention_heads=1, mlp_ratio=2, image_size=70,
        patch_size=14, out_indices=taps, reshape_hidden_states=False,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=64, neck_hidden_sizes=[8, 12, 16, 24],
        fusion_hidden_size=16, **{"head_hidden_size": 8, **more},
    )  # fmt: skip
    return draw_weights(transformers.DepthAnythingForDepthEstimation(config).eval())


def hub_tensors(model, folder):
    model.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


def da3metric_file(model, tmp_path, bias=0.1):
    """Return a file as DA3METRIC-LARGE's authors publish it, and its sky head's weights."""
    theirs = hub_tensors(model, tmp_path / "hub")
    own = to_authors(theirs, depth_anything_pairs(12), "pretrained.")
    own = {
        ("model.backbone." if n.startswith("pretrained") else "model.")
        + n.replace("depth_head", "head"): v
        for n, v in own.items()
        if "refinenet4.resConfUnit1" not in n and "mask_token" not in n
    }
    drawn = torch.Generator().manual_seed(3)
    sky = {
        "0": torch.randn(8, 8, 3, 3, generator=drawn) * 0.2,
        "2": torch.randn(1, 8, 1, 1, generator=drawn),
    }
    for step, weight in sky.items():
        own[f"model.head.scratch.sky_output_conv2.{step}.weight"] = weight
        own[f"model.head.scratch.sky_output_conv2.{step}.bias"] = torch.full(weight.shape[:1], bias)
    path = tmp_path / "da3metric-large.safetensors"
    save_file({name: value.contiguous() for name, value in own.items()}, path)
    return path, sky


def da3_planes(model, sky, image, bias=0.1):
    """Return depth for 300 pixels and sky, (1, 1, H, W) each, by the public class's parts.

    Args:
        model: of the public class, whose last convolution gives the logarithm of depth.
        sky: weights of the sky's two convolutions.
        image: (1, 3, H, W) normalised.
        bias: of the sky's convolutions.
    """
    seen = {}
    hooks = [
        model.head.conv3.register_forward_hook(lambda *args: seen.update(logarithm=args[2])),
        model.head.conv2.register_forward_hook(lambda *args: seen.update(shared=args[1][0])),
    ]
    with torch.no_grad():
        model(pixel_values=image)
        for hook in hooks:
            hook.remove()
        hidden = torch.nn.functional.conv2d(
            seen["shared"], sky["0"], torch.full((8,), bias), padding=1
        )
        far = torch.nn.functional.conv2d(hidden.relu(), sky["2"], torch.full((1,), bias)).relu()
        return seen["logarithm"].exp(), far


class ZoeOnDepthAnything(torch.nn.Module):
    """Depth Anything V1 metric, put together of the two public classes.

    Args:
        bins: ``softplus`` or ``normed``.
        reach: of normed bins, metres.
        taps: layers that feed the neck.
    """

    def __init__(self, bins="softplus", reach=10.0, taps=V1):
        super().__init__()
        self.core = depth_anything(taps, head_hidden_size=32)  # which the authors' code has fixed
        config = transformers.ZoeDepthConfig(
            fusion_hidden_size=16, bottleneck_features=16,
            num_attractors=[4, 3, 2, 1], bin_centers_type=bins,
            bin_configurations=[{"n_bins": 8, "min_depth": 1e-3, "max_depth": reach}],
        )  # fmt: skip
        self.head = draw_weights(ZoeDepthMetricDepthEstimationHead(config).eval())
        with torch.no_grad():  # a choice of bins so sharp would magnify how sums are rounded
            self.head.conditional_log_binomial.mlp[0].weight.mul_(0.5)
            self.head.conditional_log_binomial.mlp[2].weight.mul_(0.5)

    def forward(self, image):
        """Map (1, 3, H, W) normalised to depth (1, 1, H, W), metres, at the image's size."""
        core, seen = self.core, {}
        parts = {"hidden": core.head.activation1, "bottleneck": core.neck.convs[3]}
        parts |= {stage: layer for stage, layer in enumerate(core.neck.fusion_stage.layers)}
        hooks = [
            part.register_forward_hook(lambda *args, _name=name: seen.update({_name: args[2]}))
            for name, part in parts.items()
        ]
        relative = core(pixel_values=image).predicted_depth
        for hook in hooks:
            hook.remove()
        blocks = [seen[stage] for stage in range(4)]
        return self.head(seen["hidden"], seen["bottleneck"], blocks, relative)[0]

    def infer(self, image):
        """Return ``forward`` of the image padded with its mirror and stretched to its own size."""
        size = image.shape[2:]
        rows, columns = (int(np.sqrt(side / 2) * 3) for side in size)
        pads = ((0, 0), (0, 0), (rows, rows), (columns, columns))
        padded = torch.from_numpy(np.pad(image.numpy(), pads, mode="reflect"))
        found = self(interpolate(padded, tuple(size), mode="bilinear", align_corners=True))
        found = interpolate(found, padded.shape[2:], mode="bicubic", align_corners=False)
        return found[:, :, rows:-rows, columns:-columns]

    def public_tensors(self, folder):
        """Return the weights by the public classes' names in files."""
        head = {f"metric_head.{name}": value for name, value in self.head.state_dict().items()}
        return {**hub_tensors(self.core, folder), **head}


def drawn_tensor(name, shape):
    """Return a tensor of Depth Anything V1 metric drawn at unit gain, by its authors' name alone.

    The streams of ``RandomState`` never change, so that depth by these weights can be kept.
    """
    drawn = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tuple(shape))
    if name.endswith(("token", "pos_embed")):
        drawn *= 0.5
    elif name.endswith(".gamma"):
        drawn = 0.5 + 0.1 * drawn
    elif len(shape) > 1:
        is_transposed = name.endswith(("resize_layers.0.weight", "resize_layers.1.weight"))
        drawn *= (1.5 / (shape[0] if is_transposed else drawn[0].size)) ** 0.5
    else:
        drawn = 0.1 * drawn + ("norm" in name and name.endswith("weight"))
    # Bins of metres, far enough apart for attractors to matter, and no sharp choice of them.
    drawn *= 4.0 if "seed_bin_regressor._net.2" in name else 1.0
    drawn *= 0.5 if "conditional_log_binomial" in name else 1.0
    return torch.from_numpy(drawn.astype(np.float32))


def drawn_picture(height, width):
    """Return a picture (1, 3, height, width) from 0 to 1, the same on every machine."""
    coarse = np.random.RandomState(7).uniform(size=(1, 3, 6, 8)).astype(np.float32)
    return interpolate(torch.from_numpy(coarse), size=(height, width), mode="bilinear")


def save_da1metric(own, path):
    """Write a file as Depth Anything V1 metric's trainer does: constants of the head are in it."""
    bins = own["seed_bin_regressor._net.2.weight"].shape[0]
    constants = {
        "conditional_log_binomial.log_binomial_transform.k_idx": torch.arange(bins),
        "conditional_log_binomial.log_binomial_transform.K_minus_1": torch.tensor([bins - 1.0]),
    }
    constants = {name: value.reshape(1, -1, 1, 1) for name, value in constants.items()}
    torch.save({"model": {**own, **constants}, "optimizer": None, "epoch": 4}, path)
    return path


def write_da1metric(folder, name, **more):
    """Return the file's path, and the network of public parts with the same weights."""
    model = ZoeOnDepthAnything(**more)
    own = to_authors(
        model.public_tensors(folder / "hub"), da1metric_pairs(12), "core.core.pretrained."
    )
    return save_da1metric(own, folder / name), model


@dataclass
class Made:
    """A bundle that was made of an authors' file, and the same by the public class.

    Attributes:
        bundle: of the file.
        planes: bytes (n, H, W, 3) to the bundle's planes by name, (n, 1, H, W) float32.
    """

    bundle: Bundle
    planes: Callable


def of_bytes(network, mean=IMAGENET_MEAN, std=IMAGENET_STD):
    """Return ``network``, which takes a normalised image, as a function of bytes (n, H, W, 3)."""

    def planes(images):
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255.0
        mean_, std_ = (torch.tensor(one).reshape(3, 1, 1) for one in (mean, std))
        with torch.no_grad():
            rows = [network(one[None]) for one in (pixels - mean_) / std_]
        return {name: torch.cat([row[name] for row in rows]).numpy() for name in rows[0]}

    return planes


def make_da3metric(folder):
    model = depth_anything(V2)
    path, sky = da3metric_file(model, folder, -0.3)  # little sky: rooms have none
    keep_authors_positions(model)

    def planes(image):
        depth, far = da3_planes(model, sky, image, -0.3)
        return {"depth": depth, "sky": (far + 0.2).clip(0.0, 1.0)}  # 0.3 becomes a half

    (done,) = convert_original(path, folder / "bundle", SIZE)
    return Made(done.bundle, of_bytes(planes))


def write_depth_anything(folder, name, taps, **more):
    """Return the file's path, and the public class with the same weights."""
    model = depth_anything(taps, **more)
    own = to_authors(hub_tensors(model, folder / "hub"), depth_anything_pairs(12), "pretrained.")
    torch.save(own, folder / name)
    return folder / name, model


def make_depth_anything(folder, name, taps, **more):
    path, model = write_depth_anything(folder, name, taps, **more)
    keep_authors_positions(model)
    plane = "depth" if more else "relative"
    planes = of_bytes(lambda image: {plane: model(pixel_values=image).predicted_depth[:, None]})
    (done,) = convert_original(path, folder / "bundle", SIZE)
    return Made(done.bundle, planes)


def make_zoedepth(folder, file, name, domain=""):
    """Return a bundle of ZoeDepth's file; of NK, which becomes two, that of ``domain``."""
    model = make_network(name)
    theirs = load_file(save_network(model, folder / "hub", name) / "model.safetensors")
    domains = ["nyu", "kitti"] if domain else []
    torch.save({"model": to_authors(theirs, zoedepth_pairs(4, domains), ZOE)}, folder / file)
    # The public processing scales to 384x512, which a network of this size need not.
    planes = of_bytes(
        lambda image: {"depth": authors_depth(model, name, domain, image)}, *[(0.5,) * 3] * 2
    )
    done = convert_original(folder / file, folder / "bundle", (64, 96))
    bundles = {one.bundle.folder.name: one.bundle for one in done}
    assert list(bundles) == ([f"bundle_{one}" for one in domains] or ["bundle"])
    return Made(bundles[f"bundle_{domain}" if domain else "bundle"], planes)


def make_da1metric(folder, name, **more):
    path, model = write_da1metric(folder, name, **more)
    keep_authors_positions(model.core)
    planes = of_bytes(lambda image: {"depth": model.infer(image)})
    (done,) = convert_original(path, folder / "bundle", SIZE)
    return Made(done.bundle, planes)


METRIC = {"depth_estimation_type": "metric", "max_depth": 20}
MAKERS = {  # by the file's name, and the head of it where it has two
    "da3metric-large.safetensors": make_da3metric,
    "depth_anything_v2_metric_hypersim_vits.pth": lambda folder: make_depth_anything(
        folder, "depth_anything_v2_metric_hypersim_vits.pth", V2, **METRIC
    ),
    "depth_anything_vits14.pth": lambda folder: make_depth_anything(
        folder, "depth_anything_vits14.pth", V1
    ),
    "ZoeD_M12_N.pt": lambda folder: make_zoedepth(folder, "ZoeD_M12_N.pt", "zoedepth-nyu"),
    **{
        f"ZoeD_M12_NK.pt {domain}": lambda folder, _domain=domain: make_zoedepth(
            folder, "ZoeD_M12_NK.pt", "zoedepth-nyu-kitti", _domain
        )
        for domain in ("nyu", "kitti")
    },
    "depth_anything_metric_depth_indoor.pt": lambda folder: make_da1metric(
        folder, "depth_anything_metric_depth_indoor.pt"
    ),
    "depth_anything_metric_depth_outdoor.pt": lambda folder: make_da1metric(
        folder, "depth_anything_metric_depth_outdoor.pt"
    ),
}

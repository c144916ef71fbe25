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

"""What the depth networks of ``transformers`` mean: from their two JSON files to a ``Recipe``.

Nothing of torch or ``transformers`` is needed here. The classes give numbers; which of them are
metres, and for which camera, is known from their authors' code and model cards.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from depthrefl_ros.conversion.licences import find_terms
from depthrefl_ros.conversion.meaning import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ConversionError,
    Meaning,
    nearest_name,
)
from depthrefl_ros.conversion.recipe import Recipe

_HALF = (0.5, 0.5, 0.5)
_INDOOR_M, _OUTDOOR_M = 10.0, 80.0  # NYU and KITTI
_NEAREST_M = 0.3
_RELATIVE_RANGE_M = (_NEAREST_M, 20.0)
# Why networks that the same package loads are none of ours.
_REFUSED = {
    "prompt_depth_anything": "it needs a depth image as its second input",
    "chmv2": "it estimates the height of trees from above and no depth",
}


def read_recipes(
    config: dict[str, Any],
    processor: dict[str, Any] | None,
    name: str,
    kind: str | None = None,
    licence: str = "",
) -> list[Recipe]:
    """Return what a checkpoint is: one recipe, or one for each domain of several heads.

    Args:
        config: of ``config.json``.
        processor: of ``preprocessor_config.json``; None where there is no such file.
        name: of the checkpoint on the Hub, or of its folder; tells what the files do not.
        kind: that the user states, ``metric`` or ``inverse_relative``, for classes that are both.
        licence: that the model card states; empty where it does not.

    Raises:
        ConversionError: the family is unknown or no depth network, or nothing tells its kind.
    """
    model_type = config.get("model_type")
    if model_type in _REFUSED:
        raise ConversionError(f"{name} is a {model_type} network: {_REFUSED[model_type]}")
    if model_type not in _FAMILIES:
        raise ConversionError(
            f"{name} has model_type {model_type!r} in config.json; "
            + nearest_name(str(model_type), tuple(_FAMILIES))
            + "; others can be exported to ONNX and converted with --onnx"
        )
    recipes = _FAMILIES[model_type](config, processor or {}, name.rstrip("/").lower(), kind)
    given = recipes[0].meaning.kind
    if kind is not None and kind != given:
        raise ConversionError(
            f"{name} is {given} by its files and name; --kind {kind} contradicts it"
        )
    missing = () if processor is not None else (
        "there is no preprocessor_config.json: the family's usual normalisation is used",
    )  # fmt: skip
    terms = find_terms(name, licence)
    return [
        replace(
            one,
            meaning=replace(
                one.meaning, licence=terms.licence, commercial=terms.commercial, source=name
            ),
            notes=(*one.notes, *missing),
        )
        for one in recipes
    ]


def _normalised(
    processor: dict[str, Any], mean: tuple[float, ...], std: tuple[float, ...], **fields: Any
) -> Meaning:
    """Return a meaning with the normalisation of a processor, else that of the family."""
    rescales = processor.get("do_rescale", True)
    normalises = processor.get("do_normalize", True)
    factor = processor.get("rescale_factor", 1.0 / 255.0)
    return Meaning(
        scale=float(factor) if rescales else 1.0,
        mean=_channels(processor.get("image_mean") or mean) if normalises else (0.0, 0.0, 0.0),
        std=_channels(processor.get("image_std") or std) if normalises else (1.0, 1.0, 1.0),
        licence="unknown",
        **fields,
    )


def _channels(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _depth_anything(
    config: dict[str, Any], processor: dict[str, Any], name: str, kind: str | None
) -> list[Recipe]:
    """Describe Depth Anything V1 and V2 by transformers' class; metric ones go to ``max_depth``."""
    is_metric = config.get("depth_estimation_type", "relative") == "metric"
    notes: tuple[str, ...] = ()
    reach = (_NEAREST_M, float(config.get("max_depth") or 0.0))
    _check_published_name(name, is_metric, reach[1])
    if is_metric and reach[1] <= 1.0:
        raise ConversionError(
            f"{name} is metric, and config.json has max_depth {config.get('max_depth')}: 20 is "
            "right for the indoor networks and 80 for the outdoor ones"
        )
    if is_metric:
        notes = ("trained at 60 degrees: another lens gives another scale",)
    patch = int(config.get("patch_size", 14))
    meaning = _normalised(
        processor,
        IMAGENET_MEAN,
        IMAGENET_STD,
        kind="metric" if is_metric else "inverse_relative",
        trained_hfov_deg=60.0 if is_metric else None,
        maximum=reach[1] if is_metric else None,
        range_m=reach if is_metric else _RELATIVE_RANGE_M,
    )
    size = _fitting((518, 686), patch)
    return [
        Recipe("DepthAnythingForDepthEstimation", meaning, size, patch, notes=notes),
    ]


def _check_published_name(name: str, is_metric: bool, reach_m: float) -> None:
    """Refuse a ``config.json`` of another network than the published one of this name.

    Relative and metric networks have equal keys, so that nothing else tells mixed files.
    """
    found = re.search(r"depth-anything-(?:v2-)?(metric-(?:indoor|outdoor)-)?(?:small|base|large)"
                      r"(?:-hf)?$", name)  # fmt: skip
    if found is None:
        return
    right = {None: None, "metric-indoor-": 20.0, "metric-outdoor-": 80.0}[found[1]]
    if right != (reach_m if is_metric else None):
        wanted = f"metric with max_depth {right:g}" if right else "relative"
        given = f"metric with max_depth {reach_m:g}" if is_metric else "relative"
        raise ConversionError(
            f"{name} is {wanted} by its name and {given} by its config.json: take config.json and "
            "the weights from one page, or give a network of your own another name"
        )


def _zoedepth(
    config: dict[str, Any], processor: dict[str, Any], name: str, kind: str | None
) -> list[Recipe]:
    """Describe ZoeDepth N, K, NK; each head of NK is its own recipe: a router has no graph."""
    encoder = (config.get("backbone_config") or {}).get("model_type", "beit")
    if encoder != "beit":
        raise ConversionError(
            f"{name} has model_type {encoder!r} in backbone_config of config.json; transformers' "
            "ZoeDepth gives its authors' depth with 'beit' only: for ZoeDepth's head on a DINOv2 "
            "take Depth Anything's own depth_anything_metric_depth_indoor.pt or _outdoor.pt"
        )
    heads = config.get("bin_configurations") or [
        {"n_bins": 64, "min_depth": 1e-3, "max_depth": 10.0}
    ]
    stated = processor.get("size") or {"height": 384, "width": 512}
    size = (int(stated["height"]), int(stated["width"]))
    recipes = []
    for head in heads:
        changes: tuple[tuple[str, Any], ...] = ()
        notes: tuple[str, ...] = ()
        reach = float(head["max_depth"])
        is_kitti = len(heads) == 1 and name.split("/")[-1].split("-")[-1] in ("kitti", "k")
        if is_kitti and reach == _INDOOR_M:
            # The first conversion of the KITTI network wrote the indoor network's bins.
            reach = _OUTDOOR_M
            changes = (("bin_configurations", [{**head, "max_depth": reach}]),)
            notes = (
                f"config.json has max_depth {_INDOOR_M:g} for a KITTI network: {reach:g} is used",
            )
        meaning = _normalised(
            processor, _HALF, _HALF, kind="metric", range_m=(_NEAREST_M, min(reach, _OUTDOOR_M))
        )
        recipes.append(
            Recipe(
                "ZoeDepthForDepthEstimation",
                meaning,
                size,
                2,
                inner="reflect",
                config=changes,
                domain=str(head["name"]) if len(heads) > 1 else "",
                notes=notes,
            )
        )
    return recipes


def _depth_pro(
    config: dict[str, Any], processor: dict[str, Any], name: str, kind: str | None
) -> list[Recipe]:
    """Describe Depth Pro: metres are focal length over width over its canonical inverse depth."""
    ratios = config.get("scaled_images_ratios") or (0.25, 0.5, 1)
    side = int(int(config.get("patch_size", 384)) / min(ratios))
    meaning = _normalised(
        processor,
        _HALF,
        _HALF,
        kind="canonical",
        focal_px=1024.0,  # of the size below; ``at_size`` makes it the width of any other
        transform="inverse",
        range_m=(_NEAREST_M, 50.0),
    )
    return [
        Recipe(
            "DepthProForDepthEstimation",
            meaning,
            (768, 1024),
            2,
            inner="stretch",
            inner_size=(side, side),
        )
    ]


def _dpt(
    config: dict[str, Any], processor: dict[str, Any], name: str, kind: str | None
) -> list[Recipe]:
    """Describe DPT: relative (MiDaS) or metres (DINOv2, NYU or KITTI), as only the name tells."""
    reach = {"nyu": _INDOOR_M, "kitti": _OUTDOOR_M}.get(name.split("-")[-1])
    is_relative = any(word in name for word in ("midas", "dpt-large", "dpt-beit", "dpt-swin"))
    known = "metric" if reach else "inverse_relative" if is_relative else None
    if known is None and kind is None:
        raise ConversionError(
            f"{name} is a DPT network: its files do not tell whether it gives metres or inverse "
            "depth; say --kind metric or --kind inverse_relative"
        )
    found = known or kind
    backbone = config.get("backbone_config") or {}
    is_swin = "swin" in str(backbone.get("model_type", ""))
    if is_swin:
        _check_windows(name, backbone)
    is_plain = bool(backbone) and not config.get("is_hybrid", False) and not is_swin
    patch = int(backbone.get("patch_size") or 14) if is_plain else 16
    is_fixed = not is_plain
    stated = processor.get("size") or {"height": backbone.get("image_size") or 384}
    side = int(stated.get("height") or stated.get("shortest_edge") or 384)
    meaning = _normalised(
        processor,
        IMAGENET_MEAN if is_plain else _HALF,
        IMAGENET_STD if is_plain else _HALF,
        kind=str(found),
        range_m=(_NEAREST_M, reach or _INDOOR_M) if found == "metric" else _RELATIVE_RANGE_M,
    )
    # The class with a ViT of its own takes squares only, and Swin's windows are set for one; their
    # processors stretch to it.
    return [
        Recipe(
            "DPTForDepthEstimation",
            meaning,
            (384, 512) if is_fixed else _fitting((480, 640), patch),
            2 if is_fixed else patch,
            inner="stretch" if is_fixed else "plain",
            inner_size=(side, side) if is_fixed else None,
        )
    ]


def _check_windows(name: str, swin: dict[str, Any]) -> None:
    """Refuse a Swin with as many heads as pixels in a window.

    OpenVINO 2026.4 takes one for the other there: depth is 0.1 to 2 % off, and more in the tail.
    """
    patch, widest = int(swin.get("patch_size") or 4), int(swin.get("window_size") or 7)
    side = int(swin.get("image_size") or 224) // patch
    for stage, heads in enumerate(swin.get("num_heads") or (), start=1):
        window = min(widest, side)
        if heads == window * window:
            raise ConversionError(
                f"{name}: stage {stage} of its Swin has {heads} heads and windows of {window}x"
                f"{window} pixels; OpenVINO mixes equal numbers up. No published DPT has them"
            )
        side //= 2


def _glpn(
    config: dict[str, Any], processor: dict[str, Any], name: str, kind: str | None
) -> list[Recipe]:
    """Describe GLPN: metres up to ``max_depth``; bytes are divided by 255 and no more."""
    reach = float(config.get("max_depth", _INDOOR_M))
    meaning = _normalised(
        {"do_normalize": False, **processor}, _HALF, _HALF, kind="metric",
        range_m=(_NEAREST_M, reach),
    )  # fmt: skip
    return [Recipe("GLPNForDepthEstimation", meaning, (480, 640), 32)]


def _tips(
    config: dict[str, Any], processor: dict[str, Any], name: str, kind: str | None
) -> list[Recipe]:
    """Describe TIPSv2 with a DPT head: metres in linear bins, trained indoors."""
    backbone = config.get("backbone_config") or {}
    patch = int(backbone.get("patch_size") or 14)
    meaning = _normalised(
        {"do_normalize": False, **processor}, _HALF, _HALF, kind="metric",
        range_m=(_NEAREST_M, float(config.get("max_depth", _INDOOR_M))),
    )  # fmt: skip
    return [Recipe("Tipsv2DptForDepthEstimation", meaning, _fitting((448, 602), patch), patch)]


def _da3metric(
    config: dict[str, Any], processor: dict[str, Any], name: str, kind: str | None
) -> list[Recipe]:
    """Describe DA3METRIC-LARGE as ``original_files`` describes it; what is below 0.3 is no sky."""
    meaning = _normalised(
        processor,
        IMAGENET_MEAN,
        IMAGENET_STD,
        kind="canonical",
        focal_px=300.0,
        outputs=("plane",),
        sky=("sky",),
        sky_threshold=0.3,
        range_m=(_NEAREST_M, 50.0),
    )
    return [Recipe("DepthAnythingForDepthEstimation", meaning, (378, 504), 14, inner="da3metric")]


def _da1metric(
    config: dict[str, Any], processor: dict[str, Any], name: str, kind: str | None
) -> list[Recipe]:
    """Describe Depth Anything V1 metric as ``original_files`` does; it stretches every image."""
    (head,) = config["metric_head"]["bin_configurations"]
    reach = float(head["max_depth"])
    is_indoor = reach == _INDOOR_M
    view = "63 degrees (NYU)" if is_indoor else "80 by 27 degrees, stretched to 518x392 (KITTI)"
    meaning = _normalised(
        processor,
        IMAGENET_MEAN,
        IMAGENET_STD,
        kind="metric",
        trained_hfov_deg=63.0 if is_indoor else 80.0,
        resize="stretch",
        range_m=(_NEAREST_M, reach),
    )
    notes = (f"trained on one camera of {view}: another lens gives another scale",)
    return [
        Recipe(
            "DepthAnythingV1Metric", meaning, (392, 518), 14, inner="reflect_stretch", notes=notes
        )
    ]


def _fitting(size: tuple[int, int], step: int) -> tuple[int, int]:
    height, width = (max(1, round(side / step)) * step for side in size)
    return height, width


_Reader = Callable[[dict[str, Any], dict[str, Any], str, "str | None"], "list[Recipe]"]
_FAMILIES: dict[str, _Reader] = {
    "depth_anything": _depth_anything,
    "zoedepth": _zoedepth,
    "depth_pro": _depth_pro,
    "dpt": _dpt,
    "glpn": _glpn,
    "tipsv2_dpt": _tips,
    "da3metric": _da3metric,
    "da1metric": _da1metric,
}

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

"""How good are the depths? One protocol for a torch model in training and for any engine.

The whole image goes into the network as at run time (aspect kept, padded), the prediction comes
back to the truth's size bilinearly and is compared by a ``Protocol``; without one: no crop, no
alignment, clamped to [1e-3, 10] m, truth below 10 m. Figures are means of per-image values, one
pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from tqdm import tqdm

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.floor_plane import encoded_floor, with_floor
from depthrefl_ros.geometry.gates import apply_sky
from depthrefl_ros.geometry.rectification import Rectification
from depthrefl_ros.training.boundary import edge_f1
from depthrefl_ros.training.datasets import Sample
from depthrefl_ros.training.datasets.image_folder import readable
from depthrefl_ros.training.distance import DistanceBands, scale_figures, scale_summary
from depthrefl_ros.training.metrics import depth_metrics, mean_metrics
from depthrefl_ros.training.order import ordinal_agreements
from depthrefl_ros.training.protocol import NEAREST_M, Protocol, fit_alignment
from depthrefl_ros.training.truth_check import is_suspicious
from depthrefl_ros.training.uncertainty import (
    Pixels,
    choose_pixels,
    pixels_per_image,
    sparsification_areas,
)

if TYPE_CHECKING:
    from depthrefl_ros.network.model import DepthModel

_SCALE = ("scale_ratio", "median_depth_m", "median_truth_m")
# Over several images these say nothing: counts, and coverage, since predictions are dense.
_OF_ONE_IMAGE = ("pixels", "coverage", "median_depth_m", "median_truth_m")

NEAREST_SIGMA = 1e-6  # of an aligned prediction; a flat one has none of its own

# (N, h, w, channels) uint8 to {"depth", "sigma", "relative"}, each (N, 1, h, w) float32, depth in
# canonical metres: what Engine.infer does.
Infer = Callable[[np.ndarray], dict[str, np.ndarray]]
SigmaOf = Callable[[np.ndarray], np.ndarray]


class Prediction(NamedTuple):
    """What came out for one sample, each (H, W) float32 at the truth's size."""

    depth_m: np.ndarray
    sigma: np.ndarray
    relative: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """What was measured, image by image; only images with truth that counts are in it.

    Attributes:
        names: of the images.
        figures: of each image: ``depth_metrics``, ``ordinal_agreements``,
            ``sparsification_areas``, ``scale_figures`` (before alignment), ``edge_f1``, and
            what alignment fitted: ``align_scale``, ``align_shift_m``. Without sigma its areas are
            NaN.
        pixels: each (images, n): the same number of random pixels from every image.
        bands: ``DistanceBands.figures`` over all of them.
        without_truth: names of the images that were left out.
        unit_ratios: of every image with any depth, predicted over true median, whatever the crop
            and the cap leave: for ``truth_check.unit_hint``.
        sky_shares: of every image with truth that counts, how much of it the network takes for
            sky; that has no part in the figures.
    """

    names: list[str]
    figures: list[dict[str, float]]
    pixels: Pixels
    bands: dict[str, dict[str, float]] = field(default_factory=dict)
    without_truth: list[str] = field(default_factory=list)
    unit_ratios: list[float] = field(default_factory=list)
    sky_shares: list[float] = field(default_factory=list)

    def values(self, name: str) -> np.ndarray:
        """Return one figure of all images, (images,) float64."""
        return np.array([figures[name] for figures in self.figures], np.float64)

    def summary(self) -> dict[str, float]:
        """Return every figure over the images: means, of ``scale_ratio`` and its like medians.

        With ``images``, their number, and ``images_without_truth``.
        """
        means = mean_metrics(self.figures)
        for name in _OF_ONE_IMAGE:
            means.pop(name, None)
        scale = [self.values(name) for name in _SCALE]
        return {
            **means,
            **scale_summary(*scale),
            "images": len(self.names),
            "images_without_truth": len(self.without_truth),
        }

    def medians(self) -> dict[str, float]:
        """Return the median of every figure over the images; NaN where none has it."""
        medians = {}
        for name in self.figures[0]:
            values = self.values(name)
            values = values[~np.isnan(values)]
            if name not in _OF_ONE_IMAGE:
                medians[name] = float(np.median(values)) if values.size else float("nan")
        return medians

    def log_row(self) -> dict[str, float]:
        """Return the summary and each band's ratio and AbsRel as ``ratio_0.7-1`` and so on."""
        row = self.summary()
        for band, figures in self.bands.items():
            row.update({f"{name}_{band}": figures[name] for name in ("ratio", "abs_rel")})
        return row


def torch_infer(model: DepthModel) -> Infer:
    """Return ``Infer`` for a torch model, in float32 and evaluation mode."""
    import torch  # only here: evaluating an engine needs no torch

    def infer(images: np.ndarray) -> dict[str, np.ndarray]:
        model.eval()
        with torch.inference_mode():
            device = next(model.parameters()).device
            batch = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float()
            output = model(batch)
        names = ("depth", "sigma", "relative")
        return {name: getattr(output, name).cpu().numpy() for name in names}

    return infer


def evaluate_model(
    model: DepthModel,
    samples: Sequence[Sample],
    protocol: Protocol,
    is_told: bool = True,
    show_progress: bool = False,
) -> Evaluation:
    """Evaluate a torch model as ``evaluate_images`` does an engine; arguments as there."""
    config = model.config
    return evaluate_images(
        torch_infer(model), samples, (config.width, config.height), config.focal_px, protocol,
        show_progress, channels=config.channels, is_told=is_told,
    )  # fmt: skip


def predictions(
    infer: Infer,
    samples: Iterable[Sample],
    network: tuple[int, int],
    focal_px: float | None,
    resize: str = "pad",
    sigma_of: SigmaOf | None = None,
    channels: int = 3,
    is_told: bool = True,
) -> Iterator[tuple[Sample, Prediction]]:
    """Yield every sample with its prediction at the truth's size, depth not clamped, sky +Inf.

    A network that gives no relative depth is taken at its depth, which has an order, too.

    Args:
        infer: the network.
        samples: images with truth and intrinsics.
        network: (width, height) of the network's input.
        focal_px: f_c, the canonical focal length in pixels; None where depth is metric as it is.
        resize: how the image becomes the input: ``pad``, ``crop`` or ``stretch``.
        sigma_of: gives sigma (h, w) of a depth in metres (h, w), where the network has none; None
            leaves it NaN.
        channels: of the network's input: 4 where it takes the mount's plane, which needs
            ``focal_px``.
        is_told: whether such a network is told the mounts that the samples know.
    """
    for sample in samples:
        height, width = sample.depth_m.shape
        camera = Camera.pinhole(width, height, *sample.intrinsics)
        rectification = Rectification(camera, True, network, resize)
        image = rectification.to_network(sample.image)
        if channels > 3:
            plane = None
            if is_told and sample.mount is not None:
                plane = encoded_floor(rectification.network_camera, sample.mount, focal_px)
            image = with_floor(image, plane)
        output = infer(image[None])
        depth_m = output["depth"][0, 0]
        if focal_px is not None:
            depth_m = depth_m * np.float32(rectification.network_focal_px / focal_px)
        apply_sky(depth_m, output)
        if "sigma" in output:
            sigma = output["sigma"][0, 0]
        else:
            sigma = np.full_like(depth_m, np.nan) if sigma_of is None else sigma_of(depth_m)
        relative = output["relative"][0, 0] if "relative" in output else depth_m
        planes = (depth_m, sigma, relative)
        yield sample, Prediction(*map(rectification.from_network, planes))


def evaluate_images(
    infer: Infer,
    samples: Sequence[Sample],
    network: tuple[int, int],
    focal_px: float | None,
    protocol: Protocol | None = None,
    show_progress: bool = False,
    resize: str = "pad",
    sigma_of: SigmaOf | None = None,
    channels: int = 3,
    is_told: bool = True,
    in_detail: bool = True,
    unreadable: dict[str, str] | None = None,
) -> Evaluation:
    """Predict every image and compare it with its truth.

    What is random (pixels, pairs) depends on an image's place among the samples that can be read
    only, so that two networks are compared on the same pixels.

    Args:
        infer: the network, and the next three as for ``predictions``.
        samples: see there.
        network: see there.
        focal_px: see there.
        protocol: crop, cap and alignment; None for ``Protocol()``.
        show_progress: show a bar on stderr.
        resize: as for ``predictions``.
        sigma_of: see there.
        channels: see there.
        is_told: see there.
        in_detail: measure order, edges and bands as well, which take two thirds of the time.
        unreadable: gets the reason by name of images of an ``ImageFolder`` that cannot be read,
            which are left out; None raises DatasetError at the first.

    Raises:
        DatasetError: no image can be read.
        ValueError: no image has truth that counts, or the crop does not fit an image.
    """
    protocol = protocol or Protocol()
    count = pixels_per_image(len(samples))
    names, figures, chosen, without_truth, unit_ratios, sky_shares = [], [], [], [], [], []
    bands = DistanceBands()
    chosen_samples = samples if unreadable is None else readable(samples, unreadable)
    how = (network, focal_px, resize, sigma_of, channels, is_told)
    pairs = predictions(infer, chosen_samples, *how)
    bar = tqdm(pairs, total=len(samples), unit="image", disable=not show_progress)
    for index, (sample, prediction) in enumerate(bar):
        if (anywhere := (sample.depth_m > 0) & np.isfinite(prediction.depth_m)).any():
            typical = scale_figures(prediction.depth_m[anywhere], sample.depth_m[anywhere])
            unit_ratios.append(typical["scale_ratio"])
        truth_m = protocol.truth(sample.depth_m)
        if (counts := truth_m > 0).any():
            sky_shares.append(float(np.isposinf(prediction.depth_m[counts]).mean()))
        truth_m[~np.isfinite(prediction.depth_m)] = 0.0  # sky, or what a crop leaves out
        known = truth_m > 0
        if not known.any():
            without_truth.append(sample.name)
            continue
        generator = np.random.default_rng(index)
        scale = scale_figures(prediction.depth_m[known], truth_m[known])
        prediction, fitted = aligned(prediction, truth_m, protocol.align)
        clamped_m = np.clip(prediction.depth_m, NEAREST_M, protocol.cap_m)
        if in_detail:
            bands.add(prediction.depth_m[known], clamped_m[known], truth_m[known])
        places = choose_pixels(known, count, generator)
        pixels = _pixels_at(places, prediction, clamped_m, truth_m)
        names.append(sample.name)
        chosen.append(pixels)
        of_image = {
            **depth_metrics(clamped_m, truth_m, protocol.cap_m),
            **sparsification_areas(pixels),
            **scale,
            **fitted,
        }
        if in_detail:
            of_image |= ordinal_agreements(prediction.relative, clamped_m, truth_m, generator)
            of_image["edge_f1"] = edge_f1(np.maximum(prediction.depth_m, NEAREST_M), truth_m)
        figures.append(of_image)
    if not names:
        raise ValueError(
            f"none of the {len(samples)} images has depth that counts ({protocol}); "
            "evaluation and calibration need truth"
            + (
                f"; predicted depth is {np.median(unit_ratios):.3g} times the truth there is: "
                "check its unit (depth_factor)"
                if unit_ratios and is_suspicious(float(np.median(unit_ratios)))
                else ""
            )
        )
    stacked = Pixels(*(np.stack(planes) for planes in zip(*chosen, strict=True)))
    left_out = (without_truth, unit_ratios, sky_shares)
    return Evaluation(names, figures, stacked, bands.figures(), *left_out)


def aligned(
    prediction: Prediction, truth_m: np.ndarray, align: str
) -> tuple[Prediction, dict[str, float]]:
    """Return the prediction with its depth fitted to the truth, sigma following it, and the fit.

    sigma * depth, a deviation in metres, is scaled as depth is; a shift leaves it as it is.

    Args:
        prediction: of an image.
        truth_m: (H, W) float32 metres, 0 where it does not count.
        align: one of ``protocol.ALIGNMENTS``.

    Returns:
        The fitted prediction, and ``align_scale`` and ``align_shift_m``; nothing of the two
        for ``none``.
    """
    if align == "none":
        return prediction, {}
    known = truth_m > 0
    scale, shift = fit_alignment(align, prediction.depth_m[known], truth_m[known])
    # A least-squares plane may go through the camera and behind it.
    depth_m = np.maximum(scale * prediction.depth_m + shift, NEAREST_M)
    with np.errstate(invalid="ignore"):  # the sky's is nobody's
        ratio = prediction.depth_m / depth_m
    sigma = np.maximum(abs(scale) * prediction.sigma * ratio, NEAREST_SIGMA)
    fitted = prediction._replace(depth_m=depth_m.astype(np.float32), sigma=sigma.astype(np.float32))
    return fitted, {"align_scale": scale, "align_shift_m": shift}


def _pixels_at(
    places: np.ndarray, prediction: Prediction, clamped_m: np.ndarray, truth_m: np.ndarray
) -> Pixels:
    depth_m, sigma, clamped, truth = (
        plane.ravel()[places]
        for plane in (prediction.depth_m, prediction.sigma, clamped_m, truth_m)
    )
    # Of the depth before clamping, since that is what is published with its sigma.
    error_ratio = np.abs(np.log(depth_m) - np.log(truth)) / sigma
    return Pixels(clamped, truth, sigma, error_ratio.astype(np.float32))

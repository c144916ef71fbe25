"""How good are the depths? One protocol for a torch model in training and for any engine.

The whole image goes into the network as at run time (aspect kept, padded), the prediction comes
back to the truth's size bilinearly, is clamped to [1e-3, 10] m and compared where the truth is
known and below 10 m. Figures are means of per-image values; no alignment, one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from tqdm import tqdm

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.rectification import Rectification
from depthrefl_ros.training.datasets import Sample
from depthrefl_ros.training.metrics import depth_metrics, mean_metrics

if TYPE_CHECKING:
    from depthrefl_ros.network.model import DepthModel

CAP_M = 10.0
NEAREST_M = 1e-3
PAIRS = 2000  # per image, for the ordinal agreement

# (N, h, w, 3) uint8 RGB to {"depth", "sigma", "relative"}, each (N, 1, h, w) float32, depth in
# canonical metres: what Engine.infer does.
Infer = Callable[[np.ndarray], dict[str, np.ndarray]]


class Prediction(NamedTuple):
    """What came out for one sample, each (H, W) float32 at the truth's size."""

    depth_m: np.ndarray
    sigma: np.ndarray
    relative: np.ndarray


def torch_infer(model: DepthModel) -> Infer:
    """Return ``Infer`` for a torch model, in float32 and evaluation mode."""
    import torch  # only here: evaluating an engine needs no torch

    def infer(images: np.ndarray) -> dict[str, np.ndarray]:
        model.eval()
        with torch.inference_mode():
            batch = torch.from_numpy(images).permute(0, 3, 1, 2).float()
            output = model(batch)
        return {name: getattr(output, name).numpy() for name in ("depth", "sigma", "relative")}

    return infer


def predictions(
    infer: Infer, samples: Sequence[Sample], network: tuple[int, int], focal_px: float
) -> Iterator[tuple[Sample, Prediction]]:
    """Yield every sample with its prediction at the truth's size, depth not clamped.

    Args:
        infer: the network.
        samples: images with truth and intrinsics.
        network: (width, height) of the network's input.
        focal_px: f_c, the canonical focal length in pixels.
    """
    for index in range(len(samples)):
        sample = samples[index]
        height, width = sample.depth_m.shape
        camera = Camera.pinhole(width, height, *sample.intrinsics)
        rectification = Rectification(camera, True, network, "pad")
        output = infer(rectification.to_network(sample.image)[None])
        scale = np.float32(rectification.network_focal_px / focal_px)
        planes = (output["depth"] * scale, output["sigma"], output["relative"])
        yield sample, Prediction(*(rectification.from_network(plane[0, 0]) for plane in planes))


def evaluate(
    infer: Infer,
    samples: Sequence[Sample],
    network: tuple[int, int],
    focal_px: float,
    show_progress: bool = False,
) -> dict[str, float]:
    """Return the means over the samples of ``depth_metrics`` and of the ordinal agreements.

    The agreements (Kendall's tau over sampled pixel pairs, 1 for the same order) are
    ``tau_relative_depth``, ``tau_relative_truth`` and ``tau_depth_truth``. Images without known
    depth are left out; ``images`` is the number compared. Arguments as for ``predictions``.

    Raises:
        ValueError: no image has known depth.
    """
    generator = np.random.default_rng(0)
    images = []
    pairs = predictions(infer, samples, network, focal_px)
    bar = tqdm(pairs, total=len(samples), unit="image", disable=not show_progress)
    for sample, prediction in bar:
        known = (sample.depth_m > 0) & (sample.depth_m < CAP_M)
        if not known.any():
            continue
        clamped = np.clip(prediction.depth_m, NEAREST_M, CAP_M)
        images.append(
            {
                **depth_metrics(clamped, sample.depth_m, CAP_M),
                **ordinal_agreements(prediction.relative, clamped, sample.depth_m, generator),
            }
        )
    if not images:
        raise ValueError(f"none of the {len(samples)} images has depth below {CAP_M} m")
    figures = mean_metrics(images)
    del figures["pixels"]  # a mean of counts says nothing
    return {**figures, "images": len(images)}


def ordinal_agreements(
    relative: np.ndarray, depth_m: np.ndarray, truth_m: np.ndarray, generator: np.random.Generator
) -> dict[str, float]:
    """Return Kendall's tau between each two of relative depth, depth and truth, each (H, W)."""
    pairs = sample_pairs((truth_m > 0) & (truth_m < CAP_M), PAIRS, generator)
    return {
        "tau_relative_depth": kendall_tau(relative, depth_m, pairs),
        "tau_relative_truth": kendall_tau(relative, truth_m, pairs),
        "tau_depth_truth": kendall_tau(depth_m, truth_m, pairs),
    }


def sample_pairs(known: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Return (2, count) flat indices of random pairs among the known pixels."""
    return generator.choice(np.flatnonzero(known), size=(2, count))


def kendall_tau(first: np.ndarray, second: np.ndarray, pairs: np.ndarray) -> float:
    """Return Kendall's tau of two (H, W) images over pixel pairs.

    Pairs tied in either image are left out.

    1 is the same order everywhere, -1 the opposite; 0 if every pair is tied.
    """
    order = np.sign(np.diff(first.ravel()[pairs], axis=0))
    order = order * np.sign(np.diff(second.ravel()[pairs], axis=0))
    order = order[order != 0]
    return float(order.mean()) if order.size else 0.0

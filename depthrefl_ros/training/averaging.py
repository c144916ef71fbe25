"""Weights of several runs become one network: a model soup (Wortsman et al. 2022).

Runs that begin from the same weights and differ in seed or augmentation end in one basin of the
loss; the mean of their weights errs about as little as the mean of their answers, at the cost of
one network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from depthrefl_ros.network.model import DepthModel


@torch.no_grad()
def average_weights(models: Sequence[DepthModel]) -> DepthModel:
    """Return the first model with the mean of all models' parameters and statistics.

    Sums are taken in float64. BatchNorm's statistics are averaged like weights: the runs saw the
    same data, so theirs are close. Whole numbers (counters) are the first model's.

    Args:
        models: at least one, all of one architecture.

    Raises:
        ValueError: no model, or one of another architecture than the first.
    """
    if not models:
        raise ValueError("no models to average; at least one is needed")
    first = models[0]
    for index, model in enumerate(models):
        if model.config != first.config:
            raise ValueError(
                f"model {index} has another architecture than model 0: {model.config} and "
                f"{first.config}"
            )
    states = [model.state_dict() for model in models]
    for name, value in states[0].items():
        if value.dtype.is_floating_point:
            value.copy_(torch.stack([state[name].double() for state in states]).mean(dim=0))
    return first

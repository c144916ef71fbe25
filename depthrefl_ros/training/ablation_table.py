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

"""What an ablation found, as plain values and as Markdown."""

from __future__ import annotations

from typing import Any

import numpy as np

from depthrefl_ros.training.bootstrap import (
    blocks_of,
    paired_block_bootstrap,
    slope_block_bootstrap,
)
from depthrefl_ros.training.distance import scale_summary

REFERENCE = "reflector"
FIGURES = ("abs_rel", "delta1", "rmse", "ause_abs_rel")  # a mean over images each
MEDIANS = ("median_depth_m", "median_truth_m")  # what the slope is of
SLOPE = "slope_log_median"
DIFFERENCES = ("abs_rel", "delta1", SLOPE)  # to the reflector
HEADER = (
    "| head | AbsRel | delta1 | slope | RMSE (m) | AUSE | AbsRel less the reflector's (95 %) "
    "| delta1 less its | slope less its | parameters | engine ms |"
)
COLUMNS = ("abs_rel", "delta1", SLOPE, "rmse", "ause_abs_rel")


def summarise_sets(results: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return by data set what ``summarise`` says; ``sets`` of a result has names and values."""
    names = list(results[0]["sets"])
    return {name: summarise([{**r, **r["sets"][name]} for r in results]) for name in names}


def summarise(results: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what several seeds of every head say together.

    Args:
        results: one a head and seed: ``head``, ``seed``, ``rate``, ``parameters``, ``has_sigma``,
            ``step_s``, ``names`` and ``values`` (of ``FIGURES`` and ``MEDIANS``, one an image);
            the same images in all.

    Returns:
        By head: of every figure, and of the slope of log medians, ``mean`` over seeds, ``spread``
        (standard deviation over seeds, None for one seed) and ``by_seed``; ``difference`` of
        AbsRel, delta1 and slope to the reflector's with its 95 % interval by the paired block
        bootstrap on each image's mean over seeds, and ``by_seed``.
    """
    heads = list(dict.fromkeys(result["head"] for result in results))
    of_head = {head: [r for r in results if r["head"] == head] for head in heads}
    summary = {}
    for head, runs in of_head.items():
        figures = {name: _over_seeds(runs, name) for name in (*FIGURES, SLOPE)}
        if not runs[0]["has_sigma"]:
            del figures["ause_abs_rel"]
        summary[head] = {
            "seeds": [run["seed"] for run in runs],
            "rate": runs[0]["rate"],
            "parameters": runs[0]["parameters"],
            "step_s": float(np.median([run["step_s"] for run in runs])),
            "figures": figures,
        }
        if head != REFERENCE and REFERENCE in of_head:
            summary[head]["difference"] = {
                name: _difference(runs, of_head[REFERENCE], name) for name in DIFFERENCES
            }
    return summary


def _images_mean(runs: list[dict[str, Any]], name: str) -> np.ndarray:
    """Return (images,) the mean over seeds of a figure of each image."""
    return np.mean([np.array(run["values"][name], np.float64) for run in runs], axis=0)


def _figure_of(run: dict[str, Any], name: str) -> float:
    """Return a figure over the images of one run."""
    values = run["values"]
    if name != SLOPE:
        return float(np.nanmean(np.array(values[name], np.float64)))
    depth_m, truth_m = (np.array(values[median], np.float64) for median in MEDIANS)
    return scale_summary(depth_m / truth_m, depth_m, truth_m)[SLOPE]


def _over_seeds(runs: list[dict[str, Any]], name: str) -> dict[str, Any]:
    by_seed = [_figure_of(run, name) for run in runs]
    spread = float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else None
    return {"mean": float(np.mean(by_seed)), "spread": spread, "by_seed": by_seed}


def _log_depth(runs: list[dict[str, Any]]) -> np.ndarray:
    """Return (images,) the mean over seeds of the log of an image's median predicted depth."""
    medians = [np.array(run["values"]["median_depth_m"], np.float64) for run in runs]
    return np.log(medians).mean(axis=0)


def _difference(
    runs: list[dict[str, Any]], reference: list[dict[str, Any]], name: str
) -> dict[str, Any]:
    names = reference[0]["names"]
    if any(run["names"] != names for run in [*runs, *reference]):
        raise ValueError(f"{runs[0]['head']} was measured on other images than {REFERENCE}")
    blocks = blocks_of(names)
    if name == SLOPE:
        # A slope by least squares is linear in what is fitted: this is the difference of both.
        log_truth = np.log(np.array(reference[0]["values"]["median_truth_m"], np.float64))
        change = _log_depth(runs) - _log_depth(reference)
        interval = slope_block_bootstrap(log_truth, change, blocks)
    else:
        both = (_images_mean(runs, name), _images_mean(reference, name))
        interval = paired_block_bootstrap(*both, blocks)
    own, theirs = ({run["seed"]: _figure_of(run, name) for run in r} for r in (runs, reference))
    by_seed = [own[seed] - theirs[seed] for seed in own if seed in theirs]
    return {"mean": interval.mean, "low": interval.low, "high": interval.high, "by_seed": by_seed}


def markdown(summary: dict[str, dict[str, Any]], engine_ms: dict[str, float]) -> str:
    """Return the table, the smallest AbsRel first.

    Args:
        summary: what ``summarise`` returned.
        engine_ms: of the whole network with each head; empty where none were timed.
    """
    lines = [HEADER, "|" + "---|" * HEADER.count(" | ") + "---|"]
    ranked = sorted(summary.items(), key=lambda item: item[1]["figures"]["abs_rel"]["mean"])
    for head, entry in ranked:
        figures = entry["figures"]
        cells = [head, *(_figure(figures.get(name)) for name in COLUMNS)]
        cells += [_interval(entry.get("difference", {}).get(name)) for name in DIFFERENCES]
        cells.append(f"{entry['parameters']:,}")
        cells.append(f"{engine_ms[head]:.1f}" if head in engine_ms else "-")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _figure(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return "-"
    spread = "" if figure["spread"] is None else f" ± {figure['spread']:.3f}"
    return f"{figure['mean']:.3f}{spread}"


def _interval(difference: dict[str, Any] | None) -> str:
    if difference is None:
        return "-"
    return "{mean:+.4f} [{low:+.4f}, {high:+.4f}]".format(**difference)

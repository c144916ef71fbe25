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

from depthrefl_ros.training.bootstrap import blocks_of, paired_block_bootstrap

REFERENCE = "reflector"
FIGURES = ("abs_rel", "delta1", "rmse", "ause_abs_rel")  # in the order of the header
HEADER = (
    "| head | AbsRel | delta1 | RMSE (m) | AUSE | AbsRel less the reflector's (95 %) "
    "| parameters | engine ms |"
)


def summarise(results: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what several seeds of every head say together.

    Args:
        results: one a head and seed: ``head``, ``seed``, ``rate``, ``parameters``, ``has_sigma``,
            ``step_s``, ``names`` and ``values`` (figure: one an image); the same images in all.

    Returns:
        By head: of every figure ``mean`` over seeds and ``spread`` (standard deviation over seeds,
        None for one seed); ``difference`` of AbsRel and delta1 to the reflector's with its 95 %
        interval by the paired block bootstrap on each image's mean over seeds.
    """
    heads = list(dict.fromkeys(result["head"] for result in results))
    of_head = {head: [r for r in results if r["head"] == head] for head in heads}
    summary = {}
    for head, runs in of_head.items():
        figures = {name: _over_seeds(runs, name) for name in runs[0]["values"]}
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
                name: _difference(runs, of_head[REFERENCE], name) for name in ("abs_rel", "delta1")
            }
    return summary


def _images_mean(runs: list[dict[str, Any]], name: str) -> np.ndarray:
    """Return (images,) the mean over seeds of a figure of each image."""
    return np.mean([np.array(run["values"][name], np.float64) for run in runs], axis=0)


def _over_seeds(runs: list[dict[str, Any]], name: str) -> dict[str, float | None]:
    means = [np.nanmean(np.array(run["values"][name], np.float64)) for run in runs]
    spread = float(np.std(means, ddof=1)) if len(means) > 1 else None
    return {"mean": float(np.mean(means)), "spread": spread}


def _difference(
    runs: list[dict[str, Any]], reference: list[dict[str, Any]], name: str
) -> dict[str, float]:
    names = reference[0]["names"]
    if any(run["names"] != names for run in [*runs, *reference]):
        raise ValueError(f"{runs[0]['head']} was measured on other images than {REFERENCE}")
    interval = paired_block_bootstrap(
        _images_mean(runs, name), _images_mean(reference, name), blocks_of(names)
    )
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


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
        cells = [head, *(_figure(figures.get(name)) for name in FIGURES)]
        cells.append(_interval(entry.get("difference", {}).get("abs_rel")))
        cells.append(f"{entry['parameters']:,}")
        cells.append(f"{engine_ms[head]:.1f}" if head in engine_ms else "-")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _figure(figure: dict[str, float | None] | None) -> str:
    if figure is None:
        return "-"
    spread = "" if figure["spread"] is None else f" ± {figure['spread']:.3f}"
    return f"{figure['mean']:.3f}{spread}"


def _interval(difference: dict[str, float] | None) -> str:
    if difference is None:
        return "-"
    return "{mean:+.4f} [{low:+.4f}, {high:+.4f}]".format(**difference)

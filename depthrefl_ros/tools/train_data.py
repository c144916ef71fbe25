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

"""The data sets of a run: opened, looked at, described for the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.sample_sources import open_samples
from depthrefl_ros.training.batches import balanced_by_depth
from depthrefl_ros.training.datasets import ImageFolder, parse_data_options
from depthrefl_ros.training.datasets.image_folder import (
    images_by_root,
    merged_images,
    shared_names,
)
from depthrefl_ros.training.evaluation import evaluate_model
from depthrefl_ros.training.protocol import Protocol
from depthrefl_ros.training.truth_check import check_truth, spread_over, unit_hint
from depthrefl_ros.training.whole_files import write_file

if TYPE_CHECKING:
    from depthrefl_ros.network.model import DepthModel


IMAGES = "images"  # of a leg: names of what was trained on, by root


class Part(NamedTuple):
    """One data set of a mixture.

    Attributes:
        dataset: the images.
        weight: its share, relative to the other sets' weights.
        is_balanced: whether rare distances come more often.
    """

    dataset: ImageFolder
    weight: float
    is_balanced: bool = False

    def in_bins(self) -> list[tuple[ImageFolder, float]]:
        """Return what ``StepBatches`` mixes: the set, or its parts by depth."""
        if not self.is_balanced:
            return [(self.dataset, self.weight)]
        parts = balanced_by_depth(self.dataset)
        return [(part, share * self.weight) for part, share in parts]


def open_parts(texts: list[str]) -> dict[str, Part]:
    """Return the data sets of ``--data`` or ``--val-data`` options by name.

    Raises:
        DatasetError: an option or a data set is missing or malformed.
        ToolError: a recording cannot be read or has no true depth.
    """
    return {
        name: Part(open_samples(option), option.weight, option.is_balanced)
        for name, option in parse_data_options(texts).items()
    }


def suspicions(
    name: str, dataset: ImageFolder, farthest_m: float, model: DepthModel | None
) -> list[str]:
    """Return what is suspicious about a set's truth, by itself and beside a network's depth.

    Args:
        name: of the set.
        dataset: a few of its images are looked at.
        farthest_m: depth from here on does not count.
        model: knows metres; None where no weights do yet.

    Raises:
        DatasetError: there is no truth that counts.
    """
    lines = check_truth(name, dataset, farthest_m)
    if model is not None:
        samples = spread_over(dataset, 8)
        try:
            found = evaluate_model(model, samples, Protocol(cap_m=min(farthest_m, 1000.0)))
        except ValueError:  # these few have no depth that counts
            return lines
        hint = unit_hint(name, np.array(found.unit_ratios), dataset)
        lines += [hint] if hint else []
    return lines


def describe(dataset: ImageFolder) -> dict[str, int | float | str]:
    """Return number of images, kind and fingerprint of a data set, and its unit where told."""
    factor = dataset.depth_factor
    return {
        "images": len(dataset),
        "kind": dataset.kind,
        "sha256": dataset.fingerprint(),
        **({} if factor is None else {"depth_factor": factor}),
    }


def describe_parts(parts: dict[str, Part], with_mounts: bool = False) -> dict[str, dict[str, Any]]:
    """Return of every set by name ``describe``, the weight and, if it has one, the balance.

    Args:
        parts: the sets.
        with_mounts: whether to tell how many images know their mount.
    """
    return {
        name: {
            **describe(part.dataset),
            "weight": part.weight,
            **({"balance": "depth"} if part.is_balanced else {}),
            **({"mounts": part.dataset.count_mounts()} if with_mounts else {}),
        }
        for name, part in parts.items()
    }


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return the legs of a stage as ``record_data`` wrote them; none where nothing is written."""
    return json.loads(path.read_text()) if path.exists() else []


def trained_legs(history: list[dict[str, Any]], step: int) -> list[dict[str, Any]]:
    """Return those legs in which a step was done.

    Args:
        history: of ``read_history``.
        step: that the stage has reached.
    """
    ends = [*(leg["from_step"] for leg in history[1:]), step]
    return [leg for leg, end in zip(history, ends, strict=False) if end > leg["from_step"]]


def trained_on(legs: list[dict[str, Any]], parts: dict[str, Part]) -> dict[str, str]:
    """Return of those sets that weights learnt from in any leg how many images, in words.

    An image is known by its name and the root of its set. Of legs that noted no names, such as
    those of a bundle, a set is known only if all of its files are the same.

    Args:
        legs: as ``record_data`` wrote them.
        parts: the sets by name.
    """
    seen = {told.get("sha256") for leg in legs for told in leg["sets"].values()}
    images = merged_images(*(leg.get(IMAGES, {}) for leg in legs))
    found = {}
    for name, part in parts.items():
        count, known = len(part.dataset), len(shared_names(part.dataset, images))
        if known < count and part.dataset.fingerprint() in seen:
            known = count
        if known:
            found[name] = f"{known} of {count} images"
    return found


def images_of(parts: dict[str, Part]) -> dict[str, list[str]]:
    """Return the names of the images of all sets by root, for ``record_data``."""
    return images_by_root(part.dataset for part in parts.values())


def without_images(legs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return legs without the names of their images, whose roots are paths of this machine."""
    return [{key: value for key, value in leg.items() if key != IMAGES} for leg in legs]


def record_data(
    path: Path,
    step: int,
    sets: dict[str, dict[str, Any]],
    augment: dict[str, Any],
    terms: list[dict[str, str]] | None = None,
    images: dict[str, list[str]] | None = None,
) -> None:
    """Note in a JSON list from which step on which data is trained on; unchanged data adds none.

    Args:
        path: of the list.
        step: that comes next.
        sets: the training sets as ``describe_parts`` tells them.
        augment: fields of the augmentation that differ from its defaults.
        terms: of the weights that the leg begins from and of its teachers; None to note none.
        images: that are trained on, of ``images_of``; None to note none.
    """
    history = trained_legs(read_history(path), step)
    used = {"sets": sets, "augment": augment}
    if history and {key: history[-1].get(key) for key in used} == used:
        legs = history
        if terms is not None:
            before = legs[-1].get("terms", [])
            legs[-1]["terms"] = before + [one for one in terms if one not in before]
        if images is not None:
            legs[-1][IMAGES] = merged_images(legs[-1].get(IMAGES, {}), images)
    else:
        if history:
            print(
                f"the data has changed since step {history[-1]['from_step']}: the run does not "
                "continue exactly"
            )
        noted = {} if terms is None else {"terms": terms}
        noted |= {} if images is None else {IMAGES: images}
        legs = [*history, {"from_step": step, **used, **noted}]
    write_file(path, json.dumps(legs, indent=1).encode())


def preload(mixture: list[tuple[ImageFolder, float]]) -> None:
    """Decode the images of a mixture into memory, as far as they fit.

    Raises:
        ToolError: a recording does not fit.
    """
    for dataset, _ in mixture:
        dataset.preload()
        if not (dataset.in_any_order or dataset.fits_memory):
            raise ToolError(
                f"{dataset.root}: {len(dataset)} decoded images do not fit into memory, and a "
                "recording cannot be read in random order; write them into a plain folder"
            )


def check_same_data(
    folder: Path, step: int, sets: dict[str, dict[str, Any]], augment: dict[str, Any]
) -> None:
    """Check that a complete stage did its last steps on this data: no step would see other data.

    Args:
        folder: of the stage.
        step: that it has reached.
        sets: as for ``record_data``.
        augment: likewise.

    Raises:
        ToolError: it did not; says in what they differ and what to do.
    """
    legs = trained_legs(read_history(folder / "data.json"), step)
    if not legs:
        return
    before = legs[-1]
    names = dict.fromkeys([*before["sets"], *sets])
    others = [name for name in names if before["sets"].get(name) != sets.get(name)]
    others += ["--augment"] if before.get("augment", {}) != augment else []
    if others:
        raise ToolError(
            f"{folder} is complete at step {step}, and was trained on other data than is given "
            f"now ({', '.join(others)}), which would have no effect; give another --run, "
            f"remove {folder} to start over, or raise --steps to train further"
        )

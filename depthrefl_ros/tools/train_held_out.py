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

"""What a fine-tuning run holds out: the same images at every leg, whatever data comes later."""

from __future__ import annotations

import json
from pathlib import Path

from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.train_data import Part, read_history
from depthrefl_ros.training.whole_files import write_file

HELD_OUT_SHARE = 0.1
HELD_OUT_FILE = "held_out.json"  # in the stage's folder: names of images by set


def split_off(
    parts: dict[str, Part], remembered: dict[str, list[str]] | None = None
) -> tuple[dict[str, Part], dict[str, Part]]:
    """Return training and held-out sets: the last tenth of every set, in one block, is held out.

    Neighbours in a recording show the same place, so single images between those trained on would
    tell too good a story.

    Args:
        parts: the sets by name.
        remembered: names of the images that the run has held out so far, by set. Those that are
            still there are held out instead of the last tenth.

    Raises:
        ToolError: a set has a single image, or none is left to train on.
    """
    training, held_out = {}, {}
    for name, part in parts.items():
        names = part.dataset.names
        if len(names) < 2:
            raise ToolError(f"{name} has 1 image; at least 2, or --val-data, are needed")
        kept = set((remembered or {}).get(name, ())) & set(names)
        kept = kept or set(names[-max(1, round(HELD_OUT_SHARE * len(names))) :])
        rest = [image for image in names if image not in kept]
        if not rest:
            raise ToolError(
                f"{name}: the run holds out all of the {len(names)} images, so none is left to "
                "train on; give --val-data, or another --run"
            )
        training[name] = part._replace(dataset=part.dataset.subset(rest))
        ours = [image for image in names if image in kept]
        held_out[name] = part._replace(dataset=part.dataset.subset(ours))
    return training, held_out


def recall_held_out(folder: Path, parts: dict[str, Part]) -> dict[str, list[str]]:
    """Return the names of the images that a run has held out so far, by set.

    Args:
        folder: of the stage. Without a record in it nothing is remembered.
        parts: the sets of this leg, none of them with held-out images of its own.

    Raises:
        ToolError: the record is damaged, or the run was trained on all images of a set.
    """
    path = folder / HELD_OUT_FILE
    if not path.exists():
        return {}
    try:
        remembered = {name: list(images) for name, images in json.loads(path.read_text()).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise ToolError(f"{path} is damaged: {error!r}") from error
    trained_on = {name for leg in read_history(folder / "data.json") for name in leg["sets"]}
    seen = [name for name in parts if name in trained_on and name not in remembered]
    if seen:
        raise ToolError(
            f"{folder} was trained on all images of {seen[0]}, so none can be held out; give "
            "--val-data as before, or another --run"
        )
    return remembered


def check_not_held_out(folder: Path, parts: dict[str, Part]) -> None:
    """Check that a complete run, which is given --val-data now, had no images of its own held out.

    Args:
        folder: of the stage.
        parts: the sets of --data, whole.

    Raises:
        ToolError: it held out images of one of the sets; says how to measure on others.
    """
    held_out = recall_held_out(folder, {})
    for name in parts:
        if held_out.get(name):
            raise ToolError(
                f"{folder} is complete and held out {len(held_out[name])} images of {name}, but "
                "with --val-data it would train on them: leave --val-data out, or measure on other "
                f"images with depthrefl train finish --run {folder.parent} --val-data DATA"
            )


def remember_held_out(
    folder: Path, remembered: dict[str, list[str]], split: dict[str, Part]
) -> None:
    """Write the names of the images that no leg was trained on, this one included.

    Args:
        folder: of the stage.
        remembered: as ``recall_held_out`` returned them.
        split: what ``split_off`` holds out of this leg's sets; empty with --val-data.
    """
    merged = dict(remembered) if split else {}
    for name, part in split.items():
        merged[name] = list(dict.fromkeys([*merged.get(name, ()), *part.dataset.names]))
    # Whole at once: processes that train together read it while the first one writes.
    write_file(folder / HELD_OUT_FILE, json.dumps(merged, indent=1).encode())

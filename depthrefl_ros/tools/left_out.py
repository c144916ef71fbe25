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

"""Which images of a data set have no part in what a command did, and why."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from depthrefl_ros.image_files import natural_key

if TYPE_CHECKING:
    from depthrefl_ros.training.datasets import ImageFolder
    from depthrefl_ros.training.evaluation import Evaluation

UNREADABLE = "cannot be read"
_SHOWN = 5  # names a reason


def incomplete(samples: ImageFolder) -> dict[str, Sequence[str]]:
    """Return the names of the images that a data set itself leaves out, by reason."""
    return {
        "have no depth file": samples.without_depth,
        "have no camera in intrinsics.yaml": samples.without_camera,
    }


def cannot_be_read(unreadable: Mapping[str, str]) -> str:
    """Return how many images cannot be read, and of the first one why.

    Args:
        unreadable: why, by the name of the image; at least one.
    """
    return f"{len(unreadable)} images cannot be read, the first: {next(iter(unreadable.values()))}"


def evaluation_lines(
    samples: ImageFolder, evaluation: Evaluation, unreadable: Collection[str]
) -> list[str]:
    """Return what has no part in an evaluation's figures, and why, a line a reason.

    Args:
        samples: what was evaluated.
        evaluation: of it.
        unreadable: names of the images that cannot be read.
    """
    reasons = {UNREADABLE: sorted(unreadable, key=natural_key)}
    reasons["have no depth that counts"] = evaluation.without_truth
    lines = left_out_lines({**incomplete(samples), **reasons})
    if any(evaluation.sky_shares):
        share = 100.0 * float(np.mean(evaluation.sky_shares))
        lines.append(f"the network takes {share:.2g} % of the truth for sky, which is left out")
    return lines


def left_out_lines(reasons: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a line for every reason by which images are left out.

    Args:
        reasons: names of images by what they lack: ``have no depth file``. Reasons of no image
            are not told.
    """
    return [
        f"{len(names)} images {reason} and are left out: {', '.join(names[:_SHOWN])}"
        + (" ..." if len(names) > _SHOWN else "")
        for reason, names in reasons.items()
        if names
    ]

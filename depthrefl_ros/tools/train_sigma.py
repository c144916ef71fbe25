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

"""Sigma learnt from errors on images that the weights had not seen: weights with an error head."""

from __future__ import annotations

import argparse
import sys

import torch

from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.train_average import (
    SIGMA,
    Member,
    read_member,
    views_in_words,
    views_of,
    write_made,
)
from depthrefl_ros.tools.train_data import (
    IMAGES,
    describe_parts,
    images_of,
    open_parts,
    trained_on,
)
from depthrefl_ros.tools.train_options import augment_changes
from depthrefl_ros.tools.weight_terms import terms_of_parts
from depthrefl_ros.training.error_fit import collect_errors, fit_error_head


def fit_sigma(arguments: argparse.Namespace) -> int:
    """Write ``RUN/sigma/checkpoint-STEPS``; return the exit code.

    Depth stays bit by bit what it was. A head that the weights had already is drawn anew.

    Raises:
        ToolError: the weights are neither a run's nor a bundle's of ours, their record is damaged,
            or there is no data.
        DatasetError: an image cannot be read.
        OSError: the weights cannot be written; earlier ones still are there.
        ValueError: no view has enough truth.
    """
    member = read_member(arguments.weights)
    parts = open_parts(arguments.data)
    if not parts:
        raise ToolError("--data is needed: images with depth that the weights have not seen")
    for name, count in trained_on(member.legs, parts).items():
        print(
            f"warning: --data {name} was trained on ({count}): its errors are smaller than "
            "elsewhere, so sigma will be too small",
            file=sys.stderr,
        )
    torch.set_num_threads(arguments.threads)
    model = member.model
    model.add_error_head()
    model.eval()
    batches = views_of(parts, arguments, model.config)
    found = collect_errors(model, (batches[step] for step in range(len(batches))), arguments.seed)
    before, after = fit_error_head(model.error_head, found, arguments.seed)
    print(
        f"{len(found.error)} places of {len(found.picture)} views: negative log-likelihood "
        f"{before:.3f} by one sigma for all, {after:.3f} by the error head"
    )
    words = views_in_words(batches, parts)
    origin = f"{member.name}, its sigma fitted to errors on {words}"
    leg = {
        "from_step": 0,
        "sets": describe_parts(parts, model.config.mount),
        "augment": augment_changes(arguments.augment),
        "terms": terms_of_parts(parts),
        IMAGES: images_of(parts),
        "fitted": "error_head",
        "views": len(batches) * batches.batch,
        "seed": arguments.seed,
    }
    state = {**member.record, "origin": origin, "model": model.config.to_dict()}
    state["terms"] = member.terms
    folder = arguments.run / SIGMA / f"checkpoint-{member.record['step']:08d}"
    write_made(folder, model, state, [*_trained(member), leg])
    return 0


def _trained(member: Member) -> list[dict]:
    """Return the legs of a member but those of an earlier error head, which is gone."""
    return [leg for leg in member.legs if leg.get("fitted") != "error_head"]

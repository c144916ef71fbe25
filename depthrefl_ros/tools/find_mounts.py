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

"""Finds where the camera stood, from true depth: mounts.yaml for training with --mount."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import yaml

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.floor_plane import camera_floor_depth
from depthrefl_ros.geometry.ground import FloorSettings, find_floor
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.tools.bag_files import is_recording
from depthrefl_ros.tools.command_line import (
    ToolError,
    add_json_argument,
    make_parser,
    positive_float,
    progress,
    run_tool,
    write_json,
)
from depthrefl_ros.tools.left_out import cannot_be_read, incomplete, left_out_lines
from depthrefl_ros.tools.output_file import check_output_files
from depthrefl_ros.training.datasets import DatasetError, Sample, parse_data_option
from depthrefl_ros.training.datasets.mounts import MOUNTS_FILE, mount_of

EXAMPLES = """
depthrefl find_mounts my_folder
depthrefl find_mounts my_folder --height 0.25 0.4 --max-tilt 20
depthrefl find_mounts NYU,list=NYU/train.txt --out nyu_mounts.yaml
"""
_LEVEL = (0.0, -1.0, 0.0)  # up in the optical frame of a level camera
_TOLERANCE = 0.02  # relative, of true depth that lies on the floor
_BELOW = 1.1  # how much farther than the floor depth must be to lie below it
_MOST_BELOW = 0.005  # share of the pixels that look down; with more the plane is a table's top


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "depthrefl find_mounts",
        "Finds the floor in the true depth of every image, and writes how high above it the camera "
        "stood and how it was tilted, for those images that show enough of it.",
        EXAMPLES,
    )
    add = parser.add_argument
    add("data", help="data set with true depth, as for `depthrefl train --data`, but not a "
        "recording: `depthrefl dataset` writes one to a folder, with its mounts")  # fmt: skip
    add("--out", type=Path, metavar="FILE",
        help=f"file to write (default {MOUNTS_FILE} in a plain folder)")  # fmt: skip
    add("--height", type=positive_float, nargs=2, default=(0.05, 3.0), metavar=("LOW", "HIGH"),
        help="lowest and highest camera, metres (default 0.05 3); a narrow range mistakes fewer "
        "tables for the floor")  # fmt: skip
    add("--max-tilt", type=positive_float, default=40.0, metavar="DEGREES",
        help="largest pitch and roll together (default 40)")  # fmt: skip
    add_json_argument(parser, "number of images and heights")
    return parser


def find_mount(sample: Sample, settings: FloorSettings) -> Pose | None:
    """Return base_from_camera of an image, from the floor in its depth; None where none is seen.

    Args:
        sample: with true depth.
        settings: what counts as a floor; the tilt is measured from a level camera.
    """
    height, width = sample.depth_m.shape
    camera = Camera.pinhole(width, height, *sample.intrinsics)
    floor = find_floor(sample.depth_m, camera, np.array(_LEVEL), settings)
    if floor is None:
        return None
    plane_m = camera_floor_depth(camera, floor.base_from_camera)
    looks_down = (plane_m > 0) & (sample.depth_m > 0)
    below = sample.depth_m[looks_down] > _BELOW * plane_m[looks_down]
    return floor.base_from_camera if below.mean() < _MOST_BELOW else None


def _find(arguments: argparse.Namespace, _: list[str]) -> int:
    try:
        option = parse_data_option(arguments.data)
        if is_recording(option.path):
            raise ToolError(
                f"{option.path} is a recording; write it into a folder, with the mounts from TF: "
                "depthrefl dataset BAG FOLDER"
            )
        dataset = option.open()
        low, high = arguments.height
        settings = FloorSettings(
            arguments.max_tilt, _TOLERANCE, min_height_m=low, max_height_m=high
        )
        out = arguments.out or option.path / MOUNTS_FILE
        if arguments.out is None and dataset.kind != "plain":
            raise ToolError(f"{option.path} is no plain folder; --out FILE is needed")
        if out.exists():
            raise ToolError(f"{out} exists; remove it first, or give another --out")
        check_output_files(out, arguments.json)
        found, unreadable = {}, {}
        with progress(len(dataset), "floors", "images") as bar:
            for index, name in enumerate(dataset.names):
                bar.update()
                try:
                    mount = find_mount(dataset[index], settings)
                except DatasetError as error:
                    unreadable[name] = str(error)
                    continue
                if mount is not None:
                    found[name] = mount_of(mount)
    except (DatasetError, ValueError) as error:
        raise ToolError(str(error)) from error
    if not found:
        raise ToolError(
            f"{option.path}: none of {len(dataset)} images shows enough of a floor"
            + (f"; {cannot_be_read(unreadable)}" if unreadable else "")
        )
    heights = np.quantile([mount["height_m"] for mount in found.values()], [0.05, 0.5, 0.95])
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(yaml.safe_dump(found, default_flow_style=None))
    except OSError as error:
        raise ToolError(f"{out} cannot be written: {error.strerror}") from error
    figures = {
        "images": len(dataset),
        "mounts": len(found),
        "unreadable": list(unreadable),
        "height_m": heights.tolist(),
    }
    write_json(arguments.json, figures)
    for line in left_out_lines(incomplete(dataset)):
        print(line, file=sys.stderr)
    if unreadable:
        print(f"warning: {cannot_be_read(unreadable)}", file=sys.stderr)
    print(
        f"{out}: {len(found)} of {len(dataset)} images show the floor, {heights[0]:.2f} to "
        f"{heights[2]:.2f} m below the camera (median {heights[1]:.2f})"
    )
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit code."""
    return run_tool(_parser(), argv, _find)


if __name__ == "__main__":
    sys.exit(main())

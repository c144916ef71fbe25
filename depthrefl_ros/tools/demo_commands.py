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

"""The command lines of the demo's processes: camera, recorder, node and page."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from depthrefl_ros.tools.demo_evaluation import DEPTH_INFO
from depthrefl_ros.tools.source_frame import FrameSource
from depthrefl_ros.tools.source_mounts import BASE_FRAME

MOST_POINTS = 1_000_000
# The camera waits for the node as long as that says that it opens or builds its engine.
PATIENCE_S = 24 * 3600.0
READY_WITHIN_S = 90.0  # from the engine to the first depth


def source_arguments(args: argparse.Namespace, source: FrameSource) -> list[str]:
    """Return the command line of ``camera_source``."""
    options = {
        "--rate": args.rate,
        "--camera-info": args.camera_info,
        "--hfov": args.hfov,
        "--wait-for-subscriber": PATIENCE_S,
        "--subscribers": 2,  # the node, and the recorder once the engine is open
        "--answers": DEPTH_INFO if source.is_still and args.rate is None else None,
        "--json": args.output / "logs" / "source.json",
    }
    given = [(name, str(value)) for name, value in options.items() if value is not None]
    return [args.source, *(text for pair in given for text in pair)]


def record_arguments(args: argparse.Namespace, logs: Path) -> list[str]:
    """Return the command line of ``record``."""
    arguments = ["--output", str(args.output), "--name", "demo", "--overwrite", "--wait-for-engine"]
    arguments += ["--pictures-every", "0", "--wait", f"{READY_WITHIN_S:g}"]
    arguments += ["--max-gigabytes", f"{args.max_gigabytes:g}", "--json", str(logs / "record.json")]
    if args.camera_height is None:
        return [*arguments, "--no-obstacles"]
    mount = (args.camera_height, args.camera_pitch, args.camera_roll)
    return [*arguments, "--mount", *map(str, mount), "--base-frame", BASE_FRAME]


def node_arguments(args: argparse.Namespace, pixels: int) -> list[str]:
    """Return the command line of the node."""
    parameters = {"model": args.model, "engine": args.engine}
    if pixels > MOST_POINTS:  # a photograph's cloud of 200 MB is too much for one message
        parameters["cloud_stride"] = math.ceil(math.sqrt(pixels / MOST_POINTS))
    if args.output_size is not None:
        parameters["output_size"] = args.output_size
    if args.camera_height is not None:
        parameters["base_frame"] = BASE_FRAME
        for name in ("camera_height", "camera_pitch", "camera_roll"):
            parameters[name] = float(getattr(args, name))
    arguments = ["--ros-args", "-r", "image:=/camera/image_raw"]
    arguments += ["-r", "camera_info:=/camera/camera_info"]
    return arguments + [
        text for item in parameters.items() for text in ("-p", "{}:={}".format(*item))
    ]


def live_source_arguments(args: argparse.Namespace, source: FrameSource) -> list[str]:
    """Return the command line of ``camera_source`` that plays without end."""
    options = {"--rate": args.rate, "--camera-info": args.camera_info, "--hfov": args.hfov}
    given = [(name, str(value)) for name, value in options.items() if value is not None]
    loop = [] if source.is_live else ["--loop"]
    return [args.source, *loop, *(text for pair in given for text in pair)]

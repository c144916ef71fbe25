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

"""Packs a dataset folder of any kind that ``evaluate`` reads as a recording."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.image_files import ImageFileError
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.left_out import incomplete, left_out_lines
from depthrefl_ros.tools.weight_terms import keep_terms
from depthrefl_ros.training.datasets import (
    DatasetError,
    ImageFolder,
    PlainFolder,
    Sample,
    open_dataset,
)
from depthrefl_ros.training.synth.folder import encode_depth, encode_image

SUFFIX = ".mcap"
JPEG_QUALITY = 95  # of pictures that are encoded anew
MILLIMETRES = 1000.0  # units a metre, as recordings have depth
JPEG_START, PNG_START = b"\xff\xd8", b"\x89PNG"


def check_recording(path: Path) -> None:
    """Raise ToolError where no recording may be written to a path."""
    if path.suffix != SUFFIX:
        raise ToolError(f"{path}: a recording is written to FILE{SUFFIX}")
    if path.exists():
        raise ToolError(f"{path} exists already; choose another name, or remove it")


def pack(root: Path, out: Path, rate_hz: float) -> dict:
    """Pack the data set `root` as the recording `out`; return the figures for --json.

    Raises:
        ToolError: the data set cannot be read, or the recording cannot be written.
    """
    from depthrefl_ros.training.synth.recording import write_recording

    try:
        samples = open_dataset(root)
        for line in left_out_lines(incomplete(samples)):
            print(f"{root}: {line}", file=sys.stderr)
        frames = write_recording(out, frames_of(samples), rate_hz)
        keep_terms(samples, out)
    except (DatasetError, OSError) as error:
        raise ToolError(str(error)) from error
    size_mb = out.stat().st_size / 1e6
    print(f"{out}: {frames} frames at {rate_hz:g} Hz, {size_mb:.1f} MB")
    return {"frames": frames, "rate_hz": rate_hz, "size_mb": size_mb, "recording": str(out)}


def frames_of(samples: ImageFolder) -> Iterator[tuple[bytes, bytes, Camera]]:
    """Yield JPEG, PNG of depth in millimetres, and camera of each image.

    Files that are so already are taken as they are. Others are decoded, rectified where their lens
    distorts, and encoded anew; depth beyond 65.535 m is unknown then.

    Raises:
        DatasetError: an image cannot be read.
    """
    for name in samples.names:
        try:
            sample = samples.load(name)
        except ImageFileError as error:
            raise DatasetError(str(error)) from error
        height, width = sample.image.shape[:2]
        camera = Camera.pinhole(width, height, *sample.intrinsics)
        colour, depth = _stored(samples, sample)
        yield (
            colour or encode_image(sample.image, JPEG_QUALITY),
            depth or encode_depth(sample.depth_m),
            camera,
        )


def _stored(samples: ImageFolder, sample: Sample) -> tuple[bytes | None, bytes | None]:
    """Return the bytes of an image's files that a recording can hold as they are."""
    if not isinstance(samples, PlainFolder) or samples.camera_of(sample.name).is_distorted:
        return None, None
    colour_file, depth_file = samples.files_of(sample.name)[:2]
    colour, depth = colour_file.read_bytes(), depth_file.read_bytes()
    is_millimetres = (samples.depth_factor or MILLIMETRES) == MILLIMETRES
    return (
        colour if colour.startswith(JPEG_START) else None,
        depth if is_millimetres and _has_16_bits(depth) else None,
    )


def _has_16_bits(content: bytes) -> bool:
    """Return whether a file is a PNG of one channel of 16 bits."""
    if not content.startswith(PNG_START):
        return False
    values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    return values is not None and values.ndim == 2 and values.dtype == np.uint16

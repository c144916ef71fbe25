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

"""``predict``: depth of photographs, videos and recordings as files; no ROS."""

from __future__ import annotations

import argparse
import io
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import depthrefl_ros
from depthrefl_ros.engine.base import EngineError
from depthrefl_ros.engine.bundle import BundleError
from depthrefl_ros.geometry.camera import Camera, CameraError
from depthrefl_ros.geometry.cloud import fill_cloud, write_ply
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.preview import depth_preview
from depthrefl_ros.tools.camera_info_file import (
    OF_TURNED,
    CameraInfoError,
    Intrinsics,
    add_camera_arguments,
    recorded_camera,
)
from depthrefl_ros.tools.command_line import (
    EXIT_STOPPED,
    StopRequest,
    ToolError,
    UnreadableError,
    add_model_arguments,
    make_parser,
    positive_float,
    positive_int,
    progress,
    run_tool,
)
from depthrefl_ros.tools.frame_sources import open_source_or_assume
from depthrefl_ros.tools.predict_folder import ResultFolder, default_folder
from depthrefl_ros.tools.source_frame import FrameSource, SourceFrame
from depthrefl_ros.tools.source_mounts import (
    SourceMounts,
    add_base_frame_argument,
    add_mount_arguments,
    said_mount,
)

KINDS = ("picture", "png", "npy", "ply")
MAX_GIGABYTES = 2.0
MOST_POINTS = 1_000_000  # of a cloud; a photograph has 12 million pixels and more
MILLIMETRES = 1000.0


def main(argv: list[str] | None = None) -> int:
    """Run the command; see ``depthrefl predict --help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "depthrefl predict",
        "Estimate the depth of a photograph, a folder of images, a video or a recording, without "
        "ROS. For each image, write a picture, a 16 bit PNG (millimetres), a NumPy array (metres) "
        "and a point cloud, and print a line of JSON on standard output.",
        """depthrefl predict photo.jpg --hfov 60
        depthrefl predict photos/ --camera-info camera.yaml --output depth --write npy
        depthrefl predict drive.mp4 --hfov 70 --every 10 --camera-height 0.5 --camera-pitch 4""",
    )
    parser.add_argument("source", help="image, image folder, video, recording or webcam number")
    add_camera_arguments(parser, note=OF_TURNED)
    add_mount_arguments(parser, "for models that take the mount")
    add_base_frame_argument(parser)
    parser.add_argument(
        "--image-topic", help="image topic in a recording; default: its colour camera"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="output folder; default: the source's name with _depth appended",
    )
    parser.add_argument(
        "--write",
        default=",".join(KINDS),
        metavar="KINDS",
        help="what to write, separated by commas (default %(default)s)",
    )
    add_model_arguments(parser)
    parser.add_argument(
        "--every", type=positive_int, default=1, metavar="N", help="use only every N-th image"
    )
    parser.add_argument("--frames", type=positive_int, metavar="N", help="stop after N images")
    parser.add_argument(
        "--max-gigabytes",
        type=positive_float,
        default=MAX_GIGABYTES,
        metavar="GB",
        help="stop when this much is written (default %(default)g)",
    )
    return parser


def _run(args: argparse.Namespace, _ros_args: list[str]) -> int:
    kinds = _kinds(args.write)
    intrinsics = Intrinsics.of(args)
    source, assumed_hfov_deg = open_source_or_assume(args.source, intrinsics, args.image_topic)
    for note in source.notes:
        _say(note)
    folder = ResultFolder(args.output or default_folder(args.source), args.source)
    estimator = open_estimator(args.model, args.engine)
    mounts = open_mounts(args, estimator, source.recording, _say)
    _say(f"writing to {folder.path}/, at most {args.max_gigabytes:g} GB (--max-gigabytes)")
    written, total = 0, source.count and math.ceil(source.count / args.every)
    total = min(total or args.frames, args.frames) if args.frames else total
    seen, done, is_stopped = 0, 0, False
    frames = itertools.islice(source.frames(), 0, None, args.every)
    with StopRequest() as stop, progress(total, "estimating", "images") as bar:
        for frame, name in itertools.islice(_named(frames, source), args.frames):
            if stop:
                is_stopped = True
                break
            seen += 1
            mount = mounts.at(frame.frame_id, frame.stamp_ns)
            shown = frame.name if source.is_still else f"frame {frame.name}"
            try:
                result, milliseconds = _timed(estimator, frame, shown, mount)
            except UnreadableError as error:
                if isinstance(error, CameraInfoError) and not source.skipped:
                    source.check_cameras()  # said once, not for each of a long recording
                if source.count == 1:
                    raise
                source.skip(f"{source.name}: {error}")
                bar.update()
                continue
            folder.begin()
            line = _written(result, folder.path, name, kinds, assumed_hfov_deg)
            line |= {"mount": mount and mount.mount_in_words(), "milliseconds": milliseconds}
            written += sum((folder.path / file).stat().st_size for file in line["files"].values())
            print(folder.add({"image": frame.name, **line}), flush=True)
            done += 1
            bar.update()
            if written > args.max_gigabytes * 1e9:
                _say(f"{args.max_gigabytes:g} GB are written: ending (--max-gigabytes)")
                break
    if seen and not done and not is_stopped:
        raise ToolError(f"{source.name}: none of {seen} images can be used{source.first_reason()}")
    if is_stopped:
        _say(f"stopped after {seen} of {total} images" if total else f"stopped after {seen} images")
    left_out = f"; left out: {len(source.skipped)} images" if source.skipped else ""
    if done or not is_stopped:
        _say(f"{folder.path}/: {written / 1e6:.0f} MB{left_out}")
    return EXIT_STOPPED if is_stopped else 0


def _say(text: str) -> None:
    print(f"depthrefl predict: {text}", file=sys.stderr, flush=True)


def _kinds(text: str) -> list[str]:
    kinds = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise ToolError(f"--write {text!r}: known are {', '.join(KINDS)}")
    return kinds


def open_estimator(model: str, engine: str) -> Any:
    """Load a model and open an engine; what is wrong becomes a ToolError."""
    try:
        return depthrefl_ros.load(model, engine)
    except (BundleError, EngineError, ValueError) as error:
        raise ToolError(str(error)) from error


def open_mounts(
    args: argparse.Namespace, estimator: Any, recording: Path | None, say: Callable[[str], None]
) -> SourceMounts:
    """Return where the cameras stand, as far as the model takes it.

    Args:
        args: of ``add_mount_arguments`` and ``add_base_frame_argument``.
        estimator: of ``depthrefl_ros.load``.
        recording: path of the source where that is a recording; else None.
        say: tells the user that the model takes no mount.
    """
    said = said_mount(args)
    if estimator.bundle.takes_mount:
        return SourceMounts(said, recording, args.base_frame)
    if said is not None:
        say(f"{estimator.bundle.name} does not take the mount: --camera-height has no effect")
    return SourceMounts(None, None)


def estimate(estimator: Any, frame: Any, camera: Camera | Any, name: str, **options: Any) -> Any:
    """Estimate the depth of anything that has the fields of an Image message.

    Args:
        estimator: of ``depthrefl_ros.load``.
        frame: the image.
        camera: of the image, or its CameraInfo.
        name: of the image, for errors.
        options: handed on.

    Raises:
        CameraInfoError: a CameraInfo that cannot be used, or is not of this image.
        UnreadableError: an image or a camera that cannot be used.
    """
    from depthrefl_ros.ros.convert.images import MessageError, image_to_array

    is_recorded = not isinstance(camera, Camera)
    try:
        pixels, channels = image_to_array(frame, name, getattr(frame, "bits", None))
        if is_recorded:
            camera = recorded_camera(camera, name)
        return estimator.estimate(pixels, camera, channels=channels, **options)
    except MessageError as error:  # names the image itself
        raise UnreadableError(str(error)) from error
    except ValueError as error:
        is_of_info = is_recorded and isinstance(error, CameraError)
        raise (CameraInfoError if is_of_info else UnreadableError)(f"{name}: {error}") from error


def _named(frames: Iterator[SourceFrame], source: FrameSource) -> Iterator[tuple[SourceFrame, str]]:
    """Yield each frame with a file name of its own: a folder may have ``a.jpg`` and ``a.png``."""
    used: set[str] = set()
    for frame in frames:
        stem = frame.name if source.is_still else f"frame_{int(frame.name):06d}"
        name = next(
            name
            for number in itertools.count(1)
            if (name := stem if number == 1 else f"{stem}_{number}") not in used
        )
        used.add(name)
        yield frame, name


def _timed(estimator: Any, frame: SourceFrame, name: str, mount: Pose | None) -> tuple[Any, float]:
    """Return the estimate of one frame, and the milliseconds it took."""
    started_s = time.perf_counter()
    how = {"with_colour": True, "base_from_camera": mount}
    result = estimate(estimator, frame, frame.camera, name, **how)
    return result, round(1e3 * (time.perf_counter() - started_s), 1)


def _written(
    result: Any, folder: Path, name: str, kinds: list[str], assumed_hfov_deg: float | None
) -> dict[str, Any]:
    """Write the files of one image; returns what its line says of them."""
    files = write_files(result, folder, name, kinds, assumed_hfov_deg)
    depth = result.depth[np.isfinite(result.depth)]
    places = np.percentile(depth, (1, 50, 99)) if depth.size else [math.nan] * 3
    nearest, median, farthest = (round(float(one), 3) if depth.size else None for one in places)
    camera = result.camera
    return {
        "files": files,
        "width": camera.width,
        "height": camera.height,
        "nearest_m": nearest,
        "median_m": median,
        "farthest_m": farthest,
        "known": round(depth.size / result.depth.size, 4),
        "hfov_deg": round(math.degrees(2 * math.atan(camera.width / 2 / camera.fx)), 2),
        "hfov_is_assumed": assumed_hfov_deg is not None,
    }


def write_files(
    result: Any, folder: Path, name: str, kinds: list[str], assumed_hfov_deg: float | None = None
) -> dict[str, str]:
    """Write the depth of one image.

    Args:
        result: of ``DepthEstimator.estimate``, with colours.
        folder: to write to.
        name: of the files in it, without suffix; ``kitchen/0001`` makes the folder ``kitchen``.
        kinds: of ``KINDS``: ``picture``, the image beside its depth in colours; ``png``, 16 bit
            millimetres, 0 where unknown; ``npy``, float32 metres, NaN where unknown, infinite
            beyond the range; ``ply``, the cloud.
        assumed_hfov_deg: written on the picture where it was assumed.

    Returns:
        The files' paths in the folder by kind.

    Raises:
        ToolError: a file cannot be written.
    """
    endings = {"picture": "_depth.png", "png": "_depth_mm.png", "npy": "_depth.npy"}
    endings["ply"] = "_cloud.ply"
    files = {kind: f"{name}{endings[kind]}" for kind in kinds}
    for kind, path in files.items():
        file = folder / path
        try:
            file.parent.mkdir(exist_ok=True, parents=True)
            if kind == "ply":
                write_ply(file, _cloud(result))
            else:
                file.write_bytes(_content(kind, result, assumed_hfov_deg))
        except OSError as error:
            file.unlink(missing_ok=True)
            raise ToolError(f"{file}: cannot be written: {error.strerror or error}") from error
    return files


def _content(kind: str, result: Any, assumed_hfov_deg: float | None) -> bytes:
    if kind == "picture":
        return _encoded(_picture(result, assumed_hfov_deg))
    if kind == "png":
        return _encoded(to_millimetres(result.depth))
    array = io.BytesIO()  # NumPy's own words for a full disk name neither disk nor file
    np.save(array, result.depth)
    return array.getvalue()


def to_millimetres(depth_m: np.ndarray) -> np.ndarray:
    """Return (H, W) float32 metres as uint16 millimetres, 0 where unknown (REP-118)."""
    with np.errstate(invalid="ignore"):
        millimetres = np.rint(depth_m * np.float32(MILLIMETRES))
        is_known = (millimetres > 0) & (millimetres <= np.iinfo(np.uint16).max)
    return np.where(is_known, millimetres, 0).astype(np.uint16)


def _encoded(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def _picture(result: Any, assumed_hfov_deg: float | None) -> np.ndarray:
    depth = result.depth
    known = depth[np.isfinite(depth)]
    near, far = np.percentile(known, (0.5, 99.5)) if known.size else (0.5, 10.0)
    preview = depth_preview(depth, float(near), float(far))
    picture = np.hstack([np.ascontiguousarray(result.colour_bgra[..., :3]), preview])
    if assumed_hfov_deg is not None:
        text = f"assumed field of view: {assumed_hfov_deg:g} degrees"
        size = max(0.4, picture.shape[0] / 900)
        place = (round(12 * size), picture.shape[0] - round(14 * size))
        for colour, width in (((0, 0, 0), 5), ((80, 80, 255), 1)):
            thickness = max(1, round(width * size))
            cv2.putText(
                picture, text, place, cv2.FONT_HERSHEY_DUPLEX, size, colour, thickness, cv2.LINE_AA
            )
    return picture


def _cloud(result: Any) -> np.ndarray:
    points = np.empty((*result.depth.shape, 4), np.float32)
    fill_cloud(result.depth, result.colour_bgra, result.camera, points)
    stride = math.ceil(math.sqrt(result.depth.size / MOST_POINTS))
    return points[::stride, ::stride]


if __name__ == "__main__":
    sys.exit(main())

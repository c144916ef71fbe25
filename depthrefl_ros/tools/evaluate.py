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

"""Measure how accurate a model bundle is on images with known depth."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from depthrefl_ros.tools.command_line import (
    ToolError,
    add_json_argument,
    make_parser,
    positive_float,
    run_tool,
    write_json,
    write_output,
)
from depthrefl_ros.tools.left_out import evaluation_lines
from depthrefl_ros.tools.output_file import check_output_files
from depthrefl_ros.training.protocol import ALIGNMENTS, CROPS, Protocol

if TYPE_CHECKING:
    from depthrefl_ros.engine.bundle import Bundle
    from depthrefl_ros.training.datasets import ImageFolder
    from depthrefl_ros.training.evaluation import Evaluation, Infer

EXAMPLES = """
depthrefl evaluate --data nyuv2 --list nyuv2/val.txt --crop eigen --json accuracy.json
depthrefl evaluate --data kitti --list eigen_test.txt --crop garg --cap 80 --align median
depthrefl evaluate --model my_bundle --data rooms --per-image mine.csv --against theirs.csv
depthrefl evaluate --model my_bundle --data drive.mcap --calibrate
depthrefl evaluate --data drive.mcap --truth-topic /camera/aligned_depth/image_raw
depthrefl evaluate --model told_bundle --data drive_frames,mounts=mounts.yaml --mount
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = make_parser(
        "depthrefl evaluate",
        "Predicts depth for every image of a data set with a model bundle's engine and compares "
        "it with the truth: errors (means of per-image values, single pass), what sigma is worth, "
        "coverage of the calibrated intervals, and ordinal agreement. Intervals are by bootstrap "
        "over blocks of neighbouring images.",
        EXAMPLES,
    )
    add = parser.add_argument
    add("--model", default="indoor_tiny", metavar="NAME|FOLDER",
        help="a shipped model's name or a bundle's folder (default indoor_tiny)")  # fmt: skip
    add("--data", required=True, metavar="FOLDER[,kind=K][,depth_factor=N][,mounts=FILE]",
        help="images with true depth: a plain folder (rgb/, depth/, intrinsics.yaml), NYU Depth "
        "v2, KITTI, TUM RGB-D or a recording; the kind is detected unless given; depth_factor is "
        "the number of units per metre in a plain folder's depth files (default 1000 for whole "
        "numbers, else 1); mounts gives the camera's height and angles for each image (default: "
        "the folder's mounts.yaml)")  # fmt: skip
    add("--list", type=Path, metavar="FILE", help="the images to use (default: all)")
    add("--image-topic", metavar="TOPIC",
        help="image topic in a recording (default: the colour camera)")  # fmt: skip
    add("--truth-topic", metavar="TOPIC",
        help="true depth in a recording, registered to the images (default: depth_truth, or the "
        "only depth topic)")  # fmt: skip
    add("--blocks", type=Path, metavar="FILE.csv",
        help="a table with the columns image and block: which images show the same scene, for the "
        "intervals (default: from the names; SCENE/0001 belongs to SCENE)")  # fmt: skip
    add("--crop", choices=CROPS, default="none",
        help="the part of an image that counts (default none)")  # fmt: skip
    add("--cap", type=positive_float, default=10.0, metavar="METRES",
        help="leave out truth beyond this, and clamp predictions to it (default 10)")  # fmt: skip
    add("--align", choices=ALIGNMENTS, default="none",
        help="fit each prediction to its truth first: scale by the medians, or scale and shift by "
        "least squares in depth (default none)")  # fmt: skip
    add(
        "--mount",
        action="store_true",
        help="give the camera's height and angles to a model that takes them, and compare with its "
        "result without them (default: without)",
    )
    add("--engine", default="auto", help="auto (default), openvino, torch or another engine")
    add("--threads", type=int, default=0, help="CPU threads, 0 (default) for the engine's choice")
    add(
        "--cross-fit",
        action="store_true",
        help="also measure coverage with sigma calibrated on the other blocks of these images",
    )
    add(
        "--calibrate",
        action="store_true",
        help="for a bundle without sigma: measure its error on these images, by distance and "
        "beside edges, and write that into its model.yaml; min_confidence works from then on; of "
        "the options that change a measurement only --crop and --cap go with it",
    )
    add("--per-image", type=Path, metavar="FILE.csv", help="write every image's figures")
    add("--against", type=Path, metavar="FILE.csv",
        help="make a paired comparison with another evaluation's --per-image")  # fmt: skip
    add("--sheet", type=Path, metavar="FILE.png",
        help="draw the best, the median and the worst image by AbsRel")  # fmt: skip
    add_json_argument(parser, "the figures")
    return parser


class TimedInfer:
    """An engine's ``infer`` that notes how long each call took, in seconds."""

    def __init__(self, infer: Infer):
        self._infer = infer
        self.seconds: list[float] = []

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Run the engine; see ``Engine.infer``."""
        start = time.perf_counter()
        output = self._infer(images)
        self.seconds.append(time.perf_counter() - start)
        return output

    def median_ms(self) -> float:
        """Return the median in milliseconds."""
        return 1000.0 * float(np.median(self.seconds))


def run(arguments: argparse.Namespace, ros_arguments: list[str]) -> int:
    """Evaluate, print tables, and write what was asked for.

    Raises:
        ToolError: the bundle, an engine, the data or another evaluation cannot be used.
    """
    from depthrefl_ros.engine.base import EngineError
    from depthrefl_ros.engine.bundle import Bundle, BundleError
    from depthrefl_ros.engine.selection import EngineChoice, open_engine
    from depthrefl_ros.geometry.sigma_table import SigmaTable
    from depthrefl_ros.tools import evaluation_report
    from depthrefl_ros.tools.sample_sources import open_samples
    from depthrefl_ros.training.datasets import parse_data_option
    from depthrefl_ros.training.evaluation import evaluate_images
    from depthrefl_ros.training.truth_check import unit_hint

    # Before the minutes that evaluating takes.
    if arguments.calibrate:
        check_calibrate_alone(arguments)
    check_output_files(arguments.json, arguments.per_image, arguments.sheet)
    other = evaluation_report.read_per_image(arguments.against) if arguments.against else None
    try:
        protocol = Protocol(arguments.crop, arguments.cap, arguments.align)
        option = parse_data_option(arguments.data)
        if arguments.list is not None:
            option = replace(option, list_file=arguments.list)
        samples = open_samples(option, arguments.image_topic, arguments.truth_topic)
        blocks = evaluation_report.read_blocks(arguments.blocks) if arguments.blocks else None
        bundle = Bundle.load(arguments.model)
        choice = EngineChoice(arguments.engine, threads=arguments.threads)
        opened = open_engine(bundle, choice)
        if arguments.calibrate:
            from depthrefl_ros.tools.sigma_calibration import calibrate

            figures, told = calibrate(bundle, opened.engine, samples, protocol)
            write_json(arguments.json, figures)
            print(told, flush=True)
            return 0
        check_metric(bundle)
        unsure = without_sigma(bundle)
        if arguments.cross_fit and not bundle.says_sigma:
            raise ToolError(f"--cross-fit needs a sigma, and {unsure}")
        if arguments.mount:
            check_mounts(bundle, samples)
        infer, size = TimedInfer(opened.engine.infer), (bundle.width, bundle.height)
        unreadable = dict(samples.unreadable)

        def measured(is_told: bool) -> Evaluation:
            table = bundle.sigma_table
            found = evaluate_images(
                infer,
                samples,
                size,
                bundle.focal_px,
                protocol,
                sys.stderr.isatty(),
                bundle.resize,
                None if table is None else SigmaTable(*table).sigma,
                bundle.channels,
                is_told,
                unreadable=unreadable,
            )
            calibration = bundle.description["calibration"] if bundle.has_sigma else None
            evaluation_report.add_coverage(found, calibration)
            return found

        evaluation = measured(arguments.mount)
        for name, reason in unreadable.items():
            if name not in samples.unreadable:  # which were told when they were opened
                print(f"skipped: {reason}", file=sys.stderr, flush=True)
        figures = evaluation_report.make_report(evaluation, arguments.cross_fit, blocks)
        if arguments.mount:
            untold = measured(False)
            figures |= evaluation_report.beside_untold(evaluation, untold, blocks)
    except (ValueError, BundleError, EngineError) as error:
        raise ToolError(str(error)) from error
    report = {
        "model": bundle.name,
        "engine": opened.engine.name,
        "device": opened.engine.device,
        "precision": opened.engine.precision,
        "engine_steps": opened.steps,
        "engine_ms_median": infer.median_ms(),
        "data": str(option.path),
        "data_sha256": samples.fingerprint(),
        "truth": samples.describe_depth(),
        "images_without_depth_file": len(samples.without_depth),
        "images_without_camera": len(samples.without_camera),
        "images_unreadable": len(unreadable),
        "unreadable": unreadable,
        "unit_warning": unit_hint(samples.root.name, evaluation.unit_ratios, samples),
        "crop": protocol.crop,
        "cap_m": protocol.cap_m,
        "align": protocol.align,
        "without_sigma": unsure or None,
        "sky_share": float(np.mean(evaluation.sky_shares)),
        "images_told_mount": samples.count_mounts() if arguments.mount else 0,
        **figures,
    }
    said = [heading(report, bundle), evaluation_report.table(report)]
    if arguments.mount:
        said.append(evaluation_report.mount_table(report))
    said += [unsure] if unsure else []
    said += evaluation_lines(samples, evaluation, unreadable)
    if report["unit_warning"]:
        said.append(f"warning: {report['unit_warning']}")
    # Files first: who reads the tables through a pipe may be gone before they are printed.
    if arguments.per_image:
        evaluation_report.write_per_image(arguments.per_image, evaluation)
    if other is not None:
        changes = evaluation_report.differences(evaluation, other, arguments.against, blocks)
        said.append(evaluation_report.differences_table(changes, arguments.against))
        doubt = evaluation_report.other_truth(evaluation, other, arguments.against)
        said += [f"warning: {doubt}"] if doubt else []
        report["against"] = {
            "file": str(arguments.against),
            "warning": doubt,
            "differences": {name: interval._asdict() for name, interval in changes.items()},
        }
    if arguments.sheet:
        how = (protocol, arguments.mount)
        write_sheet(arguments.sheet, opened.engine.infer, samples, evaluation, bundle, *how)
    write_json(arguments.json, report)
    print("\n\n".join(said), flush=True)
    return 0


def check_calibrate_alone(arguments: argparse.Namespace) -> None:
    """Check that no option comes with --calibrate that it could not follow.

    Raises:
        ToolError: one does; says what to do.
    """
    given = {
        "--per-image": arguments.per_image,
        "--sheet": arguments.sheet,
        "--against": arguments.against,
        "--blocks": arguments.blocks,
        "--cross-fit": arguments.cross_fit,
        "--mount": arguments.mount,
        "--align": arguments.align != "none",
    }
    others = [option for option, value in given.items() if value]
    if others:
        raise ToolError(
            f"--calibrate writes a sigma into the bundle and does not take {', '.join(others)}; "
            "calibrate without, then measure the bundle by a second evaluate without --calibrate"
        )


def check_metric(bundle: Bundle) -> None:
    """Check that a bundle has what is compared: metres.

    Raises:
        ToolError: it has not; says what to do.
    """
    if bundle.kind == "inverse_relative":
        raise ToolError(
            f"{bundle.name} gives relative depth, no metres that could be compared with the truth; "
            "--calibrate measures how far it errs once an anchor has made it metric"
        )


def without_sigma(bundle: Bundle) -> str:
    """Return which figures are left out because a bundle has no (calibrated) sigma, or nothing."""
    if bundle.has_sigma:
        return ""
    if bundle.says_sigma:
        return f"{bundle.name} has a sigma that is not calibrated: coverage is left out"
    return (
        f"{bundle.name} does not say how sure it is: AUSE, AURG and coverage are left out; "
        "evaluate --calibrate on other images measures that"
    )


def check_mounts(bundle: Bundle, samples: ImageFolder) -> None:
    """Check that a bundle takes the mount, and that some image knows it.

    Raises:
        ToolError: not so; says what to do.
    """
    if not bundle.takes_mount:
        raise ToolError(f"--mount: {bundle.name} does not take the mount: its input has 3 channels")
    if not samples.count_mounts():
        raise ToolError(
            f"--mount: none of the {len(samples)} images of {samples.root} knows its mount; give "
            "a file of heights and angles: --data FOLDER,mounts=FILE"
        )


def heading(report: dict, bundle: Bundle) -> str:
    """Return what was measured and by which protocol, for people."""
    return (
        f"model     {bundle.name} ({bundle.licence})\n"
        f"engine    {report['engine']} {report['precision']} on {report['device']}, "
        f"{report['engine_ms_median']:.1f} ms an image (median)\n"
        f"because   {'; '.join(report['engine_steps'])}\n"
        f"data      {report['data']}, {report['images']} images in {report['blocks']} blocks\n"
        f"truth     {report['truth']}\n"
        f"protocol  crop {report['crop']}, cap {report['cap_m']:g} m, alignment "
        f"{report['align']}; means of per-image values, single pass"
    )


def write_sheet(
    path: Path,
    infer: Infer,
    samples: ImageFolder,
    evaluation: Evaluation,
    bundle: Bundle,
    protocol: Protocol,
    is_told: bool,
) -> None:
    """Write the picture of the best, the median and the worst image by AbsRel.

    Raises:
        ToolError: the file cannot be written.
    """
    import cv2

    from depthrefl_ros.tools.sheet import best_median_worst, draw_sheet

    places = best_median_worst(evaluation.values("abs_rel"))
    names = [evaluation.names[place] for place in places.values()]
    captions = [
        f"{label}: {name}   AbsRel {evaluation.figures[place]['abs_rel']:.3f}"
        for (label, place), name in zip(places.items(), names, strict=True)
    ]
    picture = draw_sheet(
        infer,
        [samples[samples.names.index(name)] for name in names],
        captions,
        (bundle.width, bundle.height),
        bundle.focal_px,
        protocol,
        f"{bundle.name}: best, median and worst of {len(evaluation.names)} images ({protocol})",
        bundle.resize,
        bundle.channels,
        is_told,
    )
    write_output(path, cv2.imencode(".png", picture)[1].tobytes())


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return run_tool(build_parser(), argv, run)


if __name__ == "__main__":
    sys.exit(main())

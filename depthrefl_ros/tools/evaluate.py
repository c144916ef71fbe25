"""Measure how accurate a model bundle is on images with known depth."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from depthrefl_ros.tools.command_line import (
    ToolError,
    add_json_argument,
    make_parser,
    run_tool,
    write_json,
)

EXAMPLES = """
evaluate --model indoor_tiny --nyu nyuv2 --list nyuv2/val.txt --json accuracy.json
evaluate --model my_bundle --plain rooms --engine openvino
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = make_parser(
        "evaluate",
        "Predicts depth for every image of a data set with a model bundle's engine and compares "
        "it with the truth: AbsRel, delta1, RMSE, SILog (means of per-image values, no "
        "alignment, truth below 10 m) and Kendall's tau of relative and metric depth.",
        EXAMPLES,
    )
    add = parser.add_argument
    add("--model", default="indoor_tiny", help="a shipped model's name or a bundle's folder")
    add("--engine", default="auto", help="auto (default), openvino or torch")
    add("--threads", type=int, default=0, help="CPU threads, 0 (default) for the engine's choice")
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--nyu", type=Path, metavar="FOLDER", help="labelled NYU Depth v2 images")
    data.add_argument(
        "--plain", type=Path, metavar="FOLDER", help="rgb/, depth/ (mm) and intrinsics.yaml"
    )
    add("--list", type=Path, metavar="FILE", help="the images to use; needed for --nyu")
    add_json_argument(parser, "the figures")
    return parser


def run(arguments: argparse.Namespace, ros_arguments: list[str]) -> int:
    """Evaluate, print a table, and write the figures if asked for.

    Raises:
        ToolError: the bundle, an engine or the data cannot be used.
    """
    from depthrefl_ros.engine.base import EngineError
    from depthrefl_ros.engine.bundle import Bundle, BundleError
    from depthrefl_ros.engine.selection import open_engine
    from depthrefl_ros.training.datasets import NyuFolder, PlainFolder
    from depthrefl_ros.training.evaluate import evaluate

    if arguments.nyu is not None and arguments.list is None:
        raise ToolError("--nyu needs --list, the images to evaluate on")
    try:
        samples = (
            PlainFolder(arguments.plain, arguments.list)
            if arguments.nyu is None
            else NyuFolder(arguments.nyu, arguments.list)
        )
        bundle = Bundle.load(arguments.model)
        opened = open_engine(bundle, arguments.engine, arguments.threads)
        size = (bundle.width, bundle.height)
        figures = evaluate(opened.engine.infer, samples, size, bundle.focal_px, show_progress=True)
    except (ValueError, OSError, BundleError, EngineError) as error:
        raise ToolError(str(error)) from error
    for name, value in figures.items():
        print(f"{name:20s} {value:.4f}" if isinstance(value, float) else f"{name:20s} {value}")
    report = {"model": bundle.name, "engine": opened.engine.name, **figures}
    write_json(arguments.json, {**report, "data_sha256": samples.fingerprint()})
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return run_tool(build_parser(), argv, run)


if __name__ == "__main__":
    sys.exit(main())

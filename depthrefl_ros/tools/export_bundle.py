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

"""Make a model bundle from a finished training run: ONNX files, weights, self-test, description."""

from __future__ import annotations

import argparse
import copy
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from depthrefl_ros.engine.bundle import file_digest
from depthrefl_ros.tools.command_line import (
    ToolError,
    add_json_argument,
    image_size,
    make_parser,
    run_tool,
    write_json,
)
from depthrefl_ros.tools.golden_images import read_calibration, read_golden, with_planes
from depthrefl_ros.tools.output_folder import (
    add_overwrite_argument,
    check_bundle_folder,
    is_export_of,
)
from depthrefl_ros.tools.weight_terms import COMMERCIAL, IMAGENET, LICENCE, stated, terms_of_run

if TYPE_CHECKING:
    from depthrefl_ros.network.model import DepthModel

EXAMPLES = """
depthrefl export_bundle runs/tiny models/indoor_tiny --golden a.jpg b.jpg c.jpg
depthrefl export_bundle old_bundle new_bundle --int8 photos_of_my_rooms
depthrefl export_bundle indoor_tiny models/wide --size 352x224
"""
NYU = "Silberman et al., Indoor Segmentation and Support Inference, ECCV 2012"
CITATIONS = {
    "nyu": NYU,
    "nyu_mat": NYU,
    "kitti": "Uhrig et al., Sparsity Invariant CNNs, 3DV 2017",
    "tum": "Sturm et al., A Benchmark for the Evaluation of RGB-D SLAM Systems, IROS 2012",
}


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("depthrefl export_bundle", __doc__ or "", EXAMPLES)
    parser.add_argument(
        "run",
        type=Path,
        help="folder of a run after `depthrefl train finish`, or a bundle trained with this "
        "package, to rewrite in the current format: its folder, or the name of a shipped model",
    )
    parser.add_argument(
        "bundle",
        type=Path,
        help="folder to write: new, empty, or the bundle to rewrite; it names the model",
    )
    add_overwrite_argument(parser)
    parser.add_argument(
        "--golden",
        type=Path,
        nargs=3,
        metavar="IMAGE",
        help="three rendered images for the self-test, not from a data set; required for a run",
    )
    parser.add_argument(
        "--size",
        type=image_size,
        metavar="WxH",
        help="input size of the network, such as 352x224 for cameras of 16:9; default: the size "
        "it was trained at. What an image is short of is padded",
    )
    parser.add_argument(
        "--int8",
        type=Path,
        metavar="IMAGES",
        help="also add model_int8.onnx, for precision int8: folder with a hundred or more images "
        "like those that the camera will see; needs pip install '.[int8]', takes minutes",
    )
    parser.add_argument(
        "--min-range", type=float, help="nearest depth, metres (default 0.4, or the bundle's)"
    )
    parser.add_argument(
        "--max-range", type=float, help="farthest depth, metres (default 10, or the bundle's)"
    )
    parser.add_argument(
        "--licence",
        metavar="TEXT",
        help="licence terms of the weights (default: the known terms of the data, of the initial "
        "weights and of the teachers; or the bundle's)",
    )
    parser.add_argument(
        "--commercial",
        choices=COMMERCIAL,
        help="whether --licence allows commercial use (default unknown)",
    )
    add_json_argument(parser, "the bundle's file sizes in bytes")
    return parser


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ToolError(
            f"{path} cannot be read; call `depthrefl train finish` first: {error}"
        ) from error


def describe(metrics: dict[str, Any], calibration: dict[str, list[float]]) -> dict[str, Any]:
    """Return what ``model.yaml`` tells of a run, apart from architecture, range and files.

    Args:
        metrics: the run's ``metrics.json``.
        calibration: the run's ``calibration.json``.
    """
    figures = _rounded(metrics["validation"])
    validation = metrics["validation_data"]
    accuracy = {
        **figures,
        "images": validation["images"],
        "data_sha256": validation["sha256"],
        "protocol": f"held-out images of {validated_on(validation)}, "
        f"{metrics['validation_protocol']}, means of per-image values, single pass",
    }
    if "figures_of" in metrics:
        accuracy["measured_on"] = (
            "weights trained by the same recipe without the held-out images, SHA-256 "
            + metrics["figures_of"]["weights_sha256"]
        )
    return {
        **terms_of_run(metrics),
        "source": "trained by depthrefl_ros",
        "sources": {"final.safetensors": metrics["weights_sha256"]},
        "accuracy": accuracy,
        **(
            {"accuracy_without_mount": _rounded(metrics["validation_untold"])}
            if "validation_untold" in metrics
            else {}
        ),
        "training": {
            "data": [
                {"name": name, **data, **citation(data.get("kind", name))}
                for name, data in metrics["training_data"].items()
            ],
            "initial_weights": metrics.get("initial_weights") or IMAGENET,
            "history": metrics["training_history"],
            "steps": metrics["steps"],
            "settings": metrics["settings"],
            "weights_sha256": metrics["weights_sha256"],
        },
        "calibration": {"data": metrics["calibration_data"], **calibration},
    }


def _rounded(figures: dict[str, float | None]) -> dict[str, float]:
    """Return figures but those that cannot be told, such as the order of equal depths."""
    return {name: round(float(v), 5) for name, v in figures.items() if v is not None}


def citation(kind: str) -> dict[str, str]:
    """Return what to cite for a kind of data set, as an entry to merge; empty for one's own."""
    return {"cite": CITATIONS[kind]} if kind in CITATIONS else {}


def validated_on(validation: dict[str, Any]) -> str:
    """Return which images the accuracy was measured on, in words."""
    if validation.get("kind", "nyu") in ("nyu", "nyu_mat"):
        return "NYU Depth v2, rows 45:471, columns 41:601"
    return validation["name"]


def load_run(run: Path) -> tuple[DepthModel, dict[str, Any]]:
    """Return the network of a finished run, and what ``describe`` tells of it.

    Raises:
        ToolError: the run is not finished, or its weights do not fit or are others than those
            that were finished.
    """
    try:
        from depthrefl_ros.network.checkpoints import CheckpointError, load_weights
        from depthrefl_ros.network.model import ModelConfig, create_model
    except ImportError as error:
        raise ToolError(
            f"exporting needs {error.name}: in the checkout, pip install '.[train]'"
        ) from error

    metrics = _read_json(run / "metrics.json")
    calibration = _read_json(run / "calibration.json")
    weights = run / "final.safetensors"
    model = create_model(ModelConfig.from_dict(metrics["model"]))
    try:
        load_weights(weights, model)
    except CheckpointError as error:
        raise ToolError(str(error)) from error
    if file_digest(weights) != metrics["weights_sha256"]:
        raise ToolError(
            f"{weights} are other weights than {run / 'metrics.json'} describes; call `depthrefl "
            "train finish` again"
        )
    return model, describe(metrics, calibration)


def warn_of_later_weights(run: Path, finished_sha256: str) -> None:
    """Say on stderr where a run has gone on since it was finished."""
    from depthrefl_ros.tools.train_average import newest_of

    try:
        newest = newest_of(run)
    except ToolError:  # checkpoints were removed: nothing is newer
        return
    if file_digest(newest / "ema.safetensors") != finished_sha256:
        print(
            f"warning: {newest} is not what was finished in {run}; to export it, call `depthrefl "
            "train finish` first",
            file=sys.stderr,
        )


def load_bundle(folder: Path) -> tuple[DepthModel, dict[str, Any], np.ndarray]:
    """Return the network of a bundle, what its ``model.yaml`` tells, and its golden images.

    Raises:
        ToolError: the bundle is damaged, or not of a network of ours.
    """
    from depthrefl_ros.engine.bundle import Bundle, BundleError
    from depthrefl_ros.network.checkpoints import CheckpointError, load_weights
    from depthrefl_ros.network.model import ModelConfig, create_model

    try:
        bundle = Bundle.load(str(folder))
        if "architecture" not in bundle.description:
            raise ToolError(f"{folder} is not a network of ours: convert it again instead")
        model = create_model(ModelConfig.from_dict(bundle.description["architecture"]))
        load_weights(bundle.path("model.safetensors"), model)
        images = bundle.golden().images[:3]
    except (BundleError, CheckpointError) as error:
        raise ToolError(str(error)) from error
    made = ("format_version", "name", "architecture", "files", "kind", "input", "outputs")
    told = {n: v for n, v in bundle.description.items() if n not in (*made, "focal_px")}
    trained = "trained by depthrefl_ros" if bundle.description["format_version"] == 1 else ""
    told |= {
        "commercial": "no" if bundle.licence == LICENCE else bundle.commercial,
        "source": bundle.source or trained or "unknown",
        "sources": bundle.sources or {"model.safetensors": bundle.files["model.safetensors"]},
    }
    return model, told, images


def resized(model: DepthModel, size: tuple[int, int]) -> DepthModel:
    """Return the same network for inputs of another size; no weight depends on it.

    Args:
        model: the network.
        size: (height, width), pixels.

    Raises:
        ToolError: the size is no multiple of the network's stride.
    """
    height, width = size
    other = copy.copy(model)
    try:
        other.config = replace(model.config, height=height, width=width)
    except ValueError as error:
        raise ToolError(f"--size is {width}x{height}: {error}") from error
    return other


def _export(args: argparse.Namespace, _: list[str]) -> int:
    from depthrefl_ros.engine.bundle import Bundle, BundleError, is_bundle, shipped_models
    from depthrefl_ros.engine.description import DESCRIPTION, Fields, read_range

    if str(args.run) in shipped_models():
        args.run = Bundle.load(str(args.run)).folder
    if is_bundle(args.run):
        model, told, images = load_bundle(args.run)
    else:
        if args.golden is None:
            raise ToolError("--golden is missing: a run has no images for the self-test")
        model, told = load_run(args.run)
        warn_of_later_weights(args.run, told["training"]["weights_sha256"])
        told["range_m"] = {"min": 0.4, "max": 10.0}
    told |= stated(args.licence, args.commercial)
    if args.size is not None and args.size != (model.config.height, model.config.width):
        before = {"height": model.config.height, "width": model.config.width}
        told.setdefault("trained_size", before)  # accuracy and calibration are of it
        model = resized(model, args.size)
        if args.golden is None:
            images = np.stack([cv2.resize(image[..., :3], args.size[::-1]) for image in images])
    if args.golden is not None:
        images = read_golden(args.golden, model.config.width, model.config.height)
    check_bundle_folder(
        args.bundle,
        f"an export of {args.run}, with the data and the network that it has now,",
        lambda there: (
            is_export_of(there, told | {"architecture": model.config.to_dict()})
            or args.bundle.resolve() == args.run.resolve()
        ),
        args.overwrite,
    )
    asked = {"min": args.min_range, "max": args.max_range}
    told["range_m"] |= {name: value for name, value in asked.items() if value is not None}
    try:
        read_range(Fields(args.bundle / DESCRIPTION, told["range_m"], "range_m."))
    except BundleError as error:
        raise ToolError(str(error)) from error
    images = with_planes(images, model.config)
    size = (model.config.width, model.config.height)
    calibration = None
    if args.int8 is not None:
        calibration = with_planes(read_calibration(args.int8, *size), model.config)
    try:
        from depthrefl_ros.engine.export import export_bundle

        if calibration is not None:
            from depthrefl_ros.engine.quantise import add_int8, need_nncf

            need_nncf()
        export_bundle(model, args.bundle, told, images)
        if calibration is not None:
            add_int8(args.bundle, calibration)
    except ImportError as error:
        raise ToolError(
            f"exporting needs {error.name}: in the checkout, pip install '.[train]', for --int8 "
            "'.[train,int8]'"
        ) from error
    except (BundleError, OSError) as error:
        raise ToolError(str(error)) from error
    sizes = {path.name: path.stat().st_size for path in sorted(args.bundle.iterdir())}
    for name, size in sizes.items():
        print(f"{name:20} {size / 1e6:8.2f} MB")
    write_json(args.json, {"bundle": str(args.bundle), "bytes": sizes})
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit code."""
    return run_tool(_parser(), argv, _export)


if __name__ == "__main__":
    sys.exit(main())

"""Makes a model bundle of a finished training run: ONNX files, weights, self-test, description."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from depthrefl_ros.tools.command_line import (
    ToolError,
    add_json_argument,
    make_parser,
    run_tool,
    write_json,
)

if TYPE_CHECKING:
    from depthrefl_ros.network.model import DepthModel

EXAMPLES = """
depthrefl export_bundle runs/tiny models/indoor_tiny --golden a.jpg b.jpg c.jpg
"""
# The weights are the one part of the package that is not Apache-2.0: said wherever they load.
LICENCE = "weights for research use only (trained on NYU Depth v2); code Apache-2.0"
LICENCE_DETAILS = (
    "NYU Depth v2 is for research use, and so are weights trained on it (cite Silberman et al., "
    "ECCV 2012). They start from ImageNet weights of EfficientNet-Lite (Apache-2.0)."
)
NYU = "Silberman et al., Indoor Segmentation and Support Inference, ECCV 2012"
CITATIONS = {
    "nyu": NYU,
    "nyu_mat": NYU,
    "kitti": "Uhrig et al., Sparsity Invariant CNNs, 3DV 2017",
    "tum": "Sturm et al., A Benchmark for the Evaluation of RGB-D SLAM Systems, IROS 2012",
}
IMAGENET = "ImageNet, EfficientNet-Lite (Apache-2.0)"


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("depthrefl export_bundle", __doc__ or "", EXAMPLES)
    parser.add_argument(
        "run", type=Path, help="folder of a run on which `depthrefl train finish` has been called"
    )
    parser.add_argument("bundle", type=Path, help="folder to write; its name is the model's")
    parser.add_argument(
        "--golden",
        type=Path,
        nargs=3,
        required=True,
        metavar="IMAGE",
        help="three rendered images for the self-test; no images of data sets",
    )
    parser.add_argument("--min-range", type=float, default=0.4, help="metres (default 0.4)")
    parser.add_argument("--max-range", type=float, default=10.0, help="metres (default 10)")
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
    """What ``model.yaml`` tells of a run, apart from architecture, range and files.

    Args:
        metrics: the run's ``metrics.json``.
        calibration: the run's ``calibration.json``.
    """
    figures = {
        name: round(float(value), 5)
        for name, value in metrics["validation"].items()
        if value is not None  # what cannot be told, such as the order of equal depths
    }
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
        "licence": LICENCE,
        "licence_details": LICENCE_DETAILS,
        "accuracy": accuracy,
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


def citation(kind: str) -> dict[str, str]:
    """What to cite for a kind of data set, as an entry to merge; empty for data of one's own."""
    return {"cite": CITATIONS[kind]} if kind in CITATIONS else {}


def validated_on(validation: dict[str, Any]) -> str:
    """Which images the accuracy was measured on, in words."""
    if validation.get("kind", "nyu") in ("nyu", "nyu_mat"):
        return "NYU Depth v2, rows 45:471, columns 41:601"
    return validation["name"]


def load_run(run: Path) -> tuple[DepthModel, dict[str, Any]]:
    """The network of a finished run, and what ``describe`` tells of it.

    Raises:
        ToolError: the run is not finished, or its weights do not fit.
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
    model = create_model(ModelConfig.from_dict(metrics["model"]))
    try:
        load_weights(run / "final.safetensors", model)
    except CheckpointError as error:
        raise ToolError(str(error)) from error
    return model, describe(metrics, calibration)


def _export(args: argparse.Namespace, _: list[str]) -> int:
    import cv2
    import numpy as np

    model, told = load_run(args.run)
    from depthrefl_ros.engine.export import export_bundle

    images = []
    for path in args.golden:
        image = cv2.imread(str(path))
        if image is None:
            raise ToolError(f"{path} is no image that OpenCV reads")
        size = (model.config.width, model.config.height)
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        images.append(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))
    range_m = {"min": args.min_range, "max": args.max_range}
    export_bundle(model, args.bundle, {**told, "range_m": range_m}, np.stack(images))
    sizes = {path.name: path.stat().st_size for path in sorted(args.bundle.iterdir())}
    for name, size in sizes.items():
        print(f"{name:20} {size / 1e6:8.2f} MB")
    write_json(args.json, {"bundle": str(args.bundle), "bytes": sizes})
    return 0


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; returns the exit code."""
    return run_tool(_parser(), argv, _export)


if __name__ == "__main__":
    sys.exit(main())

"""The end of a run: averaged weights, their calibration and their accuracy on held-out images."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from depthrefl_ros.network.checkpoints import load_weights, save_weights
from depthrefl_ros.network.model import ModelConfig, create_model
from depthrefl_ros.tools.command_line import ToolError, write_json
from depthrefl_ros.tools.train_run import Part, describe, open_parts
from depthrefl_ros.training.calibrate import fit_calibration
from depthrefl_ros.training.evaluate import evaluate_images, torch_infer
from depthrefl_ros.training.protocol import Protocol
from depthrefl_ros.training.train import format_figures
from depthrefl_ros.training.trainer import latest_checkpoint


def finish(arguments: argparse.Namespace) -> int:
    """Finish the run's stage 2; raises ToolError if it has none."""
    held_out = open_parts(arguments.val_data)
    report = finish_stage(arguments.run, "stage2", held_out, Protocol(cap_m=arguments.cap))
    write_json(arguments.json, report)
    return 0


def finish_stage(
    run: Path, stage: str, held_out: dict[str, Part], protocol: Protocol
) -> dict[str, Any]:
    """Write ``final.safetensors``, ``calibration.json`` and ``metrics.json``; return the last.

    The accuracy is measured on the first of the held-out sets; the calibration is fitted to all
    of them with equal weight.

    Args:
        run: the run's folder.
        stage: the folder in it that holds the checkpoint.
        held_out: sets that were not trained on, by name.
        protocol: of accuracy and calibration.

    Raises:
        ToolError: the stage has no checkpoint, or there is no held-out set.
    """
    checkpoint = latest_checkpoint(run / stage)
    if checkpoint is None:
        raise ToolError(f"{run / stage} holds no checkpoint; run {stage} first")
    if not held_out:
        raise ToolError("--val-data is needed: images that were not trained on")
    state = json.loads((checkpoint / "state.json").read_text())
    config = ModelConfig.from_dict(state["model"])
    model = create_model(config)
    load_weights(checkpoint / "ema.safetensors", model)
    weights = run / "final.safetensors"
    save_weights(weights, model)

    infer, size = torch_infer(model), (config.width, config.height)
    evaluations = [
        evaluate_images(infer, part.dataset, size, config.focal_px, protocol, show_progress=True)
        for part in held_out.values()
    ]
    figures = evaluations[0].means()
    print(format_figures(figures))
    calibration = fit_calibration([found.pixels.error_ratio.ravel() for found in evaluations])
    (run / "calibration.json").write_text(json.dumps(calibration, indent=1))
    history = json.loads((checkpoint.parent / "data.json").read_text())
    described = {name: describe(part.dataset) for name, part in held_out.items()}
    name = next(iter(described))
    report = {
        "validation": figures,
        "validation_protocol": str(protocol),
        "validation_data": {"name": name, **described[name]},
        "calibration_data": described,
        "training_data": history[-1]["sets"],
        "training_history": history,
        "initial_weights": state.get("origin"),
        "steps": state["step"],
        "settings": state["settings"],
        "model": state["model"],
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    write_json(run / "metrics.json", report)
    print(f"wrote final.safetensors, calibration.json and metrics.json in {run}")
    return report

"""Several runs become one: the mean of their weights, to be finished or trained further."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from depthrefl_ros.network.checkpoints import load_weights, save_weights
from depthrefl_ros.network.model import DepthModel, ModelConfig, create_model
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.training.averaging import average_weights
from depthrefl_ros.training.trainer import latest_checkpoint

AVERAGE = "average"  # folder in the run, beside stage1 and stage2
_STAGES = (AVERAGE, "stage2")


def average(arguments: argparse.Namespace) -> int:
    """Write ``RUN/average/checkpoint-STEPS``; return the exit code.

    Raises:
        ToolError: a run has no checkpoint, or its record is damaged.
        ValueError: two runs have different architectures.
    """
    checkpoints = [newest_of(run) for run in arguments.runs]
    members = [load_member(checkpoint) for checkpoint in checkpoints]
    records = [record for _, record in members]
    model = average_weights([model for model, _ in members])
    steps = sum(record["step"] for record in records)
    folder = arguments.run / AVERAGE / f"checkpoint-{steps:08d}"
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(folder / "ema.safetensors", model)
    names = ", ".join(str(checkpoint) for checkpoint in checkpoints)
    state = {
        "step": steps,
        "origin": f"the mean of {names}",
        "settings": records[0]["settings"],
        "model": records[0]["model"],
    }
    (folder / "state.json").write_text(json.dumps(state, indent=1))
    history = [leg for checkpoint in checkpoints for leg in legs_of(checkpoint)]
    (folder.parent / "data.json").write_text(json.dumps(history, indent=1))
    print(f"wrote {folder / 'ema.safetensors'}: {state['origin']}")
    return 0


def newest_of(run: Path) -> Path:
    """Return the newest checkpoint of a run: of its average, or else of its stage 2.

    Raises:
        ToolError: it has none.
    """
    for stage in _STAGES:
        checkpoint = latest_checkpoint(run / stage)
        if checkpoint is not None:
            return checkpoint
    raise ToolError(f"{run} holds no checkpoint in {' or '.join(_STAGES)}; run stage2 first")


def load_member(checkpoint: Path) -> tuple[DepthModel, dict[str, Any]]:
    """Return the averaged weights of a checkpoint as a network, and its record.

    Raises:
        CheckpointError: weights and record do not fit.
        ToolError: the record is damaged.
    """
    try:
        record = json.loads((checkpoint / "state.json").read_text())
        model = create_model(ModelConfig.from_dict(record["model"]))
    except (KeyError, ValueError) as error:
        raise ToolError(f"{checkpoint / 'state.json'} is damaged: {error!r}") from error
    load_weights(checkpoint / "ema.safetensors", model)
    return model, record


def legs_of(checkpoint: Path) -> list[dict[str, Any]]:
    """Return what a checkpoint was trained on, each leg with its weights' hash and origin."""
    record = json.loads((checkpoint / "state.json").read_text())
    history = json.loads((checkpoint.parent / "data.json").read_text())
    if checkpoint.parent.name == AVERAGE:
        return history
    digest = hashlib.sha256((checkpoint / "ema.safetensors").read_bytes()).hexdigest()
    told = {
        "run": checkpoint.parent.parent.name,
        "steps": record["step"],
        "seed": record["settings"]["seed"],
        "initial_weights": record.get("origin"),
        "weights_sha256": digest,
    }
    return [{**leg, **told} for leg in history]

"""Train a depth network: stage 1 (relative), stage 2 (metric), finish (calibrate, evaluate)."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from depthrefl_ros.tools.command_line import (
    ToolError,
    add_json_argument,
    make_parser,
    run_tool,
    write_json,
)

if TYPE_CHECKING:
    from depthrefl_ros.training.datasets import ImageFolder
    from depthrefl_ros.training.train import Trainer, TrainSettings

EXAMPLES = """
train stage1 --run runs/tiny --nyu nyuv2 --train-list nyuv2/train.txt --plain rooms --steps 2000
train stage2 --run runs/tiny --nyu nyuv2 --train-list nyuv2/train.txt --plain rooms --steps 6000
train finish --run runs/tiny --nyu nyuv2 --val-list nyuv2/val.txt
"""
TIME_RAN_OUT = 3  # exit code


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = make_parser(
        "train",
        "Trains a depth network in two stages. The same command again continues a run that was "
        "stopped. Stage 2 starts from the averaged weights of stage 1 in the same run folder. "
        f"Exit code {TIME_RAN_OUT}: --minutes were over before --steps.",
        EXAMPLES,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    texts = {
        "stage1": "train the backbone's relative depth, from ImageNet weights",
        "stage2": "train metric depth on top of stage 1",
        "finish": "write final.safetensors, calibration.json and metrics.json",
    }
    for name, text in texts.items():
        command = commands.add_parser(name, help=text, description=text)
        add_data_options(command)
        if name == "finish":
            add_json_argument(command, "what metrics.json holds")
        else:
            add_training_options(command)
    return parser


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that all three share."""
    add = parser.add_argument
    add("--run", type=Path, required=True, metavar="FOLDER", help="where checkpoints and logs go")
    add("--nyu", type=Path, metavar="FOLDER", help="labelled NYU Depth v2 images")
    add("--val-list", type=Path, metavar="FILE", help="the NYU images to validate on")


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the two stages."""
    add = parser.add_argument
    add("--train-list", type=Path, metavar="FILE", help="the NYU images to train on")
    add("--plain", type=Path, action="append", default=[], metavar="FOLDER",
        help="a folder of rgb/, depth/ and intrinsics.yaml; may be repeated")  # fmt: skip
    add("--steps", type=int, required=True, help="length of the schedule")
    add("--minutes", type=float, help="stop after this time; the same command continues")
    add("--batch", type=int, default=8, help="images a step (default 8)")
    add("--plain-share", type=int, default=2, metavar="N",
        help="of them, how many from each plain folder (default 2)")  # fmt: skip
    add("--learning-rate", type=float, default=1e-3, help="peak (default 0.001)")
    add("--encoder-factor", type=float, default=0.1,
        help="the encoder's learning rate as a fraction of it (default 0.1)")  # fmt: skip
    add("--seed", type=int, default=1, help="decides weights and batches (default 1)")
    add("--encoder", default="lite0", help="lite0 (default), lite1 or lite2")
    add("--distribution", default="log_binomial", help="log_binomial (default) or softmax")
    add("--start-from", type=Path, metavar="FILE",
        help="safetensors to start from instead of ImageNet's or stage 1's")  # fmt: skip
    add("--threads", type=int, default=2,
        help="CPU threads (default 2); on a busy machine one is faster than two")  # fmt: skip
    add("--workers", type=int, default=1, help="processes that prepare batches (default 1)")
    add("--validate-every", type=int, default=500, metavar="STEPS", help="default 500")
    add("--no-bf16", action="store_true", help="train in float32 only")


def training_sets(arguments: argparse.Namespace) -> dict[str, ImageFolder]:
    """Return the training sets by name.

    Raises:
        DatasetError: a folder or list is missing or malformed.
        ToolError: no data was named, or two folders have one name.
    """
    from depthrefl_ros.training.datasets import NyuFolder, PlainFolder

    sets = {}
    if arguments.nyu is not None:
        if arguments.train_list is None:
            raise ToolError("--nyu needs --train-list, the images to train on")
        sets["nyu"] = NyuFolder(arguments.nyu, arguments.train_list)
    for folder in arguments.plain:
        if folder.name in sets:
            raise ToolError(f"two data sets are called {folder.name!r}; rename one folder")
        sets[folder.name] = PlainFolder(folder)
    if not sets:
        raise ToolError("no data: give --nyu with --train-list, or --plain, or both")
    return sets


def images_per_step(plain: int, has_nyu: bool, batch: int, plain_share: int) -> list[int]:
    """Return how many images of a step come from each set; NYU takes what plain ones leave.

    Args:
        plain: number of plain folders.
        has_nyu: whether NYU comes first.
        batch: images a step; without NYU the plain folders share them.
        plain_share: images a step from each plain folder beside NYU.

    Raises:
        ToolError: nothing would be left for a set.
    """
    counts = [plain_share] * plain
    if has_nyu:
        counts = [batch - sum(counts), *counts]
    else:
        counts = [batch // plain + (index < batch % plain) for index in range(plain)]
    if min(counts) < 1:
        raise ToolError(
            f"--batch {batch} with --plain-share {plain_share} gives the sets {counts} images a "
            "step; each needs at least 1"
        )
    return counts


def make_trainer(arguments: argparse.Namespace, settings: TrainSettings) -> Trainer:
    """Return a trainer from the run's checkpoint, or from the weights that the stage starts with.

    Raises:
        CheckpointError: weights are missing or do not fit.
        ValueError: an option that no network can be built with.
    """
    import torch

    from depthrefl_ros.network.checkpoints import load_imagenet_encoder, load_weights
    from depthrefl_ros.network.model import (
        BackboneConfig,
        ModelConfig,
        ReflectorConfig,
        create_model,
    )
    from depthrefl_ros.training.train import Trainer, latest_checkpoint

    torch.manual_seed(settings.seed)
    model = create_model(
        ModelConfig(
            backbone=BackboneConfig(encoder=arguments.encoder),
            reflector=ReflectorConfig(distribution=arguments.distribution),
        )
    )
    checkpoint = latest_checkpoint(arguments.run / arguments.command)
    stage1 = latest_checkpoint(arguments.run / "stage1") if settings.stage == 2 else None
    start = arguments.start_from or (stage1 and stage1 / "ema.safetensors")
    if checkpoint is not None:
        print(f"continuing from {checkpoint}")
        trainer = Trainer(model, settings)
        trainer.restore(checkpoint)
        return trainer
    if start is not None:
        load_weights(start, model)
        print(f"starting from {start}")
    else:
        print(f"starting from ImageNet weights {load_imagenet_encoder(model)}")
    return Trainer(model, settings)


def train_stage(arguments: argparse.Namespace) -> int:
    """Run one leg of a stage; return 0 when the schedule is complete, else TIME_RAN_OUT."""
    import torch

    from depthrefl_ros.training import train
    from depthrefl_ros.training.augment import Augmenter
    from depthrefl_ros.training.batches import StepBatches
    from depthrefl_ros.training.datasets import NyuFolder
    from depthrefl_ros.training.evaluate import evaluate, torch_infer

    torch.set_num_threads(arguments.threads)
    stage = int(arguments.command[-1])
    settings = train.TrainSettings(
        stage=stage, steps=arguments.steps, learning_rate=arguments.learning_rate,
        encoder_factor=arguments.encoder_factor, bf16=not arguments.no_bf16,
        seed=arguments.seed,
    )  # fmt: skip
    sets = training_sets(arguments)
    counts = images_per_step(
        len(arguments.plain), arguments.nyu is not None, arguments.batch, arguments.plain_share
    )
    trainer = make_trainer(arguments, settings)
    for (name, dataset), count in zip(sets.items(), counts, strict=True):
        dataset.preload()
        print(f"{name}: {len(dataset)} images, {count} a step", flush=True)
    folder = arguments.run / arguments.command
    record_data(folder / "data.json", trainer.step, sets, counts)
    config = trainer.model.config
    batches = StepBatches(
        list(zip(sets.values(), counts, strict=True)),
        Augmenter(config.height, config.width),
        seed=settings.seed * 10 + stage,  # stage 2 draws other batches than stage 1
        steps=settings.steps,
    )
    validate = None
    if arguments.val_list is not None:
        held_out = NyuFolder(arguments.nyu, arguments.val_list)
        size = (config.width, config.height)

        def validate(model):
            return evaluate(torch_infer(model), held_out, size, config.focal_px)

    complete = train.run_stage(
        trainer, batches, folder, minutes=arguments.minutes, workers=arguments.workers,
        validate_steps=arguments.validate_every, validate=validate,
    )  # fmt: skip
    print(f"step {trainer.step} of {settings.steps}")
    return 0 if complete else TIME_RAN_OUT


def finish(arguments: argparse.Namespace) -> int:
    """Write the averaged weights, their calibration and their accuracy into the run folder.

    Raises:
        ToolError: the run has no stage 2, or no validation images were named.
    """
    from depthrefl_ros.network.checkpoints import load_weights, save_weights
    from depthrefl_ros.network.model import ModelConfig, create_model
    from depthrefl_ros.training.calibrate import error_quantiles, normalised_errors
    from depthrefl_ros.training.datasets import NyuFolder
    from depthrefl_ros.training.evaluate import evaluate, torch_infer
    from depthrefl_ros.training.train import format_figures, latest_checkpoint

    checkpoint = latest_checkpoint(arguments.run / "stage2")
    if checkpoint is None:
        raise ToolError(f"{arguments.run / 'stage2'} holds no checkpoint; run stage2 first")
    if arguments.nyu is None or arguments.val_list is None:
        raise ToolError("finish needs --nyu and --val-list, the images to validate on")
    state = json.loads((checkpoint / "state.json").read_text())
    config = ModelConfig.from_dict(state["model"])
    model = create_model(config)
    load_weights(checkpoint / "ema.safetensors", model)
    weights = arguments.run / "final.safetensors"
    save_weights(weights, model)

    held_out = NyuFolder(arguments.nyu, arguments.val_list)
    infer, size = torch_infer(model), (config.width, config.height)
    figures = evaluate(infer, held_out, size, config.focal_px)
    print(format_figures(figures))
    calibration = error_quantiles(normalised_errors(infer, held_out, size, config.focal_px))
    (arguments.run / "calibration.json").write_text(json.dumps(calibration, indent=1))
    history = json.loads((checkpoint.parent / "data.json").read_text())
    report = {
        "validation": figures,
        "validation_data": describe(held_out),
        "training_data": history[-1]["sets"],
        "training_history": history,
        "steps": state["step"],
        "settings": state["settings"],
        "model": state["model"],
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    write_json(arguments.run / "metrics.json", report)
    write_json(arguments.json, report)
    print(f"wrote final.safetensors, calibration.json and metrics.json in {arguments.run}")
    return 0


def describe(dataset: ImageFolder) -> dict[str, int | str]:
    """Return number of images and fingerprint of a data set."""
    return {"images": len(dataset), "sha256": dataset.fingerprint()}


def record_data(path: Path, step: int, sets: dict[str, ImageFolder], counts: list[int]) -> None:
    """Note in a JSON list from which step on which data is trained on; unchanged data adds none.

    Args:
        path: of the list.
        step: that comes next.
        sets: the training sets by name.
        counts: images a step from each.
    """
    history = json.loads(path.read_text()) if path.exists() else []
    used = {
        name: {**describe(dataset), "images_per_step": count}
        for (name, dataset), count in zip(sets.items(), counts, strict=True)
    }
    if history and history[-1]["sets"] == used:
        return
    if history:
        print(f"the data has changed since step {history[-1]['from_step']}: no exact continuation")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([*history, {"from_step": step, "sets": used}], indent=1))


def run(arguments: argparse.Namespace, ros_arguments: list[str]) -> int:
    """Run the chosen command; bad input becomes a ToolError."""
    try:
        from depthrefl_ros.network.checkpoints import CheckpointError
    except ImportError as error:
        raise ToolError(
            f"training needs {error.name}: in the checkout, pip install '.[train]'"
        ) from error
    try:
        return finish(arguments) if arguments.command == "finish" else train_stage(arguments)
    except (ValueError, OSError, CheckpointError) as error:
        raise ToolError(str(error)) from error


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    return run_tool(build_parser(), argv, run)


if __name__ == "__main__":
    sys.exit(main())

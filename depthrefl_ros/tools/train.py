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

"""Train a depth network: two stages, average, sigma, finish, finetune, ablation."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from depthrefl_ros.tools.command_line import ToolError, add_json_argument, make_parser, run_tool
from depthrefl_ros.tools.output_folder import add_overwrite_argument
from depthrefl_ros.tools.train_options import (
    STOPPED_EARLY,
    add_cap_option,
    add_data_options,
    add_feature_options,
    add_machine_options,
    add_mount_option,
    add_network_options,
    add_run_option,
    add_settings_options,
    add_statistics_options,
    add_unseen_options,
    augment_changes,
)
from depthrefl_ros.training.ablation import add_ablation_options
from depthrefl_ros.training.train_settings import TrainSettings

EXAMPLES = """
depthrefl train stage1 --run runs/tiny --data nyu,list=nyu/train.txt --data rooms --steps 2000
depthrefl train stage2 --run runs/tiny --data nyu,list=nyu/train.txt --data rooms --steps 6000
depthrefl train average --run runs/mean runs/tiny_seed1 runs/tiny_seed2
depthrefl train average --run runs/half indoor_tiny runs/indoor_tiny_my_folder,weight=0.5
depthrefl train average --run runs/mean runs/tiny_seed1 runs/large_rate --data nyu --data rooms
depthrefl train sigma --run runs/mean runs/mean --data unseen_rooms
depthrefl train finish --run runs/tiny --val-data nyu,list=nyu/val.txt
depthrefl train --finetune models/indoor_tiny --data my_folder
depthrefl train --finetune models/indoor_tiny --mount --data folder_with_mounts
depthrefl train stage2 --run runs/large --backbone models/large --freeze --data rooms --steps 2000
depthrefl train stage2 --run runs/tiny --teacher models/large --unlabelled photos,hfov=70 ...
torchrun --nproc-per-node 2 -m -- depthrefl_ros train stage2 --run runs/tiny ...
"""
TRAINING_STOPPED = 4  # exit code
_CONTINUED = ("stage1", "stage2", "finetune")  # by the same command again
FINETUNE_STEPS = 1000
# Gentler than from scratch: most of what is needed is there, and little data would unlearn it.
FINETUNE = TrainSettings(
    stage=2, steps=FINETUNE_STEPS, learning_rate=2e-4, warmup_steps=50, ema_decay=0.99,
    freeze_norm=True,
)  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = make_parser(
        "depthrefl train",
        "Trains a depth network in two stages. The same command again continues a run that was "
        "stopped. Stage 2 starts from the averaged weights of stage 1 in the same run folder. "
        "train --finetune MODEL stands for train finetune MODEL, and train --ablation for train "
        "ablation. Exit code 3: --minutes ran out or Ctrl-C was pressed before the end; 4: the "
        "loss was not finite or the disk was full.",
        EXAMPLES,
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text)

    for name, text in (
        ("stage1", "train the backbone's relative depth, from ImageNet weights"),
        ("stage2", "train metric depth on top of stage 1"),
    ):
        stage = command(name, text)
        add_run_option(stage)
        add_data_options(stage, "images to validate on while training; the first set is used")
        add_settings_options(stage, TrainSettings(stage=int(name[-1]), steps=1))
        add_network_options(stage)
        if name == "stage2":
            add_mount_option(stage)
            add_feature_options(stage)
        else:
            stage.set_defaults(views=None, mount=False)
        add_machine_options(stage)

    average = command("average", "average weights of runs, or of a model and its fine-tuned run")
    add_run_option(average)
    average.add_argument(
        "runs", nargs="+", metavar="RUN[,weight=W]",
        help="folder of a run or a bundle, or a shipped model's name; the weight is its share in "
        "the mean (default 1)",
    )  # fmt: skip
    add_statistics_options(average)

    sigma = command("sigma", "learn the depth error, from images that were not trained on")
    add_run_option(sigma)
    sigma.add_argument(
        "weights", metavar="RUN", help="folder of a run or a bundle, or a shipped model's name"
    )
    add_unseen_options(sigma)

    finish = command("finish", "write final.safetensors, calibration.json and metrics.json")
    add_run_option(finish)
    add_cap_option(finish)
    finish.add_argument(
        "--val-data", action="append", default=[], metavar="DATA",
        help="images that were not trained on; sigma is calibrated on all of the sets, accuracy "
        "measured on the first",
    )  # fmt: skip
    finish.add_argument(
        "--figures-of", type=Path, metavar="RUN",
        help="take accuracy and calibration from this finished run instead of measuring them: one "
        "with the same recipe, but without the held-out images, on which --run was trained",
    )  # fmt: skip
    add_json_argument(finish, "the content of metrics.json")

    finetune = command("finetune", "train a bundle further on data of your own")
    finetune.add_argument("model", help="a shipped model's name or a bundle's folder")
    add_run_option(finetune, "runs/MODEL_DATA")
    finetune.add_argument(
        "--bundle", type=Path, metavar="FOLDER", help="bundle to write (default RUN/MODEL_DATA)"
    )
    add_overwrite_argument(finetune)
    add_data_options(finetune, "images to validate and calibrate on (default the last tenth)")
    add_settings_options(finetune, FINETUNE, FINETUNE_STEPS)
    add_mount_option(finetune)
    add_feature_options(finetune)
    add_machine_options(finetune)

    add_ablation_options(command("ablation", "compare the heads on one backbone"))
    return parser


def subcommand_first(argv: list[str]) -> list[str]:
    """Return the arguments with ``--finetune MODEL`` and ``--ablation`` as subcommands."""
    for name in ("finetune", "ablation"):
        for index, argument in enumerate(argv):
            option, _, value = argument.partition("=")
            if option == f"--{name}":
                following = argv[index + 1 :]
                own = [value] if value else following[:1] if name == "finetune" else []
                rest = following if value or name == "ablation" else following[1:]
                return [name, *own, *argv[:index], *rest]
    return argv


def run(arguments: argparse.Namespace, ros_arguments: list[str]) -> int:
    """Run the chosen command; bad input becomes a ToolError."""
    from depthrefl_ros.engine.bundle import BundleError
    from depthrefl_ros.network.checkpoints import CheckpointError
    from depthrefl_ros.tools.teacher_labels import LabellingStopped
    from depthrefl_ros.training.loop import TrainError

    augment_changes(getattr(arguments, "augment", []))  # before anything is loaded
    try:
        return command_of(arguments.command)(arguments)
    except TrainError as error:
        print(f"depthrefl train: error: {error}", file=sys.stderr)
        return TRAINING_STOPPED
    except LabellingStopped as stopped:
        print(f"depthrefl train: {stopped}", file=sys.stderr)
        return STOPPED_EARLY
    except KeyboardInterrupt:
        # While data is looked at, or the result is measured; the steps end in order by themselves.
        if arguments.command not in _CONTINUED:
            raise
        # Until the process has ended: another Ctrl-C would take its exit code away.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("depthrefl train: interrupted; run the same command to go on", file=sys.stderr)
        return STOPPED_EARLY
    except (ValueError, OSError, CheckpointError, BundleError) as error:
        raise ToolError(str(error)) from error


def command_of(name: str) -> Callable[[argparse.Namespace], int]:
    """Return what runs a subcommand; imported here, since all of them need torch."""
    if name == "average":
        from depthrefl_ros.tools.train_average import average

        return average
    if name == "sigma":
        from depthrefl_ros.tools.train_sigma import fit_sigma

        return fit_sigma
    if name == "finish":
        from depthrefl_ros.tools.train_finish import finish

        return finish
    if name == "finetune":
        from depthrefl_ros.tools.train_finetune import finetune

        return finetune
    if name == "ablation":
        from depthrefl_ros.tools.head_timing import time_engines
        from depthrefl_ros.training.ablation import run_ablation

        return partial(run_ablation, time_engines=time_engines)
    from depthrefl_ros.tools.train_run import train_stage

    return train_stage


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    return run_tool(build_parser(), subcommand_first(argv), run)


if __name__ == "__main__":
    sys.exit(main())

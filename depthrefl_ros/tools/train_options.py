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

"""The options of ``train``, by group, and the settings that they make."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from depthrefl_ros.tools.command_line import (
    ToolError,
    number_of,
    positive_float,
    positive_int,
    whole_number,
)
from depthrefl_ros.training.train_settings import TrainSettings

if TYPE_CHECKING:
    from depthrefl_ros.engine.bundle import Bundle
    from depthrefl_ros.network.model import ModelConfig
    from depthrefl_ros.training.augment import AugmentConfig

DATA_HELP = (
    "PATH[,list=FILE][,weight=W][,kind=K][,balance=depth][,depth_factor=N][,mounts=FILE]: a plain "
    "folder, NYU Depth v2 as a folder or .mat, KITTI, TUM RGB-D or a recording with true depth; "
    "the kind is detected unless given; repeat it to mix sets by weight (default 1 each); "
    "balance=depth shows rare distances more often; depth_factor is the number of units per metre "
    "in a plain folder's depth files (default 1000 for whole numbers, else 1); mounts gives the "
    "camera's height and angles for each image (default a plain folder's mounts.yaml), for a "
    "network with --mount"
)
CANONICAL_FOCAL_AT_256 = 240.0  # pixels for a network input 256 pixels wide
STOPPED_EARLY = 3  # exit code: the same command goes on
USUAL_VIEWS = 6  # of an image, whose features are kept


def add_run_option(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add --run; it is required where there is no default, which is given in words."""
    parser.add_argument(
        "--run", type=Path, metavar="FOLDER", required=default is None,
        help="where checkpoints and logs go" + (f" (default {default})" if default else ""),
    )  # fmt: skip


def add_data_options(parser: argparse.ArgumentParser, validation: str) -> None:
    """Add --data and --val-data; ``validation`` is the help of the latter."""
    group = parser.add_argument_group("data")
    add = group.add_argument
    add_training_images(group, DATA_HELP)
    add("--unlabelled", action="append", default=[],
        metavar="SOURCE[,hfov=DEGREES][,weight=W][,mounts=FILE]",
        help="images, a video or a recording without depth; --teacher BUNDLE labels them with "
        "depth, once, into RUN/labelled; mounts as for --data; may be repeated")  # fmt: skip
    add("--val-data", action="append", default=[], metavar="DATA", help=validation)
    add_cap_option(group)


def add_training_images(group: argparse._ActionsContainer, text: str) -> None:
    """Add --data, whose help is ``text``, and --augment."""
    group.add_argument("--data", action="append", default=[], metavar="DATA", help=text)
    group.add_argument(
        "--augment", action="append", default=[], metavar="KEY=VALUE",
        help="change a field of AugmentConfig, such as max_zoom=2; may be repeated",
    )  # fmt: skip


def add_statistics_options(parser: argparse.ArgumentParser) -> None:
    """Add what a mean of weights takes the statistics of BatchNorm from."""
    group = parser.add_argument_group("BatchNorm statistics")
    add_training_images(
        group,
        "training images (as for stage2) from which the BatchNorm statistics are recomputed; "
        "without them the statistics are averaged, which is worse the more the runs differ",
    )
    add_view_options(group, 1600)


def add_unseen_options(parser: argparse.ArgumentParser) -> None:
    """Add the images on which the errors of weights are looked at."""
    group = parser.add_argument_group("images that the weights have not seen")
    text = "a set with depth, of scenes that were not trained on (as for stage2); may be repeated"
    add_training_images(group, text)
    add_view_options(group, 3200)


def add_view_options(group: argparse._ActionsContainer, images: int) -> None:
    """Add which views of the data go through the network; ``images`` is how many by default."""
    add = group.add_argument
    add(
        "--images",
        type=positive_int,
        default=images,
        metavar="N",
        help=f"number of views (default {images})",
    )
    add("--seed", type=whole_number, default=1, metavar="X", help="random seed (default 1)")
    add("--threads", type=positive_int, default=2, help="CPU threads (default 2)")


def add_cap_option(parser: argparse._ActionsContainer) -> None:
    """Add --cap, which the accuracy is measured up to."""
    parser.add_argument(
        "--cap", type=positive_float, default=10.0, metavar="METRES",
        help="leave out truth beyond this distance in validation (default 10; KITTI uses 80)",
    )  # fmt: skip


def add_settings_options(
    parser: argparse.ArgumentParser, defaults: TrainSettings, steps: int | None = None
) -> None:
    """Add the schedule and the losses: an option for every field of ``TrainSettings``.

    Args:
        parser: of the command.
        defaults: of the options.
        steps: default of --steps; None makes it required.
    """
    schedule = parser.add_argument_group("schedule")
    schedule.add_argument(
        "--steps", type=int, metavar="N", required=steps is None, default=steps,
        help="length of the schedule" + (f" (default {steps})" if steps else ""),
    )  # fmt: skip
    schedule.add_argument(
        "--minutes", type=_amount, metavar="X", help="stop after this time; run again to continue"
    )
    schedule.add_argument(
        "--batch", type=positive_int, default=8, metavar="N", help="images per step (default 8)"
    )
    losses = parser.add_argument_group("losses of stage 2")
    for group, name, text in (
        (schedule, "learning_rate", "peak learning rate"),
        (schedule, "encoder_factor", "encoder's learning rate as a multiple of --learning-rate"),
        (
            schedule,
            "mount_factor",
            "with --mount: learning rate of the layers that take the mount, as a multiple of "
            "--learning-rate",
        ),
        (schedule, "weight_decay", "weight decay of AdamW"),
        (schedule, "warmup_steps", "steps of linear warm-up"),
        (schedule, "ema_decay", "decay of the exponential average of the weights"),
        (schedule, "clip_norm", "largest gradient norm"),
        (schedule, "seed", "random seed of weights and batches"),
        (losses, "balance", "lambda of SILog"),
        (losses, "likelihood_weight", "weight of the bins' likelihood"),
        (losses, "gradient_weight", "weight of the log gradients"),
        (losses, "relative_weight", "weight of the relative loss"),
        (losses, "distillation_weight", "weight of the teacher's loss"),
        (
            losses,
            "mix_share",
            "share of a batch turned into mixtures of two images, for the teacher alone",
        ),
    ):
        default = getattr(defaults, name)
        group.add_argument(
            f"--{name.replace('_', '-')}", type=whole_number if name == "seed" else type(default),
            default=default, metavar="X",
            help=f"{text} (default {default:g})",
        )  # fmt: skip
    schedule.add_argument(
        "--freeze-norm", action=argparse.BooleanOptionalAction, default=defaults.freeze_norm,
        help="keep BatchNorm's statistics fixed, for little data or small batches",
    )  # fmt: skip
    schedule.add_argument(
        "--freeze", action="append", default=[], metavar="MODULE", nargs="?", const="backbone",
        help="a module to freeze, such as backbone.encoder, which halves the time of a step; may "
        "be repeated. Without MODULE the whole backbone is frozen",
    )  # fmt: skip
    losses.add_argument(
        "--teacher", type=Path, action="append", default=[], metavar="FILE|BUNDLE",
        help="safetensors of a trained network to learn from as well; repeat it for an ensemble. "
        "With --unlabelled: the one bundle that labels these images",
    )  # fmt: skip


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add what the network is built from."""
    add = parser.add_argument_group("network").add_argument
    add("--backbone", metavar="BUNDLE",
        help="a bundle whose backbone is used, with its architecture, size and weights, such as a "
        "Depth Anything or DPT from convert --weights; the reflector starts fresh")  # fmt: skip
    add("--encoder", default="lite0", help="lite0 (default), lite1 or lite2")
    add("--decoder-channels", type=positive_int, nargs=4, metavar="N",
        help="decoder channels at strides 32 to 4 (default 160 128 96 64)")  # fmt: skip
    add("--bins", type=positive_int, default=64, help="depth bins (default 64)")
    add("--embedding", type=positive_int, default=64,
        help="channels of the reflector's embedding (default 64)")  # fmt: skip
    add("--distribution", default="log_binomial", help="log_binomial (default) or softmax")
    add("--height", type=positive_int, default=192, help="input height, pixels (default 192)")
    add("--width", type=positive_int, default=256, help="input width, pixels (default 256)")
    add("--canonical-focal", type=positive_float, metavar="PIXELS",
        help="focal length that depth is scaled to (default 240 for a width of 256)")  # fmt: skip
    add("--z-min", type=positive_float, default=0.15, metavar="METRES",
        help="nearest canonical depth (default 0.15)")  # fmt: skip
    add(
        "--z-max", type=positive_float, default=24.0, metavar="METRES",
        help="farthest canonical depth: cap * canonical focal / smallest focal (default 24)",
    )  # fmt: skip
    add("--start-from", type=Path, metavar="FILE",
        help="safetensors to start from instead of ImageNet's or stage 1's")  # fmt: skip
    add("--renew", default="", metavar="MODULE",
        help="what --start-from leaves random, such as reflector.distribution")  # fmt: skip


def add_mount_option(parser: argparse.ArgumentParser) -> None:
    """Add --mount."""
    parser.add_argument(
        "--mount", action="store_true",
        help="give the network the camera's height and angles, where they are known; training may "
        "start from weights without this input. See --augment mount_chance, mount_height, "
        "mount_tilt_deg",
    )  # fmt: skip


def add_machine_options(parser: argparse.ArgumentParser) -> None:
    """Add how the machine is used; none of it changes what is learnt."""
    add = parser.add_argument_group("machine").add_argument
    add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default auto")
    add("--threads", type=positive_int, default=2,
        help="CPU threads (default 2); on a busy machine one is faster than two")  # fmt: skip
    add("--workers", type=whole_number, default=1,
        help="processes that prepare batches (default 1)")  # fmt: skip
    add("--validate-every", type=positive_int, default=500, metavar="STEPS", help="default 500")
    add("--save-every", type=positive_int, default=500, metavar="STEPS", help="default 500")
    add("--no-bf16", action="store_true", help="train in float32 only")


def add_feature_options(parser: argparse.ArgumentParser) -> None:
    """Add what is kept of a backbone that stays as it is."""
    add = parser.add_argument_group("features of a frozen backbone").add_argument
    add("--views", type=whole_number, metavar="N",
        help="random views per image whose features are cached, so that the backbone runs once "
        f"instead of at every step; 0: no cache (default {USUAL_VIEWS}, or what fits)")  # fmt: skip
    add("--features", type=Path, metavar="FOLDER",
        help="folder of the cache; several runs may share it (default RUN/features)")  # fmt: skip
    add("--feature-limit", type=positive_float, default=8.0, metavar="GIB",
        help="largest disk space of the cache (default 8)")  # fmt: skip


def _amount(text: str) -> float:
    return number_of(text, float, lambda value: value >= 0, "a number, 0 or more")


def settings_of(arguments: argparse.Namespace, stage: int) -> TrainSettings:
    """Return the settings that the options make; raises ValueError as ``TrainSettings``."""
    names = {field.name for field in fields(TrainSettings)}
    given = {name: value for name, value in vars(arguments).items() if name in names}
    return TrainSettings(stage=stage, bf16=not arguments.no_bf16, **given)


def model_config_of(arguments: argparse.Namespace) -> ModelConfig:
    """Return the network that the options describe; raises ValueError as ``ModelConfig``."""
    from depthrefl_ros.network.efficientnet import EfficientNetLiteConfig
    from depthrefl_ros.network.model import ModelConfig
    from depthrefl_ros.network.reflector import ReflectorConfig

    backbone = EfficientNetLiteConfig(encoder=arguments.encoder)
    if arguments.decoder_channels is not None:
        backbone = replace(backbone, decoder_channels=tuple(arguments.decoder_channels))
    height, width, focal_px = arguments.height, arguments.width, arguments.canonical_focal
    if arguments.backbone is not None:
        taken = architecture_of(arguments.backbone)
        backbone, height, width = taken.backbone, taken.height, taken.width
        focal_px = focal_px or taken.focal_px
    return ModelConfig(
        backbone=backbone,
        reflector=ReflectorConfig(
            bins=arguments.bins,
            embedding=arguments.embedding,
            distribution=arguments.distribution,
        ),
        height=height,
        width=width,
        focal_px=focal_px or CANONICAL_FOCAL_AT_256 * width / 256,
        z_min_m=arguments.z_min,
        z_max_m=arguments.z_max,
        mount=arguments.mount,
    )


def weights_to_train(bundle: Bundle) -> Path:
    """Return the torch weights that a bundle's backbone is trained on from.

    Raises:
        ToolError: it is a converted network, of which nothing but a graph is known.
    """
    from depthrefl_ros.engine.bundle import BACKBONE_WEIGHTS, MODEL_WEIGHTS

    for name in (MODEL_WEIGHTS, BACKBONE_WEIGHTS):
        if name in bundle.files:
            return bundle.path(name)
    raise ToolError(
        f"--backbone {bundle.folder}: the bundle holds a graph, which cannot be trained on, and no "
        "weights; convert the network from its checkpoint: depthrefl convert --hub NAME --weights"
    )


def architecture_of(model: str) -> ModelConfig:
    """Return the architecture of a bundle that has torch weights.

    Raises:
        BundleError: the bundle cannot be loaded.
        ToolError: as ``weights_to_train``.
        ValueError: its architecture cannot be read.
    """
    from depthrefl_ros.engine.bundle import MODEL_WEIGHTS, Bundle
    from depthrefl_ros.network.model import ModelConfig

    bundle = Bundle.load(model)
    if weights_to_train(bundle).name == MODEL_WEIGHTS:
        architecture = bundle.description.get("architecture") or {}
        return ModelConfig.from_dict({"reflector": {}, **architecture})
    return ModelConfig.from_dict(
        {
            "backbone": bundle.description.get("backbone"),
            "reflector": {},
            "height": bundle.height,
            "width": bundle.width,
            "focal_px": CANONICAL_FOCAL_AT_256 * bundle.width / 256,
        }
    )


def augment_changes(texts: list[str]) -> dict[str, Any]:
    """Return the fields that ``--augment KEY=VALUE`` change.

    Raises:
        ToolError: an unknown key, or a value that is not of the field's type or that no view can
            be made with.
    """
    from depthrefl_ros.training.augment import AugmentConfig

    defaults = vars(AugmentConfig())
    changes = {}
    for text in texts:
        key, _, written = text.partition("=")
        if key not in defaults:
            raise ToolError(f"--augment {text!r}: known keys are {', '.join(sorted(defaults))}")
        try:
            value = yaml.safe_load(written)
        except yaml.YAMLError:
            value = None
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if isinstance(defaults[key], float) and is_number:
            value = float(value)
        elif isinstance(defaults[key], tuple) and isinstance(value, list):
            value = tuple(value)
        if type(value) is not type(defaults[key]):
            raise ToolError(f"--augment {text!r}: a value such as {defaults[key]} is needed")
        try:
            AugmentConfig(**{key: value})
        except ValueError as error:
            raise ToolError(f"--augment {text!r}: {error}") from error
        changes[key] = value
    return changes


def augment_config_of(texts: list[str]) -> AugmentConfig:
    """Return the augmentation with what ``--augment`` changes; raises ToolError as above."""
    from depthrefl_ros.training.augment import AugmentConfig

    return replace(AugmentConfig(), **augment_changes(texts))

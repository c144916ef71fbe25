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

"""Turn a third-party depth network into a model bundle, from an ONNX file or a Hub checkpoint."""

from __future__ import annotations

import argparse
import errno
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.image_files import home_expanded
from depthrefl_ros.tools.command_line import (
    ToolError,
    add_json_argument,
    image_size,
    make_parser,
    run_tool,
    write_json,
)
from depthrefl_ros.tools.conversion_report import OURS, report
from depthrefl_ros.tools.meaning_options import (
    NEEDED,
    add_meaning_options,
    given_options,
    meaning_of_options,
)
from depthrefl_ros.tools.output_folder import add_overwrite_argument, check_bundle_folder

if TYPE_CHECKING:
    from depthrefl_ros.conversion.converter import Converted
    from depthrefl_ros.conversion.plausibility import Frames

EXAMPLES = """
depthrefl convert --hub depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf models/da2
depthrefl convert --hub depth-anything/DA3METRIC-LARGE models/da3metric
depthrefl convert --hub ./downloaded/zoedepth-nyu --size 512x384 models/zoe
depthrefl convert --onnx metric3d.onnx --preset metric3d --size 1064x616 models/metric3d
depthrefl convert --onnx mine.onnx --meaning mine.yaml models/mine
depthrefl convert --onnx mine.onnx --kind metric --range-m 0.3,10 --licence MIT models/mine
depthrefl convert --presets
"""
_FRAMES = (0, 5, 10)  # of the shipped recording, whose true depth gives the order
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("depthrefl convert", __doc__ or "", EXAMPLES)
    parser.add_argument("bundle", type=Path, nargs="?", metavar="OUT", help="folder to write")
    parser.add_argument("--onnx", type=Path, metavar="FILE", help="ONNX file of the network")
    parser.add_argument(
        "--hub",
        metavar="NAME",
        help="a name on the Hugging Face Hub, a folder with config.json and weights, or the "
        "authors' checkpoint file",
    )
    parser.add_argument(
        "--weights",
        action="store_true",
        help="keep the weights too, for train --backbone (Depth Anything, DPT on DINOv2)",
    )
    meaning = parser.add_mutually_exclusive_group()
    meaning.add_argument(
        "--meaning", type=Path, metavar="FILE", help="YAML description of its input and output"
    )
    meaning.add_argument("--preset", metavar="NAME", help="name of a known network (see --presets)")
    parser.add_argument(
        "--size", type=image_size, metavar="WxH", help="input size, where the file leaves it open"
    )
    parser.add_argument("--presets", action="store_true", help="list the presets and exit")
    parser.add_argument(
        "--no-comparison",
        action="store_true",
        help=f"skip the picture beside {OURS} and the measurement on the travel exam images",
    )
    add_overwrite_argument(parser)
    add_json_argument(parser, "the bundle's figures")
    add_meaning_options(parser)
    return parser


def _convert(args: argparse.Namespace, _: list[str]) -> int:
    if args.presets:
        return _list_presets()
    _check_arguments(args)
    from depthrefl_ros.conversion.meaning import ConversionError
    from depthrefl_ros.engine.bundle import BundleError

    def check(folder: Path) -> None:
        check_bundle_folder(folder, "convert", is_converted, args.overwrite)

    check(args.bundle)
    try:
        frames = _recorded_frames()
        made = _from_hub(args, frames, check) if args.hub else _from_onnx(args, frames)
    except (ConversionError, BundleError) as error:
        raise ToolError(str(error)) from error
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise ToolError(_words_of_full_disk(args)) from error
    figures = [report(one, frames, not args.no_comparison) for one in made]
    write_json(args.json, figures[0] if len(figures) == 1 else {"bundles": figures})
    return 1 if any(one["is_refused"] for one in figures) else 0


def _words_of_full_disk(args: argparse.Namespace) -> str:
    """Return in words which folder is short of space; the system does not say it."""
    folders = {"OUT": args.bundle.absolute().parent, "TMPDIR": Path(tempfile.gettempdir())}
    if args.hub and not home_expanded(args.hub).exists():
        from huggingface_hub import constants

        folders["HF_HOME"] = Path(constants.HF_HUB_CACHE)
    told = []
    for name, folder in folders.items():
        there = next(one for one in (folder, *folder.parents) if one.exists())
        told.append(f"{folder} ({name}) has {shutil.disk_usage(there).free / 1e6:.1f} MB free")
    return (
        f"no space left on a disk: {', '.join(told)}; {args.bundle} was not written. Free some, "
        "or choose another folder on a disk with more space"
    )


def _check_arguments(args: argparse.Namespace) -> None:
    if args.bundle is None:
        raise ToolError("OUT is missing")
    if (args.onnx is None) == (args.hub is None):
        given = "are both given" if args.hub else "are both missing"
        raise ToolError(f"--onnx FILE and --hub NAME {given}; one is needed")
    if args.onnx:
        _check_meaning(args)
    else:
        told = {"--meaning": args.meaning, "--preset": args.preset, **given_options(args)}
        wrong = [name for name, value in told.items() if value is not None and name != "--kind"]
        if wrong:
            raise ToolError(f"{wrong[0]} is for --onnx; a checkpoint's files tell it")
        if args.kind == "canonical":
            raise ToolError("--kind canonical is for --onnx; --hub takes metric, inverse_relative")


def _check_meaning(args: argparse.Namespace) -> None:
    """Refuse what tells too little of an ONNX file, or twice."""
    if args.weights:
        raise ToolError("--weights is for --hub; a graph has none that can be trained on")
    given = [name for name in given_options(args) if name != "--output"]
    whole = f"--meaning {args.meaning}" if args.meaning else f"--preset {args.preset}"
    is_whole = args.meaning is not None or args.preset is not None
    if is_whole and given:
        raise ToolError(f"{', '.join(given)} and {whole} are both given; the latter is enough")
    missing = [name for name in NEEDED if name not in given]
    if not is_whole and not given:
        raise ToolError(
            f"--meaning FILE or --preset NAME is missing, or {', '.join(missing)} and more; "
            "--presets lists the presets"
        )
    if not is_whole and missing:
        raise ToolError(f"without --meaning and --preset, {', '.join(missing)} is needed, too")


def _from_onnx(args: argparse.Namespace, frames: Frames | None) -> list[Converted]:
    from depthrefl_ros.conversion.converter import convert_onnx
    from depthrefl_ros.conversion.meaning import read_meaning
    from depthrefl_ros.conversion.presets import find_preset

    if args.meaning is None and args.preset is None:
        meaning = meaning_of_options(args)
    else:
        meaning = find_preset(args.preset) if args.preset else read_meaning(args.meaning)
    output = given_options(args).get("--output")
    if output:
        meaning = replace(meaning, outputs=(output,))
    return [convert_onnx(args.onnx, meaning, args.bundle, args.size, frames)]


def is_converted(description: dict[str, Any]) -> bool:
    """Return whether a bundle came from here: training leaves an architecture in its description.

    Args:
        description: the content of ``model.yaml``.
    """
    return not ("architecture" in description or isinstance(description.get("training"), dict))


def _from_hub(
    args: argparse.Namespace, frames: Frames | None, check: Callable[[Path], None]
) -> list[Converted]:
    from depthrefl_ros.conversion.checkpoint_folder import stated_licence
    from depthrefl_ros.conversion.hub import fetch_checkpoint
    from depthrefl_ros.conversion.hub_converter import convert_folder, convert_original
    from depthrefl_ros.conversion.original_names import find_original

    folder, name, licence = home_expanded(args.hub), "", ""
    if not folder.exists():
        name, folder = args.hub, fetch_checkpoint(args.hub, kind=args.kind)
    if folder.is_file():
        original: Path | None = folder
    else:
        original = find_original(folder, name or folder.absolute().name)
        licence = stated_licence(folder)
    if original is not None:
        more = {"name": name, "kind": args.kind, "licence": licence, "check": check}
        return convert_original(original, args.bundle, args.size, frames, args.weights, **more)
    return convert_folder(
        folder, args.bundle, name, args.size, args.kind, frames, args.weights, check
    )


def _recorded_frames() -> Frames | None:
    """Return frames of the shipped recording with their truth; None, which is told, without it."""
    try:
        from depthrefl_ros.conversion.plausibility import Frames
        from depthrefl_ros.ros.middleware import share_path
        from depthrefl_ros.tools.recorded_samples import RecordedSamples

        samples = RecordedSamples(share_path("test/data/corridor.mcap"))
    except (ImportError, FileNotFoundError) as error:
        reason = " ".join(str(error).split())
        print(
            f"depthrefl convert: warning: the order of depths is not checked ({reason})",
            file=sys.stderr,
        )
        return None
    chosen = [samples.load(samples.names[place]) for place in _FRAMES]
    images = np.stack([one.image for one in chosen])
    height, width = images.shape[1:3]
    camera = Camera.pinhole(width, height, *chosen[0].intrinsics)
    return Frames(images, np.stack([one.depth_m for one in chosen]), camera)


def _list_presets() -> int:
    from depthrefl_ros.conversion.presets import PRESETS

    for name, meaning in PRESETS.items():
        intrinsics = "needs intrinsics" if meaning.needs_intrinsics else "no intrinsics"
        print(f"{name:24} {meaning.kind:17} {intrinsics:17} commercial {meaning.commercial:8} "
              f"{meaning.licence}")  # fmt: skip
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; see ``depthrefl convert --help``."""
    return run_tool(_parser(), argv, _convert)


if __name__ == "__main__":
    sys.exit(main())

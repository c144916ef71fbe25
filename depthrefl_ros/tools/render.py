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

"""Renders training rooms and drives of a robot, and packs a rendered folder as a recording."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.tools.command_line import (
    StopRequest,
    ToolError,
    add_json_argument,
    make_parser,
    positive_float,
    positive_int,
    progress,
    run_tool,
    whole_number,
    write_json,
)
from depthrefl_ros.tools.left_out import cannot_be_read
from depthrefl_ros.tools.render_pack import SUFFIX, check_recording, pack
from depthrefl_ros.tools.render_recipe import recipe_of
from depthrefl_ros.tools.weight_terms import keep_terms
from depthrefl_ros.training.closer import FROM_M, closer_views
from depthrefl_ros.training.datasets import DatasetError, Sample, parse_data_option
from depthrefl_ros.training.datasets.mounts import mount_of
from depthrefl_ros.training.synth.folder import FolderError, RenderedFolder
from depthrefl_ros.training.synth.looks import PLAIN, LooksError, find_looks
from depthrefl_ros.training.synth.models import CatalogueError, Models
from depthrefl_ros.training.synth.worlds import WorldError, find_world, read_world

EXAMPLES = """
depthrefl render rooms data/rooms --count 400 --seed 1000 --resume
depthrefl render world my_robot_world data/world --count 200
depthrefl render corridor data/corridor --count 64
depthrefl render corridor corridor.mcap --json corridor.json
depthrefl render drive data/drive --count 30 --seed 9100
depthrefl render closer NYU data/closer --list NYU/train.txt --count 400
depthrefl render pack data/corridor corridor.mcap --rate 10
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run_tool(parser(), argv, render)


def parser() -> argparse.ArgumentParser:
    """Return the command's arguments."""
    top = make_parser(
        "depthrefl render", "Renders synthetic indoor scenes with exact depth.", EXAMPLES
    )
    commands = top.add_subparsers(dest="command", required=True)
    rooms = commands.add_parser("rooms", help="random furnished rooms, as a dataset folder")
    rooms.add_argument("out", type=Path, help="dataset folder")
    _add_render_arguments(rooms, count=400, seed=1000, size=(320, 240), samples=4)
    rooms.add_argument(
        "--views", type=positive_int, default=4, help="images per room (%(default)s)"
    )
    kinds = rooms.add_mutually_exclusive_group()
    kinds.add_argument(
        "--in-turn",
        action="store_true",
        help="cycle through the kinds of space, instead of drawing them by their shares",
    )
    kinds.add_argument(
        "--kind",
        action="append",
        default=[],
        metavar="KIND",
        help="only spaces of this kind, such as corridor; repeat it to cycle through several",
    )
    rooms.add_argument(
        "--camera",
        action="append",
        default=[],
        metavar="MOUNT",
        help="only cameras mounted this way: low (5 to 35 cm), robot (0.35 to 1 m), carried, arm "
        "or high; repeat it for several",
    )
    rooms.add_argument(
        "--furniture",
        type=Path,
        metavar="FOLDER",
        help="folder with *.sh3f catalogues (Debian's sweethome3d-furniture) for most furniture",
    )
    world = commands.add_parser("world", help="views of a Gazebo world (SDF), as a dataset folder")
    world.add_argument("world", type=Path, help="*.world or *.sdf file, or a folder with one")
    world.add_argument("out", type=Path, help="dataset folder")
    world.add_argument(
        "--models", type=Path, metavar="FOLDER",
        help="where model:// is found (the world file's folder and the one above it)",
    )  # fmt: skip
    world.add_argument(
        "--views", type=positive_int, default=4, help="images in one light (%(default)s)"
    )
    _add_render_arguments(world, count=100, seed=1, size=(320, 240), samples=6)
    for command in (rooms, world):
        command.add_argument(
            "--panoramas", type=Path, metavar="FOLDER",
            help="folder with *.exr, *.hdr or @pmndrs/assets' *.exr.js: the view through windows",
        )  # fmt: skip
        command.add_argument(
            "--photographs", type=Path, metavar="FOLDER",
            help="folder with *.jpg or *.png for pictures, covers, and some floors and walls",
        )  # fmt: skip
    corridor = commands.add_parser("corridor", help="a robot's drive, as a folder or an MCAP file")
    corridor.add_argument(
        "out",
        type=Path,
        help="dataset folder, or FILE.mcap; the frames of FILE.mcap stay in FILE.frames beside it",
    )
    _add_render_arguments(corridor, count=64, seed=8, size=(640, 480), samples=4)
    drive = commands.add_parser(
        "drive", help="a straight drive through a random room or a Gazebo world"
    )
    drive.add_argument("out", type=Path, help="dataset folder, with mounts.yaml and glass/")
    through = drive.add_mutually_exclusive_group()
    through.add_argument("--kind", help="kind of room, such as lobby (default: drawn at random)")
    through.add_argument(
        "--world", type=Path, metavar="WORLD", help="a Gazebo world, as `world` takes it"
    )
    drive.add_argument(
        "--models", type=Path, metavar="FOLDER", help="of --world, as `world` takes it"
    )
    _add_render_arguments(drive, count=30, seed=9100, size=(320, 240), samples=6)
    closer = commands.add_parser(
        "closer", help="closer views, made from photographs with depth, as a dataset folder"
    )
    closer.add_argument("data", help="data set with near things, as `train --data` takes it")
    closer.add_argument("out", type=Path, help="dataset folder")
    closer.add_argument("--list", type=Path, metavar="FILE", help="names of the images to take")
    for name, default, text in (
        ("--count", 400, "images"),
        ("--width", 320, "image width, pixels"),
        ("--height", 240, "image height, pixels"),
    ):
        closer.add_argument(name, type=positive_int, default=default, help=f"{text} (%(default)s)")
    closer.add_argument("--seed", type=whole_number, default=1, help="random seed (%(default)s)")
    add_json_argument(closer, "number of images and time")
    packed = commands.add_parser("pack", help="turn a data set into an MCAP file")
    packed.add_argument("folder", type=Path, help="data set, as `evaluate` takes it")
    packed.add_argument("out", type=Path, help="FILE.mcap")
    packed.add_argument("--rate", type=positive_float, default=10.0, help="frames a second")
    add_json_argument(packed, "frames and size")
    return top


def _add_render_arguments(
    command: argparse.ArgumentParser, count: int, seed: int, size: tuple[int, int], samples: int
) -> None:
    """Add what all scenes share; the corridor's defaults make test/data/corridor.mcap."""
    numbers = {
        "--count": (count, "images"),
        "--width": (size[0], "image width, pixels"),
        "--height": (size[1], "image height, pixels"),
        "--samples": (samples, "rays per pixel, before denoising"),
    }
    for name, (default, text) in numbers.items():
        text += " (%(default)s)"
        command.add_argument(name, type=positive_int, default=default, help=text)
    command.add_argument(
        "--seed", type=whole_number, default=seed, help="random seed of the scenes (%(default)s)"
    )
    command.add_argument("--threads", type=int, default=1, help="CPU threads, 0 for all cores (1)")
    command.add_argument("--resume", action="store_true", help="continue in a folder with images")
    add_json_argument(command, "number of images and time")


def render(args: argparse.Namespace, _: list[str]) -> int:
    """Do what the subcommand says."""
    if args.command == "pack" or (args.command == "corridor" and args.out.suffix == SUFFIX):
        check_recording(args.out)
    with tempfile.TemporaryDirectory(prefix="depthrefl-render-") as scratch:
        if args.command == "pack":
            figures = pack(args.folder, args.out, args.rate)
        elif args.command == "closer":
            figures = _closer(args)
        elif args.command == "corridor" and args.out.suffix == SUFFIX:
            folder = args.out.with_suffix(".frames")
            figures = _render(args, folder, Path(scratch)) | pack(folder, args.out, 10.0)
        else:
            figures = _render(args, args.out, Path(scratch))
    write_json(args.json, figures)
    return 0


def _render(args: argparse.Namespace, root: Path, scratch: Path) -> dict:
    """Render into the dataset folder `root` and return the figures for --json.

    What is unpacked on the way goes into the folder `scratch`.
    """
    try:
        from depthrefl_ros.training.synth import generate, rooms, views
        from depthrefl_ros.training.synth.renderer import PictureSettings
    except ImportError as error:
        raise ToolError(str(error)) from error
    models, visuals, looks = None, [], PLAIN
    world_files: set[Path] = set()
    if args.command == "rooms":
        _check_names("--kind", args.kind, rooms.KINDS)
        _check_names("--camera", args.camera, views.MOUNTS)
    elif args.command == "drive" and args.kind:
        _check_names("--kind", [args.kind], rooms.KINDS)
    try:
        if getattr(args, "furniture", None) is not None:
            models = Models(args.furniture)
        if args.command in ("rooms", "world"):
            looks = find_looks(args.panoramas, args.photographs, scratch)
        if getattr(args, "world", None) is not None:
            visuals = read_world(find_world(args.world), args.models, world_files)
        folder = RenderedFolder(root)
        existing = len(folder.names())
        if existing and not args.resume:
            raise ToolError(f"{root} holds {existing} images already; --resume goes on with them")
        folder.claim(recipe_of(args, world_files))
    except (FolderError, CatalogueError, WorldError, LooksError) as error:
        raise ToolError(str(error)) from error
    picture = PictureSettings(args.width, args.height, args.samples, args.threads)
    options = (args.count, args.seed, picture)
    start = time.monotonic()
    names: Iterator[str]
    if args.command == "rooms":
        kinds = tuple(rooms.KINDS) if args.in_turn else args.kind
        names = generate.render_rooms(
            folder, *options, args.views, models, kinds, looks, args.camera
        )
    elif args.command == "world":
        names = generate.render_world(folder, *options, visuals, args.views, looks)
    elif args.command == "corridor":
        names = generate.render_corridor(folder, *options)
    else:
        names = generate.render_drive(folder, *options, args.kind, visuals)
    try:
        made = _counted(names, args, existing, f"--resume goes on in {root}")
    except (WorldError, LooksError, views.NoPlaceError) as error:
        raise ToolError(str(error)) from error
    seconds = time.monotonic() - start
    print(f"{root}: {made} images rendered in {seconds:.0f} s, {len(folder.names())} in all")
    return {"images": made, "seconds": seconds, "folder": str(root)}


def _check_names(option: str, names: list[str], known: Iterable[str]) -> None:
    if unknown := sorted(set(names) - set(known)):
        raise ToolError(f"{option} is {unknown[0]!r}; known are {', '.join(known)}")


def _closer(args: argparse.Namespace) -> dict:
    """Make views from closer by and return the figures for --json."""
    try:
        option = parse_data_option(args.data)
        if args.list is not None:
            option = replace(option, list_file=args.list)
        samples = option.open()
        folder = RenderedFolder(args.out)
        if folder.names():
            raise ToolError(f"{args.out} holds images already; choose a new folder")
        folder.claim({"command": "closer", "seed": args.seed})
        keep_terms(samples, args.out)
    except (FolderError, DatasetError) as error:
        raise ToolError(str(error)) from error
    start = time.monotonic()
    rng = np.random.default_rng(args.seed)
    places: dict[int, str] = {}
    views = closer_views(samples, args.count, rng, args.width, args.height, places)
    names = _add_views(folder, views)
    made = _counted(names, args, 0, f"{args.out} can be used as it is")
    unreadable = {samples.names[place]: why for place, why in places.items()}
    if not made:
        raise ToolError(
            f"{args.data}: no image shows enough within {FROM_M} m to come closer to"
            + (f"; {cannot_be_read(unreadable)}" if unreadable else "")
        )
    if unreadable:
        print(f"warning: {cannot_be_read(unreadable)}", file=sys.stderr)
    seconds = time.monotonic() - start
    print(f"{args.out}: {made} images of {len(samples)} photographs in {seconds:.0f} s")
    return {
        "images": made,
        "seconds": seconds,
        "folder": str(args.out),
        "unreadable": list(unreadable),
    }


def _add_views(folder: RenderedFolder, views: Iterator[tuple[Sample, Camera]]) -> Iterator[str]:
    """Write views, numbered and named after their photographs, and yield each new name."""
    for number, (sample, camera) in enumerate(views):
        name = f"{number:04d}_{Path(sample.name).name}"
        is_above = sample.mount is not None and sample.mount.translation[2] > 0.0
        mount = mount_of(sample.mount) if is_above else None
        folder.add(name, sample.image, sample.depth_m, camera, mount)
        yield name


def _counted(names: Iterator[str], args: argparse.Namespace, existing: int, stopped: str) -> int:
    """Show the progress of what makes images, and return how many it made.

    Args:
        names: yields the name of each new image.
        args: the command and how many images there will be.
        existing: images that are there already.
        stopped: what to tell of the folder after Ctrl-C.

    Raises:
        ToolError: Ctrl-C.
    """
    made = 0
    with progress(args.count, args.command, "images") as bar, StopRequest() as stop:
        bar.update(min(existing, args.count))
        for _ in names:
            made += 1
            bar.update()
            if stop:
                raise ToolError(f"stopped after {made} images; {stopped}")
    return made


if __name__ == "__main__":
    sys.exit(main())

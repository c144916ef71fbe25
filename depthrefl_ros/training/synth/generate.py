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

"""Fills dataset folders with rendered rooms or with a robot's drive; goes on where it stopped."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from .drive import build_corridor, choose_drive, drive_views
from .folder import RenderedFolder
from .looks import PLAIN, Looks
from .models import Models
from .renderer import PictureSettings, Renderer
from .rooms import build_room
from .stage import Stage
from .views import Region, View, choose_views
from .world_stage import build_world
from .worlds import Visual

VIEWS_PER_ROOM = 4


def render_rooms(
    folder: RenderedFolder,
    count: int,
    seed: int,
    picture: PictureSettings,
    views_per_room: int = VIEWS_PER_ROOM,
    models: Models | None = None,
    kinds: Sequence[str] = (),
    looks: Looks = PLAIN,
    mounts: Sequence[str] = (),
) -> Iterator[str]:
    """Render images 0000 to count - 1, `views_per_room` of each room, and yield each new name.

    Room r has the seed `seed + r`, so folders with seeds far enough apart share no room. It has the
    kind r of `kinds`, starting over at their end; without `kinds`, one of `rooms.KINDS` by
    their shares. The cameras are mounted in the ways named by `mounts`, of `views.MOUNTS`; in all
    of them without. An image that exists is skipped and comes out the same if it is rendered again.
    """
    for room_index in range(math.ceil(count / views_per_room)):
        first = room_index * views_per_room
        names = [f"{index:04d}" for index in range(first, min(first + views_per_room, count))]
        if all(name in folder for name in names):
            continue
        stage = Stage()
        kind = kinds[room_index % len(kinds)] if kinds else None
        space, rng = build_room(stage, seed + room_index, models, kind, looks)
        views = choose_views(
            stage.cast, space.regions, rng, views_per_room, stage.things(), mounts=mounts
        )
        keys = rng.uniform(0.08, 0.2, views_per_room)
        renderer = Renderer(stage, picture)
        yield from _render_missing(folder, renderer, names, views, keys)


def render_world(
    folder: RenderedFolder,
    count: int,
    seed: int,
    picture: PictureSettings,
    visuals: list[Visual],
    views_per_light: int = VIEWS_PER_ROOM,
    looks: Looks = PLAIN,
) -> Iterator[str]:
    """Render images 0000 to count - 1 of a Gazebo world and yield each new name.

    Every `views_per_light` images the world gets other lights, by `seed` and the ones after it.
    """
    for index in range(math.ceil(count / views_per_light)):
        first = index * views_per_light
        names = [f"{number:04d}" for number in range(first, min(first + views_per_light, count))]
        if all(name in folder for name in names):
            continue
        stage = Stage()
        region, rng = build_world(stage, visuals, seed + index, looks)
        views = choose_views(
            stage.cast, [region], rng, views_per_light, stage.things(), large_far_share=0.0
        )
        keys = rng.uniform(0.08, 0.2, views_per_light)
        renderer = Renderer(stage, picture)
        yield from _render_missing(folder, renderer, names, views, keys)


def _render_missing(folder: RenderedFolder, renderer: Renderer, names, views, keys):
    """Render the views whose names the folder lacks and yield these names."""
    for name, view, key in zip(names, views, keys, strict=False):
        if name not in folder:
            rendered = renderer.render(view, float(key))
            folder.add(name, rendered.image, rendered.depth_m, rendered.camera, view.pose())
            yield name


def render_corridor(
    folder: RenderedFolder,
    count: int,
    seed: int,
    picture: PictureSettings,
) -> Iterator[str]:
    """Render frames 0000 to count - 1 of a drive along a corridor and yield each new name."""
    stage = Stage()
    build_corridor(stage, np.random.default_rng(seed))
    yield from _render_views(folder, stage, drive_views(count), picture)


def render_drive(
    folder: RenderedFolder,
    count: int,
    seed: int,
    picture: PictureSettings,
    kind: str | None = None,
    visuals: Sequence[Visual] = (),
) -> Iterator[str]:
    """Render frames 0000 to count - 1 of a straight drive through the random room `seed`.

    `kind` picks one of `rooms.KINDS`. With `visuals`, of a Gazebo world, the drive is through that
    world, and `seed` chooses the lane and the lights.
    """
    stage = Stage()
    if visuals:
        region, rng = build_world(stage, list(visuals), seed, PLAIN)
    else:
        space, rng = build_room(stage, seed, kind=kind)
        region = Region((0.0, 0.0, space.room.length, space.room.width), space.room.height)
    views = choose_drive(stage, region, rng, count)
    yield from _render_views(folder, stage, views, picture)


def _render_views(
    folder: RenderedFolder,
    stage: Stage,
    views: list[View],
    picture: PictureSettings,
) -> Iterator[str]:
    """Render what is missing of a drive, all equally exposed, with its mounts and panes."""
    renderer = Renderer(stage, picture)
    for index, view in enumerate(views):
        name = f"{index:04d}"
        if name not in folder:
            rendered = renderer.render(view, key=0.13)
            seen = (rendered.image, rendered.depth_m, rendered.camera)
            folder.add(name, *seen, view.pose(), rendered.is_glass)
            yield name

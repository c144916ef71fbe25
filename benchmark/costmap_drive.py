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

"""What a rolling costmap shows of a drive, by how far away it marks (obstacle_max_range).

``costmap.py`` judges each frame by itself. A costmap keeps a mark until a ray clears it, and no ray
clears what lies behind an obstacle: a mark that was wrong from afar is still there when the robot
comes near. Here a map in the robot's fixed frame takes every second frame, 5 Hz, as Nav2's obstacle
layer does: the rays to points/clearing free their cells, then points/marking within the range marks
its own. Then the cells ahead are counted, up to three distances from the robot. A mark is false
when it is more than 0.15 m from all that the true depth of the whole drive shows. Recall is the
share of the cells that the true depth of this frame shows with a mark within 0.15 m. Last comes
what the rays free, and how many cells of true obstacles among it: those they would erase.

    python benchmark/costmap_drive.py test/data/corridor.mcap
    python benchmark/costmap_drive.py DRIVE --step 0.0883 --range 2.5 3 5
    python benchmark/costmap_drive.py DRIVE --motion
    python benchmark/costmap_drive.py DRIVE --motion --frames 24 36 48 --picture docs/motion.webp

``--motion`` corrects depth by what the camera's motion tells, as ``scale_correction: motion`` does.
The robot's true poses stand in for its odometry; for ``--motion`` each is turned by
``--turn-noise`` degrees about every axis, one standard deviation, as a body that rocks is, and
its way is longer by ``--way-error``. A drive that was rendered goes straight ahead; ``--step`` is
0.09 m, and less where its lane is short.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import astuple, dataclass
from pathlib import Path

import cv2
import numpy as np
from costmap import MIN_CONFIDENCE, Scene, opened, read_drive
from costmap_picture import errors_picture
from scale import RECORDING

from depthrefl_ros.engine.base import EngineError
from depthrefl_ros.engine.bundle import BundleError
from depthrefl_ros.geometry.gates import GateSettings
from depthrefl_ros.geometry.local_scale import MotionCorrection
from depthrefl_ros.geometry.motion import MotionDepth
from depthrefl_ros.geometry.pose import Pose
from depthrefl_ros.geometry.rays import image_rays
from depthrefl_ros.geometry.rectification import reprojected
from depthrefl_ros.tools.command_line import (
    ToolError,
    add_json_argument,
    make_parser,
    run_tool,
    write_json,
)
from depthrefl_ros.tools.occupancy import CELL_M, all_points, in_view, near

STEP_M = 0.09  # from frame to frame
PERIOD_S = 0.1
FLOOR_M, FARTHEST_M = 0.05, 6.0
EVERY = 2  # frames of 10 Hz to an update of the costmap
SETTLED = 10  # frames after which the map is counted
AHEAD_M = (1.5, 2.5, 4.0)
HALF = 450  # cells from the map's origin, where the drive begins, to its rim


@dataclass(frozen=True)
class Place:
    """Where the robot is over the floor: x, y in metres and yaw in radians."""

    x: float
    y: float
    yaw: float

    def cells(self, points: np.ndarray) -> np.ndarray:
        """Return (n, 2) int64 cells of the map, of points (n, 2 or more) in the base frame."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        xy = points[:, :2] @ np.array([[c, s], [-s, c]]) + (self.x, self.y)
        return np.floor(xy / CELL_M).astype(np.int64) + HALF

    @property
    def pose(self) -> Pose:
        """odom_from_base."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return Pose(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]), np.array([self.x, self.y, 0.0]))

    def ahead(self) -> np.ndarray:
        """Return (2 HALF, 2 HALF) metres from the robot to each cell; inf beside and behind it."""
        at = (np.arange(2 * HALF) - HALF + 0.5) * CELL_M
        x, y = np.meshgrid(at - self.x, at - self.y, indexing="ij")
        is_ahead = x * math.cos(self.yaw) + y * math.sin(self.yaw) > 0
        return np.where(is_ahead, np.hypot(x, y), np.inf)


@dataclass
class Counts:
    """Cells ahead of the robot, added up over the updates of the map."""

    marks: int = 0
    false: int = 0
    true: int = 0
    found: int = 0

    def add(self, marked: np.ndarray, right: np.ndarray, true: np.ndarray, is_in: np.ndarray):
        """Count one map.

        Args:
            marked: (n, n) bool, what the map shows.
            right: where a mark is right.
            true: what the true depth of this frame shows.
            is_in: cells that count.
        """
        found = near(marked)
        for name, cells in (
            ("marks", marked),
            ("false", marked & ~right),
            ("true", true),
            ("found", true & found),
        ):
            setattr(self, name, getattr(self, name) + int((cells & is_in).sum()))


def recorded_places(count: int) -> list[Place]:
    """Return the poses of the shipped recording; see ``drive_views`` in synth/drive.py."""
    places, x, turn = [], 0.8, 2 * math.pi / 5.2
    for _ in range(count):
        yaw = math.atan(0.28 * turn * math.cos((x - 0.8) * turn))
        places.append(Place(x, 1.35 + 0.28 * math.sin((x - 0.8) * turn), yaw))
        x += STEP_M * math.cos(yaw)
    return places


def drive_places(drive: str, count: int, step_m: float) -> list[Place]:
    """Return where the robot is in each frame: of the shipped recording, or straight ahead."""
    if Path(drive).resolve() == RECORDING.resolve():
        return recorded_places(count)
    return [Place(step_m * index, 0.0, 0.0) for index in range(count)]


def wrong_turns(count: int, degrees: float) -> list[Pose]:
    """Return by how much odometry turns wrongly in each frame, so many degrees about every axis."""
    rng = np.random.default_rng(0)
    turns = np.radians(degrees) * rng.normal(size=(count, 3))
    return [Pose(cv2.Rodrigues(turn)[0], np.zeros(3)) for turn in turns]


def marked_cells(cells: np.ndarray) -> np.ndarray:
    """Return (2 HALF, 2 HALF) bool of cells (n, 2); what lies outside of the map is left out."""
    grid = np.zeros((2 * HALF, 2 * HALF), bool)
    inside = ((cells >= 0) & (cells < 2 * HALF)).all(axis=1)
    grid[tuple(cells[inside].T)] = True
    return grid


def true_cells(scene: Scene, place: Place) -> np.ndarray:
    """Return what the true depth of a frame shows in the height band, (2 HALF, 2 HALF) bool."""
    points = all_points(scene.truth_m, scene.camera, scene.base_from_camera)
    return marked_cells(place.cells(points[in_view(points, math.inf)]))


def update(
    grid: np.ndarray,
    place: Place,
    eye: np.ndarray,
    clouds: tuple[np.ndarray, np.ndarray],
    range_m: float,
) -> None:
    """Clear and mark a map (2 HALF, 2 HALF) uint8 in place.

    Args:
        grid: 1 where something is marked.
        place: of the robot.
        eye: (3,) metres, the camera in the base frame.
        clouds: points/marking and points/clearing, (n, 3) metres in the base frame.
        range_m: from the camera, beyond which nothing is marked.
    """
    marking, clearing = clouds
    start = [int(one) for one in place.cells(eye[None])[0][::-1]]
    for end in np.unique(place.cells(clearing), axis=0):
        cv2.line(grid, start, [int(one) for one in end[::-1]], 0)
    is_near = np.linalg.norm(marking - eye, axis=1) <= range_m
    grid[marked_cells(place.cells(marking[is_near]))] = 1


def freed(
    place: Place, eye: np.ndarray, clouds: tuple[np.ndarray, np.ndarray], true: np.ndarray
) -> tuple[int, int]:
    """Return how many cells one frame's rays free, and how many of these hold an obstacle in truth.

    Cells that the same frame marks are not free after it.

    Args:
        place: of the robot.
        eye: as for ``update``, as is the next one.
        clouds: of the frame.
        true: (2 HALF, 2 HALF) bool, of ``true_cells``.
    """
    grid = np.ones((2 * HALF, 2 * HALF), np.uint8)
    update(grid, place, eye, clouds, math.inf)
    return int((grid == 0).sum()), int((true & (grid == 0)).sum())


def drive(
    scenes: list[Scene],
    places: list[Place],
    clouds: list[tuple[np.ndarray, np.ndarray]],
    true: list[np.ndarray],
    range_m: float,
) -> dict[float, Counts]:
    """Return the counts of each distance of ``AHEAD_M``.

    Args:
        scenes: frame by frame, as all but the clouds.
        places: of the robot.
        clouds: of every ``EVERY``-th frame, as for ``update``.
        true: of ``true_cells``.
        range_m: as for ``update``.
    """
    right = near(np.any(true, axis=0))
    grid = np.zeros((2 * HALF, 2 * HALF), np.uint8)
    counts = {ahead_m: Counts() for ahead_m in AHEAD_M}
    for index in range(0, len(scenes), EVERY):
        scene, place = scenes[index], places[index]
        eye = scene.base_from_camera.translation
        update(grid, place, eye, clouds[index // EVERY], range_m)
        if index < SETTLED:
            continue
        distance_m = place.ahead()
        for ahead_m, one in counts.items():
            one.add(grid > 0, right, true[index], distance_m < ahead_m)
    return counts


def corrected(
    scenes: list[Scene],
    places: list[Place],
    turn_noise_deg: float,
    is_told: bool,
    way_error: float = 0.0,
) -> list[np.ndarray]:
    """Return every frame's depth (h, w) float32 metres as the camera's motion corrects it.

    Args:
        scenes: frame by frame, as the next one.
        places: of the robot, by odometry.
        turn_noise_deg: standard deviation of odometry's turn about each axis.
        is_told: the network was told where the floor is.
        way_error: share by which odometry's way is too long.
    """
    motion, correction = MotionDepth(), MotionCorrection()
    turns, depths = wrong_turns(len(scenes), turn_noise_deg), []
    for index, (scene, place, turn) in enumerate(zip(scenes, places, turns, strict=True)):
        mount = scene.base_from_camera
        longer = Place(*((1.0 + way_error) * one for one in (place.x, place.y)), place.yaw)
        pose = longer.pose @ mount @ turn
        grey = cv2.cvtColor(scene.image_bgr, cv2.COLOR_BGR2GRAY)
        found = motion.update(grey, scene.camera, None, pose, index * PERIOD_S)
        floor = mount if is_told else None
        arguments = scene.network_camera, found, floor, index * PERIOD_S
        depths.append(correction.apply(scene.depth_m, *arguments)[0])
    return depths


def error_above_floor(scenes: list[Scene], depths: list[np.ndarray]) -> float:
    """Return the mean absolute relative error of what stands above the floor, up to 6 m."""
    errors = []
    for scene, depth_m in zip(scenes, depths, strict=True):
        camera, mount = scene.network_camera, scene.base_from_camera
        true_m = reprojected(scene.truth_m, scene.camera, camera)
        height_m = (image_rays(camera) * true_m[..., None]) @ mount.rotation[2]
        counts = height_m + mount.translation[2] > FLOOR_M
        counts &= (true_m > 0.0) & (true_m < FARTHEST_M) & np.isfinite(depth_m)
        errors.append(np.abs(depth_m[counts] / true_m[counts] - 1.0).mean())
    return float(np.nanmean(errors))


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; see ``--help``."""
    return run_tool(_parser(), argv, _run)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "costmap_drive",
        "False marks and recall of a rolling costmap, by obstacle_max_range.",
        "python benchmark/costmap_drive.py test/data/corridor.mcap --json drive.json",
    )
    parser.add_argument("drive", help="a rendered drive, or the shipped recording")
    parser.add_argument("--model", default="indoor_tiny", help="default %(default)s")
    parser.add_argument("--engine", default="openvino", help="default %(default)s")
    parser.add_argument(
        "--step", type=float, default=STEP_M, help="metres between frames (%(default)s)"
    )
    parser.add_argument(
        "--range",
        type=float,
        nargs="+",
        default=[2.0, 2.5, 3.0, 3.5, 4.0, 5.0],
        metavar="M",
        help="obstacle_max_range",
    )
    parser.add_argument("--untold", action="store_true", help="do not tell the network its mount")
    parser.add_argument("--motion", action="store_true", help="correct depth by motion")
    parser.add_argument(
        "--turn-noise", type=float, default=0.3, metavar="DEG", help="of --motion (%(default)s)"
    )
    parser.add_argument(
        "--way-error", type=float, default=0.0, metavar="SHARE", help="of --motion (%(default)s)"
    )
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="draw errors without and with --motion"
    )
    parser.add_argument(
        "--frames", type=int, nargs="+", default=[0], metavar="N", help="for --picture"
    )
    add_json_argument(parser, "the figures")
    return parser


def _run(args: argparse.Namespace, _ros_args: list[str]) -> None:
    try:
        gates = GateSettings(min_confidence=MIN_CONFIDENCE)
        bundle, estimator, rows = opened(args.model, args.engine, gates)
        is_told = bundle.takes_mount and not args.untold
        scenes = list(read_drive(args.drive, estimator, is_told=is_told))
    except (BundleError, EngineError, ValueError) as error:
        raise ToolError(str(error)) from error
    if len(scenes) <= SETTLED:
        raise ToolError(f"{args.drive} has {len(scenes)} frames; more than {SETTLED} are needed")
    places = drive_places(args.drive, len(scenes), args.step)
    depths = [scene.depth_m for scene in scenes]
    if args.motion:
        depths = corrected(scenes, places, args.turn_noise, is_told, args.way_error)
    if args.picture:
        picture = errors_picture(scenes, depths, args.frames)
        cv2.imwrite(str(args.picture), picture, (cv2.IMWRITE_WEBP_QUALITY, 75))
    above = error_above_floor(scenes, depths)
    print(f"AbsRel of what stands above the floor, up to {FARTHEST_M:g} m: {above:.3f}")
    updates = scenes[::EVERY]
    clouds = [
        rows.clouds(scene, depth_m, rows.sigma_limit)
        for scene, depth_m in zip(updates, depths[::EVERY], strict=True)
    ]
    true = [true_cells(*one) for one in zip(scenes, places, strict=True)]
    figures = {"above_floor_abs_rel": above}
    print("obstacle_max_range: false marks of all marks")
    for range_m in args.range:
        counts = drive(scenes, places, clouds, true, range_m)
        figures[str(range_m)] = {str(m): astuple(one) for m, one in counts.items()}
        words = (
            f"up to {m} m ahead {one.false} of {one.marks} ({_percent(one.false, one.marks)}), "
            f"recall {_percent(one.found, one.true)}"
            for m, one in counts.items()
        )
        print(f"{range_m} m: {'; '.join(words)}")
    counted = [
        (*freed(place, scene.base_from_camera.translation, both, cells), int(cells.sum()))
        for scene, place, both, cells in zip(
            updates, places[::EVERY], clouds, true[::EVERY], strict=True
        )
    ]
    free, erased, seen = map(sum, zip(*counted, strict=True))
    area_m2 = free * CELL_M**2 / len(updates)
    print(
        f"points/clearing frees {area_m2:.2f} m2 an update, and with it {erased} of {seen} cells "
        f"that hold an obstacle in truth ({_percent(erased, seen)})"
    )
    figures["clearing"] = {"area_m2": area_m2, "erased": erased, "true": seen}
    write_json(args.json, figures)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "none"


if __name__ == "__main__":
    raise SystemExit(main())

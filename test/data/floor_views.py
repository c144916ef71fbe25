"""Makes floor_views.npz: rendered rooms as a small camera sees them, with its height and mount.

Depth is cast ray by ray at 80x60 pixels instead of rendered. It needs Blender's Python module
(requirements-synth.txt) and takes about a minute:

    python test/data/floor_views.py
"""

import math
from pathlib import Path

import numpy as np

from depthrefl_ros.training.synth.rooms import build_room, choose_views
from depthrefl_ros.training.synth.stage import Stage

SEED, ROOMS, VIEWS = 777_000, 12, 3
WIDTH, HEIGHT = 80, 60


def main() -> None:
    """Writes the file beside this one."""
    depths, views = [], []
    for seed in range(SEED, SEED + ROOMS):
        stage = Stage()
        room, rng = build_room(stage, seed)
        for view in choose_views(stage, room, rng, VIEWS):
            focal = WIDTH / 2 / math.tan(view.horizontal_fov / 2)
            right, down, forward = view.axes()
            depth = np.zeros((HEIGHT, WIDTH), np.float32)
            for v in range(HEIGHT):
                for u in range(WIDTH):
                    x, y = (u - (WIDTH - 1) / 2) / focal, (v - (HEIGHT - 1) / 2) / focal
                    ray = forward + x * right + y * down
                    length = np.linalg.norm(ray)
                    depth[v, u] = stage.distance(view.position, ray / length) / length
            depths.append(depth)
            # Focal length in pixels, then the arguments of Pose.from_mount.
            views.append((focal, view.position[2], -view.pitch, view.roll))
    millimetres = np.nan_to_num(np.stack(depths) * 1000, posinf=0).round().astype(np.uint16)
    path = Path(__file__).with_name("floor_views.npz")
    np.savez_compressed(path, depth_mm=millimetres, views=np.array(views))


if __name__ == "__main__":
    main()

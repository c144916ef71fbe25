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

"""A bundle whose network reads depth out of the image: what the node does with exact depth.

Red and green are the depth in millimetres, blue is sigma in thousandths. A network that is told the
mount moves that depth towards the floor's, wherever it is told where the floor is.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.geometry.floor_plane import FARTHEST_M, NEAREST_M, encode_floor

SIGMA = 0.02
# Weights of red, green and blue, and what is added: of depth, and of a coarser relative plane.
FINE = ((0.256, 0.001, 0.0), 0.0)
COARSE = ((1.0 / 256.0, 0.0, 0.0), 1e-4)


def exact_bundle(
    folder: Path,
    camera: Camera,
    outputs: tuple[str, ...] = ("depth", "sigma", "relative"),
    relative: tuple[tuple[float, float, float], float] = COARSE,
    trust: float | None = None,
    **description,
) -> Path:
    """Write the bundle for images of a camera, which pass through it pixel by pixel.

    Args:
        folder: is made.
        camera: pinhole; the network has its size and focal length.
        outputs: of the network; ``sky`` is where blue is above 127.
        relative: how that plane is read; ``FINE`` takes what ``encoded`` was given.
        trust: of a network that is told the mount, how much its depth is the floor's: 0 to 1.
        description: fields of ``model.yaml`` that differ.
    """
    folder.mkdir()
    size = (camera.height, camera.width)
    graph = _graph(*size, outputs, relative, trust)
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    scenes = [np.full(size, metres, np.float32) for metres in (0.5, 1.5, 4.0)]
    scenes.append(scenes[0])
    images = np.stack([encoded(scene) for scene in scenes])
    depth = np.stack(scenes)[:, None]
    channels = 3
    if trust is not None:
        # The first and its repetition are told a floor in their lower half, the others nothing.
        floor_m, channels = np.zeros((len(scenes), *size, 1)), 4
        floor_m[[0, 3], size[0] // 2 :] = 2.0
        told = encode_floor(floor_m)
        images = np.concatenate([images, told], axis=-1)
        told_m = decode_floor(told)[:, None, ..., 0]
        depth = np.where(told_m > 0, depth + trust * (told_m - depth), depth)
    planes = {
        "depth": depth,
        "sigma": np.full_like(depth, SIGMA),
        "relative": (images[..., :3] @ np.float32(relative[0]) + np.float32(relative[1]))[:, None],
        "sky": np.full_like(depth, SIGMA * 1000 / 255),
    }
    kept = {name: planes[name].astype(np.float32) for name in outputs}
    np.savez(folder / "golden.npz", images=images, **kept)
    content = {
        "format_version": 2,
        "name": "exact",
        "kind": "canonical",
        "licence": "made by a test",
        "input": {
            **{"height": camera.height, "width": camera.width, "resize": "pad"},
            **({} if channels == 3 else {"channels": channels}),
        },
        "focal_px": float(np.sqrt(camera.fx * camera.fy)),
        "outputs": list(outputs),
        "range_m": {"min": 0.3, "max": 10.0},
        "calibration": {"probability": [0.0, 0.5, 1.0], "quantile": [0.0, 0.7, 3.0]},
        **description,
    }
    content = {name: value for name, value in content.items() if value is not None}
    content["files"] = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("model.onnx", "golden.npz")
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(content))
    return folder


def encoded(depth_m: np.ndarray, sigma: float = SIGMA) -> np.ndarray:
    """Return the image (H, W, 3) uint8 RGB of a depth (H, W) in metres up to 65 m."""
    millimetres = np.rint(np.clip(depth_m, 0.001, 65.0) * 1000.0).astype(np.uint16)
    blue = np.full(depth_m.shape, round(sigma * 1000.0), np.uint8)
    high, low = (millimetres >> 8).astype(np.uint8), (millimetres & 255).astype(np.uint8)
    return np.stack([high, low, blue], axis=-1)


def decode_floor(plane: np.ndarray) -> np.ndarray:
    """Return the canonical metres (H, W) float32 that bytes stand for; 0 for unknown."""
    ratio = FARTHEST_M / NEAREST_M
    depth = NEAREST_M * ratio ** ((plane.astype(np.float32) - 1.0) / 254)
    return np.where(plane > 0, depth, 0.0).astype(np.float32)


def _graph(
    height: int, width: int, names: tuple[str, ...], relative: tuple, trust: float | None
) -> onnx.ModelProto:
    channels = 3 if trust is None else 4
    planes = {
        "depth": FINE,
        "sigma": ([0.0, 0.0, 0.001], 1e-6),
        "relative": relative,
        "sky": ([0.0, 0.0, 1.0 / 255.0], 0.0),
    }
    planes = {name: planes[name] for name in names}
    nodes = [helper.make_node("Cast", ["image"], ["colours"], to=TensorProto.FLOAT)]
    constants = []
    for name, (weights, offset) in planes.items():
        array = np.zeros((channels, 1), np.float32)
        array[:3, 0] = weights
        constants.append(numpy_helper.from_array(array, f"{name}_weights"))
        constants.append(numpy_helper.from_array(np.float32([offset]), f"{name}_offset"))
        nodes += [
            helper.make_node("MatMul", ["colours", f"{name}_weights"], [f"{name}_sum"]),
            helper.make_node("Add", [f"{name}_sum", f"{name}_offset"], [f"{name}_last"]),
        ]
        last = f"{name}_last"
        if name == "depth" and trust is not None:
            nodes += _told(last, trust, constants)
            last = "moved"
        nodes.append(helper.make_node("Transpose", [last], [name], perm=[0, 3, 1, 2]))
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, height, width, channels])
    shape = [1, 1, height, width]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in planes]
    graph = helper.make_graph(nodes, "exact", [image], outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _told(seen: str, trust: float, constants: list) -> list[onnx.NodeProto]:
    """Return what moves a depth towards the floor's: seen + trust is_told (floor - seen)."""
    step = np.log(FARTHEST_M / NEAREST_M) / 254
    values = {
        "fourth": [[0.0], [0.0], [0.0], [1.0]],
        "step": [step],
        "start": [np.log(NEAREST_M) - step],
        "one": [1.0],
        "trust": [trust],
    }
    constants += [numpy_helper.from_array(np.array(v, np.float32), n) for n, v in values.items()]
    return [
        helper.make_node("MatMul", ["colours", "fourth"], ["level"]),
        helper.make_node("Min", ["level", "one"], ["is_told"]),
        helper.make_node("Mul", ["is_told", "trust"], ["share"]),
        helper.make_node("Mul", ["level", "step"], ["steps"]),
        helper.make_node("Add", ["steps", "start"], ["log_floor"]),
        helper.make_node("Exp", ["log_floor"], ["floor"]),
        helper.make_node("Sub", ["floor", seen], ["way"]),
        helper.make_node("Mul", ["way", "share"], ["part"]),
        helper.make_node("Add", [seen, "part"], ["moved"]),
    ]

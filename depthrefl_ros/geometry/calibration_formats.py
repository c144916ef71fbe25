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

"""The forms in which calibrations are kept, all as the fields of ``camera_calibration``'s YAML.

Read are that YAML (also without rectification and projection), its ``ost.txt``, what
``ros2 topic echo`` prints of a CameraInfo, OpenCV's FileStorage YAML and Kalibr's camchain.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

KNOWN = (
    "camera_calibration's YAML or ost.txt, 'ros2 topic echo' of a CameraInfo, OpenCV's FileStorage "
    "YAML, or Kalibr's camchain"
)
_MODELS = {
    "radtan": "plumb_bob",
    "fisheye": "equidistant",
    "equi": "equidistant",
    "none": "plumb_bob",
    "pinhole": "plumb_bob",
    "": "plumb_bob",
}
_MATRICES = {
    "k": "camera_matrix",
    "d": "distortion_coefficients",
    "r": "rectification_matrix",
    "p": "projection_matrix",
}
_OST = {
    "camera matrix": "camera_matrix",
    "distortion": "distortion_coefficients",
    "rectification": "rectification_matrix",
    "projection": "projection_matrix",
}
_OPENCV_NAMES = {
    "image_Width": "image_width",
    "image_Height": "image_height",
    "Camera_Matrix": "camera_matrix",
    "Distortion_Coefficients": "distortion_coefficients",
    "distortion_coeffs": "distortion_coefficients",
    "dist_coeffs": "distortion_coefficients",
}
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


class _Loader(yaml.SafeLoader):
    """Reads OpenCV's matrices as mappings."""


_Loader.add_constructor(
    "tag:yaml.org,2002:opencv-matrix", lambda loader, node: loader.construct_mapping(node, True)
)


def calibration_fields(text: str) -> dict[str, Any]:
    """Return a calibration's fields as ``camera_calibration`` names them.

    Args:
        text: of the file.

    Returns:
        ``image_width``, ``image_height``, ``distortion_model`` and the matrices, each with its
        numbers under ``data``; rectification and projection are all zero where the file has none.

    Raises:
        ValueError: none of the known forms, or one that does not hold a single camera.
        yaml.YAMLError: the file looks like YAML and is none.
    """
    text = text.lstrip("\ufeff")
    content = _ost(text) if _is_ost(text) else _first_document(text)
    if not isinstance(content, dict):
        raise ValueError(f"holds no mapping; {KNOWN} is needed")
    content = {_OPENCV_NAMES.get(name, name): value for name, value in content.items()}
    if any(isinstance(one, dict) and "camera_model" in one for one in content.values()):
        content = _kalibr(content)
    elif "camera_matrix" not in content and {"k", "K"} & set(content):
        content = _echoed(content)
    return _completed(content)


def _first_document(text: str) -> Any:
    # FileStorage writes "%YAML:1.0", which is no YAML; `ros2 topic echo` ends with "---".
    text = re.sub(r"\A%YAML[: ]\S+\s*(---)?", "", text)
    return next(iter(yaml.load_all(text, Loader=_Loader)), None)  # a SafeLoader


def _is_ost(text: str) -> bool:
    return bool(re.search(r"^\[image\]\s*$", text, re.MULTILINE))


def _ost(text: str) -> dict[str, Any]:
    """Parse the INI-like text of camera_calibration_parsers: a name on a line, numbers below."""
    found: dict[str, list[float]] = {}
    name = ""
    for line in (line.strip() for line in text.splitlines()):
        words = line.split()
        if words and all(_NUMBER.fullmatch(word) for word in words):
            found.setdefault(name, []).extend(map(float, words))
        elif line and not line.startswith(("#", "[")):
            name = line.lower()
    fields: dict[str, Any] = {
        field: {"data": found[name]} for name, field in _OST.items() if name in found
    }
    for side in ("width", "height"):
        if side in found:
            fields[f"image_{side}"] = int(found[side][0])
    return fields


def _echoed(content: dict[str, Any]) -> dict[str, Any]:
    """Return a CameraInfo message; ROS 1 writes its matrices in capitals."""
    roi = content.get("roi") or {}
    binned = max(int(content.get("binning_x") or 0), int(content.get("binning_y") or 0))
    part = tuple(roi.get(side) or 0 for side in ("x_offset", "y_offset", "width", "height"))
    whole = (0, 0, content.get("width"), content.get("height"))
    if binned > 1 or part not in ((0, 0, 0, 0), whole):
        raise ValueError(
            f"is a CameraInfo with binning {binned} and roi {roi}; one of the whole image is needed"
        )
    fields: dict[str, Any] = {
        name: {"data": content[key if key in content else key.upper()]}
        for key, name in _MATRICES.items()
        if key in content or key.upper() in content
    }
    for name, field in (("width", "image_width"), ("height", "image_height")):
        if name in content:
            fields[field] = content[name]
    return {**fields, "distortion_model": content.get("distortion_model", "")}


def _kalibr(content: dict[str, Any]) -> dict[str, Any]:
    cameras = {name: one for name, one in content.items() if isinstance(one, dict)}
    if len(cameras) != 1:
        raise ValueError(f"holds the cameras {', '.join(cameras)}; leave one of them in the file")
    (camera,) = cameras.values()
    if camera["camera_model"] != "pinhole":
        raise ValueError(f"camera_model is {camera['camera_model']!r}; pinhole is needed")
    fx, fy, cx, cy = camera["intrinsics"]
    width, height = camera["resolution"]
    return {
        "image_width": width,
        "image_height": height,
        "camera_matrix": {"data": [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]},
        "distortion_model": camera.get("distortion_model", ""),
        "distortion_coefficients": {"data": camera.get("distortion_coeffs") or []},
    }


def _completed(content: dict[str, Any]) -> dict[str, Any]:
    """Fill in what goes without saying: no rotation, the projection of K, the distortion model."""
    fields = {"distortion_coefficients": {"data": []}, **content}
    fields.setdefault("rectification_matrix", {"data": [0.0] * 9})
    fields.setdefault("projection_matrix", {"data": [0.0] * 12})
    model = fields.get("distortion_model")
    if model is None and fields.get("fisheye_model"):  # OpenCV's word for its fisheye module
        model = "equidistant"
    if model is None:
        coefficients = fields["distortion_coefficients"]
        count = len(coefficients["data"]) if isinstance(coefficients, dict) else 0
        model = "plumb_bob" if count <= 5 else "rational_polynomial"
    fields["distortion_model"] = _MODELS.get(str(model).lower(), str(model).lower())
    return fields

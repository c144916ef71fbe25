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

"""An ONNX file of others and its meaning become a bundle with golden outputs of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import helper

from depthrefl_ros.conversion.half_precision import halve, worst_half_error
from depthrefl_ros.conversion.meaning import ConversionError, Meaning
from depthrefl_ros.conversion.onnx_wrap import (
    external_files,
    find_output,
    fix_size,
    raise_opset,
    raw_name,
    read_network,
    wrap,
)
from depthrefl_ros.conversion.plausibility import (
    DOUBTFUL_ORDER,
    DOUBTFUL_SCALE,
    Agreement,
    Frames,
    agreement,
    check_metres,
    check_raw,
    check_weights,
)
from depthrefl_ros.engine.bundle import Bundle, file_digest
from depthrefl_ros.engine.bundle_writer import write_bundle
from depthrefl_ros.geometry.camera import Camera

_SAME = 1e-3  # of the largest value; a graph that rounds otherwise stays far below
UNTRAINABLE = (
    "none: graphs only; convert --hub NAME --weights keeps those of a Depth Anything or a DPT on "
    "DINOv2"
)
PICTURES_OF = "indoor_tiny"  # whose golden pictures every network is shown: we rendered them


@dataclass(frozen=True)
class Converted:
    """What became of a network.

    Attributes:
        bundle: as it was written, loaded and checked.
        agreement: with true depth; None without frames.
        notes: what the user should know, a line each.
    """

    bundle: Bundle
    agreement: Agreement | None
    notes: list[str] = field(default_factory=list)


def convert_onnx(
    path: Path,
    meaning: Meaning,
    folder: Path,
    size: tuple[int, int] | None = None,
    frames: Frames | None = None,
) -> Converted:
    """Convert an ONNX file to a bundle.

    Args:
        path: of the ONNX file; its weights may lie beside it.
        meaning: of the network.
        folder: of the bundle; new, empty, or a bundle, which is replaced.
        size: (height, width) pixels of the input, where the file leaves it open.
        frames: with true depth, against which the order and the scale are held.

    Raises:
        ConversionError: the network cannot be converted, or has not this meaning.
        BundleError: the folder holds something else.
        OSError: it cannot be written.
    """
    network = read_network(path)
    sources = {path.name: file_digest(path)}
    for name in external_files(onnx.load(path, load_external_data=False)):
        sources[Path(name).name] = file_digest(path.parent / name)
    return convert_network(network, meaning, folder, sources, size, frames)


def convert_network(
    network: onnx.ModelProto,
    meaning: Meaning,
    folder: Path,
    sources: dict[str, str],
    size: tuple[int, int] | None = None,
    frames: Frames | None = None,
    reference: Callable[[np.ndarray], np.ndarray] | None = None,
    notes: Sequence[str] = (),
    more: Mapping[str, Any] | None = None,
    write_more: Callable[[Path], None] = lambda folder: None,
) -> Converted:
    """Convert a graph in memory to a bundle.

    Args:
        network: the graph; its input's size is fixed in place.
        meaning: of the network.
        folder: of the bundle; new, empty, or a bundle, which is replaced.
        sources: SHA-256 of the files that the network came from, by name.
        size: (height, width) pixels of the input, where the graph leaves it open.
        frames: with true depth, against which the order and the scale are held.
        reference: the network where it was made: maps what the network takes, float32 of the
            layout that the meaning states, to its output. The graph's own planes, by ONNX
            Runtime, become the golden ones, and must agree with it.
        notes: what the user should know, put before what is found here.
        more: fields of ``model.yaml`` besides the meaning's.
        write_more: as in ``write_bundle``.

    Raises:
        ConversionError: the network cannot be converted, has not this meaning, or its graph gives
            something else than the reference.
        BundleError: the folder holds something else.
        OSError: it cannot be written.
    """
    height, width = fix_size(network, meaning, size)
    find_output(network, meaning.outputs, "depth")  # before the work
    network = raise_opset(network)
    shipped = Bundle.load(PICTURES_OF)
    pictures = _resized(shipped.golden().images[:3, ..., :3], height, width)
    shapes = _output_shapes(network)
    graph = wrap(network, meaning, shapes)
    with _session(_with_raw(graph, network, meaning)) as session:
        planes = _run(session, pictures)
        if reference is not None:
            _hold_to(reference, pictures, planes, meaning, network)
        check_weights(planes[meaning.plane], meaning)
        for name, values in planes.items():
            if name.startswith(raw_name("")):
                check_raw(name.removeprefix(raw_name("")), values)
        golden = {name: planes[name].astype(np.float32) for name in _outputs(graph)}
        if meaning.plane == "depth":
            ratio = _pictures_ratio(shipped, meaning, height, width)
            check_metres(golden["depth"] * ratio, golden.get("sky"), meaning)
        found = None
        if frames is not None:
            shown = _run(session, _resized(frames.images, height, width))
            found = agreement(shown[meaning.plane], frames, meaning)
    graphs = {"model.onnx": graph}
    told = [*notes, *_notes(found)]
    try:
        half = wrap(halve(network), meaning, shapes)
        with _session(half) as session:
            reason = worst_half_error(golden, _run(session, pictures))
    except ConversionError as error:
        reason = str(error)
    if reason is None:
        graphs["model_fp16.onnx"] = half
    else:
        told.append(f"no half-precision graph ({reason}): TensorRT runs this network in fp32")
    write_bundle(
        folder,
        graphs,
        {"images": pictures, **golden},
        _description(meaning, graph, height, width, sources) | dict(more or {}),
        write_more,
    )
    return Converted(Bundle.load(str(folder.absolute())), found, told)


def _hold_to(
    reference: Callable[[np.ndarray], np.ndarray],
    pictures: np.ndarray,
    planes: dict[str, np.ndarray],
    meaning: Meaning,
    network: onnx.ModelProto,
) -> None:
    """Check the graph's own output against the reference's."""
    name = raw_name(find_output(network, meaning.outputs, "depth"))
    truth = np.concatenate([reference(one) for one in network_inputs(pictures, meaning)])
    found = planes[name].reshape(truth.shape)
    error = np.abs(found - truth).max() / max(np.abs(truth).max(), 1e-12)
    if not error <= _SAME:
        raise ConversionError(
            f"the exported graph gives another output than the network: {error:.2g} of its largest "
            f"value apart, {_SAME:g} are allowed; another version of torch may export it rightly"
        )


def network_inputs(images: np.ndarray, meaning: Meaning) -> np.ndarray:
    """Return what the meaning makes of images, as the bundle's graph does.

    Args:
        images: (n, H, W, 3) uint8 RGB.
        meaning: of the network, of type float.

    Returns:
        (n, 1, 3, H, W) or (n, 1, H, W, 3) float32.
    """
    pixels = images[..., ::-1] if meaning.colours == "bgr" else images
    pixels = pixels.astype(np.float64) * meaning.scale
    pixels = ((pixels - np.array(meaning.mean)) / np.array(meaning.std)).astype(np.float32)
    if meaning.layout == "NCHW":
        pixels = pixels.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(pixels)[:, None]


def _description(
    meaning: Meaning, graph: onnx.ModelProto, height: int, width: int, sources: dict[str, str]
) -> dict[str, Any]:
    nearest, farthest = meaning.range_m
    told = {
        "kind": meaning.kind,
        "input": {"height": height, "width": width, "resize": meaning.resize},
        "outputs": list(_outputs(graph)),
        "focal_px": meaning.focal_px,
        "trained_hfov_deg": meaning.trained_hfov_deg,
        "range_m": {"min": nearest, "max": farthest},
        "licence": meaning.licence,
        "commercial": meaning.commercial,
        "source": meaning.source or None,
        "sources": sources,
        "training": UNTRAINABLE,
    }
    return {name: value for name, value in told.items() if value is not None}


def _notes(found: Agreement | None) -> list[str]:
    if found is None:
        return []
    notes = []
    if found.order < DOUBTFUL_ORDER:
        notes.append(
            f"the order of depths on the shipped recording is hardly right (rank correlation "
            f"{found.order:.2f}): scale, mean, std or colours may be wrong"
        )
    if found.scale and not 1.0 / DOUBTFUL_SCALE <= found.scale <= DOUBTFUL_SCALE:
        notes.append(
            f"depth on the shipped recording is {found.scale:.2g} times the truth: kind, focal_px "
            "or transform may be wrong"
        )
    return notes


def _outputs(graph: onnx.ModelProto) -> tuple[str, ...]:
    return tuple(value.name for value in graph.graph.output)


def _pictures_ratio(shipped: Bundle, meaning: Meaning, height: int, width: int) -> float:
    """Return what makes the network's metres those of the golden pictures' camera."""
    if meaning.focal_px is None or shipped.focal_px is None:
        return 1.0
    middle, focal_px = ((shipped.width - 1) / 2.0, (shipped.height - 1) / 2.0), shipped.focal_px
    camera = Camera.pinhole(shipped.width, shipped.height, focal_px, focal_px, *middle)
    return camera.scaled(width, height).mean_focal_px / meaning.focal_px


def _resized(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return images (n, H, W, 3) uint8 stretched to the network's size."""
    way = cv2.INTER_AREA if height * width < images[0, ..., 0].size else cv2.INTER_LINEAR
    return np.stack([cv2.resize(one, (width, height), interpolation=way) for one in images])


def _with_raw(
    graph: onnx.ModelProto, network: onnx.ModelProto, meaning: Meaning
) -> onnx.ModelProto:
    """Return the wrapped graph with the foreign outputs too: what is NaN there may be hidden."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    names = [find_output(network, meaning.outputs, "depth")]
    names += [find_output(network, meaning.sky, "sky")] if meaning.sky else []
    kinds = {value.name: value.type.tensor_type.elem_type for value in network.graph.output}
    copy.graph.output.extend(
        helper.make_tensor_value_info(raw_name(name), kinds[name], None) for name in names
    )
    return copy


def _output_shapes(network: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return shapes as they come out: what a graph says of itself is often missing or wrong."""
    with _session(network) as session:
        (given,) = session.get_inputs()
        kind = {"tensor(float16)": np.float16, "tensor(uint8)": np.uint8}.get(
            given.type, np.float32
        )
        names = [output.name for output in session.get_outputs()]
        values = _infer(session, names, {given.name: np.zeros(given.shape, kind)})
    return {name: np.shape(value) for name, value in zip(names, values, strict=True)}


def _run(session: onnxruntime.InferenceSession, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the outputs by name, one after the other: a foreign network takes one image."""
    names = [output.name for output in session.get_outputs()]
    rows = [_infer(session, names, {"images": image[None]}) for image in images]
    return {
        name: np.stack(values).reshape(len(images), *np.shape(values[0])[1:])
        if np.shape(values[0])[:1] == (1,)
        else np.stack(values)
        for name, values in zip(names, zip(*rows, strict=True), strict=True)
    }


def _infer(
    session: onnxruntime.InferenceSession, names: list[str], given: dict[str, np.ndarray]
) -> list[np.ndarray]:
    try:
        return session.run(names, given)
    except Exception as error:  # ONNX Runtime raises classes of its own
        reason = " ".join(str(error).split())[:300]
        raise ConversionError(f"the network does not run in ONNX Runtime: {reason}") from error


@contextmanager
def _session(graph: onnx.ModelProto) -> Iterator[onnxruntime.InferenceSession]:
    """Open ONNX Runtime on the CPU; through files: a graph of 2 GB goes no other way."""
    with tempfile.TemporaryDirectory(
        prefix="depthrefl_convert.", ignore_cleanup_errors=True
    ) as folder:
        try:
            path = str(Path(folder) / "model.onnx")
            copy = onnx.ModelProto()
            copy.CopyFrom(graph)  # onnx moves the weights out of what it saves
            onnx.save_model(copy, path, save_as_external_data=True, location="model.data")
            del copy
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        except OSError:
            raise
        except Exception as error:  # onnx's checker and ONNX Runtime raise classes of their own
            reason = " ".join(str(error).split())[:300]
            raise ConversionError(f"the network is refused by ONNX Runtime: {reason}") from error
        yield session

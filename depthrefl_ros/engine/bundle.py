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

"""A model bundle: a folder with the network in several forms and an honest description.

Nothing in a bundle executes, and every file is checked against the SHA-256 in ``model.yaml``.
"""

from __future__ import annotations

import hashlib
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from depthrefl_ros.engine.description import (
    DESCRIPTION,
    BundleError,
    Fields,
    read_accuracy,
    read_calibration,
    read_fields,
    read_range,
    read_sigma_table,
    refuse_lfs_pointer,
)

_READABLE = (1, 2)
WEIGHTS = "model.weights"  # of all graphs, in half precision, but what MODEL_WEIGHTS has
INT8 = "model_int8.onnx"  # convolutions in int8; not every bundle has it
MAKE_INT8 = "`depthrefl export_bundle BUNDLE NEW --int8 IMAGES` makes a bundle with one"
MODEL_WEIGHTS = "model.safetensors"  # for training, other shapes and the torch engine
BACKBONE_WEIGHTS = "backbone.safetensors"  # of a converted network that can be trained on
SHIPPED = Path(__file__).resolve().parents[1] / "models"
LOG_DELTA1 = math.log(1.25)
GOLDEN_IMAGES = 4
KINDS = ("canonical", "metric", "inverse_relative")
RESIZES = ("pad", "crop", "stretch")
COMMERCIAL = ("yes", "no", "unknown")
PLANES = ("depth", "sigma", "relative", "sky")
_OF_FORMAT_1 = ("depth", "sigma", "relative")


class Golden(NamedTuple):
    """What the engine must reproduce (see ``self_test``).

    Attributes:
        images: (4, H, W, channels) uint8; the last repeats one of the others.
        planes: (4, 1, H, W) float32 by the output's name.
    """

    images: np.ndarray
    planes: dict[str, np.ndarray]

    @property
    def depth(self) -> np.ndarray:
        """(4, 1, H, W) float32, metres as the bundle's kind has them."""
        return self.planes["depth"]

    @property
    def sigma(self) -> np.ndarray:
        """(4, 1, H, W) float32, standard deviation of log depth."""
        return self.planes["sigma"]

    def repeated(self) -> int | None:
        """Return which image the last one repeats; None where it repeats none."""
        same = (i for i, image in enumerate(self.images[:-1]) if (image == self.images[-1]).all())
        return next(same, None)


@dataclass(frozen=True)
class Bundle:
    """A loaded and checked bundle.

    Attributes:
        name: of the model.
        folder: where it lies.
        kind: what ``depth`` means. ``canonical``: metres for a camera of ``focal_px``, to be
            scaled by the camera's focal length; ``metric``: metres as they are;
            ``inverse_relative``: there is no depth, and ``relative`` is inverse depth, larger is
            nearer, of unknown scale and shift.
        height: of the network's input, pixels.
        width: of the network's input, pixels.
        channels: of the network's input: 3, RGB; 4 with the mount (``geometry.floor_plane``).
        resize: how an image of another shape becomes the input: ``pad``, ``crop`` or ``stretch``.
        outputs: of the network, some of ``depth``, ``sigma``, ``relative`` and ``sky``.
        focal_px: the canonical focal length f_c, pixels at network resolution, the mean of both
            directions where ``resize`` is ``stretch``; None unless
            ``kind`` is ``canonical``.
        trained_hfov_deg: horizontal field of view that a ``metric`` network was trained for,
            degrees; None where it is not known.
        min_range_m: nearest depth that the model was validated for, metres.
        max_range_m: farthest depth that the model was validated for, metres.
        licence: under which terms the weights may be used.
        commercial: whether these terms allow commercial use: ``yes``, ``no`` or ``unknown``.
        source: where the weights came from; empty where it is not told.
        sources: SHA-256 of the files that the bundle was made of, by name.
        calibration: (2, n) float64: probabilities, and the quantiles of |delta log z| / sigma;
            None where the network has no sigma or it was never calibrated.
        sigma_table: (3, n) float64 for a network without sigma: distances in metres, and the
            standard deviation of log depth there, away from edges and beside them; or None.
        relative_error: mean absolute relative error of depth as it was validated (AbsRel); 0 where
            it is not known.
        untold_error: the same of a network that is not told the mount, whether it could be.
        files: SHA-256 of the bundle's files, by name.
        description: all of ``model.yaml``.
    """

    name: str
    folder: Path
    kind: str
    height: int
    width: int
    channels: int
    resize: str
    outputs: tuple[str, ...]
    focal_px: float | None
    trained_hfov_deg: float | None
    min_range_m: float
    max_range_m: float
    licence: str
    commercial: str
    source: str
    sources: dict[str, str]
    calibration: np.ndarray | None
    sigma_table: np.ndarray | None
    relative_error: float
    untold_error: float
    files: dict[str, str]
    description: dict[str, Any]

    @classmethod
    def load(cls, model: str) -> Bundle:
        """Load a shipped model by name or any bundle by its folder.

        Args:
            model: ``indoor_tiny`` or another name under ``models/``, or the path of a folder.

        Raises:
            BundleError: the bundle is missing, damaged, or of another format version.
        """
        folder = _find(model)
        fields = read_fields(folder / DESCRIPTION)
        version = fields.values.get("format_version")
        if version not in _READABLE:
            raise BundleError(
                f"{fields.path} has format_version {version!r}; this version of depthrefl_ros "
                f"reads {' and '.join(map(str, _READABLE))}"
            )
        is_first = version == 1
        size = fields.part("architecture" if is_first else "input")
        kind = "canonical" if is_first else fields.choice("kind", KINDS)
        outputs = _OF_FORMAT_1 if is_first else _outputs(fields, kind)
        nearest, farthest = read_range(fields.part("range_m"))
        table = None if is_first or "sigma" in outputs else read_sigma_table(fields)
        has_deviation = "sigma" in outputs or table is not None
        error = read_accuracy(fields, "accuracy", 0.0)
        bundle = cls(
            name=fields.text("name"),
            folder=folder,
            kind=kind,
            height=size.whole("height", 16, 4096),
            width=size.whole("width", 16, 4096),
            channels=_channels(size, kind),
            resize="pad" if is_first else size.choice("resize", RESIZES),
            outputs=outputs,
            focal_px=(size if is_first else fields).number("focal_px", 10.0, 20000.0)
            if kind == "canonical"
            else None,
            trained_hfov_deg=fields.number("trained_hfov_deg", 5.0, 179.0, None),
            min_range_m=nearest,
            max_range_m=farthest,
            licence=fields.text("licence"),
            commercial=fields.choice("commercial", COMMERCIAL, "unknown"),
            source=fields.text("source", ""),
            sources=fields.digests("sources", {}),
            calibration=read_calibration(fields) if has_deviation else None,
            sigma_table=table,
            relative_error=error,
            untold_error=read_accuracy(fields, "accuracy_without_mount", error),
            files=fields.digests("files"),
            description=fields.values,
        )
        _check_architecture(bundle, fields)
        for name, digest in bundle.files.items():
            _check(folder / name, digest)
        return bundle

    @property
    def origin(self) -> str:
        """Source and, by their first 12 digits, the SHA-256 of the files that came in, in words."""
        files = [f"{name} (SHA-256 {digest[:12]})" for name, digest in self.sources.items()]
        made = f"made of {', '.join(files)}" if files else "SHA-256 of what came in unknown"
        return f"source: {self.source or 'unknown'}; {made}"

    @property
    def takes_mount(self) -> bool:
        """Whether the input has the mount's plane beside red, green and blue."""
        return self.channels == 4

    @property
    def says_sigma(self) -> bool:
        """Whether there is a sigma, calibrated or not: the network's own, or a table."""
        return "sigma" in self.outputs or self.sigma_table is not None

    @property
    def has_sigma(self) -> bool:
        """Whether there is a calibrated sigma, and so a confidence."""
        return self.calibration is not None

    def path(self, name: str) -> Path:
        """Return the path of one of the bundle's files.

        Raises:
            BundleError: ``model.yaml`` does not list the file.
        """
        if name not in self.files:
            raise BundleError(f"{self.folder / DESCRIPTION} lists no {name}")
        return self.folder / name

    def network_digest(self, name: str) -> str:
        """Return the SHA-256 over an ONNX file and the weights that lie beside it, hexadecimal.

        Raises:
            BundleError: ``model.yaml`` does not list the file.
        """
        self.path(name)
        beside = [self.files[one] for one in (WEIGHTS, MODEL_WEIGHTS) if one in self.files]
        if not beside:
            return self.files[name]
        return hashlib.sha256("".join([self.files[name], *beside]).encode()).hexdigest()

    def golden(self) -> Golden:
        """Return the images and outputs of the self-test.

        Raises:
            BundleError: ``golden.npz`` cannot be read or has other contents.
        """
        path = self.path("golden.npz")
        # Format 1 has no golden ``relative``.
        guarded = self.outputs if self.description["format_version"] > 1 else ("depth", "sigma")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in ("images", *guarded)}
        except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise BundleError(f"{path} cannot be read: {error}") from error
        size = (self.height, self.width)
        for name, array in found.items():
            shape, kind = ((GOLDEN_IMAGES, 1, *size), "float32")
            if name == "images":
                shape, kind = ((GOLDEN_IMAGES, *size, self.channels), "uint8")
            if array.shape != shape or array.dtype != kind:
                raise BundleError(
                    f"{path} holds {name} {array.shape} {array.dtype}; {shape} {kind} are needed"
                )
            if not np.isfinite(array).all():
                raise BundleError(f"{path} holds {name} that are not finite everywhere")
        golden = Golden(found.pop("images"), found)
        told = golden.images[..., 3:].any(axis=(1, 2, 3))
        if self.takes_mount and (told.all() or not told.any()):
            raise BundleError(
                f"{path} has a mount's plane in {told.sum()} of {GOLDEN_IMAGES} images; some with "
                "and some without are needed, or half of the network goes unseen"
            )
        if golden.repeated() is None:
            raise BundleError(
                f"{path} has {GOLDEN_IMAGES} different images; the last must repeat one of the "
                "others, or drift from frame to frame goes unseen"
            )
        return golden

    def confidence(self, sigma: np.ndarray) -> np.ndarray:
        """Return the calibrated probability that a depth is within a factor of 1.25 of the truth.

        F(log 1.25 / sigma), with F the distribution function of |delta log z| / sigma.

        Args:
            sigma: any shape, float32, standard deviation of log depth.

        Returns:
            The same shape, float32, in [0, 1]; NaN where the bundle has no calibrated sigma.
        """
        if self.calibration is None:
            return np.full_like(sigma, np.nan, np.float32)
        probabilities, quantiles = self.calibration
        return np.interp(LOG_DELTA1 / sigma, quantiles, probabilities).astype(np.float32)

    def sigma_limit(self, min_confidence: float) -> float:
        """Return the sigma at which ``confidence`` falls to ``min_confidence``.

        It is inf for 0, and where the bundle has no calibrated sigma.
        """
        if min_confidence <= 0.0 or self.calibration is None:
            return math.inf
        probabilities, quantiles = self.calibration
        return LOG_DELTA1 / max(float(np.interp(min_confidence, probabilities, quantiles)), 1e-9)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def shipped_models() -> list[str]:
    """Return the names of the models that the package comes with, in order."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{DESCRIPTION}"))


def is_bundle(folder: Path) -> bool:
    """Return whether a folder is a bundle, damaged or not: has a description of our format."""
    try:
        fields = read_fields(folder / DESCRIPTION)
        return fields.values.get("format_version") in _READABLE and bool(fields.digests("files"))
    except BundleError:
        return False


def _find(model: str) -> Path:
    try:
        folder = Path(model).expanduser()
        # A bare name means a shipped model even where a folder of that name lies around.
        if folder.name == model and (SHIPPED / model / DESCRIPTION).is_file():
            return SHIPPED / model
        if (folder / DESCRIPTION).is_file():
            return folder
    except (OSError, RuntimeError) as error:  # too long a name; the home of nobody
        raise BundleError(f"model is {model[:80]!r}: {error.args[-1]}") from error
    raise BundleError(
        f"model is {model!r}; there is no {folder / DESCRIPTION}, and the shipped models are "
        f"{shipped_models()}"
    )


def _outputs(fields: Fields, kind: str) -> tuple[str, ...]:
    outputs = fields.choices("outputs", PLANES)
    needed = "relative" if kind == "inverse_relative" else "depth"
    if needed not in outputs:
        raise fields.error("outputs", list(outputs), f"kind {kind} needs {needed}")
    if kind == "inverse_relative" and {"depth", "sigma"} & set(outputs):
        raise fields.error("outputs", list(outputs), f"kind {kind} has neither depth nor sigma")
    return outputs


def _channels(fields: Fields, kind: str) -> int:
    channels = fields.whole("channels", 3, 4) if fields.has("channels") else 3
    if channels > 3 and kind != "canonical":
        raise fields.error("channels", channels, f"kind {kind} is not told the mount; 3 is needed")
    return channels


def _check_architecture(bundle: Bundle, fields: Fields) -> None:
    """Refuse a description of the network that contradicts what the engines are told."""
    if not fields.has("architecture"):
        return
    part = fields.part("architecture")
    for name in ("height", "width", "focal_px"):
        said, told = part.values.get(name), getattr(bundle, name)
        if said != told:
            raise part.error(name, said, f"it contradicts {name} {told}")
    mount = part.values.get("mount", False)
    if mount != bundle.takes_mount:
        raise part.error("mount", mount, f"it contradicts channels {bundle.channels}")


def _check(path: Path, digest: str) -> None:
    try:
        found = file_digest(path)
        if found == digest:
            return
        with path.open("rb") as file:
            refuse_lfs_pointer(path, file.read(64))
    except OSError as error:
        raise BundleError(f"{path} is missing from its bundle: {error}") from error
    raise BundleError(
        f"{path} has SHA-256 {found[:16]}... where {DESCRIPTION} says {digest[:16]}...: it is "
        "truncated or altered; install the bundle again"
    )

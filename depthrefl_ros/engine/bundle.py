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
import yaml

FORMAT_VERSION = 1
DESCRIPTION = "model.yaml"
SHIPPED = Path(__file__).resolve().parents[1] / "models"
LOG_DELTA1 = math.log(1.25)
GOLDEN_IMAGES = 4


class BundleError(Exception):
    """A bundle that is missing, damaged, or of a version that this code does not read."""


class Golden(NamedTuple):
    """What the engine must reproduce (see ``base.self_test``).

    Attributes:
        images: (4, H, W, 3) uint8 RGB; the last repeats one of the others.
        depth: (4, 1, H, W) float32, canonical metres.
        sigma: (4, 1, H, W) float32.
    """

    images: np.ndarray
    depth: np.ndarray
    sigma: np.ndarray

    def repeated(self) -> int | None:
        """Which image the last one repeats; None where it repeats none."""
        same = (i for i, image in enumerate(self.images[:-1]) if (image == self.images[-1]).all())
        return next(same, None)


@dataclass(frozen=True)
class Bundle:
    """A loaded and checked bundle.

    Attributes:
        name: of the model.
        folder: where it lies.
        height: of the network's input, pixels.
        width: of the network's input, pixels.
        focal_px: the canonical focal length f_c, pixels at network resolution.
        min_range_m: nearest depth that the model was validated for, metres.
        max_range_m: farthest depth that the model was validated for, metres.
        licence: under which terms the weights may be used.
        calibration: (2, n) float64: probabilities, and the quantiles of |delta log z| / sigma.
        description: all of ``model.yaml``.
    """

    name: str
    folder: Path
    height: int
    width: int
    focal_px: float
    min_range_m: float
    max_range_m: float
    licence: str
    calibration: np.ndarray
    description: dict[str, Any]

    @classmethod
    def load(cls, model: str) -> Bundle:
        """Loads a shipped model by name or any bundle by its folder.

        Args:
            model: ``indoor_tiny`` or another name under ``models/``, or the path of a folder.

        Raises:
            BundleError: the bundle is missing, damaged, or of another format version.
        """
        folder = _find(model)
        description = _read_description(folder)
        version = description.get("format_version")
        if version != FORMAT_VERSION:
            raise BundleError(
                f"{folder / DESCRIPTION} has format_version {version!r}; this version of "
                f"depthrefl_ros reads {FORMAT_VERSION}"
            )
        try:
            architecture = description["architecture"]
            calibration = description["calibration"]
            bundle = cls(
                name=str(description["name"]),
                folder=folder,
                height=int(architecture["height"]),
                width=int(architecture["width"]),
                focal_px=float(architecture["focal_px"]),
                min_range_m=float(description["range_m"]["min"]),
                max_range_m=float(description["range_m"]["max"]),
                licence=str(description["licence"]),
                calibration=np.array([calibration["probability"], calibration["quantile"]]),
                description=description,
            )
            files = {str(name): str(digest) for name, digest in description["files"].items()}
            if bundle.calibration.ndim != 2 or bundle.calibration.shape[1] < 2:
                raise ValueError("calibration needs two lists of at least two numbers")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"{folder / DESCRIPTION} lacks or misstates a field: {error!r}"
            ) from error
        for name, digest in files.items():
            _check(folder / name, digest)
        return bundle

    @property
    def relative_error(self) -> float:
        """Mean absolute relative error of depth as it was validated (AbsRel); 0 where unknown."""
        return float((self.description.get("accuracy") or {}).get("abs_rel", 0.0))

    def path(self, name: str) -> Path:
        """The path of one of the bundle's files.

        Raises:
            BundleError: ``model.yaml`` does not list the file.
        """
        if name not in self.description["files"]:
            raise BundleError(f"{self.folder / DESCRIPTION} lists no {name}")
        return self.folder / name

    def golden(self) -> Golden:
        """The images and outputs of the self-test.

        Raises:
            BundleError: ``golden.npz`` cannot be read or has other contents.
        """
        path = self.path("golden.npz")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                golden = Golden(*(arrays[name] for name in Golden._fields))
        except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise BundleError(f"{path} cannot be read: {error}") from error
        planes = ((GOLDEN_IMAGES, 1, self.height, self.width), "float32")
        needed = (((GOLDEN_IMAGES, self.height, self.width, 3), "uint8"), planes, planes)
        for name, array, (shape, kind) in zip(Golden._fields, golden, needed, strict=True):
            if array.shape != shape or array.dtype != kind:
                raise BundleError(
                    f"{path} holds {name} {array.shape} {array.dtype}; {shape} {kind} are needed"
                )
        if golden.repeated() is None:
            raise BundleError(
                f"{path} has {GOLDEN_IMAGES} different images; the last must repeat one of the "
                "others, or drift from frame to frame goes unseen"
            )
        return golden

    def confidence(self, sigma: np.ndarray) -> np.ndarray:
        """Calibrated probability that a depth is within a factor of 1.25 of the truth.

        F(log 1.25 / sigma), with F the distribution function of |delta log z| / sigma.

        Args:
            sigma: any shape, float32, standard deviation of log depth.

        Returns:
            The same shape, float32, in [0, 1].
        """
        probabilities, quantiles = self.calibration
        return np.interp(LOG_DELTA1 / sigma, quantiles, probabilities).astype(np.float32)

    def sigma_limit(self, min_confidence: float) -> float:
        """The sigma at which ``confidence`` falls to ``min_confidence``; inf for 0."""
        if min_confidence <= 0.0:
            return math.inf
        probabilities, quantiles = self.calibration
        return LOG_DELTA1 / max(float(np.interp(min_confidence, probabilities, quantiles)), 1e-9)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _find(model: str) -> Path:
    folder = Path(model).expanduser()
    # A bare name means a shipped model even where a folder of that name happens to lie around.
    if folder.name == model and (SHIPPED / model / DESCRIPTION).is_file():
        return SHIPPED / model
    if (folder / DESCRIPTION).is_file():
        return folder
    shipped = sorted(path.parent.name for path in SHIPPED.glob(f"*/{DESCRIPTION}"))
    raise BundleError(
        f"model is {model!r}; there is no {folder / DESCRIPTION}, and the shipped models are "
        f"{shipped}"
    )


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    try:
        description = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from error
    if not isinstance(description, dict):
        raise BundleError(f"{path} holds a {type(description).__name__}; a mapping is needed")
    return description


def _check(path: Path, digest: str) -> None:
    try:
        found = file_digest(path)
    except OSError as error:
        raise BundleError(f"{path} is missing from its bundle: {error}") from error
    if found != digest:
        raise BundleError(
            f"{path} has SHA-256 {found[:16]}... where {DESCRIPTION} says {digest[:16]}...: it is "
            "truncated or altered; install the bundle again"
        )

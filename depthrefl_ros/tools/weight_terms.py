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

"""Under which terms trained weights may be used, by what is known of where they come from.

Every leg of a run notes the terms of the weights that it began from and of its teachers. What the
data is of, its kind tells.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from depthrefl_ros.engine.bundle import COMMERCIAL, Bundle, is_bundle
from depthrefl_ros.tools.command_line import ToolError

if TYPE_CHECKING:
    from depthrefl_ros.tools.train_data import Part
    from depthrefl_ros.training.datasets import ImageFolder

# The weights are the one part of the package that is not Apache-2.0: said wherever they load.
LICENCE = "weights for research use only (trained on NYU Depth v2); code Apache-2.0"
LICENCE_DETAILS = (
    "NYU Depth v2 is for research use, and so are weights trained on it (cite Silberman et al., "
    "ECCV 2012). They start from ImageNet weights of EfficientNet-Lite (Apache-2.0)."
)
IMAGENET = "ImageNet, EfficientNet-Lite (Apache-2.0)"
TERMS_FILE = "terms.yaml"  # in a folder that a bundle has labelled
_NYU_KINDS = ("nyu", "nyu_mat")
# ``of`` what the terms are, ``licence``, ``licence_details`` and ``commercial`` as in a bundle.
Terms = dict[str, str]
_NYU: Terms = {
    "of": "NYU Depth v2", "licence": LICENCE, "licence_details": LICENCE_DETAILS,
    "commercial": "no",
}  # fmt: skip


def stated(licence: str | None, commercial: str | None) -> dict[str, str]:
    """Return what ``model.yaml`` says of terms that somebody states; empty where nobody does.

    Raises:
        ToolError: ``commercial`` comes without ``licence``.
    """
    if licence is None:
        if commercial is not None:
            raise ToolError("--commercial says what --licence allows; give both")
        return {}
    return {
        "licence": licence, "licence_details": "", "commercial": commercial or COMMERCIAL[-1]
    }  # fmt: skip


def terms_of_bundle(bundle: Bundle) -> Terms:
    """Return a bundle's terms."""
    return {
        "of": bundle.name,
        "licence": bundle.licence,
        "licence_details": bundle.description.get("licence_details", ""),
        "commercial": bundle.commercial,
    }


def note_terms(folder: Path, teacher: Bundle) -> None:
    """Write into a labelled folder the terms of the bundle that has labelled it."""
    path = folder / TERMS_FILE
    if not path.is_file():
        path.write_text(yaml.safe_dump(terms_of_bundle(teacher), sort_keys=False))


def terms_of_leg(arguments: argparse.Namespace, parts: dict[str, Part]) -> list[Terms]:
    """Return the terms of what a leg of training begins from and is taught by.

    Args:
        arguments: of the command.
        parts: the training sets.
    """
    terms = []
    stage1 = arguments.run / "stage1"
    if arguments.command == "finetune":
        terms.append(terms_of_bundle(Bundle.load(arguments.model)))
    elif getattr(arguments, "backbone", None) is not None:
        terms.append(terms_of_bundle(Bundle.load(arguments.backbone)))
    elif getattr(arguments, "start_from", None) is not None:
        terms += terms_of_weights(arguments.start_from)
    elif arguments.command == "stage2" and stage1.is_dir():
        terms += terms_of_legs(_read(stage1 / "data.json", []))
    for teacher in arguments.teacher:
        terms += terms_of_weights(teacher)
    return distinct([*terms, *terms_of_parts(parts)])


def terms_of_parts(parts: dict[str, Part]) -> list[Terms]:
    """Return the terms that are noted of data sets."""
    return [one for part in parts.values() for one in terms_of_folder(Path(part.dataset.root))]


def keep_terms(source: ImageFolder, made: Path) -> None:
    """Write the terms of a data set beside a folder or a recording that is made of it, if any."""
    terms = [_NYU] if source.kind in _NYU_KINDS else terms_of_folder(Path(source.root))
    if terms:
        terms_file(made).write_text(yaml.safe_dump(terms[0], sort_keys=False))


def terms_file(place: Path) -> Path:
    """Return where the terms of a data folder are noted, or of a recording."""
    return place / TERMS_FILE if place.is_dir() else place.with_suffix(f".{TERMS_FILE}")


def terms_of_folder(place: Path) -> list[Terms]:
    """Return the terms that are noted of a data folder or a recording, at most one."""
    noted, recipe = terms_file(place), place / "recipe.yaml"
    if noted.is_file():
        return [yaml.safe_load(noted.read_text())]
    if recipe.is_file() and (yaml.safe_load(recipe.read_text()) or {}).get("command") == "closer":
        return [_unknown(place.name)]  # photographs whose terms older versions did not note
    return []


def terms_of_weights(path: Path) -> list[Terms]:
    """Return the terms of a file of weights, by what lies beside it."""
    folder = path.parent
    if is_bundle(folder):
        return [terms_of_bundle(Bundle.load(str(folder)))]
    if (folder / "state.json").is_file():
        legs = _read(folder.parent / "data.json", [])
        return terms_of_legs(legs, _read(folder / "state.json", {}).get("terms"))
    metrics = _read(folder / "metrics.json", {})
    if "training_history" in metrics:
        return terms_of_legs(metrics["training_history"], metrics.get("terms"))
    return [_unknown(path.name)]


def terms_of_legs(
    legs: Iterable[dict[str, Any]], others: Iterable[Terms] | None = None
) -> list[Terms]:
    """Return the terms that weights have by the legs in which they were trained.

    Args:
        legs: as ``record_data`` wrote them.
        others: what else is known; None where nothing was noted.
    """
    legs = list(legs)
    terms = [*(others or ()), *(one for leg in legs for one in leg.get("terms", ()))]
    sets = [item for leg in legs for item in leg["sets"].items()]
    if any(told.get("kind", name) in _NYU_KINDS for name, told in sets):
        terms.append(_NYU)
    elif others is None and not (legs and all("terms" in leg for leg in legs)):
        # As strict as exports were when no run noted its terms.
        terms.append(_unknown("a run that noted none") | {"commercial": "no"})
    return distinct(terms)


def terms_of_run(metrics: dict[str, Any]) -> dict[str, str]:
    """Return ``licence``, ``licence_details`` and ``commercial`` of a finished run.

    Args:
        metrics: the run's ``metrics.json``.
    """
    history = metrics["training_history"]
    terms = terms_of_legs(history, metrics.get("terms"))
    if not terms:
        names = dict.fromkeys(name for leg in history for name in leg["sets"])
        return {
            "licence": "weights under the terms of the data that they were trained on "
            f"({', '.join(names)}); code Apache-2.0",
            "licence_details": "Nothing else that restricts them is known.",
            "commercial": "unknown",
        }
    if len(terms) == 1:
        return {name: value for name, value in terms[0].items() if name != "of"}
    allowed = {one["commercial"] for one in terms}
    return {
        "licence": "all of: " + "; ".join(f"{one['of']}: {one['licence']}" for one in terms),
        "licence_details": " ".join(one["licence_details"] for one in terms).strip(),
        "commercial": next(word for word in ("no", "unknown", "yes") if word in allowed),
    }


def distinct(terms: Iterable[Terms]) -> list[Terms]:
    """Return terms in their order, those with the same licence once."""
    found: dict[tuple[str, str], Terms] = {}
    for one in terms:
        found.setdefault((one["licence"], one["commercial"]), one)
    return list(found.values())


def _unknown(name: str) -> Terms:
    return {
        "of": name,
        "licence": "terms that are not known",
        "licence_details": "",
        "commercial": "unknown",
    }


def _read(path: Path, otherwise: Any) -> Any:
    """Return what a JSON file holds, ``otherwise`` where there is none that can be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return otherwise

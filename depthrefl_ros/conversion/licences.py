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

"""Under which terms public networks may be used: what their card says, else what is known."""

from __future__ import annotations

import re
from dataclasses import dataclass

import yaml


@dataclass(frozen=True)
class Terms:
    """Terms of use.

    Attributes:
        licence: in words.
        commercial: ``yes``, ``no`` or ``unknown``.
    """

    licence: str
    commercial: str


_UNKNOWN = Terms("unknown; read the network's own page", "unknown")
# Beginning of the licence's identifier -> whether it allows commercial use.
_COMMERCIAL = {
    "apache-2.0": "yes",
    "mit": "yes",
    "bsd": "yes",
    "cc0": "yes",
    "cc-by-nc": "no",
}
# Beginning of the name, lower case -> the terms where its files do not tell them. The first that
# fits holds.
_KNOWN = {
    r"depth-anything/depth-anything-v2-metric-\w+-small": Terms(
        "not stated (Depth Anything V2 Small itself is Apache-2.0)", "unknown"
    ),
    r"depth-anything/depth-anything-v2-(metric-\w+-)?(base|large)": Terms("CC-BY-NC-4.0", "no"),
    r"depth-anything/depth-anything-v2-small": Terms("Apache-2.0", "yes"),
    r"(depth-anything/)?da3metric-large": Terms("Apache-2.0", "yes"),
    r"depth-anything-metric-depth-(in|out)door": Terms(
        "not stated for the weights (their authors' code is Apache-2.0)", "unknown"
    ),
    # Of their authors' files, by the files' names.
    r"depth-anything-v2-vits$": Terms("Apache-2.0", "yes"),
    r"depth-anything-v2-(metric-\w+-)?vit[bl]$": Terms("CC-BY-NC-4.0", "no"),
    r"(liheyoung/depth-anything-|depth-anything-vit[sbl]14$)": Terms("Apache-2.0", "yes"),
    r"(intel/zoedepth-|zoed-m12-(n|k|nk)$)": Terms("MIT", "yes"),
    r"intel/dpt-": Terms("Apache-2.0", "yes"),
    r"facebook/dpt-dinov2-": Terms("Apache-2.0", "yes"),
    r"vinvino02/glpn-": Terms("Apache-2.0", "yes"),
    r"apple/depthpro": Terms("Apple's sample code licence", "unknown"),
}


def find_terms(name: str, stated: str = "") -> Terms:
    """Return a network's terms.

    Args:
        name: on the Hub, or of an authors' file, with hyphens and without its ending.
        stated: licence on its model card; empty where there is none.
    """
    if stated and stated.lower() != "other":
        allowed = (use for start, use in _COMMERCIAL.items() if stated.lower().startswith(start))
        return Terms(stated, next(allowed, "unknown"))
    found = (terms for start, terms in _KNOWN.items() if re.match(start, name.lower()))
    return next(found, _UNKNOWN)


def card_licence(card: str) -> str:
    """Return the licence in the head of a model card's text; empty where there is none."""
    head = re.match(r"\s*---\n(.*?)\n---", card, re.DOTALL)
    if head is None:
        return ""
    try:
        fields = yaml.safe_load(head[1])
    except yaml.YAMLError:
        return ""
    fields = fields if isinstance(fields, dict) else {}
    licence = fields.get("license") or ""
    return str(fields.get("license_name", licence) if licence == "other" else licence)

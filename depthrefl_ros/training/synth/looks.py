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

"""Real light and real surfaces: photographs and panoramas that rendered spaces are dressed with.

A network that sees only procedural textures learns to tell renders from photographs, and keeps what
renders taught it for renders. Photographs on walls, covers and floors blur that line (domain
randomisation, Tobin et al. 2017); panoramas stand behind windows and light worlds without a roof.
"""

from __future__ import annotations

import base64
import binascii
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2

from depthrefl_ros.image_files import ImageFileError, decode

PANORAMAS = (".exr", ".hdr", ".exr.js")
PHOTOGRAPHS = (".jpg", ".jpeg", ".png")


class LooksError(ValueError):
    """A folder has no usable panorama or photograph; the message names it."""


@dataclass(frozen=True)
class Looks:
    """Files to dress spaces with.

    Attributes:
        panoramas: equirectangular, of high dynamic range.
        photographs: of anything.
    """

    panoramas: tuple[Path, ...] = ()
    photographs: tuple[Path, ...] = ()


PLAIN = Looks()


def find_looks(panoramas: Path | None, photographs: Path | None, unpacked: Path) -> Looks:
    """List what lies in two folders and those below them.

    Args:
        panoramas: with ``.exr`` or ``.hdr`` files, or JavaScript modules (``.exr.js``) that hold
            one each, as the npm package ``@pmndrs/assets`` does.
        photographs: with JPEG or PNG files.
        unpacked: folder for what comes out of JavaScript modules.

    Raises:
        LooksError: a folder that was named holds none.
    """
    found = [
        _unpacked(path, unpacked) if path.suffix == ".js" else path
        for path in _files(panoramas, PANORAMAS, "panoramas")
    ]
    return Looks(tuple(found), tuple(_files(photographs, PHOTOGRAPHS, "photographs")))


@cache
def is_readable(photograph: Path) -> bool:
    """Return whether a photograph can be decoded; one that cannot is told on stderr, once.

    It is asked when a photograph is used: to decode all of a large folder would take minutes.
    """
    try:
        decode(photograph, cv2.IMREAD_REDUCED_COLOR_8)
    except ImageFileError as error:
        print(f"{error}: the photograph is left out", file=sys.stderr)
        return False
    return True


def _files(folder: Path | None, suffixes: tuple[str, ...], what: str) -> list[Path]:
    if folder is None:
        return []
    found = sorted(p for p in folder.rglob("*") if p.name.lower().endswith(suffixes))
    if not found:
        raise LooksError(f"{folder}: no {what}; {', '.join(suffixes)} files are needed")
    return found


def _unpacked(path: Path, folder: Path) -> Path:
    """Write the panorama of a JavaScript module (a base64 data URL) beside the others."""
    data = re.search(r"base64,([A-Za-z0-9+/=]+)", path.read_text())
    try:
        content = base64.b64decode(data.group(1), validate=True) if data else b""
    except binascii.Error as error:
        raise LooksError(f"{path}: its base64 data is broken ({error})") from error
    if not content.startswith(b"\x76\x2f\x31\x01"):
        raise LooksError(f"{path}: no OpenEXR picture in it; a base64 data URL of one is needed")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / path.name.removesuffix(".js")
    target.write_bytes(content)
    return target

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

"""The folder that ``dataset`` fills: nothing earlier goes too soon, and what is in it is usable."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.geometry.camera import Camera
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.weight_terms import TERMS_FILE, note_terms
from depthrefl_ros.training.datasets import Sample
from depthrefl_ros.training.synth.folder import RenderedFolder
from depthrefl_ros.training.whole_files import write_file

LOG = "dataset.yaml"
MADE_BY = "depthrefl dataset"
JPEG_QUALITY, PNG_LEVEL = 95, 3
FLUSH_EVERY = 100  # images
UNLISTED = "unlisted.txt"  # names of images, until intrinsics.yaml lists all of them
_UNFINISHED = re.compile(r"\d{6,}\.(jpg|png)\.part")


class DatasetFolder:
    """A folder of images with depth that is being written.

    The images of an earlier run go when the first one is added, and not before. What the user put
    beside them stays.

    Args:
        path: of the folder: new, empty, or made by an earlier run.
        subfolders: of ``rgb`` and ``depth`` in which the images are; "" for those themselves.
        labelled_by: the model that has a part in the depth, whose terms go with it; None for none.

    Attributes:
        names: of the images in it.
        written: bytes.
    """

    def __init__(self, path: Path, subfolders: list[str], labelled_by: Bundle | None = None):
        self.path, self._subfolders, self._labelled_by = path, subfolders, labelled_by
        self.names: list[str] = []
        self.written = 0
        self._folder: RenderedFolder | None = None

    def add(self, name: str, sample: Sample, mount: dict[str, float] | None) -> None:
        """Write one image with its depth.

        Args:
            name: subfolder and number.
            sample: image and depth of a pinhole.
            mount: arguments of ``Pose.from_mount``, or None.

        Raises:
            ToolError: the folder cannot be written, as on a full disk, or the user has put an
                image of that name there.
        """
        height, width = sample.depth_m.shape
        camera = Camera.pinhole(width, height, *sample.intrinsics)
        try:
            if self._folder is None:
                self._folder = self._opened()
            self._check_free(name)
            with (self.path / UNLISTED).open("a", encoding="utf-8") as unlisted:
                unlisted.write(f"{name}\n")
            self._folder.add(name, sample.image, sample.depth_m, camera, mount)
            self.written += sum(file.stat().st_size for file in self._files(name))
        except OSError as error:
            self._remove(name)
            raise self._unwritable(error) from error
        self.names.append(name)

    def close(self, recordings: list[dict[str, Any]]) -> None:
        """Write the cameras, mounts and ``dataset.yaml`` of all images that were added.

        On a full disk the last images make room.

        Args:
            recordings: what became of each, for ``dataset.yaml``.

        Raises:
            ToolError: they cannot be written.
        """
        if self._folder is None:
            return
        while True:
            try:
                self._folder.flush()
                self._write_log(recordings)
                (self.path / UNLISTED).unlink(missing_ok=True)
                return
            except OSError as error:
                if not self.names:
                    raise self._unwritable(error) from error
                self._remove(self.names.pop())

    def _opened(self) -> RenderedFolder:
        if self.path.is_dir():
            self._remove_earlier()
        self.path.mkdir(parents=True, exist_ok=True)
        # From now on the folder is ours: what is stopped half way can be made anew.
        self._write_log([])
        if self._labelled_by is not None:
            note_terms(self.path, self._labelled_by)
        return RenderedFolder(self.path, JPEG_QUALITY, PNG_LEVEL, FLUSH_EVERY)

    def _remove_earlier(self) -> None:
        """Remove what an earlier run wrote, also where it was killed; nothing of the user's."""
        for name in filter(_is_within, {*RenderedFolder(self.path).known(), *_unlisted(self.path)}):
            self._remove(name)
        for subfolder in _noted_subfolders(self.path):
            for kind in ("rgb", "depth"):
                for file in (self.path / kind / subfolder).glob("*.part"):
                    if _UNFINISHED.fullmatch(file.name):
                        file.unlink()
        for file in ("intrinsics.yaml", "mounts.yaml", TERMS_FILE, UNLISTED):
            (self.path / file).unlink(missing_ok=True)

    def _check_free(self, name: str) -> None:
        """Check that no file of the user's is replaced; those of the earlier run are gone."""
        for file in self._files(name):
            if file.exists():
                raise ToolError(
                    f"{file}: is not known to be of an earlier run, and would be replaced; move it "
                    "elsewhere, or give another folder"
                )

    def _files(self, name: str) -> tuple[Path, Path]:
        return self.path / "rgb" / f"{name}.jpg", self.path / "depth" / f"{name}.png"

    def _remove(self, name: str) -> None:
        for file in self._files(name):
            file.unlink(missing_ok=True)
            file.with_name(f"{file.name}.part").unlink(missing_ok=True)

    def _write_log(self, recordings: list[dict[str, Any]]) -> None:
        log = {"made_by": MADE_BY, "subfolders": self._subfolders, "recordings": recordings}
        write_file(self.path / LOG, yaml.safe_dump(log, sort_keys=False).encode())

    def _unwritable(self, error: OSError) -> ToolError:
        text = f"{self.path}/: cannot be written: {error.strerror or error}"
        if self.names:
            text += "; the images written before can be used"
        return ToolError(text)


def is_of_dataset(folder: Path) -> bool:
    """Return whether a folder was made by an earlier ``dataset``."""
    return _log(folder).get("made_by") == MADE_BY


def _noted_subfolders(folder: Path) -> list[str]:
    noted = _log(folder).get("subfolders")
    names = [str(one) for one in noted] if isinstance(noted, list) else [""]
    return [name for name in names if _is_within(name)]


def _unlisted(folder: Path) -> list[str]:
    try:
        return (folder / UNLISTED).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def _is_within(name: str) -> bool:
    """Return whether a name from a file of the folder leads to a place in the folder."""
    return not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts


def _log(folder: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load((folder / LOG).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}

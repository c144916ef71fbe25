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

"""The folder that ``predict`` writes to: of one source, and without what an earlier run left."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from depthrefl_ros.image_files import home_expanded
from depthrefl_ros.tools.command_line import ToolError
from depthrefl_ros.tools.output_folder import check_output_folder

LINES = "predict.jsonl"
_BEGINNING = '{"source": '  # of every line


class ResultFolder:
    """Results of one source and their list, ``predict.jsonl``.

    The results of an earlier run go with the first new one.

    Args:
        path: of the folder: new, empty, or with results of the same source.
        source: as the user gave it.

    Raises:
        ToolError: it holds something else, or the results of another or an unknown source.
    """

    def __init__(self, path: Path, source: str):
        check_output_folder(path, is_of_predict)
        self.path, self._source = path, whole_name(source)
        self._earlier = _lines(path) or []
        if any("source" not in line for line in self._earlier):
            raise ToolError(f"{path} holds results of an unknown source: give another --output")
        others = {line["source"] for line in self._earlier} - {self._source}
        if others:
            raise ToolError(
                f"{path} holds the results of {sorted(map(str, others))[0]}, which stay as they "
                "are: give another --output"
            )
        self._has_begun = False

    def begin(self) -> None:
        """Make the folder, and remove what an earlier run listed; does so once."""
        if self._has_begun:
            return
        self._has_begun = True
        self.path.mkdir(parents=True, exist_ok=True)
        for line in self._earlier:
            for name in line["files"].values():
                self._remove(Path(name))
        (self.path / LINES).write_text("")

    def _remove(self, file: Path) -> None:
        """Remove a file of the folder, and the subfolders that are empty without it."""
        if file.is_absolute() or ".." in file.parts:
            return
        (self.path / file).unlink(missing_ok=True)
        for subfolder in list(file.parents)[:-1]:
            with contextlib.suppress(OSError):  # others are in it, or it is gone
                (self.path / subfolder).rmdir()

    def add(self, line: dict[str, Any]) -> str:
        """List one image's results; returns the line of JSON."""
        text = json.dumps({"source": self._source, **line})
        with (self.path / LINES).open("a", encoding="utf-8") as lines:
            lines.write(f"{text}\n")
        return text


def default_folder(source: str) -> Path:
    """Return where the results of a source go: its name and _depth, in the present folder."""
    path = home_expanded(source)
    name = path.resolve().name if path.is_dir() else path.stem
    return Path(f"{name or source.strip('/') or 'source'}_depth")


def whole_name(source: str) -> str:
    """Return the absolute path of a source; a webcam's number as it is."""
    path = home_expanded(source)
    return str(path.resolve()) if path.exists() else source


def is_of_predict(folder: Path) -> bool:
    """Tell whether a folder holds the results of an earlier ``predict``."""
    return _lines(folder) is not None


def _lines(folder: Path) -> list[dict[str, Any]] | None:
    """Return what ``predict.jsonl`` lists; None where there is none, or it is not ours.

    A last line without its end, as of a run that was killed while it wrote, is passed over.
    """
    try:
        *lines, torn = (folder / LINES).read_text(encoding="utf-8", errors="replace").split("\n")
        if not torn.startswith(_BEGINNING[: len(torn)]):
            return None
        found = [json.loads(line) for line in lines]
    except (OSError, ValueError):
        return None
    are_ours = (isinstance(one, dict) and isinstance(one.get("files"), dict) for one in found)
    return found if all(are_ours) else None

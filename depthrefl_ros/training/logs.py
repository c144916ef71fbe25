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

"""What a stage writes while it runs: ``log.csv``, ``validation.csv`` and TensorBoard's events."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np


class CsvLog:
    """A CSV file with a row a step.

    Rows after ``step``, and one that was cut off, are dropped: what a run that was killed left.
    Figures that the file has no column for get one, empty in the rows before.
    """

    def __init__(self, path: Path, step: int):
        self._path = path
        self._columns: list[str] = []
        if path.exists():
            rows = self._rows()
            kept = [row for row in rows if None not in row.values() and int(row["step"]) <= step]
            if len(kept) < len(rows):
                self._replace(kept)
            self._columns = list(kept[0]) if kept else []

    def _rows(self) -> list[dict]:
        with self._path.open(newline="") as stream:
            return list(csv.DictReader(stream))

    def _replace(self, rows: list[dict]) -> None:
        """Replace the file whole by one with these rows only."""
        if not rows:
            self._path.unlink()
            return
        part = self._path.with_name(f"{self._path.name}.part")
        with part.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        part.replace(self._path)

    def add(self, row: dict) -> None:
        """Append one row."""
        is_new = not self._path.exists()
        added = [name for name in row if name not in self._columns]
        self._columns += added
        if added and not is_new:
            rows = self._rows()
            self._replace([{name: old.get(name, "") for name in self._columns} for old in rows])
        with self._path.open("a", newline="") as stream:
            writer = csv.DictWriter(stream, fieldnames=self._columns)
            if is_new:
                writer.writeheader()
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


class RunLog:
    """The log of a stage.

    Args:
        folder: of the stage; TensorBoard's events go into its ``tensorboard/``.
        step: the last one that counts; what was logged after it is dropped.
    """

    def __init__(self, folder: Path, step: int):
        self._training = CsvLog(folder / "log.csv", step)
        self._validation = CsvLog(folder / "validation.csv", step)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            print("no TensorBoard logs: pip install tensorboard", file=sys.stderr)
            self._board = None
        else:
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def training(self, step: int, figures: dict[str, float]) -> None:
        """Log losses, learning rate and times of one step."""
        self._training.add({"step": step, **figures})
        self._scalars("training", step, figures)

    def validation(
        self, step: int, figures: dict[str, float], previews: dict[str, np.ndarray]
    ) -> None:
        """Log figures on held-out images, and pictures: (H, W, 3) uint8 RGB by name."""
        self._validation.add({"step": step, **figures})
        self._scalars("validation", step, figures)
        if self._board is not None:
            for name, picture in previews.items():
                self._board.add_image(name, picture, step, dataformats="HWC")
            self._board.flush()

    def close(self) -> None:
        """Write what is still in memory."""
        if self._board is not None:
            self._board.close()

    def _scalars(self, group: str, step: int, figures: dict[str, float]) -> None:
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(f"{group}/{name}", value, step)

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

"""Plans on disk. A plan is code that runs on the GPU, so nothing is trusted unproven.

Each plan lies in ``$XDG_CACHE_HOME/depthrefl_ros/`` (``~/.cache/depthrefl_ros/``) as
``DIGEST.plan`` with a record ``DIGEST.json`` beside it: the key in words and the SHA-256 of the
plan. So do the kernels and kernel times that go with plans. Folder and files must belong to this
user and be writable by nobody else; the hash is checked on the very bytes that are handed out;
everything else is built again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from depthrefl_ros.engine.private_files import (
    PART_SUFFIX,
    NotPrivateError,
    check_private,
    own_folder,
    read_private,
    write_whole,
)
from depthrefl_ros.engine.tensorrt.plan import PlanKey, StoredPlan

PLAN_SUFFIX = ".plan"
# What lies there for a key's content.
_SUFFIXES = {"plan": PLAN_SUFFIX, "kernels": ".kernels", "times": ".times"}
RECORD_SUFFIX = ".json"
_LOCK_SUFFIX = ".lock"
_IN_MEMORY = "the plan is used from memory and not stored: {}"
_OURS = re.compile(r"[0-9a-f]{64}\.\S+")


class PlanStoreError(Exception):
    """A plan of the store, or all of it, that cannot be used; names the file and says why."""


@dataclass(frozen=True)
class StoreEntry:
    """One plan of the store, for people.

    Attributes:
        path: of the plan.
        key: None where the record cannot be read.
        size: bytes.
        built: UTC, ISO 8601; empty where the record cannot be read.
        problem: why it would not be used; empty where it would be.
    """

    path: Path
    key: PlanKey | None
    size: int
    built: str
    problem: str


def default_folder() -> Path:
    """Return where plans are kept, by the XDG base directory specification.

    A user without a home, as in some containers, gets a folder of their own among the temporary
    files; it is checked like any other.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():  # as the specification wants it: relative paths are ignored
        return base / "depthrefl_ros"
    try:
        return Path.home() / ".cache" / "depthrefl_ros"
    except RuntimeError:
        return own_folder()


class PlanStore:
    """Plans that were built once. Several processes may use one folder at the same time.

    Args:
        folder: made with mode 700 when the first plan is stored; None takes
            ``default_folder()``.
    """

    def __init__(self, folder: Path | None = None):
        self.folder = default_folder() if folder is None else folder

    def path(self, key: PlanKey) -> Path:
        """Return where the plan lies, or would."""
        return self.folder / (key.digest() + _SUFFIXES[key.content])

    def find(self, key: PlanKey) -> bytes | None:
        """Return the plan's bytes, checked; None where there is none.

        Raises:
            PlanStoreError: there is one, but it must not be used.
        """
        if not self._has_folder():
            return None
        path = self.path(key)
        try:
            record = _read_record(path.with_suffix(RECORD_SUFFIX))
            data = read_private(path)
        except FileNotFoundError:
            return None
        except (NotPrivateError, OSError) as error:
            raise PlanStoreError(str(error)) from error
        if _key_of(record).digest() != path.stem:
            raise PlanStoreError(f"{path} is a plan of another key: {_key_of(record)}")
        if hashlib.sha256(data).hexdigest() != record["sha256"]:
            raise PlanStoreError(f"{path} is truncated or altered: its SHA-256 is not its record's")
        return data

    def find_or_build(
        self,
        key: PlanKey,
        build: Callable[[], bytes],
        force: bool = False,
        on_wait: Callable[[], None] | None = None,
    ) -> StoredPlan:
        """Return the plan from the store, else built and stored.

        Where two processes want the same plan one builds it and the other waits for it. A store
        that cannot be used or written costs the next start a build, and nothing else.

        Args:
            key: of the plan.
            build: makes the serialised plan; what it raises passes through.
            force: build even where the plan is there, unless another process has built it since
                this was called.
            on_wait: called once where another process is building this plan.
        """
        try:
            self._make_folder()
        except (OSError, PlanStoreError) as error:
            return StoredPlan(build(), False, (_IN_MEMORY.format(error),))
        version = self._version(key)
        data, note = (None, "") if force else self._look(key)
        if data is not None:
            return StoredPlan(data, True)
        notes = [note] if note else []
        with ExitStack() as held:
            try:
                held.enter_context(self._locked(key, on_wait))
            except (OSError, NotImplementedError) as error:
                return StoredPlan(build(), False, (*notes, _IN_MEMORY.format(error)))
            if self._version(key) != version:  # another process built it meanwhile
                data = self._look(key)[0]
                if data is not None:
                    return StoredPlan(data, True)
            started_s = time.monotonic()
            data = build()
            try:
                self._store(key, data, time.monotonic() - started_s)
            except OSError as error:
                notes.append(_IN_MEMORY.format(error))
            return StoredPlan(data, False, tuple(notes))

    def entries(self) -> list[StoreEntry]:
        """Return everything in the store, the newest first.

        Raises:
            PlanStoreError: the folder cannot be trusted or read.
        """
        if not self._has_folder():
            return []
        found = [self._entry(path) for suffix in _SUFFIXES.values() for path in self._files(suffix)]
        return sorted(found, key=lambda entry: entry.built, reverse=True)

    def clear(self) -> int:
        """Remove every plan, and what interrupted builds left.

        Lock files stay: who removes one that is held lets two processes build the same plan.

        Returns:
            How many plans there were.

        Raises:
            PlanStoreError: a file cannot be removed.
        """
        removed = 0
        for suffix in (*_SUFFIXES.values(), RECORD_SUFFIX, PART_SUFFIX):
            for path in self._files(suffix):
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    raise PlanStoreError(f"{path} cannot be removed: {error}") from error
                removed += suffix == PLAN_SUFFIX
        return removed

    def _look(self, key: PlanKey) -> tuple[bytes | None, str]:
        """Return what ``find`` returns, and why it must not be used."""
        try:
            return self.find(key), ""
        except PlanStoreError as error:
            return None, f"the plan is built again: {error}"

    def _files(self, suffix: str) -> list[Path]:
        """Return our files of a kind; whatever else lies in the folder is not looked at."""
        return [path for path in self.folder.glob(f"*{suffix}") if _OURS.fullmatch(path.name)]

    def _has_folder(self) -> bool:
        """Tell whether the folder is there, and may be used.

        Raises:
            PlanStoreError: it is there but must not be used, or cannot be looked at.
        """
        try:
            check_private(os.stat(self.folder), self.folder)
        except FileNotFoundError:
            return False
        except (NotPrivateError, OSError) as error:
            raise PlanStoreError(str(error)) from error
        return True

    def _make_folder(self) -> None:
        if self._has_folder():
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            self.folder.mkdir(mode=0o700)
        self._has_folder()

    def _version(self, key: PlanKey) -> tuple[int, int] | None:
        """Return what changes whenever the plan is stored; None where there is none."""
        try:
            status = os.stat(self.path(key).with_suffix(RECORD_SUFFIX))
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    @contextmanager
    def _locked(self, key: PlanKey, on_wait: Callable[[], None] | None) -> Iterator[None]:
        """Hold the lock of a key: only one process at a time builds it.

        The system drops the lock of a process that dies, however it dies.
        """
        from filelock import FileLock, Timeout  # a tenth of a second; only builds need it

        lock = FileLock(str(self.path(key).with_suffix(_LOCK_SUFFIX)))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if on_wait is not None:
                on_wait()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _store(self, key: PlanKey, data: bytes, build_s: float) -> None:
        path = self.path(key)
        # Under the lock nobody else writes this key: what lies here was left by a killed build.
        for part in self.folder.glob(f"{path.stem}.*{PART_SUFFIX}"):
            part.unlink(missing_ok=True)
        record = {
            "key": asdict(key),
            "words": str(key),
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "built": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "build_s": round(build_s, 2),
        }
        # Between the two renames the pair does not fit together, and is not used.
        write_whole(path, data)
        write_whole(path.with_suffix(RECORD_SUFFIX), json.dumps(record, indent=1).encode())

    def _entry(self, path: Path) -> StoreEntry:
        key, built, size, problem = None, "", 0, ""
        try:
            size = path.stat().st_size
            record = _read_record(path.with_suffix(RECORD_SUFFIX))
            key, built = _key_of(record), record["built"]
            if self.path(key) == path:
                self.find(key)
            else:
                problem = f"{path} is a plan of another key: {key}"
        except (PlanStoreError, NotPrivateError, OSError) as error:
            problem = str(error)
        return StoreEntry(path, key, size, built, problem)


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(read_private(path))
        _key_of(record)
        if not (isinstance(record["sha256"], str) and isinstance(record["built"], str)):
            raise ValueError("sha256 and built must be text")
    except (KeyError, TypeError, ValueError) as error:
        raise PlanStoreError(f"{path} cannot be read: {error!r}") from error
    return record


def _key_of(record: dict[str, Any]) -> PlanKey:
    values = record["key"]
    key = PlanKey(**{**values, "options": tuple(values["options"])})
    if key.content not in _SUFFIXES:
        raise ValueError(f"content is {key.content!r}; known are {tuple(_SUFFIXES)}")
    return key

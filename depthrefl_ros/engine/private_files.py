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

"""Files that nobody but this user can have written."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PART_SUFFIX = ".part"  # of files that are being written
_SHARED_MEMORY = Path("/dev/shm")
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


class NotPrivateError(Exception):
    """A file or folder that somebody else could have written; names it and says why."""


def own_folder() -> Path:
    """Return a folder for files of this user that outlive the process but not the machine's run.

    It is made with mode 700 below ``$XDG_RUNTIME_DIR``, the temporary directory or ``/dev/shm``,
    whichever can be written first.

    Raises:
        OSError: none of them can be written.
    """
    tried = []
    for parent in _temporary_folders():
        folder = parent / f"depthrefl_ros-{os.geteuid()}"
        try:
            folder.mkdir(0o700, exist_ok=True)
            check_private(folder.lstat(), folder)
        except NotPrivateError:
            tried.append(f"{folder}: others may have written it")
        except OSError as error:
            tried.append(f"{folder}: {error.strerror}")
        else:
            if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
                return folder
            tried.append(f"{folder}: cannot be written")
    raise OSError(f"no temporary folder can be written ({'; '.join(tried)}): set TMPDIR")


def _temporary_folders() -> Iterator[Path]:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime):
        yield Path(runtime)
    with suppress(FileNotFoundError):
        yield Path(tempfile.gettempdir())
    yield _SHARED_MEMORY


def check_private(status: os.stat_result, path: Path) -> None:
    """Check owner and mode.

    Raises:
        NotPrivateError: somebody else could have written it.
    """
    user = os.geteuid()
    if status.st_uid != user:
        raise NotPrivateError(
            f"{path} belongs to user {status.st_uid} and this process runs as user {user}: an "
            "engine is code, and foreign code is not run"
        )
    if status.st_mode & _OTHERS_MAY_WRITE:
        mode = stat.S_IMODE(status.st_mode)
        raise NotPrivateError(
            f"{path} may be written by others (mode {mode:o}): an engine is code; chmod go-w it "
            "if you trust what is in it"
        )


def read_private(path: Path) -> bytes:
    """Return the bytes of a regular file that only this user can have written.

    Raises:
        NotPrivateError: somebody else could have.
        OSError: it cannot be read.
    """
    # Checked on the open file: the name could be given to another between check and reading.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NotPrivateError(f"{path} is not a regular file")
        check_private(status, path)
        return file.read()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file of mode 600 that is there as a whole or not at all.

    Raises:
        OSError: it could not be written; nothing is left behind.
    """
    descriptor, part = tempfile.mkstemp(PART_SUFFIX, f"{path.stem}.", path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise

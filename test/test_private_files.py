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

"""The folder for files of this user's own."""

import os
import tempfile

import pytest

from depthrefl_ros.engine import private_files
from depthrefl_ros.engine.private_files import own_folder

NAME = f"depthrefl_ros-{os.geteuid()}"


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_made_for_this_user_alone_whatever_the_umask(temporary):
    before = os.umask(0)
    try:
        folder = own_folder()
    finally:
        os.umask(before)
    assert folder == temporary / NAME and folder.stat().st_mode & 0o777 == 0o700
    assert own_folder() == folder


def test_the_runtime_folder_comes_first(temporary, monkeypatch):
    runtime = temporary / "run"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    assert own_folder() == runtime / NAME
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    assert own_folder() == temporary / NAME


@pytest.mark.parametrize("kind", ["link", "open", "file"])
def test_what_others_may_have_put_there_is_not_used(temporary, monkeypatch, kind):
    shared = temporary / "shm"
    shared.mkdir()
    monkeypatch.setattr(private_files, "_SHARED_MEMORY", shared)
    place = temporary / NAME
    if kind == "link":
        (temporary / "elsewhere").mkdir(0o777)
        place.symlink_to(temporary / "elsewhere")
    elif kind == "file":
        place.touch(0o600)
    else:
        place.mkdir()
        place.chmod(0o777)
    assert own_folder() == shared / NAME


def test_without_a_place_it_says_what_to_set(monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/proc/nobody")

    def no_temporary_directory():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", no_temporary_directory)
    monkeypatch.setattr(private_files, "_SHARED_MEMORY", private_files.Path("/proc/self"))
    with pytest.raises(OSError, match="/proc/nobody.*/proc/self.*set TMPDIR"):
        own_folder()

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

"""The plan store with a real plan, and every way in which what lies there can be wrong."""

import hashlib
import json
import os
import resource
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from mounted_disk import mounted_disk

from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.tensorrt.store import PlanStore, PlanStoreError, default_folder

pytest.importorskip("tensorrt_rtx", reason="real engines need: pip install tensorrt-rtx")

from depthrefl_ros.engine.tensorrt.build import build_plan  # noqa: E402
from depthrefl_ros.engine.tensorrt.plan import plan_key  # noqa: E402


@pytest.fixture(scope="module")
def key():
    return plan_key(Bundle.load("indoor_tiny"), "tensorrt_rtx", "fp16")


@pytest.fixture(scope="module")
def plan():
    path = Bundle.load("indoor_tiny").path("model_fp16.onnx")
    return build_plan("tensorrt_rtx", path, precision="fp16").plan


@pytest.fixture
def store(tmp_path):
    return PlanStore(tmp_path / "cache" / "depthrefl_ros")


@pytest.fixture
def filled(store, key, plan):
    assert not store.find_or_build(key, lambda: plan).is_cached
    return store


@pytest.fixture
def any_user():
    """Return a folder of a user who is not root: root may read and write everywhere."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(12345)
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
            for path in (Path(folder), *Path(folder).rglob("*")):
                if path.is_dir():
                    path.chmod(0o700)
    finally:
        if is_root:
            os.seteuid(0)


@pytest.fixture
def no_big_files():
    """Let no file grow beyond 1 MB: less than a plan needs."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def tiny_disk(tmp_path):
    """Return a file system of 4 MB, less than a plan needs."""
    with mounted_disk(tmp_path / "disk", megabytes=4) as folder:
        yield folder


def never():
    raise AssertionError("the plan is there and must not be built")


def rebuilt(store, key, plan):
    """Build again where ``find`` refuses; returns what was said of it, at most once."""
    stored = store.find_or_build(key, lambda: plan)
    assert not stored.is_cached and stored.data == plan
    assert len(stored.notes) <= 1
    return "".join(stored.notes)


def test_an_engine_is_built_once(filled, key, plan):
    stored = filled.find_or_build(key, never)
    assert stored.is_cached and stored.data == plan and stored.notes == ()
    assert stored.data == filled.find(key)
    assert oct(filled.folder.stat().st_mode & 0o777) == "0o700"
    assert oct(filled.path(key).stat().st_mode & 0o777) == "0o600"


def test_the_record_tells_people_what_the_plan_is(filled, key, plan):
    record = json.loads(filled.path(key).with_suffix(".json").read_text())
    assert record["words"] == str(key)
    tiny = Bundle.load("indoor_tiny")
    for word in (
        f"indoor_tiny {tiny.width}x{tiny.height} fp16",
        "tensorrt_rtx",
        "batch 1",
        "no GPU",
    ):
        assert word in str(key)
    (entry,) = filled.entries()
    assert (entry.key, entry.size, entry.problem) == (key, len(plan), "")
    assert entry.built.endswith("+00:00")


def test_force_builds_what_is_there(filled, key):
    assert filled.find_or_build(key, lambda: b"another plan", force=True).data != b""
    assert filled.find(key) == b"another plan"


@pytest.mark.parametrize(
    "change",
    [
        {"onnx_sha256": "0" * 64},
        {"engine": "tensorrt"},
        {"engine_version": "1.8"},
        {"driver": "580.1"},
        {"gpu": "NVIDIA GeForce RTX 4070"},
        {"compute_capability": "8.9"},
        {"precision": "fp32"},
        {"height": 288},
        {"width": 384},
        {"batch": 2},
        {"options": ("targets sm86",)},
        {"content": "kernels"},
        {"content": "times"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_key_is_another_plan(filled, key, plan, change):
    other = replace(key, **change)
    assert filled.find(other) is None
    assert rebuilt(filled, other, plan) == ""
    assert filled.find(key) == filled.find(other) == plan


def test_the_models_name_makes_no_other_plan(filled, key):
    assert filled.find_or_build(replace(key, model="copy"), never).is_cached


@pytest.mark.parametrize(
    "precision, file",
    [("fp16", "model_fp16.onnx"), ("int8", "model_fp16.onnx"), ("int8", "model_int8.onnx")],
)
def test_other_bytes_of_the_network_are_another_plan(tmp_path, precision, file):
    folder = tmp_path / "model"
    shipped = Bundle.load("indoor_tiny")
    shutil.copytree(shipped.folder, folder)
    description = (folder / "model.yaml").read_text()
    onnx = folder / file
    onnx.write_bytes(onnx.read_bytes() + b"\x72\x00")  # an empty field: the same network
    digest = hashlib.sha256(onnx.read_bytes()).hexdigest()
    (folder / "model.yaml").write_text(description.replace(shipped.files[onnx.name], digest))
    ours, other = (
        plan_key(bundle, "tensorrt_rtx", precision)
        for bundle in (shipped, Bundle.load(str(folder)))
    )
    assert other.digest() != ours.digest()


SUFFIXES = (".plan", ".json")


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def flip(path):
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def let_group_write(path):
    path.chmod(0o660)


def link(path):
    real = path.rename(path.with_name("elsewhere"))
    path.symlink_to(real)


def give_away(path):
    if os.geteuid() != 0:
        pytest.skip("giving a file away needs root's rights")
    os.chown(path, 12345, -1)


@pytest.mark.parametrize(
    "suffix, spoil, complaint",
    [
        (".plan", truncate, "truncated or altered"),
        (".plan", flip, "truncated or altered"),
        (".json", truncate, "cannot be read"),
        *((suffix, let_group_write, "may be written by others") for suffix in SUFFIXES),
        *((suffix, link, "symbolic link") for suffix in SUFFIXES),
        *((suffix, give_away, "belongs to user 12345") for suffix in SUFFIXES),
    ],
)
def test_a_spoiled_file_is_refused_and_built_again(filled, key, plan, suffix, spoil, complaint):
    path = filled.path(key).with_suffix(suffix)
    spoil(path)
    with pytest.raises(PlanStoreError, match=f"{path.name}.*{complaint}|{complaint}.*{path.name}"):
        filled.find(key)
    (entry,) = filled.entries()
    assert complaint in entry.problem
    note = rebuilt(filled, key, plan)
    assert path.name in note and complaint in note
    assert filled.find_or_build(key, never).is_cached
    assert not path.is_symlink()


def test_an_engine_under_a_foreign_name_is_refused(filled, key, plan):
    other = replace(key, engine_version="1.8")
    for suffix in (".plan", ".json"):
        path = filled.path(key).with_suffix(suffix)
        path.rename(filled.path(other).with_suffix(suffix))
    with pytest.raises(PlanStoreError, match="a plan of another key: indoor_tiny"):
        filled.find(other)
    assert "another key" in filled.entries()[0].problem
    assert "another key" in rebuilt(filled, other, plan)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{}", b'{"key": {"gpu": 1}}'])
def test_an_unreadable_record_is_refused(filled, key, plan, content):
    filled.path(key).with_suffix(".json").write_bytes(content)
    assert filled.entries()[0].key is None
    assert "cannot be read" in rebuilt(filled, key, plan)


def test_an_engine_without_a_record_is_not_used(filled, key, plan):
    filled.path(key).with_suffix(".json").unlink()
    assert filled.find(key) is None
    assert rebuilt(filled, key, plan) == ""


@pytest.mark.parametrize(
    "spoil, complaint",
    [
        (lambda folder: folder.chmod(0o770), "may be written by others"),
        (lambda folder: folder.chmod(0o707), "may be written by others"),
        (give_away, "belongs to user 12345"),
    ],
    ids=["group-writable", "world-writable", "other owner"],
)
def test_a_folder_that_others_may_write_is_left_alone(filled, key, plan, spoil, complaint):
    before = sorted(filled.folder.iterdir())
    spoil(filled.folder)
    with pytest.raises(PlanStoreError, match=complaint):
        filled.find(key)
    note = rebuilt(filled, key, plan)
    assert complaint in note and "used from memory" in note
    with pytest.raises(PlanStoreError, match=complaint):
        filled.entries()
    assert sorted(filled.folder.iterdir()) == before


def test_a_forced_build_killed_between_its_two_files_is_not_used(filled, key, plan):
    # The new plan lies there beside the old record.
    filled.path(key).write_bytes(plan[::-1])
    with pytest.raises(PlanStoreError, match="truncated or altered"):
        filled.find(key)


def test_where_files_cannot_grow_the_plan_is_used_from_memory(store, key, plan, no_big_files):
    note = rebuilt(store, key, plan)
    assert "used from memory and not stored" in note and "File too large" in note
    assert {path.suffix for path in store.folder.iterdir()} <= {".lock"}


def test_a_read_only_folder_is_read_and_not_written(any_user, key, plan):
    store = PlanStore(any_user / "store")
    assert rebuilt(store, key, plan) == ""
    store.folder.chmod(0o500)
    assert store.find_or_build(key, never).data == plan
    note = rebuilt(store, replace(key, batch=2), plan)
    assert "used from memory and not stored" in note and "Permission denied" in note


def test_a_home_that_cannot_be_read_costs_a_build_only(any_user, key, plan):
    store = PlanStore(any_user / "store" / "depthrefl_ros")
    store.folder.parent.mkdir(mode=0o000)
    for look in (lambda: store.find(key), store.entries):
        with pytest.raises(PlanStoreError, match="Permission denied"):
            look()
    note = rebuilt(store, key, plan)
    assert "used from memory and not stored" in note and "Permission denied" in note


def test_on_a_full_disk_the_plan_is_used_from_memory(tiny_disk, key, plan):
    store = PlanStore(tiny_disk / "store")
    note = rebuilt(store, key, plan)
    assert "used from memory and not stored" in note and "No space left" in note
    # Nothing that fills the disk further is left behind.
    assert {path.suffix for path in store.folder.iterdir()} <= {".lock"}


def test_a_read_only_cache_is_read_and_not_written(tiny_disk, key, plan):
    store = PlanStore(tiny_disk / "store")
    small = plan[: 1 << 20]
    store.find_or_build(key, lambda: small)
    remount = ["mount", "-o", "remount,ro", str(tiny_disk)]
    subprocess.run(remount, check=True)
    assert store.find_or_build(key, never).data == small
    note = rebuilt(store, replace(key, batch=2), plan)
    assert "used from memory and not stored" in note and "Read-only" in note
    assert not PlanStore(tiny_disk / "other").find_or_build(key, lambda: plan).is_cached


def test_a_failing_build_stores_nothing(store, key, plan):
    def fails():
        raise RuntimeError("no such layer")

    with pytest.raises(RuntimeError, match="no such layer"):
        store.find_or_build(key, fails)
    assert store.entries() == []
    assert rebuilt(store, key, plan) == ""


def test_clear_removes_plans_and_nothing_else(filled, key):
    other = filled.folder / "notes.json"
    other.write_text("{}")
    (filled.folder / f"{key.digest()}.abc.part").write_bytes(b"half")
    assert filled.clear() == 1
    assert {path for path in filled.folder.iterdir() if path.suffix != ".lock"} == {other}
    assert filled.entries() == [] and filled.clear() == 0
    assert filled.find(key) is None


def test_the_folder_follows_the_xdg_specification(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "depthrefl_ros"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert default_folder() == tmp_path / "home" / ".cache" / "depthrefl_ros"


def test_a_user_without_a_home_gets_a_private_folder(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert default_folder().name == f"depthrefl_ros-{os.geteuid()}"

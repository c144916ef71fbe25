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

"""Builds in child processes: real ones, and every way in which they end."""

import os
import signal
import socket
import threading
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from bundle_copies import copy_bundle

from depthrefl_ros.engine.base import BuildStoppedError, EngineError
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.tensorrt.store import PlanStore

pytest.importorskip("tensorrt_rtx", reason="real builds need: pip install tensorrt-rtx")

from filelock import FileLock  # noqa: E402

from depthrefl_ros.engine.tensorrt.build_process import BuildProcess  # noqa: E402
from depthrefl_ros.engine.tensorrt.plan import plan_key  # noqa: E402
from depthrefl_ros.engine.tensorrt.source import PlanSource  # noqa: E402

RTX = ("tensorrt_rtx", "fp16")


@pytest.fixture
def store(tmp_path):
    store = PlanStore(tmp_path / "cache")
    store.folder.mkdir(mode=0o700)
    return store


@pytest.fixture
def held(store, bundle):
    """Return the lock of the engine: while it is held a build waits."""
    lock = FileLock(str(store.path(plan_key(bundle, *RTX)).with_suffix(".lock")))
    lock.acquire()
    yield lock
    lock.release()


class Waiter:
    """Asks for an engine in a thread of its own, as the node does."""

    def __init__(self):
        self.outcome = None
        self.waits = threading.Event()

    def tell(self, phase, share):
        if "another process" in phase:
            self.waits.set()

    def ask(self, question, *arguments):
        def answer():
            try:
                self.outcome = question(*arguments)
            except Exception as error:
                self.outcome = error

        self._thread = threading.Thread(target=answer)
        self._thread.start()
        assert self.waits.wait(20)

    def result(self):
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.outcome


def builds() -> list[psutil.Process]:
    """Return the builds that are under way in children of this process."""
    running = psutil.Process().children()
    module = "depthrefl_ros.engine.tensorrt.build_process"
    return [one for one in running if module in one.cmdline()]


def test_a_build_tells_its_progress_and_is_cached(bundle, store):
    progress = []
    source = PlanSource(on_progress=lambda *told: progress.append(told), store=store)
    stored = source.get(bundle, *RTX)
    assert not stored.is_cached and len(stored.data) > 1e6 and stored.notes == ()
    shares = [share for _, share in progress]
    assert shares == sorted(shares) and shares[0] == 0.0 and shares[-1] <= 1.0
    assert len(progress) > 1 and all(phase.startswith("tensorrt_rtx fp16") for phase, _ in progress)
    again = source.get(bundle, *RTX)
    assert again.is_cached and again.data == stored.data


@pytest.fixture
def broken_half(tmp_path):
    """Return a bundle called as the shipped one whose half-precision file is no network."""
    return copy_bundle(tmp_path / "indoor_tiny", {"model_fp16.onnx": b"no network"})


def test_a_network_that_the_builder_refuses_is_told_in_its_words(broken_half, store):
    with pytest.raises(EngineError, match=r"refuses .*model_fp16\.onnx"):
        BuildProcess(broken_half.folder, *RTX, store.folder).result()
    assert store.entries() == []


def test_relative_paths_are_the_parents_and_not_a_shipped_model(broken_half, monkeypatch):
    folder = broken_half.folder
    monkeypatch.chdir(folder.parent)
    bundle = Bundle.load("./indoor_tiny")
    assert str(bundle.folder) == "indoor_tiny"
    source = PlanSource(store=PlanStore(Path("engines")))
    with pytest.raises(EngineError, match=f"refuses {folder}/model_fp16"):
        source.get(bundle, *RTX)
    assert [path.suffix for path in (folder.parent / "engines").iterdir()] in ([], [".lock"])


def test_modules_in_the_working_directory_are_not_imported(broken_half, store, monkeypatch):
    here = broken_half.folder.parent
    for name in ("yaml", "numpy", "depthrefl_ros", "json"):
        (here / f"{name}.py").write_text("raise SystemExit('imported what lies around')")
    monkeypatch.chdir(here)
    with pytest.raises(EngineError, match="refuses"):  # the child came as far as the builder
        BuildProcess(broken_half.folder, *RTX, store.folder).result()


def test_stop_ends_the_child_and_stores_nothing(bundle, store, held):
    waiter = Waiter()
    source = PlanSource(on_progress=waiter.tell, store=store)
    waiter.ask(source.get, bundle, *RTX)
    (child,) = builds()
    source.stop()
    assert isinstance(waiter.result(), BuildStoppedError)
    assert not child.is_running()
    with pytest.raises(BuildStoppedError):
        source.get(bundle, *RTX)
    assert builds() == [] and store.entries() == []


def test_a_child_that_crashes_is_an_error_of_the_engine(bundle, store, held):
    waiter = Waiter()
    process = BuildProcess(bundle.folder, *RTX, store.folder)
    waiter.ask(process.result, waiter.tell)
    os.kill(process.pid, signal.SIGKILL)
    error = waiter.result()
    assert isinstance(error, EngineError)
    assert str(error) == "the build of tensorrt_rtx fp16 ended with code -9"


def test_a_child_ends_with_its_parent(bundle, store, held):
    waiter = Waiter()
    process = BuildProcess(bundle.folder, *RTX, store.folder)
    waiter.ask(process.result, waiter.tell)
    (child,) = builds()
    # What the system does to the socket of a process that dies.
    ours = socket.socket(fileno=os.dup(process._connection.fileno()))
    ours.shutdown(socket.SHUT_RDWR)
    assert isinstance(waiter.result(), EngineError)
    assert not child.is_running()


def test_never_builds_nothing_and_says_what_is_wrong_with_the_cache(bundle, store):
    source = PlanSource("never", store=store)
    with pytest.raises(EngineError, match=f"not in the cache {store.folder}, and build is never$"):
        source.get(bundle, *RTX)
    store.find_or_build(plan_key(bundle, *RTX), lambda: b"engine")
    assert source.get(bundle, *RTX).data == b"engine"
    store.folder.chmod(0o777)
    with pytest.raises(EngineError, match="build is never: .* may be written by others"):
        source.get(bundle, *RTX)


def test_force_builds_what_is_there(bundle, store):
    key = plan_key(bundle, *RTX)
    store.find_or_build(key, lambda: b"engine")
    stored = PlanSource("force", store=store).get(bundle, *RTX)
    assert not stored.is_cached and store.find(key) == stored.data != b"engine"


def test_a_cache_that_cannot_be_used_costs_a_build_only(bundle, store):
    store.folder.chmod(0o777)
    stored = PlanSource(store=store).get(bundle, *RTX)
    assert len(stored.data) > 1e6
    (note,) = stored.notes  # said once
    assert "used from memory" in note and "may be written by others" in note
    assert list(store.folder.iterdir()) == []


def test_a_precision_without_a_file_is_named(bundle, store):
    with pytest.raises(EngineError, match="model indoor_tiny has no bf16 file"):
        PlanSource(store=store).get(bundle, "tensorrt_rtx", "bf16")


@pytest.mark.parametrize(
    "missing, words",
    [
        ("model_int8.onnx", "model has no model_int8.onnx: `depthrefl export_bundle BUNDLE NEW"),
        ("model_fp16.onnx", "indoor_tiny has no fp16 file, which tensorrt_rtx needs for int8"),
    ],
)
def test_int8_needs_two_files(bundle, store, tmp_path, missing, words):
    model = copy_bundle(tmp_path / "model", {})
    del model.files[missing]
    with pytest.raises(EngineError, match=words):
        PlanSource(store=store).get(model, "tensorrt_rtx", "int8")


def test_a_child_builds_int8_under_a_key_of_its_own(bundle, store):
    key = plan_key(bundle, "tensorrt_rtx", "int8")
    stored = PlanSource(store=store).get(bundle, "tensorrt_rtx", "int8")
    assert store.find(key) == stored.data and not stored.is_cached
    assert plan_key(bundle, *RTX).digest() != key.digest() != replace(key, options=()).digest()
    assert store.find(replace(key, precision="fp16")) is None


def test_a_plan_is_for_as_many_images_as_are_given_at_once(bundle, store):
    source = PlanSource(store=store, batch=2)
    key = plan_key(bundle, *RTX, batch=2)
    assert store.find(key) is None
    assert source.get(bundle, *RTX).data == store.find(key)
    assert store.find(plan_key(bundle, *RTX)) is None
    source.keep_kernels(bundle, *RTX, b"kernels")
    assert PlanSource(store=store).kernels(bundle, *RTX) == b""


def test_compiled_kernels_are_kept_beside_the_engine_and_checked_like_it(bundle, store):
    source = PlanSource(store=store)
    assert source.kernels(bundle, *RTX) == b""
    assert source.keep_kernels(bundle, *RTX, b"kernels") == ()
    assert source.kernels(bundle, *RTX) == b"kernels"
    assert source.kernels(bundle, "tensorrt_rtx", "fp32") == b""
    assert store.find(plan_key(bundle, *RTX)) is None
    assert PlanSource("force", store=store).kernels(bundle, *RTX) == b""
    (entry,) = store.entries()
    assert "kernels compiled for this GPU" in str(entry.key) and entry.path.suffix == ".kernels"
    entry.path.write_bytes(b"kernelz")
    assert source.kernels(bundle, *RTX) == b""
    store.folder.chmod(0o777)
    (note,) = source.keep_kernels(bundle, *RTX, b"kernels")
    assert "used from memory" in note and "may be written by others" in note

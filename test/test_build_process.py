"""Builds in child processes: real ones, and every way in which they end."""

import os
import signal
import socket
import threading
from pathlib import Path

import psutil
import pytest
from bundle_copies import copy_bundle

from depthrefl_ros.engine.base import BuildStoppedError, EngineError
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.cache import EngineCache

pytest.importorskip("tensorrt_rtx", reason="real builds need: pip install tensorrt-rtx")

from filelock import FileLock  # noqa: E402

from depthrefl_ros.engine.build_process import BuildProcess  # noqa: E402
from depthrefl_ros.engine.plan_key import engine_key  # noqa: E402
from depthrefl_ros.engine.plans import PlanSource  # noqa: E402

RTX = ("tensorrt_rtx", "fp16")


@pytest.fixture(scope="module")
def bundle():
    return Bundle.load("indoor_tiny")


@pytest.fixture
def cache(tmp_path):
    cache = EngineCache(tmp_path / "cache")
    cache.folder.mkdir(mode=0o700)
    return cache


@pytest.fixture
def held(cache, bundle):
    """The lock of the engine: while it is held a build waits."""
    lock = FileLock(str(cache.path(engine_key(bundle, *RTX)).with_suffix(".lock")))
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
    """The builds that are under way in children of this process."""
    running = psutil.Process().children()
    return [one for one in running if "depthrefl_ros.engine.build_process" in one.cmdline()]


def test_a_build_tells_its_progress_and_is_cached(bundle, cache):
    progress = []
    source = PlanSource(on_progress=lambda *told: progress.append(told), cache=cache)
    stored = source.get(bundle, *RTX)
    assert not stored.is_cached and len(stored.data) > 1e6 and stored.notes == ()
    shares = [share for _, share in progress]
    assert shares == sorted(shares) and shares[0] == 0.0 and shares[-1] <= 1.0
    assert len(progress) > 1 and all(phase.startswith("tensorrt_rtx fp16") for phase, _ in progress)
    again = source.get(bundle, *RTX)
    assert again.is_cached and again.data == stored.data


@pytest.fixture
def broken_half(tmp_path):
    """A bundle called as the shipped one whose half-precision file is no network."""
    return copy_bundle(tmp_path / "indoor_tiny", {"model_fp16.onnx": b"no network"})


def test_a_network_that_the_builder_refuses_is_told_in_its_words(broken_half, cache):
    with pytest.raises(EngineError, match=r"refuses .*model_fp16\.onnx"):
        BuildProcess(broken_half.folder, *RTX, cache.folder).result()
    assert cache.entries() == []


def test_relative_paths_are_the_parents_and_not_a_shipped_model(broken_half, monkeypatch):
    folder = broken_half.folder
    monkeypatch.chdir(folder.parent)
    bundle = Bundle.load("./indoor_tiny")
    assert str(bundle.folder) == "indoor_tiny"
    source = PlanSource(cache=EngineCache(Path("engines")))
    with pytest.raises(EngineError, match=f"refuses {folder}/model_fp16"):
        source.get(bundle, *RTX)
    assert [path.suffix for path in (folder.parent / "engines").iterdir()] in ([], [".lock"])


def test_modules_in_the_working_directory_are_not_imported(broken_half, cache, monkeypatch):
    here = broken_half.folder.parent
    for name in ("yaml", "numpy", "depthrefl_ros", "json"):
        (here / f"{name}.py").write_text("raise SystemExit('imported what lies around')")
    monkeypatch.chdir(here)
    with pytest.raises(EngineError, match="refuses"):  # the child came as far as the builder
        BuildProcess(broken_half.folder, *RTX, cache.folder).result()


def test_stop_ends_the_child_and_stores_nothing(bundle, cache, held):
    waiter = Waiter()
    source = PlanSource(on_progress=waiter.tell, cache=cache)
    waiter.ask(source.get, bundle, *RTX)
    (child,) = builds()
    source.stop()
    assert isinstance(waiter.result(), BuildStoppedError)
    assert not child.is_running()
    with pytest.raises(BuildStoppedError):
        source.get(bundle, *RTX)
    assert builds() == [] and cache.entries() == []


def test_a_child_that_crashes_is_an_error_of_the_engine(bundle, cache, held):
    waiter = Waiter()
    process = BuildProcess(bundle.folder, *RTX, cache.folder)
    waiter.ask(process.result, waiter.tell)
    os.kill(process.pid, signal.SIGKILL)
    error = waiter.result()
    assert isinstance(error, EngineError)
    assert str(error) == "the build of tensorrt_rtx fp16 ended with code -9"


def test_a_child_ends_with_its_parent(bundle, cache, held):
    waiter = Waiter()
    process = BuildProcess(bundle.folder, *RTX, cache.folder)
    waiter.ask(process.result, waiter.tell)
    (child,) = builds()
    # What the system does to the socket of a process that dies.
    ours = socket.socket(fileno=os.dup(process._connection.fileno()))
    ours.shutdown(socket.SHUT_RDWR)
    assert isinstance(waiter.result(), EngineError)
    assert not child.is_running()


def test_never_builds_nothing_and_says_what_is_wrong_with_the_cache(bundle, cache):
    source = PlanSource("never", cache=cache)
    with pytest.raises(EngineError, match=f"not in the cache {cache.folder}, and build is never$"):
        source.get(bundle, *RTX)
    cache.find_or_build(engine_key(bundle, *RTX), lambda: b"engine")
    assert source.get(bundle, *RTX).data == b"engine"
    cache.folder.chmod(0o777)
    with pytest.raises(EngineError, match="build is never: .* may be written by others"):
        source.get(bundle, *RTX)


def test_force_builds_what_is_there(bundle, cache):
    key = engine_key(bundle, *RTX)
    cache.find_or_build(key, lambda: b"engine")
    stored = PlanSource("force", cache=cache).get(bundle, *RTX)
    assert not stored.is_cached and cache.find(key) == stored.data != b"engine"


def test_a_cache_that_cannot_be_used_costs_a_build_only(bundle, cache):
    cache.folder.chmod(0o777)
    stored = PlanSource(cache=cache).get(bundle, *RTX)
    assert len(stored.data) > 1e6
    (note,) = stored.notes  # said once
    assert "used from memory" in note and "may be written by others" in note
    assert list(cache.folder.iterdir()) == []


def test_a_precision_without_a_file_is_named(bundle, cache):
    with pytest.raises(EngineError, match="model indoor_tiny has no bf16 file"):
        PlanSource(cache=cache).get(bundle, "tensorrt_rtx", "bf16")


def test_compiled_kernels_are_kept_beside_the_engine_and_checked_like_it(bundle, cache):
    source = PlanSource(cache=cache)
    assert source.kernels(bundle, *RTX) == b""
    assert source.keep_kernels(bundle, *RTX, b"kernels") == ()
    assert source.kernels(bundle, *RTX) == b"kernels"
    assert source.kernels(bundle, "tensorrt_rtx", "fp32") == b""
    assert cache.find(engine_key(bundle, *RTX)) is None
    assert PlanSource("force", cache=cache).kernels(bundle, *RTX) == b""
    (entry,) = cache.entries()
    assert "kernels compiled for this GPU" in str(entry.key)
    entry.path.write_bytes(b"kernelz")
    assert source.kernels(bundle, *RTX) == b""
    cache.folder.chmod(0o777)
    (note,) = source.keep_kernels(bundle, *RTX, b"kernels")
    assert "used from memory" in note and "may be written by others" in note

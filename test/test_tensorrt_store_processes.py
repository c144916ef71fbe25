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

"""Several processes at one plan store: they wait for each other, or are killed."""

import json
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path

import pytest

from depthrefl_ros.engine.tensorrt.plan import PlanKey
from depthrefl_ros.engine.tensorrt.store import PlanStore

filelock = pytest.importorskip("filelock")

KEY = PlanKey(
    *("indoor_tiny", "0" * 64, "tensorrt_rtx", "1.7.1", "", "", "", "fp16", 192, 256),
    batch=1,
)

# A process of its own that wants a plan, and says what it does. A build is done when the test
# says so, except the one that is killed in the middle: that is a real one.
WANTS_ENGINE = """
import json, os, signal, sys
from pathlib import Path
from depthrefl_ros.engine.tensorrt.store import PlanStore
from depthrefl_ros.engine.tensorrt.plan import PlanKey

folder, values, dies = sys.argv[1:]
key = PlanKey(**{**json.loads(values), "options": ()})

def die(*progress):
    os.kill(os.getpid(), signal.SIGKILL)

def build():
    print("builds", flush=True)
    if dies == "building":
        from depthrefl_ros.engine.bundle import Bundle
        from depthrefl_ros.engine.tensorrt.build import build_plan
        path = Bundle.load("indoor_tiny").path("model_fp16.onnx")
        build_plan("tensorrt_rtx", path, precision="fp16", progress=die)
    sys.stdin.readline()
    return bytes(range(256)) * 4096

renames, rename = [], os.replace
def dying_rename(source, target):
    if dies == ["before the plan", "before the record"][len(renames)]:
        die()
    renames.append(target)
    rename(source, target)
os.replace = dying_rename

stored = PlanStore(Path(folder)).find_or_build(
    key, build, on_wait=lambda: print("waits", flush=True))
print("has", len(stored.data), stored.is_cached, *stored.notes, flush=True)
"""


def start(folder, dies=""):
    return subprocess.Popen(
        [sys.executable, "-c", WANTS_ENGINE, folder, json.dumps(asdict(KEY)), dies],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[1],
    )


def says(process) -> list[str]:
    """Return what the process says until its end; a build is done at once."""
    said = process.communicate("\n", timeout=60)[0].splitlines()
    assert process.returncode == 0
    return said


def lock_of(store):
    return filelock.FileLock(str(store.path(KEY).with_suffix(".lock")))


def never():
    raise AssertionError("the plan is there and must not be built")


@pytest.fixture
def store(tmp_path):
    return PlanStore(tmp_path / "cache")


def test_of_two_processes_one_builds_and_the_other_waits(store):
    first = start(store.folder)
    assert first.stdout.readline() == "builds\n"
    second = start(store.folder)
    assert second.stdout.readline() == "waits\n"
    assert says(first) == [f"has {1 << 20} False"]
    assert says(second) == [f"has {1 << 20} True"]


@pytest.fixture
def waiter(store):
    """Somebody who forces a build while another process is at it: gives what they are handed."""
    store.find_or_build(KEY, lambda: b"yesterday's")
    waits, found = threading.Event(), []
    lock = lock_of(store)
    lock.acquire()

    def ask():
        found.append(store.find_or_build(KEY, lambda: b"forced", True, waits.set))

    thread = threading.Thread(target=ask)
    thread.start()
    assert waits.wait(10)

    def result():
        lock.release()
        thread.join(10)
        return found[0]

    yield result
    lock.release()


def test_who_waited_takes_what_the_other_built_even_if_forced(waiter, store):
    store._store(KEY, b"the other's", 1.0)  # what the holder of the lock does
    stored = waiter()
    assert stored.is_cached and stored.data == b"the other's"


def test_who_forces_a_build_does_not_get_the_old_plan_of_one_that_died(waiter, store):
    stored = waiter()
    assert not stored.is_cached and stored.data == store.find(KEY) == b"forced"


@pytest.mark.parametrize("dies", ["building", "before the plan", "before the record"])
def test_a_build_killed_at_any_point_leaves_nothing_that_is_used(store, dies):
    if dies == "building":
        pytest.importorskip("tensorrt_rtx", reason="real builds need: pip install tensorrt-rtx")
    process = start(store.folder, dies)
    assert process.communicate("\n", timeout=60)[0] == "builds\n"
    assert process.returncode == -signal.SIGKILL
    assert store.find(KEY) is None
    assert says(start(store.folder)) == ["builds", f"has {1 << 20} False"]
    assert store.find_or_build(KEY, never).is_cached
    assert {path.suffix for path in store.folder.iterdir()} <= {".plan", ".json", ".lock"}


def test_clear_lets_those_wait_who_wait(store):
    store.find_or_build(KEY, lambda: b"plan")
    with lock_of(store):
        assert store.clear() == 1
        with pytest.raises(filelock.Timeout):
            lock_of(store).acquire(timeout=0)

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

"""Plans are built with the kernel times of earlier builds, which are trusted like plans."""

from dataclasses import replace

import pytest

from depthrefl_ros.engine.tensorrt.api import read_timing_cache, set_timing_cache
from depthrefl_ros.engine.tensorrt.build import BuiltPlan
from depthrefl_ros.engine.tensorrt.plan import PlanKey
from depthrefl_ros.engine.tensorrt.source import find_or_build
from depthrefl_ros.engine.tensorrt.store import PlanStore

pytest.importorskip("filelock")

KEY = PlanKey(
    *("indoor_tiny", "0" * 64, "tensorrt", "10.7.0", "CUDA 12.6", "Orin", "8.7", "fp16"),
    *(192, 256, 1),
)


@pytest.fixture
def store(tmp_path):
    return PlanStore(tmp_path / "cache")


def build_with(store, key=KEY, learns=b"times", force=False):
    """Build; returns the kernel times that the build was given, and what came out."""
    given = []

    def build(times):
        given.append(times)
        return BuiltPlan(b"plan", 1.0, {}, 0, learns)

    return given, find_or_build(store, key, build, force)


def test_a_build_gets_the_times_of_the_one_before(store):
    assert build_with(store)[0] == [b""]
    other = replace(KEY, model="indoor_nano", onnx_sha256="1" * 64, precision="fp32", height=160)
    assert build_with(store, other, learns=b"more times")[0] == [b"times"]
    assert build_with(store, KEY, force=True)[0] == [b"more times"]


@pytest.mark.parametrize(
    "change", [{"gpu": "Thor"}, {"engine_version": "10.8"}, {"driver": "CUDA 13"}], ids=str
)
def test_times_of_another_gpu_or_version_are_not_used(store, change):
    build_with(store)
    assert build_with(store, replace(KEY, **change))[0] == [b""]


def test_times_that_somebody_else_could_have_written_are_not_used(store):
    build_with(store)
    store.path(KEY.of_times()).chmod(0o666)
    given, stored = build_with(store, force=True)
    assert given == [b""] and stored.data == b"plan" and stored.notes == ()
    assert store.path(KEY.of_times()).stat().st_mode & 0o777 == 0o600  # written anew


def test_altered_times_are_not_used(store):
    build_with(store)
    store.path(KEY.of_times()).write_bytes(b"tomes")
    assert build_with(store, force=True)[0] == [b""]


def test_a_runtime_without_times_leaves_none_behind(store):
    build_with(store, learns=b"")
    assert {path.suffix for path in store.folder.iterdir()} <= {".plan", ".json", ".lock"}


def test_people_are_told_what_lies_there(store):
    build_with(store)
    texts = {entry.path.suffix: str(entry.key) for entry in store.entries()}
    assert texts[".plan"].startswith("indoor_tiny 256x192 fp16, batch 1, tensorrt 10.7.0, Orin")
    assert texts[".times"] == (
        "kernel times for any model, tensorrt 10.7.0, Orin (compute capability 8.7), "
        "driver CUDA 12.6"
    )


class Config:
    """What ``IBuilderConfig`` has for kernel times; unreadable ones give none, as TensorRT's."""

    def create_timing_cache(self, content):
        return None if content == b"unreadable" else [content]

    def set_timing_cache(self, times, ignore_mismatch):
        assert ignore_mismatch is False
        self.times = times

    def get_timing_cache(self):
        return self

    def serialize(self):
        return memoryview(self.times[0] + b"!")


@pytest.mark.parametrize("content, after", [(b"times", b"times!"), (b"unreadable", b"!")])
def test_tensorrt_is_given_times_and_rtx_has_none(content, after):
    class Runtime:
        __name__ = "tensorrt"

    config = Config()
    set_timing_cache(Runtime(), config, content)
    assert read_timing_cache(Runtime(), config) == after
    rtx = Runtime()
    rtx.__name__ = "tensorrt_rtx"
    set_timing_cache(rtx, None, content)
    assert read_timing_cache(rtx, None) == b""

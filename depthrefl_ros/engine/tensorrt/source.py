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

"""The way to a TensorRT plan: from the store, else built in a child process and stored there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from depthrefl_ros.engine.base import BuildStoppedError, EngineError
from depthrefl_ros.engine.bundle import Bundle

if TYPE_CHECKING:
    from depthrefl_ros.engine.tensorrt.build import BuiltPlan
    from depthrefl_ros.engine.tensorrt.build_process import BuildProcess
    from depthrefl_ros.engine.tensorrt.plan import PlanKey, StoredPlan
    from depthrefl_ros.engine.tensorrt.store import PlanStore

Progress = Callable[[str, float], None]  # (what is being done, share done in [0, 1])


class PlanSource:
    """Where ``open_engine`` gets plans; may be stopped from another thread.

    Args:
        build: ``auto`` builds what the store lacks, ``never`` builds nothing, ``force`` builds
            even what is there (``selection.BUILDS``).
        on_progress: told at the start of a build and during it what is built and the share done.
        store: None takes the user's.
        batch: number of images that may be given to the engine at once.

    Attributes:
        batch: as given.
        progress: what ``on_progress`` was told last; None before.
    """

    def __init__(
        self,
        build: str = "auto",
        on_progress: Progress | None = None,
        store: PlanStore | None = None,
        batch: int = 1,
    ):
        self.batch = batch
        self.progress: tuple[str, float] | None = None
        self._build = build
        self._on_progress = on_progress or (lambda phase, share: None)
        self._store = store
        self._process: BuildProcess | None = None
        self._is_stopped = False

    @property
    def is_stopped(self) -> bool:
        """Whether ``stop`` was called."""
        return self._is_stopped

    def get(self, bundle: Bundle, flavour: str, precision: str, gpu: int = 0) -> StoredPlan:
        """Return the plan for the CUDA device of this index.

        Raises:
            EngineError: there is none and none can or may be built.
            BuildStoppedError: ``stop`` was called.
        """
        # Only where TensorRT is wanted: the other engines shall start fast.
        from depthrefl_ros.engine.tensorrt.build_process import BuildProcess
        from depthrefl_ros.engine.tensorrt.plan import StoredPlan
        from depthrefl_ros.engine.tensorrt.store import PlanStore, PlanStoreError

        store = self._store or PlanStore()
        key = self._key(bundle, flavour, precision, gpu)
        name = f"{flavour} {precision}"
        note = ""
        if self._build != "force":
            try:
                data = store.find(key)
            except PlanStoreError as error:
                data, note = None, f": {error}"
            if data is not None:
                return StoredPlan(data, True)
        if self._build == "never":
            raise EngineError(f"not in the cache {store.folder}, and build is never{note}")
        process = self._process = BuildProcess(
            bundle.folder,
            flavour,
            precision,
            store.folder,
            force=self._build == "force",
            gpu=gpu,
            batch=self.batch,
        )
        # Looked at only now: stop() may have come before there was a process to stop.
        if self._is_stopped:
            process.stop()
            raise BuildStoppedError(f"the build of {name} was stopped")
        self.tell(name, 0.0)
        return process.result(lambda phase, share: self.tell(f"{name}: {phase}", share))

    def tell(self, phase: str, share: float) -> None:
        """Tell ``on_progress`` of a build, this source's or one whose plan it waits for."""
        self.progress = (phase, share)
        self._on_progress(phase, share)

    def kernels(self, bundle: Bundle, flavour: str, precision: str, gpu: int = 0) -> bytes:
        """Return what ``keep_kernels`` was given at an earlier start; empty without any."""
        from depthrefl_ros.engine.tensorrt.store import PlanStore, PlanStoreError

        if self._build == "force":
            return b""
        try:
            key = self._key(bundle, flavour, precision, gpu).of_kernels()
            return (self._store or PlanStore()).find(key) or b""
        except PlanStoreError:  # they are compiled again, as is the plan that lies beside them
            return b""

    def keep_kernels(
        self, bundle: Bundle, flavour: str, precision: str, kernels: bytes, gpu: int = 0
    ) -> tuple[str, ...]:
        """Store the kernels that a runtime compiled for this GPU, which saves the next start time.

        They are code like a plan, and are stored and checked like one.

        Returns:
            What was wrong with the store, for people.
        """
        from depthrefl_ros.engine.tensorrt.store import PlanStore

        key = self._key(bundle, flavour, precision, gpu).of_kernels()
        return (self._store or PlanStore()).find_or_build(key, lambda: kernels, force=True).notes

    def stop(self) -> None:
        """End a build that is under way, and all later ones before they begin."""
        self._is_stopped = True
        if self._process is not None:
            self._process.stop()

    def _key(self, bundle: Bundle, flavour: str, precision: str, gpu: int) -> PlanKey:
        from depthrefl_ros.engine.tensorrt.plan import plan_key

        return plan_key(bundle, flavour, precision, self.batch, gpu=gpu)


def find_or_build(
    store: PlanStore,
    key: PlanKey,
    build: Callable[[bytes], BuiltPlan],
    force: bool = False,
    on_wait: Callable[[], None] | None = None,
) -> StoredPlan:
    """Return the plan from the store, else build it with the kernel times of earlier builds.

    TensorRT's builder measures every kernel that it may choose, which takes most of its time; the
    times are kept beside the plans and trusted by the same rules, since they decide which code
    goes into a plan.

    Args:
        store: of the plans.
        key: of the plan.
        build: takes kernel times, empty where there are none that may be used.
        force: build even where the plan is there.
        on_wait: called once where another process is building this plan.
    """
    from depthrefl_ros.engine.tensorrt.store import PlanStoreError

    notes: tuple[str, ...] = ()

    def build_timed() -> bytes:
        nonlocal notes
        try:
            times = store.find(key.of_times()) or b""
        except PlanStoreError:
            times = b""
        built = build(times)
        if built.timing_cache not in (b"", times):
            kept = store.find_or_build(key.of_times(), lambda: built.timing_cache, force=True)
            notes = kept.notes
        return built.plan

    stored = store.find_or_build(key, build_timed, force, on_wait)
    return replace(stored, notes=tuple(dict.fromkeys((*stored.notes, *notes))))

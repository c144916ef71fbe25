"""The way to a TensorRT plan: from the store, else built in a child process and stored there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from depthrefl_ros.engine.base import BuildStoppedError, EngineError
from depthrefl_ros.engine.bundle import Bundle

if TYPE_CHECKING:
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
    """

    def __init__(
        self,
        build: str = "auto",
        on_progress: Progress | None = None,
        store: PlanStore | None = None,
    ):
        self._build = build
        self._on_progress = on_progress or (lambda phase, share: None)
        self._store = store
        self._process: BuildProcess | None = None
        self._is_stopped = False

    def get(self, bundle: Bundle, flavour: str, precision: str) -> StoredPlan:
        """The plan for batches of one.

        Raises:
            EngineError: there is none and none can or may be built.
            BuildStoppedError: ``stop`` was called.
        """
        # Only where TensorRT is wanted: the other engines shall start fast.
        from depthrefl_ros.engine.tensorrt.build_process import BuildProcess
        from depthrefl_ros.engine.tensorrt.plan import StoredPlan, plan_key
        from depthrefl_ros.engine.tensorrt.store import PlanStore, PlanStoreError

        store = self._store or PlanStore()
        key, name = plan_key(bundle, flavour, precision), f"{flavour} {precision}"
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
            bundle.folder, flavour, precision, store.folder, self._build == "force"
        )
        # Looked at only now: stop() may have come before there was a process to stop.
        if self._is_stopped:
            process.stop()
            raise BuildStoppedError(f"the build of {name} was stopped")
        self._on_progress(name, 0.0)
        return process.result(lambda phase, share: self._on_progress(f"{name}: {phase}", share))

    def kernels(self, bundle: Bundle, flavour: str, precision: str) -> bytes:
        """What ``keep_kernels`` was given at an earlier start; empty where there is nothing."""
        from depthrefl_ros.engine.tensorrt.store import PlanStore, PlanStoreError

        if self._build == "force":
            return b""
        try:
            key = _kernels_key(bundle, flavour, precision)
            return (self._store or PlanStore()).find(key) or b""
        except PlanStoreError:  # they are compiled again, as is the engine that lies beside them
            return b""

    def keep_kernels(
        self, bundle: Bundle, flavour: str, precision: str, kernels: bytes
    ) -> tuple[str, ...]:
        """Stores the kernels that a runtime compiled for this GPU, which saves the next start time.

        They are code like an engine, and are stored and checked like one.

        Returns:
            What was wrong with the store, for people.
        """
        from depthrefl_ros.engine.tensorrt.store import PlanStore

        key, store = _kernels_key(bundle, flavour, precision), self._store or PlanStore()
        return store.find_or_build(key, lambda: kernels, force=True).notes

    def stop(self) -> None:
        """Ends a build that is under way, and all later ones before they begin."""
        self._is_stopped = True
        if self._process is not None:
            self._process.stop()


def _kernels_key(bundle: Bundle, flavour: str, precision: str) -> PlanKey:
    from depthrefl_ros.engine.tensorrt.plan import plan_key

    key = plan_key(bundle, flavour, precision)
    return replace(key, options=(*key.options, "kernels compiled for this GPU"))

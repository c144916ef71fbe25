"""The way to a TensorRT plan: from the cache, else built in a child process and stored there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from depthrefl_ros.engine.base import BuildStoppedError, EngineError
from depthrefl_ros.engine.bundle import Bundle

if TYPE_CHECKING:
    from depthrefl_ros.engine.build_process import BuildProcess
    from depthrefl_ros.engine.cache import EngineCache, EngineKey, StoredEngine

Progress = Callable[[str, float], None]  # (what is being done, share done in [0, 1])


class PlanSource:
    """Where ``open_engine`` gets plans; may be stopped from another thread.

    Args:
        build: ``auto`` builds what the cache lacks, ``never`` builds nothing, ``force`` builds
            even what is there (``selection.BUILDS``).
        on_progress: told at the start of a build and during it what is built and the share done.
        cache: None takes the user's.
    """

    def __init__(
        self,
        build: str = "auto",
        on_progress: Progress | None = None,
        cache: EngineCache | None = None,
    ):
        self._build = build
        self._on_progress = on_progress or (lambda phase, share: None)
        self._cache = cache
        self._process: BuildProcess | None = None
        self._is_stopped = False

    def get(self, bundle: Bundle, flavour: str, precision: str) -> StoredEngine:
        """The plan for batches of one.

        Raises:
            EngineError: there is none and none can or may be built.
            BuildStoppedError: ``stop`` was called.
        """
        # Only where TensorRT is wanted: the other engines shall start fast.
        from depthrefl_ros.engine.build_process import BuildProcess
        from depthrefl_ros.engine.cache import CacheError, EngineCache, StoredEngine
        from depthrefl_ros.engine.plan_key import engine_key

        cache = self._cache or EngineCache()
        key, name = engine_key(bundle, flavour, precision), f"{flavour} {precision}"
        note = ""
        if self._build != "force":
            try:
                data = cache.find(key)
            except CacheError as error:
                data, note = None, f": {error}"
            if data is not None:
                return StoredEngine(data, True)
        if self._build == "never":
            raise EngineError(f"not in the cache {cache.folder}, and build is never{note}")
        process = self._process = BuildProcess(
            bundle.folder, flavour, precision, cache.folder, self._build == "force"
        )
        # Looked at only now: stop() may have come before there was a process to stop.
        if self._is_stopped:
            process.stop()
            raise BuildStoppedError(f"the build of {name} was stopped")
        self._on_progress(name, 0.0)
        return process.result(lambda phase, share: self._on_progress(f"{name}: {phase}", share))

    def kernels(self, bundle: Bundle, flavour: str, precision: str) -> bytes:
        """What ``keep_kernels`` was given at an earlier start; empty where there is nothing."""
        from depthrefl_ros.engine.cache import CacheError, EngineCache

        if self._build == "force":
            return b""
        try:
            key = _kernels_key(bundle, flavour, precision)
            return (self._cache or EngineCache()).find(key) or b""
        except CacheError:  # they are compiled again, as is the engine that lies beside them
            return b""

    def keep_kernels(
        self, bundle: Bundle, flavour: str, precision: str, kernels: bytes
    ) -> tuple[str, ...]:
        """Stores the kernels that a runtime compiled for this GPU, which saves the next start time.

        They are code like an engine, and are stored and checked like one.

        Returns:
            What was wrong with the cache, for people.
        """
        from depthrefl_ros.engine.cache import EngineCache

        key, cache = _kernels_key(bundle, flavour, precision), self._cache or EngineCache()
        return cache.find_or_build(key, lambda: kernels, force=True).notes

    def stop(self) -> None:
        """Ends a build that is under way, and all later ones before they begin."""
        self._is_stopped = True
        if self._process is not None:
            self._process.stop()


def _kernels_key(bundle: Bundle, flavour: str, precision: str) -> EngineKey:
    from depthrefl_ros.engine.plan_key import engine_key

    key = engine_key(bundle, flavour, precision)
    return replace(key, options=(*key.options, "kernels compiled for this GPU"))

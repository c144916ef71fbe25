# SPDX-License-Identifier: Apache-2.0
"""TensorRT plans as the cache has them, and a note of the first that it lacks."""

from __future__ import annotations

from depthrefl_ros.engine.base import EngineError, EngineMissingError
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.tensorrt.plan import StoredPlan, plan_key
from depthrefl_ros.engine.tensorrt.source import PlanSource


class StoredPlans(PlanSource):
    """Builds nothing.

    Attributes:
        unbuilt: the TensorRT flavour that would have been built first; empty without one.
    """

    def __init__(self) -> None:
        super().__init__("never")
        self.unbuilt = ""

    def get(self, bundle: Bundle, flavour: str, precision: str, gpu: int = 0) -> StoredPlan:
        """The plan in the cache.

        Raises:
            EngineMissingError: it can be built but has not been.
            EngineError: it cannot be built either.
        """
        plan_key(bundle, flavour, precision, gpu=gpu)
        try:
            return super().get(bundle, flavour, precision, gpu)
        except EngineError as error:
            self.unbuilt = self.unbuilt or flavour
            raise EngineMissingError(f"{precision} is not built yet") from error

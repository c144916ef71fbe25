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
        """Return the plan in the cache.

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

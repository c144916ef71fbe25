"""What a TensorRT plan of this machine is called in the cache."""

from __future__ import annotations

from depthrefl_ros.engine.base import EngineError, EngineMissingError
from depthrefl_ros.engine.bundle import Bundle
from depthrefl_ros.engine.cache import EngineKey
from depthrefl_ros.engine.device_memory import Gpu, find_gpu
from depthrefl_ros.engine.tensorrt_api import find_flavour
from depthrefl_ros.engine.tensorrt_plan import ONNX_FILES


def engine_key(
    bundle: Bundle, flavour: str, precision: str, batch: int = 1, targets: tuple[str, ...] = ()
) -> EngineKey:
    """Under which key the cache has the plan that this machine needs.

    Args:
        bundle: the model.
        flavour: ``tensorrt`` or ``tensorrt_rtx``.
        precision: ``fp32`` or ``fp16``.
        batch: the largest.
        targets: compute capabilities to build for, ``sm86``...; none for the runtime's choice.

    Raises:
        EngineMissingError: the runtime is not installed, or needs a GPU and finds none.
        EngineError: the bundle has no file of this precision.
    """
    found = find_flavour(flavour)
    if not found.can_build:
        raise EngineMissingError(found.reason)
    digest = bundle.description["files"].get(ONNX_FILES.get(precision))
    if digest is None:
        raise EngineError(f"model {bundle.name} has no {precision} file for {flavour}")
    gpu = Gpu("", "", 0, "") if not found.can_run else find_gpu()
    return EngineKey(
        model=bundle.name,
        onnx_sha256=digest,
        engine=flavour,
        engine_version=found.version,
        driver=gpu.driver,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        precision=precision,
        height=bundle.height,
        width=bundle.width,
        batch=batch,
        options=(f"targets {', '.join(targets)}",) if targets else (),
    )

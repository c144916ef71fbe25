"""OpenVINO: CPUs and Intel GPUs."""

from __future__ import annotations

import numpy as np

from depthrefl_ros.engine.base import Engine, EngineError
from depthrefl_ros.engine.bundle import Bundle


class OpenVinoEngine(Engine):
    """``model.onnx`` compiled by OpenVINO in float32, batch 1.

    Args:
        bundle: the model.
        threads: CPU threads, 0 for as many as OpenVINO thinks best.
        device: ``CPU``, ``GPU``...

    Raises:
        EngineError: OpenVINO is not installed, or cannot compile the model.
    """

    name = "openvino"
    precision = "f32"

    def __init__(self, bundle: Bundle, threads: int = 0, device: str = "CPU"):
        try:
            import openvino
        except ImportError as error:
            raise EngineError(
                f"openvino is not installed ({error}): pip install openvino"
            ) from error
        self.height, self.width = bundle.height, bundle.width
        core = openvino.Core()
        # Left to itself OpenVINO takes bf16 on AMX machines, which errs 3 % in depth.
        settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = str(threads)
        path = bundle.path("model.onnx")
        try:
            model = core.read_model(path)
            model.reshape([1, self.height, self.width, 3])
            self._compiled = core.compile_model(model, device, settings)
            self._request = self._compiled.create_infer_request()
            self.device = str(core.get_property(device, "FULL_DEVICE_NAME")).strip()
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot compile {path}: {error}") from error
        self._names = [output.get_any_name() for output in self._compiled.outputs]

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        rows = []
        for image in images:
            try:
                results = self._request.infer([image[None]], share_inputs=True)
            except RuntimeError as error:
                raise EngineError(f"OpenVINO failed to run: {error}") from error
            # Copied, since the request writes the next frame over them.
            rows.append([np.array(value) for value in results.values()])
        return {
            name: values[0] if len(values) == 1 else np.concatenate(values)
            for name, values in zip(self._names, zip(*rows, strict=True), strict=True)
        }

    def close(self) -> None:
        """Releases the compiled model."""
        self._request = self._compiled = None

"""Torch: CUDA without TensorRT, development, and a judge for the other engines."""

from __future__ import annotations

import numpy as np

from depthrefl_ros.engine.base import Engine, EngineError
from depthrefl_ros.engine.bundle import Bundle


class TorchEngine(Engine):
    """``model.safetensors`` run by torch in float32.

    Args:
        bundle: the model.
        threads: CPU threads, 0 for torch's own choice.
        device: ``cpu`` or ``cuda``; None takes CUDA where there is one.

    Raises:
        EngineError: torch is not installed, the device is missing, or the weights do not fit.
    """

    name = "torch"
    precision = "f32"

    def __init__(self, bundle: Bundle, threads: int = 0, device: str | None = None):
        try:
            import torch

            from depthrefl_ros.network.checkpoints import CheckpointError, load_weights
            from depthrefl_ros.network.inference import OUTPUT_NAMES, InferenceModel
            from depthrefl_ros.network.model import ModelConfig, create_model
        except ImportError as error:
            raise EngineError(
                f"torch or safetensors is not installed ({error}): pip install torch safetensors"
            ) from error
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        elif device.startswith("cuda") and not torch.cuda.is_available():
            raise EngineError(f"device is {device!r} but torch finds no CUDA device")
        if threads and device == "cpu":
            torch.set_num_threads(threads)
        # TF32 keeps ten bits of mantissa: not the float32 that the self-test asks for.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        try:
            model = create_model(ModelConfig.from_dict(bundle.description["architecture"]))
            load_weights(bundle.path("model.safetensors"), model)
        except (CheckpointError, ValueError) as error:
            raise EngineError(str(error)) from error
        self._torch, self._names = torch, OUTPUT_NAMES
        self._model = InferenceModel(model).to(device)
        self.device = torch.cuda.get_device_name(device) if "cuda" in device else "CPU"
        self._device = device
        self.height, self.width = bundle.height, bundle.width

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        try:
            with self._torch.inference_mode():
                outputs = self._model(self._torch.from_numpy(images).to(self._device))
        except RuntimeError as error:
            raise EngineError(f"torch failed to run on {self.device}: {error}") from error
        return {n: o.cpu().numpy() for n, o in zip(self._names, outputs, strict=True)}

    def close(self) -> None:
        """Releases the model."""
        self._model = None

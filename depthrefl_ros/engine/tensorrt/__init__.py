"""TensorRT and TensorRT-RTX: plans (serialised engines) are built, kept, and run."""

# SPDX-License-Identifier: Apache-2.0
"""TensorRT and TensorRT-RTX: plans (serialised engines) are built, kept, and run."""

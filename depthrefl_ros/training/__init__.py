# SPDX-License-Identifier: Apache-2.0
"""Data, losses, training, evaluation and rendered scenes."""

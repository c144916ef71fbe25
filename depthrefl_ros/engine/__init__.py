# SPDX-License-Identifier: Apache-2.0
"""Bundles, runtimes and the way from a trained network to a file that they run."""

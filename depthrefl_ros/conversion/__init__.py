# SPDX-License-Identifier: Apache-2.0
"""Networks of others become bundles: what their numbers mean is stated once, in the graph."""

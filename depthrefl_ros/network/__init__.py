# SPDX-License-Identifier: Apache-2.0
"""The two-stage network: backbone (relative depth) and reflector (metric depth). Needs torch."""

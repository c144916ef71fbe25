# SPDX-License-Identifier: Apache-2.0
"""Print what pip has to add in a container: extras of setup.py, one requirement a line.

python requirements.py setup.py EXTRA ...

What every installation needs (numpy, OpenCV, ...) comes from apt there: pip's OpenCV beside that of
cv_bridge would be one too many.
"""

from __future__ import annotations

import runpy
import sys
from unittest import mock


def extras_of(setup_file: str) -> dict[str, list[str]]:
    """Return the extras that a setup.py declares."""
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path(setup_file)
    return setup.call_args.kwargs["extras_require"]


def main(setup_file: str, *names: str) -> int:
    """Print the requirements of some extras; returns the exit code."""
    extras = extras_of(setup_file)
    unknown = [name for name in names if name not in extras]
    if unknown:
        print(f"no extra {unknown[0]!r}; there are {', '.join(extras)}", file=sys.stderr)
        return 2
    print("\n".join(dict.fromkeys(one for name in names for one in extras[name])))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

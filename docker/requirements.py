# Copyright 2026 depthrefl_ros contributors
# SPDX-License-Identifier: Apache-2.0
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

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

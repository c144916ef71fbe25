# SPDX-License-Identifier: Apache-2.0
"""``python -m depthrefl_ros COMMAND``: the command line without its executable."""

import sys

from depthrefl_ros.tools.commands import main

if __name__ == "__main__":
    sys.exit(main())

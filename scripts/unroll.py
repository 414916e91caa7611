"""The same as `rnnlab unroll`."""

import sys

from rnnlab.cli import main

sys.exit(main(["unroll", *sys.argv[1:]]))

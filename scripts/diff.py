"""The same as `rnnlab diff`."""

import sys

from rnnlab.cli import main

sys.exit(main(["diff", *sys.argv[1:]]))

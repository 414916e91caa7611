"""The same as `rnnlab report`."""

import sys

from rnnlab.cli import main

sys.exit(main(["report", *sys.argv[1:]]))

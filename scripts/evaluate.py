"""The same as `rnnlab evaluate`."""

import sys

from rnnlab.cli import main

sys.exit(main(["evaluate", *sys.argv[1:]]))

"""The same as `rnnlab generate`."""

import sys

from rnnlab.cli import main

sys.exit(main(["generate", *sys.argv[1:]]))

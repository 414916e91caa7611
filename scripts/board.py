"""The same as `rnnlab board`."""

import sys

from rnnlab.cli import main

sys.exit(main(["board", *sys.argv[1:]]))

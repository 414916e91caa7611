"""The same as `rnnlab train`."""

import sys

from rnnlab.cli import main

sys.exit(main(["train", *sys.argv[1:]]))

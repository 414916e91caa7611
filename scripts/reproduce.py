"""The same as `rnnlab reproduce`."""

import sys

from rnnlab.cli import main

sys.exit(main(["reproduce", *sys.argv[1:]]))

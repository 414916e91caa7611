"""The same as `rnnlab doctor`."""

import sys

from rnnlab.cli import main

sys.exit(main(["doctor", *sys.argv[1:]]))

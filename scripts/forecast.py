"""The same as `rnnlab forecast`."""

import sys

from rnnlab.cli import main

sys.exit(main(["forecast", *sys.argv[1:]]))

"""The same as `rnnlab archive`."""

import sys

from rnnlab.cli import main

sys.exit(main(["archive", *sys.argv[1:]]))

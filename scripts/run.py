"""A command of rnnlab from the repository: `python scripts/run.py train experiment=sine` is `rnnlab train ...`."""

import sys

from rnnlab.cli import main

sys.exit(main())

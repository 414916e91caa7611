"""The command `rnnlab`, as `python -m rnnlab NAME ...`."""

import sys

from rnnlab.cli import main

sys.exit(main())

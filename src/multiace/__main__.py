"""``python -m multiace``: the command line."""

import sys

from multiace.cli import main

sys.exit(main())

"""`python -m unfreeze.cli` is `unfreeze`."""

from __future__ import annotations

import sys

from unfreeze.cli import main

sys.exit(main())

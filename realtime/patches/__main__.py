"""`python -m realtime.patches`."""

import sys

from umtn.missing import require

if __name__ == "__main__":
    require("numpy")

from realtime.patches.write import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())

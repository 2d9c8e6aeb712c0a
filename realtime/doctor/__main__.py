"""`python -m realtime.doctor`."""

import sys

from umtn.missing import require

if __name__ == "__main__":
    require("numpy")

from realtime.doctor.report import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())

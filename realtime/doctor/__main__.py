"""`python -m realtime.doctor`."""

import sys

from realtime.doctor.report import main

if __name__ == "__main__":
    sys.exit(main())

"""The program `vqgen` as a module, for `python -m vqgen`, `torchrun ... -m vqgen` and `accelerate launch -m vqgen`."""

import sys

from vqgen.cli import main

if __name__ == "__main__":
    sys.exit(main())

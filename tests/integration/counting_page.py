"""Runs `vqgen app`, prints each batch of pictures that is drawn, and waits after it.

python counting_page.py SECONDS app CHECKPOINT ...
"""

import sys
import time

from vqgen.app.generating import _Drawing
from vqgen.cli import main

_count = _Drawing._count


def count_and_wait(self: _Drawing, images: int) -> None:
    print("drawn", images, flush=True)
    time.sleep(float(sys.argv[1]))
    _count(self, images)


if __name__ == "__main__":
    _Drawing._count = count_and_wait  # type: ignore[method-assign]
    sys.exit(main(sys.argv[2:]))

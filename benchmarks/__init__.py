"""Programs that measure vqgen: its times beside its peers and the machine's limit, and its exactness."""

import sys

if "pytest" not in sys.modules:  # which checks the annotations of vqgen only if it is not imported before
    from vqgen.runtime.process_start import prepare_process

    # Before torch is imported, as the command line does it.
    prepare_process()

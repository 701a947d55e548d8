"""torchrun for the processes of a training, which say themselves what is wrong, in one line.

torchrun ends with its own traceback whatever happens to one of them; here that is their exit code,
and a line where one was killed and could say nothing.
"""

import os
import sys

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main

if __name__ == "__main__":
    os.environ["OMGSR_TORCHRUN"] = str(os.getpid())  # omgsr/training/processes.py
    try:
        main()
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            sys.exit(
                f"train: process {rank} was killed (signal {-failure.exitcode}), perhaps for want "
                "of memory; run the same command again: it goes on from the last checkpoint"
            )
        sys.exit(failure.exitcode)

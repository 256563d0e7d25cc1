"""Draws a data set over and over in processes that the test kills.

TensorFlow is imported, but not used, once: what is forked here has not started its threads.

Usage: crash_worker.py MODEL FOLDER, then a line on standard input for each process to start; its
process id is printed.
"""

import os
import sys

import tensorflow  # noqa: F401
from test_generate import small

from btk_generative.datasets import shard  # noqa: F401
from btk_generative.datasets.job import generate
from btk_generative.models import graph

if __name__ == "__main__":
    model, folder = sys.argv[1:]
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            graph._forked = False  # the guard takes an import for use
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            generate(small(model, shards=40), folder, progress=False)
            os._exit(0)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)

"""A llama.cpp server on loopback, for chat and embeddings: ``model_server.py WEIGHTS THREADS``.

It says where it is when it can be asked, and ends when its standard input does, so that it
does not outlive whoever started it.
"""

from __future__ import annotations

import sys
from importlib import import_module


def main() -> None:
    """Serve until the standard input ends."""
    weights, threads = sys.argv[1:]
    llama = import_module("xllamacpp")
    settings = llama.CommonParams()
    settings.model.path = weights
    settings.hostnames = ["127.0.0.1"]
    settings.port = 0
    settings.cpuparams.n_threads = int(threads)
    settings.n_ctx = 4096
    settings.n_parallel = 4
    settings.ui = False
    # The same server answers both; the OpenAI format wants one vector for a text.
    settings.embedding = True
    settings.pooling_type = llama.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = llama.Server(settings)
    print("Ready at", server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()

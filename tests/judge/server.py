"""The judge as a provider on loopback: ``server.py SEED [STATUS=SHARE ...]``.

It says where it is when it can be asked, and ends when its standard input does, so that it
does not outlive whoever started it. Its dice are seeded, which its own command cannot do.
"""

from __future__ import annotations

import random
import socket
import sys
from importlib import import_module
from threading import Thread


def main() -> None:
    """Serve until the standard input ends."""
    seed, *rates = sys.argv[1:]
    random.seed(int(seed))
    shares = {int(status): float(share) for status, _, share in (r.partition("=") for r in rates)}
    chaos = import_module("llmock.chaos").ChaosSettings(latency_ms=20, error_rates=shares)
    # What is asked is in the answer, so no stream is over before the fault that it is to have.
    echo = import_module("llmock.simulation").MockResponseSettings(response_style="echo")
    # What is streamed takes its time, so that it shows whether somebody stops to read.
    paced = import_module("llmock.chaos").StreamChaos(chunk_delay_ms=20)
    app = import_module("llmock.main").create_app(chaos, echo, None, paced)
    uvicorn = import_module("uvicorn")
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))

    def end() -> None:
        sys.stdin.read()
        server.should_exit = True

    Thread(target=end, daemon=True).start()
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"Ready at http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()

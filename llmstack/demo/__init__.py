"""An outage that callers do not notice: real HTTP servers on loopback, no key, no network.

Three fake providers (one fast, one slow, one dear), the gateway in front of them, and steady
traffic through it. After a quarter of the time the fast one dies, and later it comes back.
"""

from llmstack.demo.play import run_demo


__all__ = ["run_demo"]

"""Addresses that only this machine can reach, and what may listen at others."""

from __future__ import annotations

from ipaddress import ip_address

from llmstack.errors import ConfigError


__all__ = ["check_reach", "is_loopback"]


def is_loopback(host: str) -> bool:
    """Whether *host* is this machine, by a name that cannot mean another one.

    >>> [is_loopback(host) for host in ("localhost", "127.0.0.2", "::1", "0.0.0.0", "here.test")]
    [True, True, True, False, False]
    """
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_reach(host: str, *, has_token: bool) -> None:
    """Raise `ConfigError` if others can reach *host*, and need no token for it."""
    if not (has_token or is_loopback(host)):
        raise ConfigError(
            f"listen: {host} can be reached from elsewhere; set a token, or listen at 127.0.0.1"
        )

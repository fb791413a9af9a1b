"""The settings of a leaf, checked where they are written: its address, and what headers carry."""

from __future__ import annotations

from typing import Any

from attrs import Attribute
from yarl import URL

from llmstack.errors import ConfigError
from llmstack.providers.secret import Secret


__all__ = ["is_sendable", "sendable", "url", "usable"]


def url(value: str) -> str:
    """Return a base URL without the slash at its end."""
    return value.rstrip("/")


def usable(_instance: object, attribute: Attribute[Any], value: str) -> None:
    """Check that it is an http or https URL with nothing but a host and a path."""
    if any(sign.isspace() for sign in value):  # which a URL library may drop, or escape
        raise ConfigError(f"{attribute.name} must have no white space")
    try:
        parsed = URL(value)
        (parsed.host or "").encode("idna")
    except ValueError:  # whose text has parts of it, perhaps the password
        raise ConfigError(f"{attribute.name} is not a URL") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ConfigError(f"{attribute.name} must begin with http:// or https:// and a host")
    if parsed.user is not None or parsed.password is not None:
        raise ConfigError(f"{attribute.name} must have no credentials, query or fragment")
    if parsed.query_string or parsed.fragment:
        raise ConfigError(f"{attribute.name} must have no credentials, query or fragment")


def is_sendable(text: str) -> bool:
    """Whether a header can carry it; of blanks alone nothing would arrive."""
    return text.strip() != "" and text.isascii() and text.isprintable()


def sendable(_instance: object, attribute: Attribute[Any], value: object) -> None:
    """Check that a header can carry it; a credential that may change is checked when asked."""
    text = value.reveal() if isinstance(value, Secret) else value
    if isinstance(text, str) and not is_sendable(text):
        raise ConfigError(f"{attribute.name} is empty or has signs that a header cannot carry")

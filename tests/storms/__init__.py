"""Storms: a gateway on a socket, callers before it, and providers behind it that fail."""

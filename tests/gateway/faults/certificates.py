"""A certificate for elsewhere.test, its key, and the authority that signed it; for tests only.

All are good until 2120.
"""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final


__all__ = ["HOST", "knowing", "presenting"]

HOST: Final = "elsewhere.test"

AUTHORITY: Final = """\
-----BEGIN CERTIFICATE-----
MIIBeTCCAR6gAwIBAgIUD341f/Cmh+ycS7uDtpb5l/mcbbMwCgYIKoZIzj0EAwIw
GTEXMBUGA1UEAwwOYXV0aG9yaXR5LnRlc3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEy
MDAxMDEwMDAwMDBaMBkxFzAVBgNVBAMMDmF1dGhvcml0eS50ZXN0MFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAEaF5dvKNAXo8aXvro34B6LStfLa9zOwbE+rlxLGOu
mFhp4qwK/5pClXzrcswfZWfDR73dclV144XiNtq+zkuQnqNCMEAwDwYDVR0TAQH/
BAUwAwEB/zAdBgNVHQ4EFgQUYCDv0ETOUxbKZ2SHy4T5Gl7T8/UwDgYDVR0PAQH/
BAQDAgEGMAoGCCqGSM49BAMCA0kAMEYCIQCEWPB+8O+JgOkojpzhnuPLcw9NEJ3G
enqyfUrVhHcKoAIhANpnl1zzIzG2t6x29jtytSR0zu5aOdiyAFS83m7WLCys
-----END CERTIFICATE-----
"""

CERTIFICATE: Final = """\
-----BEGIN CERTIFICATE-----
MIIBxTCCAWugAwIBAgIUCGQgp+m8TClOOQcxfYwgWs11VoYwCgYIKoZIzj0EAwIw
GTEXMBUGA1UEAwwOYXV0aG9yaXR5LnRlc3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEy
MDAxMDEwMDAwMDBaMBkxFzAVBgNVBAMMDmVsc2V3aGVyZS50ZXN0MFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAEqjVQRFe8gjN0wFxJWBoOY8jLBdy+u5nbSSVX++/8
8+Ke0k/a8Hb2wacwgG3RYarQqoHqAxyhfqGqJ3MOcc1mJqOBjjCBizAZBgNVHREE
EjAQgg5lbHNld2hlcmUudGVzdDATBgNVHSUEDDAKBggrBgEFBQcDATAOBgNVHQ8B
Af8EBAMCB4AwCQYDVR0TBAIwADAdBgNVHQ4EFgQUtCzBJosswRgxgn0TRN0rb6w6
BYEwHwYDVR0jBBgwFoAUYCDv0ETOUxbKZ2SHy4T5Gl7T8/UwCgYIKoZIzj0EAwID
SAAwRQIgBrWqFh3ZeWCizrxmJZNRfEBNIyq5la7y2dUh3yp/Ef0CIQCXXuuvAwwE
Q4f5URBRhnfSYycF44w/Zo+dMJCgPxKp4g==
-----END CERTIFICATE-----
"""

KEY: Final = """\
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIA4STMKyCM2NN5gsuPItHBt45zRXJ9MNxA3ocbwoT49XoAoGCCqGSM49
AwEHoUQDQgAEqjVQRFe8gjN0wFxJWBoOY8jLBdy+u5nbSSVX++/88+Ke0k/a8Hb2
wacwgG3RYarQqoHqAxyhfqGqJ3MOcc1mJg==
-----END EC PRIVATE KEY-----
"""


@cache
def presenting() -> ssl.SSLContext:
    """What a server shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:  # it can only be read from a file
        chain = Path(folder) / "chain.pem"
        chain.write_text(CERTIFICATE + KEY)
        context.load_cert_chain(chain)
    return context


@cache
def knowing() -> ssl.SSLContext:
    """What a client goes by that trusts the authority."""
    return ssl.create_default_context(cadata=AUTHORITY)

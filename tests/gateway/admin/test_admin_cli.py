"""The command line says where the admin API is, and what keeps it from being there."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from llmstack.cli import _not_listening, main
from tests.config.example import LAYERED
from tests.shape.source import ROOT


REST: Final = LAYERED.format('{ use = "round_robin", endpoints = ["eu"] }')
SERVED: Final = 'server = { listen = "127.0.0.1:0", shutdown_timeout = 1 }\n'
TOKEN: Final = "adm1n-t0ken"


def file(folder: Path, text: str) -> str:
    """A file with *text* before its endpoints."""
    path = folder / "llmstack.toml"
    path.write_text(f"{text}\n{REST}")
    return str(path)


def program(*args: str) -> subprocess.Popen[str]:
    """Start the command line as a program."""
    return subprocess.Popen(
        [sys.executable, "-m", "llmstack", "serve", *args],
        env=os.environ | {"ADMIN_TOKEN": TOKEN},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_serve_tells_where_it_is_behind_where_callers_go(tmp_path: Path) -> None:
    """It asks for the token that the file names, and is stopped with the gateway."""
    text = f'{SERVED}admin = {{ listen = "127.0.0.1:0", token = "env:ADMIN_TOKEN" }}'
    process = program(file(tmp_path, text))
    try:
        assert process.stdout is not None
        gateway, admin = (process.stdout.readline().split() for _ in range(2))
        ready = urllib.request.Request(
            f"{admin[-1]}/readyz", headers={"Authorization": f"Bearer {TOKEN}"}
        )
        with urllib.request.urlopen(ready, timeout=10) as reply:
            details = reply.read()
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(f"{admin[-1]}/readyz", timeout=10)
        raised.value.close()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()

    assert (["Listening", "at"], ["Admin", "API", "at"]) == (gateway[:-1], admin[:-1])
    assert b'"endpoints": {"eu": {"state": "up"' in details
    assert 401 == raised.value.code
    assert ("Stopped.\n", "", 0) == (out, err, process.returncode)


def test_a_port_in_use_ends_with_1_and_says_whose_it_is(tmp_path: Path) -> None:
    """The address is that of the admin API, and nothing was printed before."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        process = program(file(tmp_path, f'{SERVED}admin.listen = "{where}"'))
        out, err = process.communicate(timeout=20)

    assert (1, "") == (process.returncode, out)
    assert f"Cannot listen at {where}: Address already in use.\n" == err


def test_an_option_may_not_take_its_port(tmp_path: Path) -> None:
    """It is told before anything listens."""
    args = ["serve", file(tmp_path, "admin = {}"), "--listen", "127.0.0.1:8081"]
    result = CliRunner().invoke(main, args)

    assert (1, "") == (result.exit_code, result.stdout)
    told = "Cannot serve: admin: it listens where the gateway does; give it another port.\n"
    assert told == result.stderr


@pytest.mark.parametrize(
    ("table", "how"),
    [("{}", "without a token"), ('{ token = "env:ADMIN_TOKEN" }', "behind a token")],
)
def test_check_tells_where_it_would_be(
    table: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the last line, and not what the token is."""
    monkeypatch.setenv("ADMIN_TOKEN", TOKEN)
    path = file(tmp_path, f"admin = {table}")
    result = CliRunner().invoke(main, ["check", path])

    assert 0 == result.exit_code
    lines = result.stdout.splitlines()[-2:]
    assert [f"Admin API at 127.0.0.1:8081, {how}.", f"{path} is right: 1 route."] == lines
    assert TOKEN not in result.output


def test_an_error_of_the_system_that_is_not_about_an_address_names_none() -> None:
    """It comes from a part of a stack that could not be started."""
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
    taken = OSError(errno.EADDRINUSE, "taken", "a:1")

    assert "Cannot serve: Connection refused." == _not_listening(refused)
    assert "Cannot listen at a:1: Address already in use." == _not_listening(taken)

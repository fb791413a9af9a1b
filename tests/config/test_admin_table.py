"""``[admin]``: off unless it is there, and open to others only with a token."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from attrs import fields

from llmstack.config import parse
from llmstack.config.tables import AdminTable, address
from llmstack.gateway.admin.settings import Admin
from tests.config.example import LAYERED, mistakes_of


REST: Final = LAYERED.format('{ use = "round_robin", endpoints = ["eu"] }')
TOKEN: Final = "adm1n-t0ken"
ELSEWHERE: Final = "can be reached from elsewhere; set a token, or listen at 127.0.0.1"


def admin_of(text: str) -> AdminTable | None:
    """What a file with *text* before its endpoints says of the admin API."""
    return parse(text + REST).admin


def test_there_is_none_unless_the_file_says_so() -> None:
    """And an empty table is that of an `Admin` without settings."""
    table = admin_of("admin = {}\n")

    assert admin_of("") is None
    assert table is not None
    assert Admin() == Admin(listen=address(table.listen), token=table.token)
    assert {a.name for a in fields(Admin)} == {a.name for a in fields(AdminTable)}


@pytest.mark.parametrize("where", ["env:ADMIN_TOKEN", "file:{}"])
def test_its_token_is_elsewhere(
    where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the keys of providers are as well; with one, any address will do."""
    monkeypatch.setenv("ADMIN_TOKEN", TOKEN)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    token = where.format(tmp_path / "token")
    table = admin_of(f'admin = {{ listen = "0.0.0.0:9", token = "{token}" }}\n')

    assert table is not None
    assert table.token is not None
    assert ("0.0.0.0:9", TOKEN) == (table.listen, table.token.current().reveal())
    assert TOKEN not in repr(table)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("admin = 3", "admin: must be a table, not 3"),
        ("admin.listen = 8081", "admin.listen: must be a string, not 8081"),
        ("admin.listen = '8081'", "admin.listen: must be HOST:PORT, not '8081'"),
        ("admin.lisen = 'a:1'", "admin.lisen: is no setting here; did you mean 'listen'?"),
        ("admin.listen = '0.0.0.0:1'", f"admin.listen: 0.0.0.0 {ELSEWHERE}"),
        ("admin.listen = '[::]:0'", f"admin.listen: :: {ELSEWHERE}"),
        ("admin.listen = 'here.test:0'", f"admin.listen: here.test {ELSEWHERE}"),
        (f"admin.token = '{TOKEN}'", 'admin.token: must be "env:NAME" or "file:PATH", so that '),
        ("admin.token = 'env:NOT_THERE_1'", "admin.token: the environment variable NOT_THERE_1 "),
        ("admin.token = 'env:EMPTY'", "admin.token: is empty or has signs that a header cannot "),
        ("admin.token = 'env:BLANKS'", "admin.token: is empty or has signs that a header cannot "),
        ("admin.listen = '127.0.0.1:70000'", "admin.listen: must have a port from 0 to 65535, not"),
        ("admin.listen = '127.0.0.1:8080'", "admin.listen: the server listens there; give it an"),
        ("adnim.listen = 'a:1'", "adnim: is no table here; did you mean 'admin'?"),
    ],
)
def test_mistakes_are_told_with_their_place(
    text: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of any table, and without what stands where a token should not."""
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("BLANKS", "   ")
    (found,) = mistakes_of(f"{text}\n{REST}")

    assert found.startswith(f"line 1: {expected}")
    assert TOKEN not in found


@pytest.mark.parametrize(
    ("where", "says"),
    [("here", "must be HOST:PORT, not 'here'"), ("0.0.0.0:1", f"0.0.0.0 {ELSEWHERE}")],
)
def test_a_mistake_in_a_setting_has_its_line(where: str, says: str) -> None:
    """Not that of the table, also where it is one only in the company of others."""
    text = f"{REST}\n[admin]\n\nlisten = '{where}'"

    assert [f"line {text.count(chr(10)) + 1}: admin.listen: {says}"] == mistakes_of(text)


@pytest.mark.parametrize("port", ["'127.0.0.1:0'", "'localhost:8080'", "'[::1]:8080'"])
def test_two_free_ports_are_two(port: str) -> None:
    """Of a port that both take the system decides; so it does with two addresses of one port."""
    server = "server.listen = '127.0.0.1:0'\n" if ":0" in port else ""

    assert admin_of(f"{server}admin.listen = {port}\n") is not None


def test_a_mistake_in_the_server_hides_none_in_it() -> None:
    """Both are told."""
    text = f"server.listen = 3\nadmin.token = 3\n{REST}"

    assert ["line 1", "line 2"] == [each.partition(":")[0] for each in mistakes_of(text)]

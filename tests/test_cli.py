"""The command line: what it prints and how it ends, in this process and as a program."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from attrs import fields
from click.testing import CliRunner, Result

import llmstack as ls
from llmstack.cli import main
from llmstack.config.tables import ServerTable
from llmstack.gateway.routes import Gateway
from tests.config.example import EXAMPLE, LAYERED
from tests.shape.source import ROOT


ROBIN = '{ use = "round_robin", endpoints = ["eu"] }'
DOUBTFUL = LAYERED.format(f'{{ use = "retry" }}, {{ use = "retry" }}, {ROBIN}')
#: A port of its own choice, and little patience at the end.
SMALL = f'server = {{ listen = "127.0.0.1:0", shutdown_timeout = 1 }}\n{LAYERED.format(ROBIN)}'
COMMANDS = [main, *main.commands.values()]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example needs one."""
    monkeypatch.setenv("EU_KEY", "sk-canary")


def run(*args: str) -> Result:
    """Run the command line in this process; a traceback would be an exception."""
    result = CliRunner().invoke(main, args)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def file(folder: Path, text: str) -> str:
    """A file with *text*."""
    path = folder / "llmstack.toml"
    path.write_text(text)
    return str(path)


def program(*args: str, **env: str) -> subprocess.Popen[str]:
    """Start the command line as a program."""
    return subprocess.Popen(
        [sys.executable, "-m", "llmstack", *args],
        env=os.environ | env,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def serving(*args: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A gateway in a process of its own, and its base URL."""
    process = program("serve", *args)
    try:
        assert process.stdout is not None
        says, _, url = process.stdout.readline().rstrip().partition(" at ")
        assert "Listening" == says
        yield process, url
    finally:
        process.kill()
        process.communicate()


def get(url: str) -> tuple[int, str]:
    """What is answered there."""
    with urllib.request.urlopen(url, timeout=10) as reply:
        return reply.status, reply.read().decode()


def test_check_shows_what_a_file_builds(tmp_path: Path) -> None:
    """Each route as the stack describes itself, and a last line; nothing else."""
    path = file(tmp_path, EXAMPLE)
    result = run("check", path)

    assert (0, "") == (result.exit_code, result.stderr)
    lines = result.stdout.splitlines()
    assert [0, 18, 42] == [n for n, line in enumerate(lines) if line and not line.startswith(" ")]
    assert ["Route chat:", "  Metrics()", "  Deadline(seconds=60)"] == lines[:3]
    assert "  at most 3 upstream calls, 60 s" in lines[:18]
    assert "Route *:" == lines[18]
    assert f"{path} is right: 2 routes." == lines[-1]
    assert "canary" not in result.output


def test_check_tells_doubts(tmp_path: Path) -> None:
    """They go where errors go, and the file is right all the same."""
    path = file(tmp_path, DOUBTFUL)
    result = run("check", path)

    assert 0 == result.exit_code
    told = "Warning: line 4: routes.chat.layers[1]: two layers are retry: two of them multiply"
    assert f"{told}\n" == result.stderr
    assert result.stdout.endswith(f"\n\n{path} is right: 1 route.\n")


@pytest.mark.parametrize("command", ["check", "serve"])
def test_mistakes_end_with_2(command: str, tmp_path: Path) -> None:
    """All of them are told at once, and nothing is built."""
    path = file(tmp_path, EXAMPLE.replace('"retry"', '"retyr"').replace("weight = 3", "weigth = 3"))
    result = run(command, path)

    assert (2, "") == (result.exit_code, result.stdout)
    assert [
        f"{path} has 2 mistakes:",
        "  line 10: endpoints.eu.weigth: is no setting here; did you mean 'weight'?",
        "  line 23: routes.chat.layers[1].use: 'retyr' is no layer; did you mean 'retry'?",
    ] == result.stderr.splitlines()


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["check", "nowhere.toml"], "nowhere.toml has 1 mistake:\n  it cannot be read: "),
        (["serve", "."], ". has 1 mistake:\n  it cannot be read: Is a directory\n"),
        (["serve", "PATH", "--listen", "here"], "--listen must be HOST:PORT, not 'here'\n"),
        (["serve", "PATH", "--listen", ""], "--listen must be HOST:PORT, not ''\n"),
        (
            ["serve", "PATH", "--listen", "127.0.0.1:65536"],
            "--listen must have a port from 0 to 65535, not '127.0.0.1:65536'\n",
        ),
        (["serve"], "Error: Missing argument 'CONFIG'."),
        (["sevre"], "Error: No such command 'sevre'."),
        (["demo", "--seconds", "5.9"], "Error: Invalid value for '--seconds': 5.9 is not in the"),
        (["demo", "--seconds", "nan"], "Error: Invalid value for '--seconds': nan is not in the"),
        (["demo", "--seconds", "inf"], "Error: Invalid value for '--seconds': inf is not in the"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else None,
)
def test_wrong_usage_ends_with_2(args: list[str], expected: str, tmp_path: Path) -> None:
    """It says what is wrong, in a sentence."""
    path = file(tmp_path, EXAMPLE)
    result = run(*(path if arg == "PATH" else arg for arg in args))

    assert (2, "") == (result.exit_code, result.stdout)
    assert expected in result.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_is_in_sentences(command: click.Command) -> None:
    """For each command and each option."""
    texts = [command.help, command.short_help or command.help]
    texts += [option.help for option in command.params if isinstance(option, click.Option)]
    said = [(text or "").strip() for text in texts]

    assert all(text[:1].isupper() and text.endswith(".") for text in said), said


def test_the_list_of_commands_is_in_sentences() -> None:
    """Nothing of them is cut off."""
    result = run("--help")

    assert 0 == result.exit_code
    assert "..." not in result.stdout.partition("[ARGS]...")[2]
    assert {"check", "demo", "serve"} == set(main.commands)


def test_the_version() -> None:
    """That of the package."""
    assert f"llmstack {ls.__version__}\n" == run("--version").stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_gateway_is_served_until_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    """It says where, answers there, and ends with 0."""
    with serving(file(tmp_path, SMALL)) as (process, url):
        alive = get(url.replace("/v1", "/livez"))
        ready = get(url.replace("/v1", "/readyz"))
        models = json.loads(get(f"{url}/models")[1])["data"]
        metrics = get(url.replace("/v1", "/metrics"))
        process.send_signal(number)
        out, err = process.communicate(timeout=20)

    assert [200, 200, 200] == [alive[0], ready[0], metrics[0]]
    assert ["chat"] == [model["id"] for model in models]
    assert ("Stopped.\n", "", 0) == (out, err, process.returncode)


def test_calls_are_counted_where_prometheus_looks(tmp_path: Path) -> None:
    """The metrics that a file asks for, or gets, are those of GET /metrics."""
    with serving(file(tmp_path, SMALL.replace(":9001", ":1"))) as (_, url):
        body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "?"}]})
        request = urllib.request.Request(
            f"{url}/chat/completions",
            data=body.encode(),
            headers={"Content-Type": "application/json"},
        )
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(request, timeout=10)
        raised.value.close()
        metrics = get(url.replace("/v1", "/metrics"))[1]

    assert 502 == raised.value.code
    assert 'llmstack_calls_total{endpoint="eu",' in metrics
    assert 'llmstack_calls_total{endpoint="",' in metrics


def test_the_settings_of_the_server_are_those_of_the_gateway(tmp_path: Path) -> None:
    """All by their names, and the limits hold: a body of 21 bytes is too long for 20."""
    small = SMALL.replace("shutdown_timeout = 1", "max_body = 20, body_timeout = 1")
    with serving(file(tmp_path, small)) as (_, url):
        json_type = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}/embeddings", b"x" * 21, json_type)
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(request, timeout=10)
        raised.value.close()

    assert 413 == raised.value.code
    assert {a.name for a in fields(ServerTable)} < {a.name for a in fields(Gateway)}


def test_a_port_in_use_ends_with_1(tmp_path: Path) -> None:
    """It says which, and why not; the option counts, not the file."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        process = program("serve", file(tmp_path, DOUBTFUL), "--listen", where)
        out, err = process.communicate(timeout=20)

    warning, error = err.splitlines()
    assert (1, "") == (process.returncode, out)
    assert f"Cannot listen at {where}: Address already in use." == error
    assert warning.startswith("Warning: line 4: ")


def test_a_gateway_that_cannot_serve_ends_with_1(tmp_path: Path) -> None:
    """Without aiohttp's C parser it does not start, and says what to do."""
    process = program("serve", file(tmp_path, SMALL), AIOHTTP_NO_EXTENSIONS="1")
    out, err = process.communicate(timeout=20)

    assert (1, "") == (process.returncode, out)
    assert err.startswith("Cannot serve: aiohttp runs without its C extensions; install ")
    assert 1 == err.count("\n")


def test_the_demo_is_run_as_asked() -> None:
    """Its options reach it, and its exit code is that of the program."""
    process = program("demo", "--seconds", "6", "--seed", "7", "--json")
    out, err = process.communicate(timeout=60)

    assert (0, "") == (process.returncode, err)
    summary = json.loads(out)
    assert (6.0, 7, 0) == (summary["seconds"], summary["seed"], summary["failures"])


@pytest.mark.parametrize("asked", [["--seconds", "6"], ["--seconds", "600"]])
def test_a_demo_that_nobody_reads_ends_quietly(asked: list[str]) -> None:
    """As before ``| head``: soon, without a traceback, and not as if all had been seen."""
    process = program("demo", *asked)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("  ")
        process.stdout.close()
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()

    assert ("", 1) == (err, process.returncode)

"""The command line: serve, check, demo.

Exit codes: 0 done; 1 it could not be done, or the demo saw what it must not see; 2 wrong
usage or a wrong configuration.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from functools import partial
from math import isnan
from typing import NoReturn

import click
from attrs import asdict

from llmstack import __version__


__all__ = ["check", "demo", "main", "serve"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="llmstack %(version)s")
def main() -> None:
    """Send calls to language models through stacks of layers."""


@main.command(short_help="Check the file CONFIG.")
@click.argument("config", type=click.Path())
def check(config: str) -> None:
    """Check the file CONFIG and show what it would build.

    Every mistake is told at once, with its path and line.
    """
    # A command imports what it needs when it runs, so that --help is there at once.
    from llmstack.config import ConfigMistakes, load

    try:
        loaded = load(config)
    except ConfigMistakes as mistakes:
        _fail(str(mistakes), 2)
    for name, stack in loaded.routes.items():
        click.echo(f"Route {name}:")
        click.echo("".join(f"  {line}\n" for line in stack.describe().splitlines()))
    for warning in loaded.warnings:
        click.echo(f"Warning: {warning}", err=True)
    if loaded.admin is not None:
        how = "without a token" if loaded.admin.token is None else "behind a token"
        click.echo(f"Admin API at {loaded.admin.listen}, {how}.")
    count = len(loaded.routes)
    click.echo(f"{config} is right: {count} route{'s' if count > 1 else ''}.")


@main.command(short_help="Serve the routes of CONFIG.")
@click.argument("config", type=click.Path())
@click.option("--listen", metavar="HOST:PORT", help="Listen here, whatever CONFIG says.")
def serve(config: str, listen: str | None) -> None:
    """Serve the routes of the file CONFIG as an OpenAI-compatible gateway.

    It ends with SIGINT or SIGTERM, when the requests that are under way have ended or
    shutdown_timeout is over; a second signal does not wait for them.
    """
    from llmstack.config import ConfigMistakes, load
    from llmstack.config.tables import address
    from llmstack.errors import ConfigError
    from llmstack.gateway.admin.settings import Admin
    from llmstack.gateway.app import serve as serving
    from llmstack.gateway.routes import Gateway
    from llmstack.integrations.prometheus import PrometheusRecorder

    recorder = PrometheusRecorder()
    try:
        loaded = load(config, recorder)
        where = loaded.listen if listen is None else address(listen)
    except ConfigMistakes as mistakes:
        _fail(str(mistakes), 2)
    except ConfigError as error:
        _fail(f"--listen {error.message}", 2)
    for warning in loaded.warnings:
        click.echo(f"Warning: {warning}", err=True)
    admin = loaded.admin and Admin(listen=address(loaded.admin.listen), token=loaded.admin.token)
    settings = asdict(loaded.server) | {"listen": where}
    at: list[str] = []
    try:
        gateway = Gateway(routes=loaded.routes, metrics=recorder.render, admin=admin, **settings)
        asyncio.run(serving(gateway, started=partial(_listening, at), admin_started=at.append))
    except ConfigError as error:
        _fail(f"Cannot serve: {error.message}.", 1)
    except OSError as error:
        _fail(_not_listening(error), 1)
    click.echo("Stopped.")


def _listening(admin: Sequence[str], url: str) -> None:
    """Print where the gateway listens; and then the *admin* API, which was there before it."""
    for line in (f"Listening at {url}", *(f"Admin API at {each}" for each in admin)):
        click.echo(line)


def _not_listening(error: OSError) -> str:
    # asyncio puts what it tried into the text; the number has the reason alone.
    number = error.errno or 0
    why = os.strerror(number) if number > 0 else error.strerror
    what = f"listen at {error.filename}" if error.filename else "serve"
    return f"Cannot {what}: {why}."


def _in_range(_context: click.Context, _option: click.Parameter, seconds: float) -> float:
    if isnan(seconds):  # click compares, and no comparison with it holds
        raise click.BadParameter("nan is not in the range 6<=x<=600.")
    return seconds


@main.command(short_help="Watch an outage that callers do not notice.")
@click.option(
    "--seconds",
    default=20.0,
    show_default=True,
    type=click.FloatRange(min=6, max=600),  # in less, the share has no time to move back
    callback=_in_range,
    help="How long it takes.",
)
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same traffic.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON, nothing else.")
def demo(seconds: float, seed: int, as_json: bool) -> None:  # noqa: FBT001 -- click's way
    """Watch an outage that callers do not notice: offline, without a key, in 20 seconds.

    Three fake providers, a gateway in front of them, steady traffic; one provider dies and
    comes back. Exits with 1 if a caller saw a failure while a healthy endpoint was left.
    """
    from llmstack.demo import run_demo

    code = 1
    try:
        code = run_demo(seconds, seed, as_json=as_json)
    except* BrokenPipeError:
        # Nobody reads any more, as behind `| head`; the flush at exit would fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(code)


def _fail(says: str, code: int) -> NoReturn:
    click.echo(says, err=True)
    raise SystemExit(code)

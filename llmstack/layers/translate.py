"""Translate: let callers of one dialect be answered by endpoints that speak another.

Put it right above the floor, or around the leaf of one endpoint. An endpoint that speaks the
caller's dialect gets the caller's bytes, and the caller its bytes: then nothing is touched.
Which operations an endpoint speaks is told by its service, or by the setting *speaks*. One of
which nobody says it is asked as it is.

A translated stream is handed up at the first content that the caller's format can say; what
goes wrong before is an ordinary failure, although the endpoint may have sent some of what the
caller's format cannot say.

Errors: `Untranslatable`, a refusal, so that a router asks its next endpoint; `ProtocolError`
for a reply that its format does not allow. Events: `translate.dropped` (info), with the
names of the fields that were left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, ClassVar, Final, Self, final

import attrs
from attrs import define, field, frozen, validators

from llmstack import clock
from llmstack.body import Body
from llmstack.dialects.chat_over_messages import ChatOverMessages
from llmstack.dialects.composed import Composed
from llmstack.dialects.messages_over_chat import MessagesOverChat
from llmstack.dialects.responses_over_chat import ResponsesOverChat
from llmstack.dialects.source import TranslatedSource
from llmstack.dialects.translator import JSON, Translator
from llmstack.dialects.wire import written
from llmstack.errors import ProtocolError, Untranslatable
from llmstack.events import EventLog
from llmstack.messages import EventStream, Reply, Request, Response
from llmstack.order import Bound
from llmstack.service import Service


__all__ = ["Translate", "TranslateService"]

log: Final = EventLog()

#: Fields that one line of the log names.
NAMED: Final = 16
_PATH: Final = re.compile(r"[A-Za-z0-9_.*?\[\]]{1,96}")

#: Of those that fit, the first is taken: the one that speaks the nearest dialect.
TRANSLATORS: Final[tuple[Translator, ...]] = (
    ChatOverMessages(),
    MessagesOverChat(),
    ResponsesOverChat(),
    Composed(ResponsesOverChat(), ChatOverMessages()),
)


def _operations(names: Iterable[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _translators(each: Iterable[Translator]) -> tuple[Translator, ...]:
    return tuple(each)


@final
@frozen
class Translate:
    """Ask each endpoint in a dialect that it speaks.

    *speaks* are the operations that the endpoint has, where its service does not say so or
    says too much: many servers have a part of a format only. *translators* are tried in their
    order, those of llmstack if there are none of one's own.

    >>> Translate(speaks=["chat"])
    Translate(speaks=frozenset({'chat'}))
    """

    speaks: frozenset[str] | None = field(
        default=None,
        converter=_operations,
        validator=validators.optional(validators.min_len(1)),
        kw_only=True,
    )
    translators: tuple[Translator, ...] = field(
        default=TRANSLATORS, converter=_translators, repr=False
    )

    role: ClassVar[str] = "translate"
    below: ClassVar[Mapping[str, str]] = {
        "router": "which dialect is spoken depends on the endpoint",
        "retry": "an endpoint that is asked again may speak another dialect",
    }

    def __call__(self, inner: Service[Request, Any], /) -> TranslateService:
        """Wrap *inner*: the floor, or the leaf of an endpoint."""
        return TranslateService(self, inner)


@final
@define(eq=False)
class TranslateService:
    """Finds out who speaks what, and puts a translator in between where that differs."""

    settings: Translate
    inner: Service[Request, Any]

    @property
    def speaks(self) -> frozenset[str]:
        """What callers can ask of the leaf in here, translated or not; none if it does not say."""
        own = self.settings.speaks or _spoken(self.inner) or frozenset()
        return own | {each.asks for each in self.settings.translators if each.speaks in own}

    @property
    def bound(self) -> Bound | None:
        """The bound of the leaf in here, if it says one."""
        return getattr(self.inner, "bound", None)

    async def __call__(self, request: Request, /) -> Any:  # noqa: ANN401 -- whatever endpoints give
        """Pass on what is understood; translate the rest, or refuse it."""
        endpoint = request.endpoint
        spoken = self._spoken(None if endpoint is None else endpoint.service)
        if spoken is None or request.operation in spoken:
            return await self.inner(request)
        translator = self._between(request.operation, spoken)
        translated = translator.request(request.body.data)
        if translated.dropped:
            log.info(
                "translate.dropped",
                request_id=request.call.id,
                endpoint=None if endpoint is None else endpoint.name,
                dialect=translator.speaks,
                fields=[_shown(path) for path in translated.dropped[:NAMED]],
            )
        asks = attrs.evolve(
            request, operation=translator.speaks, body=Body(None, translated.body), headers={}
        )
        return await _answered(translator, request, await self.inner(asks))

    def _spoken(self, service: object) -> frozenset[str] | None:
        return self.settings.speaks or _spoken(self.inner) or _spoken(service)

    def _between(self, operation: str, spoken: Collection[str]) -> Translator:
        for each in self.settings.translators:
            if each.asks == operation and each.speaks in spoken:
                return each
        known = ", ".join(sorted(spoken))
        raise Untranslatable(f"the endpoint has no {operation}; it has: {known}")

    async def __aenter__(self) -> Self:
        """Start the leaf in here."""
        if isinstance(self.inner, AbstractAsyncContextManager):
            await self.inner.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        if isinstance(self.inner, AbstractAsyncContextManager):
            await self.inner.__aexit__(kind, error, trace)


def _shown(path: str) -> str:
    """Return *path* if it looks like one: an unknown field has the name that the caller chose."""
    return path if _PATH.fullmatch(path) else "?"


def _spoken(service: object) -> frozenset[str] | None:
    return getattr(service, "speaks", None)


async def _answered(translator: Translator, request: Request, reply: Reply) -> Reply:
    """Return *reply* to the caller's *request*, in its dialect."""
    asked, at = request.body.data, clock.wall()
    if isinstance(reply, Response):
        body = written(translator.reply(_said(reply), asked, at))
        answer = Response(body, reply.status, reply.headers, reply.usage)
        answer.price = reply.price
        return answer
    held = None
    try:
        source = TranslatedSource(request.operation, reply, translator.stream(asked, at))
        held = await source.preamble()
    finally:
        # Whatever the reason, a cancellation too: what is not handed up is closed.
        if held is None:
            reply.close()
    return EventStream(source, reply.status, reply.headers, reply.price, held=held)


def _said(reply: Response) -> JSON:
    try:
        data = reply.data
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise ProtocolError("the reply is not a JSON object")
    return data

"""From the tables of endpoints to endpoints, which share one transport and one board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, final

from attrs import define, field

from llmstack.config.mistakes import Mistakes
from llmstack.config.tables import ConstantTable, EndpointTable
from llmstack.endpoint import Endpoint
from llmstack.errors import ConfigError
from llmstack.estimators.cooling import CoolingBoard
from llmstack.layers.translate import Translate
from llmstack.messages import dispatch
from llmstack.providers.anthropic import Anthropic
from llmstack.providers.constant import Constant
from llmstack.providers.credential import edition_of
from llmstack.providers.key import Key, with_keys
from llmstack.providers.openai import OpenAI
from llmstack.providers.transport import Transport


__all__ = ["Endpoints"]


@final
@define(eq=False)
class Endpoints:
    """Builds the endpoint of each table; *board* knows what befalls those with several keys."""

    board: CoolingBoard
    mistakes: Mistakes
    transport: Transport = field(factory=Transport, init=False)

    def build(
        self,
        tables: Mapping[str, EndpointTable | ConstantTable | None],
        said: Mapping[str, Any],
    ) -> dict[str, Endpoint]:
        """Return the endpoints by name; *said* is what the file has there.

        In the place of one with mistakes is a stand-in, so that whoever names it is not wrong
        as well.
        """
        return {name: self._built(name, table, said[name]) for name, table in tables.items()}

    def _built(
        self, name: str, table: EndpointTable | ConstantTable | None, said: Mapping[str, Any]
    ) -> Endpoint:
        match table:
            case None:
                return Endpoint(name, dispatch)
            case ConstantTable():
                return Endpoint(name, Translate()(Constant(table.text)), tags=table.tags)
            case _:
                return self._endpoint(name, table, said)

    def _endpoint(self, name: str, table: EndpointTable, said: Mapping[str, Any]) -> Endpoint:
        """Return the endpoint that *table* describes; callers of any dialect may ask it.

        A key is called after where it is, as the file says it: whoever says the same has the
        same key.
        """
        endpoint = Endpoint(
            name,
            Translate(speaks=table.speaks)(self._leaf(table)),
            table.weight,
            models=table.model if table.models is None else table.models,
            price=table.price,
            capabilities=table.capabilities,
            tags=table.tags,
            key=said.get("api_key", ""),
            edition=edition_of(table.api_key),
            account=table.account or "",
            url=table.base_url,
        )
        if table.keys is None:
            return endpoint
        try:
            return self._with_keys(endpoint, table, [where["api_key"] for where in said["keys"]])
        except ConfigError as error:
            self.mistakes.add(("endpoints", name, "keys"), error.message.removeprefix("keys: "))
            return endpoint

    def _with_keys(
        self, endpoint: Endpoint, table: EndpointTable, labels: Sequence[str]
    ) -> Endpoint:
        leaf = self._leaf(table)
        translate = Translate(speaks=table.speaks)
        keys = [
            Key(
                key.name,
                key.api_key,
                models=key.models,
                weight=key.weight,
                account=key.account or "",
                label=label,
            )
            for key, label in zip(table.keys or (), labels, strict=True)
        ]
        turned = (
            with_keys if table.rotations is None else partial(with_keys, rotations=table.rotations)
        )
        return turned(
            endpoint, keys, under=lambda one: translate(leaf.under(one)), board=self.board
        )

    def _leaf(self, table: EndpointTable) -> OpenAI | Anthropic:
        url, key, connect = table.base_url, table.api_key, table.connect
        if table.provider == "anthropic":
            return Anthropic(url, api_key=key, transport=self.transport, connect=connect)
        return OpenAI(
            url,
            api_key=key,
            transport=self.transport,
            connect=connect,
            asks_usage=table.asks_usage,
            done_is_terminal=table.done_is_terminal,
        )

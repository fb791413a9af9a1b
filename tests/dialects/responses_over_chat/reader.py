"""How a client reads the events of a response: what may come when, and what they say together.

Written from the published descriptions of the events: a response is created and under way
before it has items; items, and the parts of a message, are added in the order of their
indexes; deltas belong to something that was added and is not done; done says again what the
deltas said; the terminal has the items as they were done; the numbers count from 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from llmstack.dialects.translator import Piece


__all__ = ["Illegal", "read"]

Thing = dict[str, Any]

TERMINALS: Final = {"response.completed": "completed", "response.incomplete": "incomplete"}
#: The field of an item that grows, by the event that makes it grow.
TEXTS: Final = {
    "response.function_call_arguments": ("arguments", "function_call"),
    "response.custom_tool_call_input": ("input", "custom_tool_call"),
}
#: The same for the parts of a message.
PARTS: Final = {
    "response.output_text": ("text", "output_text"),
    "response.refusal": ("refusal", "refusal"),
}


class Illegal(AssertionError):
    """An event that may not come here, or says something else than those before it."""


def must(what: str, *, be: bool) -> None:
    if not be:
        raise Illegal(what)


def read(pieces: Iterable[Piece]) -> Thing:
    """Return the response as the events build it, from the deltas and not from the terminal."""
    reader = Reader()
    for number, (name, data) in enumerate(pieces):
        must("name and type are the same", be=name == data["type"])
        must("numbers count from 0", be=number == data["sequence_number"])
        must("nothing comes after the terminal", be=not reader.over)
        reader.take(name, dict(data))
    must("there is a terminal", be=reader.over)
    return {**reader.head, "output": reader.items}


class Reader:
    def __init__(self) -> None:
        self.head: Thing = {}
        self.items: list[Thing] = []
        self.open: set[object] = set()
        self.over = False

    def take(self, name: str, data: Thing) -> None:
        if name == "response.created":
            must("a response is created once", be=not self.head)
            self.begin(data["response"])
        elif name == "response.in_progress":
            must("it is the same response", be=self.head == data["response"] and not self.items)
        elif name in TERMINALS:
            self.end(TERMINALS[name], data["response"])
        elif name.startswith("response.output_item."):
            self.item(name.rpartition(".")[2], data["output_index"], data["item"])
        elif name.startswith("response.content_part."):
            self.part(name.rpartition(".")[2], data)
        else:
            event, _, step = name.rpartition(".")
            self.text(event, step, data)

    def begin(self, response: Thing) -> None:
        must("it is under way", be=response["status"] == "in_progress")
        must("it has nothing yet", be=response["output"] == [] and "usage" not in response)
        self.head = response

    def end(self, status: str, response: Thing) -> None:
        must("all is done", be=not self.open)
        must("the status is that of the event", be=status == response["status"])
        must("the output is what was done", be=self.items == response["output"])
        late = {"status", "incomplete_details", "usage", "service_tier", "output"}
        same = {key for key in response if response[key] == self.head.get(key, self)}
        must("nothing else changes", be=response.keys() - same <= late)
        must("nothing goes away", be=self.head.keys() <= response.keys())
        self.head, self.over = response, True

    def item(self, step: str, index: int, item: Thing) -> None:
        if step == "added":
            must("there is a response", be=bool(self.head) and index == len(self.items))
            must("it is under way", be=item["status"] == "in_progress")
            must("it is empty", be=not any(map(item.get, ("content", "arguments", "input"))))
            must("its id is its own", be=item["id"] not in [each["id"] for each in self.items])
            self.items.append({**item, **({"content": []} if "content" in item else {})})
            self.open |= {index} if "content" in item else {index, (index, None, "text")}
            return
        must("its parts are done", be=[index] == [key for key in self.open if at(key) == index])
        must("it ends", be=item["status"] in ("completed", "incomplete"))
        self.items[index]["status"] = item["status"]
        must("done says what the deltas said", be=self.items[index] == item)
        self.open.remove(index)

    def part(self, step: str, data: Thing) -> None:
        index, place = data["output_index"], data["content_index"]
        item, part = self.found(data), data["part"]
        if step == "added":
            must("parts come in order", be=place == len(item["content"]))
            must("it is empty", be=not any(map(part.get, ("text", "refusal", "logprobs"))))
            item["content"].append(dict(part))
            self.open |= {(index, place), (index, place, "text")}
            return
        must("the text is done", be=(index, place, "text") not in self.open)
        must("done says what the deltas said", be=item["content"][place] == part)
        self.open.remove((index, place))

    def text(self, event: str, step: str, data: Thing) -> None:
        item, key = self.found(data), (data["output_index"], data.get("content_index"), "text")
        name, kind = {**TEXTS, **PARTS}[event]
        must("the text is open", be=key in self.open)
        grows = item["content"][data["content_index"]] if event in PARTS else item
        must("it is of that kind", be=grows["type"] == kind)
        if step == "delta":
            grows[name] += data["delta"]
            if "logprobs" in grows:
                grows["logprobs"] = grows["logprobs"] + data["logprobs"]
            return
        must("done says what the deltas said", be=grows[name] == data[name])
        must("so do log probabilities", be=grows.get("logprobs") == data.get("logprobs"))
        must("so does the name", be=data.get("name", item.get("name")) == item.get("name"))
        self.open.remove(key)

    def found(self, data: Thing) -> Thing:
        must("the item is open", be=data["output_index"] in self.open)
        item = self.items[data["output_index"]]
        must("the item has that id", be=item["id"] == data["item_id"])
        return item


def at(key: object) -> object:
    """The item that something open belongs to."""
    return key[0] if isinstance(key, tuple) else key

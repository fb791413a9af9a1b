"""The documentation of the board, as questions to a list of what has happened."""

from __future__ import annotations

from typing import Final, NamedTuple, final

from attrs import define, field

from llmstack.estimators.scope import Place


#: Endpoints: one that shares its key, one that shares the account only, and one without labels.
PLACES: Final = {
    "a": Place("a", "m", "k", "x"),
    "b": Place("b", "m", "k", "x"),
    "b, other model": Place("b", "n", "k", "x"),
    "c": Place("c", "m", "l", "x"),
    "d": Place("d", "m", "n", ""),
    "e": Place("e", "m", "", "y"),
    "f": Place("f", "m", "", ""),
}
#: What each scope means there, in words.
NAMES: Final = {
    "a": {"endpoint": "a", "key_model": "k for m", "key": "k", "account": "x"},
    "b": {"endpoint": "b", "key_model": "k for m", "key": "k", "account": "x"},
    "b, other model": {"endpoint": "b", "key_model": "k for n", "key": "k", "account": "x"},
    "c": {"endpoint": "c", "key_model": "l for m", "key": "l", "account": "x"},
    "d": {"endpoint": "d", "key_model": "n for m", "key": "n", "account": "n"},
    "e": {"endpoint": "e", "key_model": "e for m", "key": "e", "account": "y"},
    "f": {"endpoint": "f", "key_model": "f for m", "key": "f", "account": "f"},
}


#: What makes whatever was let through before it stale.
TURNS: Final = {"failed", "ended"}


class Kind(NamedTuple):
    """What a fact is about: *way* is "soft", "hard" or "probing"."""

    name: str
    reason: str
    way: str


class Entry(NamedTuple):
    """*call* is the place in the list where the call was sent."""

    what: str
    kind: Kind
    at: float
    until: float = 0.0
    call: int = -1


@final
@define
class Past:
    """All that has happened, and what follows from it."""

    log: list[Entry] = field(factory=list)

    def of(self, kind: Kind) -> list[Entry]:
        """What happened to *kind* since it last ended."""
        mine = [entry for entry in self.log if entry.kind == kind]
        last = max((n for n, entry in enumerate(mine) if entry.what == "ended"), default=-1)
        return mine[last + 1 :]

    def until(self, kind: Kind) -> float:
        return max((e.until for e in self.of(kind) if e.what == "failed"), default=0.0)

    def counts(self, kind: Kind, now: float) -> bool:
        """Whether it is in force: one that is probed for, however long ago it began."""
        failed = any(entry.what == "failed" for entry in self.of(kind))
        return failed and (kind.way == "probing" or self.until(kind) > now)

    def out(self, kind: Kind) -> bool:
        """Whether there is a probe that has not come back."""
        mine = [entry.what for entry in self.of(kind)]
        return mine.count("probe") > mine.count("back")

    def kinds(self, now: float) -> list[Kind]:
        return [kind for kind in dict.fromkeys(e.kind for e in self.log) if self.counts(kind, now)]

    def met(self, place: str, now: float) -> list[Kind]:
        """What is in the way of a request to *place*."""
        names = NAMES[place].values()
        return [kind for kind in self.kinds(now) if kind.name in names]

    def shuts(self, kind: Kind, now: float, *, insists: bool) -> bool:
        due = self.until(kind) <= now and not self.out(kind)
        return {"soft": not insists, "hard": True, "probing": not due}[kind.way]

    def send(self, place: str, now: float, *, insists: bool) -> tuple[object, ...]:
        """What a request gets: the kinds that it tries, or a refusal, its softness and its end."""
        met = self.met(place, now)
        shut = [kind for kind in met if self.shuts(kind, now, insists=insists)]
        if shut:
            hard = [kind for kind in shut if kind.way != "soft"]
            until = max(self.until(kind) for kind in hard or shut)
            return "refused", not hard, until if until > now else None
        call = len(self.log)
        for kind in met:
            what = "probe" if kind.way == "probing" else "insisted"
            self.log.append(Entry(what, kind, now, call=call))
        return "sent", set(met)

    def fail(self, kind: Kind, now: float, until: float) -> bool:
        """Note a failure; return whether it began anything."""
        out = self.out(kind)
        over = kind.way == "probing" and self.until(kind) <= now
        began = not out and (over or not self.counts(kind, now))
        # What was sent before a probe that is out changes nothing.
        self.log += [] if out else [Entry("failed", kind, now, until)]
        return began

    def tries(self, call: int) -> list[Entry]:
        """What the call that was sent at *call* may still have its say about."""
        sent = {"probe", "insisted"}
        mine = [(n, e) for n, e in enumerate(self.log) if e.call == call and e.what in sent]
        return [
            entry
            for n, entry in mine
            if not {e.what for e in self.log[n + 1 :] if e.kind == entry.kind} & TURNS
        ]

    def back(self, call: int, now: float) -> None:
        probes = [entry.kind for entry in self.tries(call) if entry.what == "probe"]
        self.log += [Entry("back", kind, now) for kind in probes]

    def answer(self, call: int, now: float) -> set[Kind]:
        """Note that it is being answered; return what that ends of what is in force."""
        ended = [entry.kind for entry in self.tries(call)]
        known = {kind for kind in ended if self.counts(kind, now)}
        self.log += [Entry("ended", kind, now) for kind in ended]
        return known

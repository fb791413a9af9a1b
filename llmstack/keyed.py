"""The bounded map from a key to its machine, for every layer that keeps state."""

from __future__ import annotations

from collections.abc import Callable, Hashable, ItemsView
from typing import Final, Generic, Protocol, TypeVar, final

from attrs import define, field, setters, validators


__all__ = ["Keyed", "Machine"]

#: A key costs memory, so a caller who invents keys must not be able to fill it.
CAP: Final = 10_000
#: How many machines one new key may look at in search of an idle one.
LOOK: Final = 16


class Machine(Protocol):
    """State of one key; *idle* when nothing is out and nothing would be forgotten."""

    @property
    def idle(self) -> bool:
        """Whether the machine may be dropped."""
        ...


M = TypeVar("M", bound=Machine)


@final
@define(eq=False, on_setattr=setters.NO_OP)
class Keyed(Generic[M]):
    """Makes a machine for each key; above *cap* it drops idle ones, oldest first.

    A machine with permits out is never dropped, so under that much load the map grows
    past its cap rather than lose a permit.
    """

    make: Callable[[], M]
    cap: int = field(default=CAP, validator=validators.ge(1))
    machines: dict[Hashable, M] = field(factory=dict, init=False)

    def __call__(self, key: Hashable, /) -> M:
        """Return the machine of *key*, made now if it is new."""
        machine = self.machines.get(key)
        if machine is None:
            self._drop_idle()
            machine = self.machines[key] = self.make()
        return machine

    def get(self, key: Hashable, /) -> M | None:
        """Return the machine of *key*, None if it has none."""
        return self.machines.get(key)

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self.machines)

    def items(self) -> ItemsView[Hashable, M]:
        """Return keys with their machines."""
        return self.machines.items()

    def _drop_idle(self) -> None:
        """Make room for one more; busy machines on the way move to the end."""
        for _ in range(LOOK):
            if len(self.machines) < self.cap:
                return
            key = next(iter(self.machines))
            machine = self.machines.pop(key)
            if not machine.idle:
                self.machines[key] = machine

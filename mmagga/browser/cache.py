"""What was computed once and may be wanted again."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class Cache:
    """Values by key; the ones not used for longest go when their weights add up to too much."""

    def __init__(self, room: float) -> None:
        self.room, self.used = room, 0.0
        self.values: OrderedDict[Hashable, tuple[Any, float]] = OrderedDict()

    def get(
        self, key: Hashable, make: Callable[[], Any], weigh: Callable[[Any], float] = lambda _: 1
    ) -> Any:
        """Return the value of `key`, made now if it is not there."""
        if key not in self.values:
            value = make()
            self.values[key] = value, weigh(value)
            self.used += self.values[key][1]
            while self.used > self.room and len(self.values) > 1:
                _, (_, weight) = self.values.popitem(last=False)
                self.used -= weight
        self.values.move_to_end(key)
        return self.values[key][0]

"""What a figure of `/metrics` is: name, kind, text, and how it is read from the part that counts it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from cherrydag.rpc import exposition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cherrydag.rpc.histogram import Histogram
    from cherrydag.rpc.server import RpcServer

PREFIX: Final = "cherrydag_"

Part = TypeVar("Part")


class Kind(StrEnum):
    """As Prometheus has them."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


class Family(NamedTuple):
    """name: without prefix, and without a counter's _total. labels: their names; then `read` gives values by
    one label's value, or by a tuple of them. read: from the part that its group names."""

    name: str
    kind: Kind
    text: str
    read: Callable[[Any], Any]
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """As it is scraped."""
        return f"{PREFIX}{self.name}{'_total' if self.kind is Kind.COUNTER else ''}"

    def lines(self, part: object) -> Iterator[str]:
        """Its text now, as it is scraped."""
        name, value = self.full_name, self.read(part)
        yield exposition.head(name, self.kind, self.text)
        if self.kind is Kind.HISTOGRAM:
            yield from exposition.histogram(name, value.buckets(), value.total)
        elif not self.labels:
            yield exposition.sample(name, value)
        else:
            for key, number in value.items():
                told = (key,) if isinstance(key, str) else key
                yield exposition.sample(name, number, zip(self.labels, told, strict=True))


class Group(NamedTuple, Generic[Part]):
    """Families that are read from one part. title: for the list of all. find: the part, None if this node has
    none, as one without peers."""

    title: str
    find: Callable[[RpcServer], Part | None]
    families: tuple[Family, ...]

    def lines(self, server: RpcServer) -> Iterator[str]:
        """The text of all of them now."""
        part = self.find(server)
        if part is not None:
            for family in self.families:
                yield from family.lines(part)


def gauge(name: str, text: str, read: Callable[[Any], float]) -> Family:
    """Something that rises and falls."""
    return Family(name, Kind.GAUGE, text, read)


def counter(name: str, text: str, read: Callable[[Any], float]) -> Family:
    """Something that only rises until the process ends."""
    return Family(name, Kind.COUNTER, text, read)


def gauges(name: str, label: str, text: str, read: Callable[[Any], Mapping[str, float]]) -> Family:
    """A gauge by a label."""
    return Family(name, Kind.GAUGE, text, read, (label,))


def counters(
    name: str,
    labels: str | tuple[str, ...],
    text: str,
    read: Callable[[Any], Mapping[Any, float]],
) -> Family:
    """A counter by one label, or several."""
    return Family(name, Kind.COUNTER, text, read, (labels,) if isinstance(labels, str) else labels)


def histogram(name: str, text: str, read: Callable[[Any], Histogram]) -> Family:
    """Counts between bounds."""
    return Family(name, Kind.HISTOGRAM, text, read)

"""Discovery at work in a node: its decisions performed on the transport, its book kept on disk."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from cherrydag.net.address_book import SECRET_BYTES, AddressBook
from cherrydag.net.addresses import NOWHERE, Address
from cherrydag.net.discovery import Dial, Discovery, DiscoveryLimits, Drop, Forget, Seed
from cherrydag.net.peer_record import FLAG_VALIDATOR
from cherrydag.net.record_exchange import Own
from cherrydag.runtime.background import Background
from cherrydag.runtime.book_file import BookFile, Saved
from cherrydag.runtime.events import Tell, tell_nobody
from cherrydag.signing import sign_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from random import Random

    from cherrydag.net.addresses import Place
    from cherrydag.net.discovery import Effect
    from cherrydag.net.frame_reader import ReceivedFrame
    from cherrydag.net.link import Link
    from cherrydag.net.transport import Transport
    from cherrydag.primitives import Digest, PublicKey
    from cherrydag.runtime.clock import Clock
    from cherrydag.signing import KeyPair

TICK_S: Final = 1.0
"""How often discovery looks at the time."""

SAVE_MS: Final = 5 * 60 * 1000
"""Between two writings of the book."""

SAVE_SOON_MS: Final = 5000
"""After a ban."""


class FinderOptions(NamedTuple):
    """places: where validators may be, by key, from the genesis or configuration. seeds: where to begin.
    advertise: where others dial us; empty: where we listen, at the addresses that our links show. flags: of
    our record, besides the validator's."""

    places: Mapping[PublicKey, Sequence[Place]]
    seeds: Sequence[Seed] = ()
    advertise: Sequence[Address] = ()
    flags: int = 0
    limits: DiscoveryLimits | None = None


class PeerFinder:
    """Discovery of one node. Call start once the transport listens, close before the transport's."""

    def __init__(
        self,
        transport: Transport,
        key: KeyPair,
        chain: Digest,
        validators: Sequence[PublicKey],
        file: BookFile,
        clock: Clock,
        chance: Random,
        options: FinderOptions,
    ) -> None:
        self.tell: Tell = tell_nobody
        self.file = file
        self._transport = transport
        self._clock = clock
        self._advertised = tuple(options.advertise)
        self._local: dict[Address, None] = {}
        self._listens_at = NOWHERE
        saved = file.load() or Saved(os.urandom(SECRET_BYTES), 0, (), (), ())
        self.book = AddressBook(saved.secret, validators, chance)
        saved.fill(self.book)
        self._admit_bans(saved)
        flags = options.flags | (FLAG_VALIDATOR if key.public_key in validators else 0)
        self.discovery = Discovery(
            Own(key.public_key, chain, lambda digest: sign_digest(digest, key), flags),
            self.book,
            validators,
            options.places,
            chance,
            seeds=options.seeds,
            anchors=saved.anchors,
            sequence=saved.sequence,
            limits=options.limits,
        )
        self._save_at_ms = clock.now_ms() + SAVE_MS
        self._timer: asyncio.TimerHandle | None = None
        self._writer: Background | None = None

    def start(self, listens_at: Address) -> None:
        """Begin to dial. listens_at: NOWHERE if the node does not listen."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._collect)

        self._writer = Background(wake)
        if self.file.note is not None:
            self.tell("peers_file_set_aside", reason=self.file.note)
        self._listens_at = listens_at
        self._set_addresses()
        self._beat()

    def close(self) -> None:
        """Stop, and write the book. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._say_failure(self.file.write(self._encoded()))

    # What the peers tell

    def opened(self, link: Link) -> None:
        """A link is open."""
        is_ours = link.dialled_key is not None
        is_anywhere = self._listens_at is not NOWHERE and self._listens_at.ip.is_unspecified
        if is_anywhere and link.local_host is not None:
            self._local[Address.of(link.local_host, self._listens_at.port)] = None
            self._set_addresses()
        source = Address.of(link.host, link.port if is_ours else 0)
        self._perform(self.discovery.opened(link.key, source, *self._now(), is_ours=is_ours))

    def closed(self, link: Link, code: str) -> None:
        """A link has ended."""
        self._perform(self.discovery.closed(link.key, code, *self._now()))

    def dial_failed(self, key: PublicKey, code: str) -> None:
        """A dial came to nothing."""
        self._perform(self.discovery.dial_failed(key, code, *self._now()))

    def received(self, link: Link, frame: ReceivedFrame) -> None:
        """A frame of records. Raises PeerFault."""
        self._perform(self.discovery.received(link.key, frame.kind, frame.body, *self._now()))

    def save_soon(self) -> None:
        """Something has changed that must outlive a crash."""
        self._save_at_ms = min(self._save_at_ms, self._clock.now_ms() + SAVE_SOON_MS)

    # Within

    def _now(self) -> tuple[int, int]:
        return self._clock.now_ms(), self._clock.wall_ms()

    def _beat(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._beat)
        now_ms, wall_ms = self._now()
        self._perform(self.discovery.tick(now_ms, wall_ms))
        if now_ms >= self._save_at_ms and self._writer is not None and not self._writer.outstanding:
            self._save_at_ms = now_ms + SAVE_MS
            data = self._encoded()
            self._writer.submit(lambda: self.file.write(data), self._say_failure)

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Dial):
                self._transport.dial_any(effect.key, effect.places)
            elif isinstance(effect, Forget):
                self._transport.forget(effect.key)
            elif (link := self._transport.links.get(effect.key)) is None:
                continue
            elif isinstance(effect, Drop):
                link.close(effect.code, effect.text)
            else:
                link.say(effect.kind, effect.body)

    def _set_addresses(self) -> None:
        """Tell where we are: as configured, else where we listen, else what our links show."""
        found: Iterable[Address] = self._advertised
        if not found and self._listens_at is not NOWHERE:
            found = self._local if self._listens_at.ip.is_unspecified else [self._listens_at]
        self._perform(self.discovery.set_addresses(found, self._clock.wall_ms()))

    def _admit_bans(self, saved: Saved) -> None:
        offset_ms, now_ms = self._clock.wall_offset_ms(), self._clock.now_ms()
        for ban in saved.bans:
            until_ms = ban.until_ms - offset_ms
            if until_ms > now_ms:
                self._transport.admission.ban(ban._replace(until_ms=until_ms))

    def _encoded(self) -> bytes:
        now_ms, offset_ms = self._clock.now_ms(), self._clock.wall_offset_ms()
        bans = self._transport.admission.bans(now_ms)
        entries = [*self.book.committee.values(), *self.book.tried, *self.book.new]
        discovery = self.discovery
        saved = Saved(
            self.book.secret,
            discovery.sequence,
            entries,
            discovery.anchors(now_ms),
            [ban._replace(until_ms=ban.until_ms + offset_ms) for ban in bans],
        )
        return self.file.encode(saved)

    def _collect(self) -> None:
        if self._writer is not None:
            self._writer.collect()

    def _say_failure(self, failure: str | None) -> None:
        if failure is not None:
            self.tell("peers_file_not_written", reason=failure)

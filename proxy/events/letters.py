"""Events as texts that proxies send each other: written in pieces, put together again, and none of them told twice."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from proxy.events import values
from proxy.events.values import CaptionWord, Event

SENDERS = 256
"""Proxies that are remembered, those heard of lately."""
PIECES = 256
"""Of which one letter may consist."""

KINDS: Mapping[str, type[Event]] = {
    kind.kind: kind
    for kind in (
        values.LoadStarted,
        values.LoadProgress,
        values.LoadCompleted,
        values.LoadFailed,
        values.UnloadStarted,
        values.UnloadCompleted,
        values.SessionConfigUpdated,
        values.SessionClosed,
        values.CaptionsStarted,
        values.CaptionPartial,
        values.CaptionFinal,
        values.CaptionTranslated,
        values.Trouble,
        values.CaptionsStopped,
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """An event on its way. sender: a proxy; number: of its letters, from 1 on, without a hole; wall: seconds since 1970."""

    sender: str
    number: int
    event: Event
    wall: float
    sid: str | None = None
    corr: str | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """What a text came to. letter: None = nothing, or nothing yet; missed_since: letters were never heard after the one that was
    written then (seconds since 1970), None = none is missing.
    """

    letter: Letter | None = None
    missed_since: float | None = None


NOTHING = Received()


def written(letter: Letter, longest: int) -> list[str]:
    """The letter as ASCII texts of so many characters at most, to be sent in this order."""
    said = {"kind": letter.event.kind, "wall": letter.wall, "sid": letter.sid, "corr": letter.corr}
    text = json.dumps({**said, "data": asdict(letter.event)}, separators=(",", ":"))
    room = longest - len(f"{letter.sender} {letter.number} {PIECES} {PIECES} ")
    pieces = [text[begin : begin + room] for begin in range(0, len(text), room)]
    return [
        f"{letter.sender} {letter.number} {index} {len(pieces)} {piece}" for index, piece in enumerate(pieces, start=1)
    ]


@dataclass(slots=True)
class _Sender:
    """last, wall: of its latest letter that was whole, None = none was; number, pieces: of the one that comes now."""

    last: int | None = None
    wall: float | None = None
    number: int = 0
    pieces: list[str] = field(default_factory=list)


class Mailbox:
    """Reads what comes, from whomever. own: the name of this proxy, whose own letters come back to it."""

    def __init__(self, own: str) -> None:
        self._own = own
        self._senders: OrderedDict[str, _Sender] = OrderedDict()

    def read(self, text: str) -> Received:
        """What this text completes. What is no letter, or one of a version that knows more, is nothing."""
        head = text.split(" ", 4)
        if len(head) < 5 or head[0] == self._own or not all(part.isascii() and part.isdigit() for part in head[1:4]):
            return NOTHING
        name, (number, index, count), piece = head[0], map(int, head[1:4]), head[4]
        sender = self._senders.pop(name, None) or _Sender()
        self._senders[name] = sender
        if len(self._senders) > SENDERS:
            self._senders.popitem(last=False)
        if sender.last is not None and number <= sender.last:
            return NOTHING
        if index == 1:
            sender.number, sender.pieces = number, []
        if number != sender.number or index != len(sender.pieces) + 1 or count > PIECES:
            return NOTHING
        sender.pieces.append(piece)
        if index < count:
            return NOTHING
        letter = _letter(name, number, "".join(sender.pieces))
        since = sender.wall if sender.last is not None and number > sender.last + 1 else None
        sender.last, sender.wall = number, sender.wall if letter is None else letter.wall
        sender.pieces = []
        return Received(letter, since)


def _letter(sender: str, number: int, text: str) -> Letter | None:
    try:
        said = json.loads(text)
        event = _event(said["kind"], said["data"])
        if event is None:
            return None
        return Letter(sender=sender, number=number, event=event, wall=said["wall"], sid=said["sid"], corr=said["corr"])
    except (ValueError, KeyError, TypeError):
        return None


def _event(kind: str, data: Mapping[str, object]) -> Event | None:
    """The event, without what is not known of it here; None for a kind that is not. Raises TypeError for what is missing."""
    made = KINDS.get(kind)
    if made is None:
        return None
    known = {field.name: data[field.name] for field in fields(made) if field.name in data}
    return made(**{name: _frozen(name, value) for name, value in known.items()})


def _frozen(name: str, value: object) -> object:
    """As it was before it was JSON."""
    if not isinstance(value, list):
        return value
    return tuple(CaptionWord(**word) for word in value) if name == "words" else tuple(value)

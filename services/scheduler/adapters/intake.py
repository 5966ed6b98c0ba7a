"""From a record of an input topic to an input of the core: what is unsigned, foreign or undecodable never gets there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from schemas.codec import decode, schema_of
from schemas.errors import PoisonEvent
from schemas.events import AssignmentRefused, CapacityReported, JudgementCompleted, JudgementFaulted
from schemas.headers import signature_of
from schemas.signing import KeyRing
from schemas.topics import CAPACITY, JUDGEMENTS, REQUESTS, SUBMISSIONS, Topic
from services.chassis.kafka import Incoming, verify_incoming
from services.scheduler.core.decide import Input

INPUT_TOPICS: Final[tuple[Topic, ...]] = (SUBMISSIONS, REQUESTS, CAPACITY, JUDGEMENTS)
_BY_NAME: Final[Mapping[str, Topic]] = {topic.name: topic for topic in INPUT_TOPICS}
_SIGNED: Final = frozenset({CAPACITY.name, JUDGEMENTS.name})
_PROGRESS: Final = frozenset({"JudgementStarted", "RunsFinished"})


def read_input(incoming: Incoming, keys: KeyRing) -> Input | None:
    """The input in a record; None for progress, which decides nothing here.

    Raises:
        PoisonEvent: not an event of its topic, undecodable, or not signed by the executor that it names.
    """
    name = schema_of(incoming.value).name
    if name not in _BY_NAME[incoming.topic].events:
        raise PoisonEvent("wrong_topic", f"expected an event of {incoming.topic}, came {name}")
    if name in _PROGRESS:
        return None
    if incoming.topic in _SIGNED:
        verify_incoming(incoming, keys)
    event = decode(incoming.value)
    if isinstance(event, CapacityReported | JudgementCompleted | JudgementFaulted | AssignmentRefused):
        _refuse_foreign(incoming, event.executor)
    return cast("Input", event)


def _refuse_foreign(incoming: Incoming, executor: str) -> None:
    """A key speaks for its own executor alone."""
    signature = signature_of(incoming.headers)
    owner = "" if signature is None else signature.key_id.rpartition("-")[0]
    if owner != f"executor-{executor}":
        raise PoisonEvent("foreign_key", f"expected a key of executor-{executor}, came one of {owner!r}")

"""The remembered part of a cell as bytes: the log, shortened to what still matters.

Format 1: zstd over canonical JSON. A judgement is kept as the very records that made it (framed Avro in base64), so
that old snapshots are lifted like any old event.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

import cramjam

from schemas.codec import decode_as, encode
from schemas.errors import PoisonEvent
from schemas.events import (
    FaultReport,
    IdleReserveRule,
    JudgementAssigned,
    PoolPolicy,
    SchedulerSnapshotTaken,
    SubmissionQueued,
)
from schemas.identity import canonical_json, event_id
from services.scheduler.core.state import CellState, Decision, Judgement, Lease, Refusal

FORMAT = 1
_LEVEL = 1


def take_snapshot(state: CellState, *, now_us: int) -> Decision:
    """The record that a start can begin from; fold it after writing."""
    event = SchedulerSnapshotTaken(
        event_id=event_id("SchedulerSnapshotTaken", state.cell, state.snapshots),
        at_us=now_us,
        applied=dict(state.applied),
        cell=state.cell,
        format=FORMAT,
        state=bytes(cramjam.zstd.compress(encode_state(state), _LEVEL)),
    )
    return Decision(event=event, key=f"cell-{state.cell}", traceparent=None)


def restore(taken: SchedulerSnapshotTaken, *, concluded_kept: int) -> CellState:
    """The state right before the snapshot was taken; fold the snapshot and what follows it.

    Raises:
        PoisonEvent: another format, or damage.
    """
    if taken.format != FORMAT:
        raise PoisonEvent("snapshot_format", f"expected a snapshot of format {FORMAT}, came {taken.format}")
    try:
        value = json.loads(bytes(cramjam.zstd.decompress(taken.state)))
    except (cramjam.DecompressionError, ValueError) as error:
        raise PoisonEvent("bad_snapshot", f"expected a compressed snapshot, came {error}") from error
    return decode_state(value, cell=taken.cell, concluded_kept=concluded_kept)


def encode_state(state: CellState) -> bytes:
    """Canonical bytes of the remembered part: equal states give equal bytes."""
    return canonical_json(
        {
            "applied": state.applied,
            "arrivals": state.arrivals,
            "concluded": base64.b64encode(b"".join(state.concluded)).decode(),
            "draining": sorted(state.draining),
            "judgements": {known: _encode_judgement(judgement) for known, judgement in state.judgements.items()},
            "policies": state.policies,
            "pools": [dataclasses.asdict(state.pools[language]) for language in sorted(state.pools)],
            "reports": state.reports,
            "snapshots": state.snapshots,
        }
    )


def decode_state(value: dict[str, Any], *, cell: int, concluded_kept: int) -> CellState:
    state = CellState(cell=cell, concluded_kept=concluded_kept)
    state.applied = dict(value["applied"])
    state.arrivals = value["arrivals"]
    state.policies = value["policies"]
    state.reports = value["reports"]
    state.snapshots = value["snapshots"]
    state.draining = set(value["draining"])
    concluded = base64.b64decode(value["concluded"])
    state.concluded = {concluded[at : at + 16]: None for at in range(0, len(concluded), 16)}
    for pool in value["pools"]:
        state.pools[pool["language"]] = PoolPolicy(**pool | {"idle_reserve": IdleReserveRule(pool["idle_reserve"])})
    for judgement in sorted((_decode_judgement(entry) for entry in value["judgements"].values()), key=_arrival):
        lease, judgement.lease = judgement.lease, None
        state.judgements[judgement.judgement_id] = judgement
        state.join_line(judgement)
        if lease is not None:
            state.take_lease(judgement, lease)
    return state


def _arrival(judgement: Judgement) -> int:
    return judgement.arrival


def _encode_judgement(judgement: Judgement) -> dict[str, object]:
    lease = judgement.lease
    return {
        "arrival": judgement.arrival,
        "assigned": None if lease is None else base64.b64encode(encode(lease.assigned)).decode(),
        "attempts": judgement.attempts,
        "faults": [dataclasses.asdict(fault) for fault in judgement.faults],
        "interruptions": judgement.interruptions,
        "lease_epoch": judgement.lease_epoch,
        "queued": base64.b64encode(encode(judgement.queued)).decode(),
        "refusals": {executor: dataclasses.asdict(refusal) for executor, refusal in judgement.refusals.items()},
        "resent": lease is not None and lease.resent,
        "traceparent": judgement.traceparent,
    }


def _decode_judgement(value: dict[str, Any]) -> Judgement:
    queued = decode_as(base64.b64decode(value["queued"]), SubmissionQueued)
    assert isinstance(queued, SubmissionQueued)
    judgement = Judgement(
        queued=queued,
        arrival=value["arrival"],
        traceparent=value["traceparent"],
        lease_epoch=value["lease_epoch"],
        attempts=value["attempts"],
        interruptions=value["interruptions"],
        faults=tuple(FaultReport(**fault) for fault in value["faults"]),
        refusals={executor: Refusal(**refusal) for executor, refusal in value["refusals"].items()},
    )
    if value["assigned"] is not None:
        assigned = decode_as(base64.b64decode(value["assigned"]), JudgementAssigned)
        assert isinstance(assigned, JudgementAssigned)
        judgement.lease = Lease(assigned=assigned, resent=value["resent"], sent_at_us=assigned.at_us)
    return judgement

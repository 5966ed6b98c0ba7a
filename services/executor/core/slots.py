"""The slots of an executor: who holds which, as a value. One judgement per slot, each slot one CPU.

    FREE -take-> HELD -finish-> FINISHING -release-> FREE, or HELD again by the judgement that waited

A slot is FINISHING from the moment on when its result may be seen by others until everything of it is gone. The
scheduler may give the slot away as soon as it sees the result; such an assignment waits here for an instant instead of
being refused. At most one waits per slot.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace


class Use(enum.StrEnum):
    """What a slot is doing."""

    FREE = "FREE"
    HELD = "HELD"
    FINISHING = "FINISHING"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A judgement under one lease."""

    judgement_id: str
    lease_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One slot. `holder` is None exactly when it is FREE; `waiting` only when it is FINISHING."""

    index: int
    cpu: int | None
    use: Use = Use.FREE
    holder: Holder | None = None
    waiting: Holder | None = None


@dataclass(frozen=True, slots=True)
class Slots:
    """All slots, by index."""

    slots: tuple[Slot, ...]

    @classmethod
    def of(cls, cpus: tuple[int | None, ...]) -> Slots:
        return cls(tuple(Slot(index=index, cpu=cpu) for index, cpu in enumerate(cpus)))

    def holding(self, holder: Holder) -> Slot | None:
        """The slot that this judgement has or waits for. A finished one is not held any more."""
        return next(
            (slot for slot in self.slots if (slot.use is Use.HELD and slot.holder == holder) or slot.waiting == holder),
            None,
        )

    def take(self, holder: Holder) -> tuple[Slots, Slot] | None:
        """Gives a slot: a free one, else a finishing one to wait for; None when all are held."""
        assert self.holding(holder) is None, f"{holder} holds a slot already"
        for slot in self.slots:
            if slot.use is Use.FREE:
                return self._with(replace(slot, use=Use.HELD, holder=holder))
        for slot in self.slots:
            if slot.use is Use.FINISHING and slot.waiting is None:
                return self._with(replace(slot, waiting=holder))
        return None

    def finish(self, index: int) -> Slots:
        """The result of the slot's judgement is about to be seen, or nobody wants it any more. Idempotent."""
        slot = self.slots[index]
        assert slot.use is not Use.FREE, f"slot {index} is free"
        return self._with(replace(slot, use=Use.FINISHING))[0]

    def release(self, index: int) -> tuple[Slots, Holder | None]:
        """Nothing of the judgement is left; who waited holds the slot now and is returned."""
        slot = self.slots[index]
        assert slot.use is Use.FINISHING, f"slot {index} is {slot.use}"
        if slot.waiting is None:
            return self._with(Slot(index=index, cpu=slot.cpu))[0], None
        return self._with(Slot(index=index, cpu=slot.cpu, use=Use.HELD, holder=slot.waiting))[0], slot.waiting

    def leave(self, holder: Holder) -> Slots:
        """A judgement that waited does not any more."""
        waited = next((slot for slot in self.slots if slot.waiting == holder), None)
        return self if waited is None else self._with(replace(waited, waiting=None))[0]

    def held(self) -> tuple[tuple[Holder, int], ...]:
        """What a capacity report tells: judgements that are run or wait, with their slot."""
        found = [(slot.holder, slot.index) for slot in self.slots if slot.use is Use.HELD and slot.holder is not None]
        found += [(slot.waiting, slot.index) for slot in self.slots if slot.waiting is not None]
        return tuple(found)

    @property
    def all_free(self) -> bool:
        return all(slot.use is Use.FREE for slot in self.slots)

    def _with(self, changed: Slot) -> tuple[Slots, Slot]:
        slots = tuple(changed if slot.index == changed.index else slot for slot in self.slots)
        return Slots(slots), changed

"""Assignments, slots and warm pools: the decisions around a judgement."""

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from deploy.images.recipe import load_recipes
from schemas.events import JudgementAssigned
from schemas.identity import digest
from schemas.problems import validator_digest
from schemas.signing import SPEC_TYPE, KeyRing, SigningKey
from schemas.spec import encode_spec
from services.executor.core.assignments import Identity, Refused, Served, accept
from services.executor.core.plan import requirement_of
from services.executor.core.pool import (
    DEMAND_WINDOW_NS,
    IDLE_SANDBOX_BYTES,
    PoolBounds,
    PoolCounts,
    next_refill,
    next_surplus,
    recent_claims,
    wanted,
)
from services.executor.core.slots import Holder, Slots, Use
from tests.unit.test_executor_judge import RECIPES, spec

KEY = SigningKey("scheduler", Ed25519PrivateKey.generate())
OTHER = SigningKey("executor-local", Ed25519PrivateKey.generate())
RING = KeyRing({KEY.key_id: KEY.public_key, OTHER.key_id: OTHER.public_key})
IDENTITY = Identity(executor="local", incarnation="i", isolation="container", max_memory_bytes=2 << 30)
SERVED = Served(recipe=load_recipes()["c"], image="assize/c", image_digest=digest(b"image"), serving=True, reason="")


def assigned(key=KEY, envelope=None, **changes) -> JudgementAssigned:
    order = spec(**{"key_id": key.key_id, "issued_at_us": 10, "expires_at_us": 1000} | changes)
    data = encode_spec(order)
    event = JudgementAssigned(
        event_id="e",
        at_us=10,
        applied={},
        judgement_id=order.judgement_id,
        submission_id=order.submission_id,
        lease_epoch=order.lease_epoch,
        executor=order.executor,
        incarnation=order.incarnation,
        attempt=1,
        lease_expires_at_us=1000,
        spec=data,
        spec_signature=key.sign(SPEC_TYPE, data).value,
        spec_key_id=key.key_id,
    )
    return dataclasses.replace(event, **(envelope or {}))


def code_of(event, *, pools=None, now_us=500, keys=RING) -> str:
    with pytest.raises(Refused) as refusal:
        accept(event, keys=keys, identity=IDENTITY, pools={"c": SERVED} if pools is None else pools, now_us=now_us)
    return refusal.value.code


def test_an_exact_signed_spec_is_accepted():
    order = accept(assigned(), keys=RING, identity=IDENTITY, pools={"c": SERVED}, now_us=500)
    assert order.language == "c"


@given(st.data())
def test_one_altered_byte_never_runs(data):
    event = assigned()
    at = data.draw(st.integers(0, len(event.spec) - 1))
    flipped = event.spec[at] ^ data.draw(st.integers(1, 255))
    altered = event.spec[:at] + bytes([flipped]) + event.spec[at + 1 :]
    assert code_of(dataclasses.replace(event, spec=altered)) == "bad_signature"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"executor": "other"}, "foreign"),
        ({"incarnation": "older"}, "foreign"),
        ({"isolation": "microvm"}, "isolation_mismatch"),
        ({"image_digest": digest(b"another")}, "image_mismatch"),
        ({"language": "cobol"}, "not_serving"),
        ({"source_digest": digest(b"another")}, "sources_mismatch"),
        ({"validator_digest": digest(b"another")}, "unknown_validator"),
        ({"memory_mb": 100_000}, "too_large"),
    ],
)
def test_a_spec_that_does_not_fit_this_executor_is_refused(changes, code):
    assert code_of(assigned(**changes)) == code


@pytest.mark.parametrize(
    "envelope",
    [{"lease_epoch": 2}, {"judgement_id": "k"}, {"submission_id": "t"}, {"executor": "x"}, {"incarnation": "x"}],
)
def test_an_envelope_that_says_something_else_than_the_spec_is_refused(envelope):
    assert code_of(assigned(envelope=envelope)) == "mismatch"


def test_an_expired_spec_is_refused():
    assert code_of(assigned(), now_us=1000) == "expired"


def test_only_the_schedulers_key_orders():
    assert code_of(assigned(key=OTHER)) == "foreign_key"
    assert code_of(assigned(), keys=KeyRing({})) == "unknown_key"


def test_a_pool_that_does_not_serve_takes_nothing_and_says_why():
    pools = {"c": dataclasses.replace(SERVED, serving=False, reason="memory does not hold")}
    with pytest.raises(Refused, match="memory does not hold"):
        accept(assigned(), keys=RING, identity=IDENTITY, pools=pools, now_us=500)


def test_a_sandbox_is_good_for_a_spec_only_if_its_folders_are_what_the_spec_says():
    need = requirement_of(spec(), RECIPES["c"])
    assert need.is_met_by(dataclasses.replace(need, memory_limit_bytes=1 << 40, process_limit=10_000))
    assert not need.is_met_by(dataclasses.replace(need, memory_limit_bytes=need.memory_limit_bytes - 1))
    bigger = dataclasses.replace(need.folders, work_bytes=need.folders.work_bytes * 2)
    assert not need.is_met_by(dataclasses.replace(need, folders=bigger))


class SlotLife(RuleBasedStateMachine):
    """Whatever comes: nobody holds two slots, and nobody who was given one is forgotten."""

    def __init__(self):
        super().__init__()
        self.slots = Slots.of((0, 1, None))
        self.alive: set[Holder] = set()
        self.count = 0

    @rule()
    def take(self):
        self.count += 1
        holder = Holder(judgement_id=str(self.count), lease_epoch=1)
        taken = self.slots.take(holder)
        room = any(
            slot.use is Use.FREE or (slot.use is Use.FINISHING and slot.waiting is None) for slot in self.slots.slots
        )
        assert (taken is not None) == room
        if taken is not None:
            self.slots = taken[0]
            self.alive.add(holder)

    @precondition(lambda self: any(slot.use is not Use.FREE for slot in self.slots.slots))
    @rule(data=st.data())
    def finish(self, data):
        slot = data.draw(st.sampled_from([slot for slot in self.slots.slots if slot.use is not Use.FREE]))
        self.slots = self.slots.finish(slot.index)
        self.alive.discard(slot.holder)

    @precondition(lambda self: any(slot.use is Use.FINISHING for slot in self.slots.slots))
    @rule(data=st.data())
    def release(self, data):
        slot = data.draw(st.sampled_from([slot for slot in self.slots.slots if slot.use is Use.FINISHING]))
        self.slots, waiting = self.slots.release(slot.index)
        assert waiting == slot.waiting
        assert self.slots.slots[slot.index].cpu == slot.cpu

    @precondition(lambda self: any(slot.waiting for slot in self.slots.slots))
    @rule(data=st.data())
    def leave(self, data):
        holder = data.draw(st.sampled_from([slot.waiting for slot in self.slots.slots if slot.waiting]))
        self.slots = self.slots.leave(holder)
        self.alive.discard(holder)

    @invariant()
    def held_is_exactly_what_was_given(self):
        held = [holder for holder, _ in self.slots.held()]
        assert len(held) == len(set(held))
        assert set(held) == self.alive


TestSlotLife = SlotLife.TestCase

BOUNDS = PoolBounds(min_warm=2, max_warm=4, memory_budget_bytes=6 * IDLE_SANDBOX_BYTES)


def pool(language, warm, claims=()):
    return PoolCounts(language=language, warm=warm, claimed_at_ns=claims)


def test_the_emptiest_pool_is_filled_first_and_lower_bounds_have_precedence():
    assert next_refill([pool("a", 1), pool("b", 0)], BOUNDS, 0) == "b"
    assert next_refill([pool("a", 2, (0, 0)), pool("b", 1)], BOUNDS, 0) == "b"
    assert next_refill([pool("a", 2), pool("b", 2)], BOUNDS, 0) is None


def test_the_budget_holds_for_all_pools_together():
    assert next_refill([pool("a", 4, (0,) * 9), pool("b", 2, (0,) * 9)], BOUNDS, 0) is None


def test_warm_counts_follow_demand_and_fall_back():
    busy = pool("a", 2, (0, 1))
    assert wanted(busy, BOUNDS, 2) == 4
    assert wanted(busy, BOUNDS, DEMAND_WINDOW_NS + 2) == 2
    assert next_surplus([pool("a", 4, (0, 1)), pool("b", 2)], BOUNDS, 2) is None
    assert next_surplus([pool("a", 4, (0, 1)), pool("b", 2)], BOUNDS, DEMAND_WINDOW_NS + 2) == "a"
    assert next_surplus([], BOUNDS, 0) is None


@given(st.lists(st.integers(0, 10**11), max_size=40))
def test_what_is_remembered_of_claims_is_bounded(times):
    kept: tuple[int, ...] = ()
    for now_ns in sorted(times):
        kept = recent_claims(kept, now_ns, BOUNDS)
        assert len(kept) <= BOUNDS.max_warm
        assert kept[-1] == now_ns


def test_bounds_that_contradict_are_refused():
    with pytest.raises(ValueError, match="min_warm"):
        PoolBounds(min_warm=3, max_warm=2, memory_budget_bytes=1)


def test_a_validator_with_arguments_that_it_does_not_know_is_refused():
    args = ("no_such_flag",)
    changes = {"validator_args": args, "validator_digest": validator_digest("default-1", args)}
    assert code_of(assigned(**changes)) == "unknown_validator"


def test_slots_are_all_free_only_when_nobody_is_left():
    slots = Slots.of((None,))
    assert slots.all_free
    taken = slots.take(Holder(judgement_id="1", lease_epoch=1))
    assert taken is not None
    assert not taken[0].all_free
    assert not taken[0].finish(0).all_free
    assert taken[0].finish(0).release(0)[0].all_free

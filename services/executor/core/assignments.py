"""Whether an assignment is carried out: every reason to refuse one is here, before a sandbox is claimed.

The order is: the signature over the exact bytes, then the strict reading of them, then what they say against what
this executor is and serves. A refusal is no fault and no attempt: the scheduler sees why and tries elsewhere.
Stable codes: unsigned, unknown_key, bad_signature (from `schemas.signing`), foreign_key, bad_spec, mismatch,
foreign, expired, sources_mismatch, unknown_validator, not_serving, image_mismatch, isolation_mismatch, too_large,
draining, no_slot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from deploy.images.recipe import Recipe
from schemas.errors import PoisonEvent
from schemas.events import JudgementAssigned
from schemas.identity import source_digest
from schemas.problems import validator_digest
from schemas.signing import SPEC_TYPE, KeyRing, Signature
from schemas.spec import ExecutionSpec, decode_spec
from services.executor.core.plan import requirement_of
from services.executor.core.validator import parse_flags

SIGNER: Final = "scheduler"
VALIDATOR: Final = "default-1"
"""The built-in output validator's name in `validator_digest`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this executor process is."""

    executor: str
    incarnation: str
    isolation: str
    max_memory_bytes: int
    """Most that one sandbox may be made with on this host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One language as it is served now."""

    recipe: Recipe
    image: str
    image_digest: str
    serving: bool
    reason: str


class Refused(Exception):
    """An assignment that is not carried out. `code` is machine-readable, the message says both sides."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def accept(
    assigned: JudgementAssigned, *, keys: KeyRing, identity: Identity, pools: Mapping[str, Served], now_us: int
) -> ExecutionSpec:
    """The spec of an assignment that this executor may carry out.

    Raises:
        Refused: anything is not exactly as it must be.
    """
    spec = _verified(assigned, keys)
    _require_agreement(assigned, spec)
    if (spec.executor, spec.incarnation) != (identity.executor, identity.incarnation):
        raise Refused(
            "foreign",
            f"expected a spec for {identity.executor} ({identity.incarnation}), "
            f"came one for {spec.executor} ({spec.incarnation})",
        )
    if now_us >= spec.expires_at_us:
        raise Refused("expired", f"expected a spec that is valid at {now_us}, came one that ended {spec.expires_at_us}")
    came = source_digest(spec.files)
    if came != spec.source_digest:
        raise Refused("sources_mismatch", f"expected files of digest {spec.source_digest}, came {came}")
    _require_validator(spec)
    _require_pool(spec, identity, pools)
    return spec


def _verified(assigned: JudgementAssigned, keys: KeyRing) -> ExecutionSpec:
    # A key id ends in 16 hex digits of its key; what stands before them is the owner's name.
    owner = assigned.spec_key_id.rpartition("-")[0]
    if owner != SIGNER:
        raise Refused("foreign_key", f"expected a spec signed by a key of {SIGNER!r}, came {assigned.spec_key_id!r}")
    signature = Signature(key_id=assigned.spec_key_id, value=assigned.spec_signature)
    try:
        keys.verify(signature, SPEC_TYPE, assigned.spec)
        return decode_spec(assigned.spec)
    except PoisonEvent as error:
        raise Refused(error.code, str(error)) from error


def _require_agreement(assigned: JudgementAssigned, spec: ExecutionSpec) -> None:
    """The envelope is not signed by the spec's signature: it must say nothing else than the spec."""
    pairs = (
        ("judgement", spec.judgement_id, assigned.judgement_id),
        ("submission", spec.submission_id, assigned.submission_id),
        ("lease epoch", spec.lease_epoch, assigned.lease_epoch),
        ("executor", spec.executor, assigned.executor),
        ("incarnation", spec.incarnation, assigned.incarnation),
        ("key id", spec.key_id, assigned.spec_key_id),
    )
    for what, signed, told in pairs:
        if signed != told:
            raise Refused("mismatch", f"expected {what} {signed} of the signed spec, came {told} in the assignment")


def _require_validator(spec: ExecutionSpec) -> None:
    if validator_digest(VALIDATOR, spec.validator_args) != spec.validator_digest:
        raise Refused(
            "unknown_validator",
            f"expected the validator {VALIDATOR} with {list(spec.validator_args)}, came {spec.validator_digest}",
        )
    try:
        parse_flags(spec.validator_args)
    except ValueError as error:
        raise Refused("unknown_validator", str(error)) from error


def _require_pool(spec: ExecutionSpec, identity: Identity, pools: Mapping[str, Served]) -> None:
    pool = pools.get(spec.language)
    if pool is None:
        raise Refused("not_serving", f"expected a language of {sorted(pools)}, came {spec.language!r}")
    if not pool.serving:
        raise Refused("not_serving", f"expected a pool that serves {spec.language}, came: {pool.reason}")
    if spec.isolation != identity.isolation:
        raise Refused("isolation_mismatch", f"expected isolation {identity.isolation}, came {spec.isolation!r}")
    if spec.image_digest != pool.image_digest:
        raise Refused("image_mismatch", f"expected image {pool.image_digest}, came {spec.image_digest}")
    needed = requirement_of(spec, pool.recipe).memory_limit_bytes
    if needed > identity.max_memory_bytes:
        raise Refused("too_large", f"expected at most {identity.max_memory_bytes} bytes of memory, came {needed}")

"""The events of one judgement under one lease: same judgement, lease and process, same ids."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.events import (
    AssignmentRefused,
    JudgementAssigned,
    JudgementCompleted,
    JudgementFaulted,
    JudgementStarted,
    RunReport,
    RunsFinished,
)
from schemas.evidence import encode_evidence
from schemas.identity import digest, event_id
from services.chassis.blobs import BlobStore
from services.executor.adapters.warm import Claimed
from services.executor.core.faults import JudgeFault
from services.executor.core.judge import Conclusion


async def store_evidence(blobs: BlobStore, conclusion: Conclusion) -> str:
    """Puts the evidence into the blob store durably and returns its digest.

    Raises:
        JudgeFault: it could not be stored; a verdict without its evidence is not given.
    """
    try:
        return await blobs.put(encode_evidence(conclusion.evidence))
    except OSError as error:
        raise JudgeFault(
            f"expected the evidence to be stored, came: {error.strerror}", stage="evidence", retriable=True
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporter:
    """Builds the events of one assignment. Times come in as arguments."""

    assigned: JudgementAssigned
    slot: int
    cpu: int | None
    isolation: str

    def refused(self, *, code: str, reason: str, at_us: int) -> AssignmentRefused:
        return AssignmentRefused(
            event_id=self._event_id("AssignmentRefused", 0),
            at_us=at_us,
            judgement_id=self.assigned.judgement_id,
            submission_id=self.assigned.submission_id,
            lease_epoch=self.assigned.lease_epoch,
            executor=self.assigned.executor,
            incarnation=self.assigned.incarnation,
            code=code,
            reason=reason,
        )

    def started(self, claimed: Claimed, *, at_us: int) -> JudgementStarted:
        return JudgementStarted(
            event_id=self._event_id("JudgementStarted", 0),
            at_us=at_us,
            judgement_id=self.assigned.judgement_id,
            submission_id=self.assigned.submission_id,
            lease_epoch=self.assigned.lease_epoch,
            executor=self.assigned.executor,
            incarnation=self.assigned.incarnation,
            slot=self.slot,
            cpu=self.cpu,
            sandbox_id=claimed.sandbox.sandbox_id,
            image_digest=claimed.sandbox.image_digest,
            isolation=self.isolation,
        )

    def runs_finished(self, runs: tuple[RunReport, ...], *, ordinal: int, tests_total: int, at_us: int) -> RunsFinished:
        return RunsFinished(
            event_id=self._event_id("RunsFinished", ordinal),
            at_us=at_us,
            judgement_id=self.assigned.judgement_id,
            submission_id=self.assigned.submission_id,
            lease_epoch=self.assigned.lease_epoch,
            executor=self.assigned.executor,
            incarnation=self.assigned.incarnation,
            ordinal=ordinal,
            tests_total=tests_total,
            runs=runs,
        )

    def completed(
        self, conclusion: Conclusion, claimed: Claimed, *, evidence_digest: str, started_at_us: int, at_us: int
    ) -> JudgementCompleted:
        return JudgementCompleted(
            event_id=self._event_id("JudgementCompleted", 0),
            at_us=at_us,
            judgement_id=self.assigned.judgement_id,
            submission_id=self.assigned.submission_id,
            lease_epoch=self.assigned.lease_epoch,
            executor=self.assigned.executor,
            incarnation=self.assigned.incarnation,
            verdict=conclusion.verdict,
            compile=conclusion.compile,
            runs=conclusion.runs,
            tests_total=conclusion.tests_total,
            cpu_time_ns=conclusion.cpu_time_ns,
            wall_time_ns=conclusion.wall_time_ns,
            memory_peak_bytes=conclusion.memory_peak_bytes,
            score=None,
            evidence_digest=evidence_digest,
            spec_digest=digest(self.assigned.spec),
            image_digest=claimed.sandbox.image_digest,
            isolation=self.isolation,
            preflight_digest=claimed.preflight_digest,
            sandbox_id=claimed.sandbox.sandbox_id,
            slot=self.slot,
            cpu=self.cpu,
            started_at_us=started_at_us,
        )

    def faulted(self, fault: JudgeFault, *, at_us: int) -> JudgementFaulted:
        return JudgementFaulted(
            event_id=self._event_id("JudgementFaulted", 0),
            at_us=at_us,
            judgement_id=self.assigned.judgement_id,
            submission_id=self.assigned.submission_id,
            lease_epoch=self.assigned.lease_epoch,
            executor=self.assigned.executor,
            incarnation=self.assigned.incarnation,
            stage=fault.stage,
            retriable=fault.retriable,
            message=fault.message,
        )

    def _event_id(self, event_type: str, ordinal: int) -> str:
        assigned = self.assigned
        return event_id(event_type, assigned.judgement_id, assigned.lease_epoch, assigned.incarnation, ordinal)

"""Run outcomes in the published language: reports for events, and capped evidence for the blob. No decisions here."""

from __future__ import annotations

from typing import Final

from schemas.events import CompileReport, RunReport, Verdict
from schemas.evidence import KEPT_STREAM_BYTES, KeptStream, RunEvidence
from schemas.problems import TestEntry
from services.executor.core.ports import Kept, RunOutcome
from services.executor.core.verdict import ending_of, exit_code_of, limit_kind_of

EVIDENCE_LIMIT_BYTES: Final = 8 * 1024 * 1024
"""Most that the streams of one judgement's evidence hold together; the runs past it keep lengths only."""
_HALF: Final = KEPT_STREAM_BYTES // 2


def run_report(test: TestEntry, outcome: RunOutcome, verdict: Verdict) -> RunReport:
    """One run as an event tells it."""
    return RunReport(
        test=test.name,
        group=test.group,
        verdict=verdict,
        ending=ending_of(outcome),
        exit_code=exit_code_of(outcome),
        signal=outcome.signal,
        limit_expired=limit_kind_of(outcome),
        cpu_time_ns=outcome.cpu_time_ns,
        wall_time_ns=outcome.wall_time_ns,
        memory_peak_bytes=outcome.memory_peak_bytes,
        output_bytes=outcome.stdout_length_bytes,
        error_bytes=outcome.stderr.length_bytes,
        stopped_processes=outcome.stopped_processes,
        runnable_wait_ns=outcome.runnable_wait_ns,
        samples_cpu_time_ns=(outcome.cpu_time_ns,),
    )


def run_evidence(test: TestEntry, outcome: RunOutcome, validator_message: str) -> RunEvidence:
    """What one run printed, capped."""
    return RunEvidence(
        test=test.name,
        group=test.group,
        stdout=kept_of(outcome.stdout, length_bytes=outcome.stdout_length_bytes),
        stderr=_capped(outcome.stderr),
        validator_message=validator_message[:KEPT_STREAM_BYTES],
    )


def without_streams(evidence: RunEvidence) -> RunEvidence:
    """The same evidence with the lengths of its streams only."""
    return RunEvidence(
        test=evidence.test,
        group=evidence.group,
        stdout=KeptStream(head=b"", tail=b"", length_bytes=evidence.stdout.length_bytes),
        stderr=KeptStream(head=b"", tail=b"", length_bytes=evidence.stderr.length_bytes),
        validator_message="",
    )


def kept_bytes(evidence: RunEvidence) -> int:
    """How much of `EVIDENCE_LIMIT_BYTES` this takes."""
    streams = (evidence.stdout, evidence.stderr)
    return sum(len(stream.head) + len(stream.tail) for stream in streams) + len(evidence.validator_message)


def compile_report(outcome: RunOutcome, *, succeeded: bool) -> CompileReport:
    return CompileReport(
        succeeded=succeeded,
        ending=ending_of(outcome),
        exit_code=exit_code_of(outcome),
        signal=outcome.signal,
        limit_expired=limit_kind_of(outcome),
        cpu_time_ns=outcome.cpu_time_ns,
        wall_time_ns=outcome.wall_time_ns,
        memory_peak_bytes=outcome.memory_peak_bytes,
    )


def compiler_stream(outcome: RunOutcome) -> KeptStream:
    """What the compiler said: standard output, then standard error, as one capped stream."""
    if outcome.stdout_length_bytes == 0:
        return _capped(outcome.stderr)
    words = outcome.stdout + outcome.stderr.head + outcome.stderr.tail
    return kept_of(words, length_bytes=outcome.stdout_length_bytes + outcome.stderr.length_bytes)


def kept_of(data: bytes, *, length_bytes: int) -> KeptStream:
    """Head and tail of bytes that may themselves be cut: `length_bytes` is the true length."""
    if len(data) <= KEPT_STREAM_BYTES:
        return KeptStream(head=data, tail=b"", length_bytes=length_bytes)
    return KeptStream(head=data[:_HALF], tail=data[-_HALF:], length_bytes=length_bytes)


def _capped(kept: Kept) -> KeptStream:
    if len(kept.head) + len(kept.tail) <= KEPT_STREAM_BYTES:
        return KeptStream(head=kept.head, tail=kept.tail, length_bytes=kept.length_bytes)
    return kept_of(kept.head + kept.tail, length_bytes=kept.length_bytes)

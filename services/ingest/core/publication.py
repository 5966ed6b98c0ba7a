"""What publishing a problem package means: the blobs to keep, the judging manifest, and whether it says anything new."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from schemas.events import JudgingManifest, ProblemPublished
from schemas.identity import digest, event_id
from schemas.problems import SAMPLE, TestEntry, encode_test_list, validator_digest
from services.ingest.core.package import ProblemPackage

BUILT_IN_VALIDATOR = "default-1"
"""The default output validator of the problem package format; the number changes when its rules do."""


def encoded_tests(package: ProblemPackage) -> bytes:
    """The test list blob: what the manifest names by its digest."""
    return encode_test_list(
        tuple(
            TestEntry(
                name=test.name,
                group=test.group,
                input_digest=digest(test.input),
                input_bytes=len(test.input),
                answer_digest=digest(test.answer),
                answer_bytes=len(test.answer),
            )
            for test in package.tests
        )
    )


def blobs_of(package: ProblemPackage, test_list: bytes) -> Iterator[bytes]:
    """Every blob that judging this version needs."""
    for test in package.tests:
        yield test.input
        yield test.answer
    yield test_list


def manifest_of(package: ProblemPackage, test_list: bytes) -> JudgingManifest:
    """The manifest that submissions of this version pin."""
    return JudgingManifest(
        problem_version=package.version,
        cpu_time_limit_ns=package.limits.cpu_time_limit_ns,
        wall_time_limit_ns=package.limits.wall_time_limit_ns,
        memory_limit_bytes=package.limits.memory_limit_bytes,
        output_limit_bytes=package.limits.output_limit_bytes,
        process_limit=package.limits.process_limit,
        compile_cpu_time_limit_ns=package.limits.compile_cpu_time_limit_ns,
        compile_memory_limit_bytes=package.limits.compile_memory_limit_bytes,
        test_data_digest=digest(test_list),
        test_count=len(package.tests),
        validator_digest=validator_digest(BUILT_IN_VALIDATOR, package.validator_args),
        validator_args=package.validator_args,
    )


def publication_of(
    package: ProblemPackage,
    *,
    tenant: str,
    problem: str,
    test_list: bytes,
    bundle_digest: str,
    published_by: str,
    now_us: int,
) -> ProblemPublished:
    """The event that makes a package the problem's version from here on."""
    return ProblemPublished(
        event_id=event_id("ProblemPublished", tenant, problem, package.version, now_us),
        at_us=now_us,
        tenant=tenant,
        problem=problem,
        name=package.name,
        manifest=manifest_of(package, test_list),
        bundle_digest=bundle_digest,
        sample_count=sum(test.group == SAMPLE for test in package.tests),
        published_by=published_by,
    )


def is_same_problem(known: ProblemPublished | None, came: ProblemPublished) -> bool:
    """Whether a publication says nothing new; the zip around the same content does not count."""
    if known is None:
        return False
    return _content(known) == _content(came)


def _content(event: ProblemPublished) -> ProblemPublished:
    return replace(event, event_id="", at_us=0, bundle_digest="", published_by="")

"""From a judgement's work to the execution spec: the one place where limits become an order.

Limits are rounded up to the spec's units, so that rounding never takes from a program what its problem gives it.
"""

from __future__ import annotations

from schemas.events import JudgementWork
from schemas.spec import MAX_SPEC_BYTES, NETWORK_DISABLED, ExecutionSpec, encode_spec
from services.scheduler.core.rules import SECOND_US, Image, Rules

_NS_IN_MS = 1_000_000
_MIB = 1024 * 1024


def _up(value: int, unit: int) -> int:
    return -(-value // unit)


def compile_wall_ms(work: JudgementWork) -> int:
    """Wall clock of compiling: the manifest limits CPU alone; waiting for a disk may cost as much again."""
    return 2 * _up(work.manifest.compile_cpu_time_limit_ns, _NS_IN_MS) + 1000


def lease_us(work: JudgementWork, rules: Rules) -> int:
    """The longest that a judgement may take within its limits, and the margin."""
    runs_us = work.manifest.test_count * _up(work.manifest.wall_time_limit_ns, 1000)
    return runs_us + compile_wall_ms(work) * (SECOND_US // 1000) + rules.lease_margin_us


def build_spec(
    work: JudgementWork,
    *,
    lease_epoch: int,
    executor: str,
    incarnation: str,
    image: Image,
    key_id: str,
    now_us: int,
    rules: Rules,
) -> tuple[ExecutionSpec, bytes]:
    """The order for one lease, and its canonical bytes.

    Raises:
        ValueError: the work's limits or digests cannot be ordered, or it is too long.
    """
    manifest = work.manifest
    spec = ExecutionSpec(
        submission_id=work.submission_id,
        judgement_id=work.judgement_id,
        lease_epoch=lease_epoch,
        executor=executor,
        incarnation=incarnation,
        language=work.language,
        image=image.image,
        image_digest=image.digest,
        isolation=rules.isolation,
        cpu_millis=_up(manifest.cpu_time_limit_ns, _NS_IN_MS),
        wall_clock_millis=_up(manifest.wall_time_limit_ns, _NS_IN_MS),
        memory_mb=_up(manifest.memory_limit_bytes, _MIB),
        max_output_bytes=manifest.output_limit_bytes,
        processes=manifest.process_limit,
        network=NETWORK_DISABLED,
        workdir_bytes=rules.workdir_bytes,
        workdir_inodes=rules.workdir_inodes,
        compile_cpu_millis=_up(manifest.compile_cpu_time_limit_ns, _NS_IN_MS),
        compile_wall_clock_millis=compile_wall_ms(work),
        compile_memory_mb=_up(manifest.compile_memory_limit_bytes, _MIB),
        problem_version=manifest.problem_version,
        test_data_digest=manifest.test_data_digest,
        test_count=manifest.test_count,
        validator_digest=manifest.validator_digest,
        validator_args=manifest.validator_args,
        source_digest=work.source_digest,
        entry_point=work.entry_point,
        files=tuple((file.name, file.digest) for file in work.files),
        issued_at_us=now_us,
        expires_at_us=now_us + lease_us(work, rules),
        key_id=key_id,
    )
    data = encode_spec(spec)
    if len(data) > MAX_SPEC_BYTES:
        raise ValueError(f"expected a spec of at most {MAX_SPEC_BYTES} bytes, came {len(data)}")
    return spec, data

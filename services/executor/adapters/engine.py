"""The backend of this host: containers on its Docker Engine, sealed inputs, and the preflight that proves them."""

from __future__ import annotations

import functools

from services.chassis.blobs import BlobStore
from services.chassis.clock import SystemClock
from services.chassis.logs import logger
from services.executor.adapters.container import ContainerIsolation
from services.executor.adapters.data import fetch
from services.executor.adapters.inputs import SealedInputs
from services.executor.adapters.preflight import prove
from services.executor.adapters.process import Backend
from services.executor.adapters.warm import LanguageImage, PoolProof
from services.executor.config import ExecutorSettings
from services.executor.core.plan import MEBIBYTE


def container_backend(settings: ExecutorSettings, blobs: BlobStore, incarnation: str) -> Backend:
    """Containers on the Docker Engine that the settings name; it need not answer yet."""
    isolation = ContainerIsolation(docker_host=settings.docker_host, executor=settings.name, incarnation=incarnation)
    clock = SystemClock()
    spare_cpu = settings.spare_cpu()

    async def prove_pool(language: str, image: LanguageImage) -> PoolProof:
        report = await prove(isolation, image_digest=image.digest, clock=clock, cpu=spare_cpu)
        for finding in report.findings:
            if not finding.held:
                logger().error(
                    "limit_not_held",
                    language=language,
                    limit=finding.limit,
                    expected=finding.expected,
                    seen=finding.seen,
                )
        return PoolProof(holds=report.holds, reason=report.reason, digest=report.digest)

    return Backend(
        isolation=isolation,
        inputs=SealedInputs(fetch=functools.partial(fetch, blobs), budget_bytes=settings.input_cache_mb * MEBIBYTE),
        prove=prove_pool,
    )

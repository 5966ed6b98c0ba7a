"""The backend of this host: containers on its Docker Engine, sealed inputs, and the preflight that proves them."""

from __future__ import annotations

import functools

from services.chassis.blobs import BlobStore
from services.executor.adapters.container import ContainerIsolation
from services.executor.adapters.data import fetch
from services.executor.adapters.inputs import SealedInputs
from services.executor.config import ExecutorSettings
from services.executor.core.plan import MEBIBYTE


def container_isolation(settings: ExecutorSettings, incarnation: str) -> ContainerIsolation:
    """Containers on the Docker Engine that the settings name; it need not answer yet."""
    return ContainerIsolation(docker_host=settings.docker_host, executor=settings.name, incarnation=incarnation)


def sealed_inputs(settings: ExecutorSettings, blobs: BlobStore) -> SealedInputs:
    return SealedInputs(fetch=functools.partial(fetch, blobs), budget_bytes=settings.input_cache_mb * MEBIBYTE)

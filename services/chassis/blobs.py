"""The blob store: bytes named by their digest. A folder on one machine; the port is made for an object store too.

A blob is written to a temporary name, synced and renamed, so a name that exists is whole. Reading checks the digest:
damage is an error, never data.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Protocol

from schemas.identity import digest, is_digest
from services.chassis.clock import random_id


class BlobMissing(Exception):
    """No blob of that digest, or it is damaged. The message names the digest."""


class BlobStore(Protocol):
    """Content by digest."""

    async def put(self, data: bytes) -> str:
        """Stores the bytes durably and returns `sha256:<hex>`. Idempotent."""

    async def get(self, blob_digest: str) -> bytes:
        """The bytes.

        Raises:
            BlobMissing: not there, or not these bytes any more.
        """

    async def has(self, blob_digest: str) -> bool: ...


class FolderBlobStore:
    """Blobs as files `<root>/ab/abcdef…`, mode 0600, in folders of mode 0700."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path_of(self, blob_digest: str) -> Path:
        if not is_digest(blob_digest):
            raise BlobMissing(f"expected a digest sha256:<64 hex>, came {blob_digest[:80]!r}")
        name = blob_digest.removeprefix("sha256:")
        return self._root / name[:2] / name

    async def put(self, data: bytes) -> str:
        return await asyncio.to_thread(self.put_now, data)

    async def get(self, blob_digest: str) -> bytes:
        return await asyncio.to_thread(self.get_now, blob_digest)

    async def has(self, blob_digest: str) -> bool:
        return self.path_of(blob_digest).exists()

    def put_now(self, data: bytes) -> str:
        name = digest(data)
        path = self.path_of(name)
        if path.exists():
            return name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        partial = path.with_name(f".{random_id()}")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        return name

    def get_now(self, blob_digest: str) -> bytes:
        try:
            data = self.path_of(blob_digest).read_bytes()
        except FileNotFoundError as error:
            raise BlobMissing(f"expected blob {blob_digest}, came nothing") from error
        if digest(data) != blob_digest:
            raise BlobMissing(f"expected blob {blob_digest}, came damaged bytes")
        return data

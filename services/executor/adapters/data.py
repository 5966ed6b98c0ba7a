"""What a judgement reads from the blob store: sources, the test list, expected answers. Nothing damaged gets past here.

Answers are held in memory within a budget of bytes, least recently used out first; they never enter a sandbox. Test
inputs are another matter: they are sealed memory, see the input store of the isolation adapters.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from schemas.errors import PoisonEvent
from schemas.problems import TestEntry, decode_test_list
from schemas.spec import ExecutionSpec
from services.chassis.blobs import BlobMissing, BlobStore
from services.executor.core.faults import JudgeFault
from services.executor.core.ports import SourceFile

_TEST_LISTS_HELD: Final = 256


class JudgementData:
    """Reads by digest; every failure is a fault at stage `data`, retriable, for another host may have the bytes."""

    def __init__(self, blobs: BlobStore, *, answer_budget_bytes: int) -> None:
        self._blobs = blobs
        self._answer_budget_bytes = answer_budget_bytes
        self._answers: OrderedDict[str, bytes] = OrderedDict()
        self._answer_bytes = 0
        self._tests: OrderedDict[str, tuple[TestEntry, ...]] = OrderedDict()

    async def sources(self, spec: ExecutionSpec) -> tuple[SourceFile, ...]:
        """The files of a submission, in the order given.

        Raises:
            JudgeFault: a file could not be had.
        """
        return tuple([SourceFile(name=name, content=await self._get(blob)) for name, blob in spec.files])

    async def tests(self, spec: ExecutionSpec) -> tuple[TestEntry, ...]:
        """The tests of a problem version, as many as the spec says.

        Raises:
            JudgeFault: the list could not be had, or is another than the spec promises.
        """
        tests = self._tests.get(spec.test_data_digest)
        if tests is None:
            try:
                tests = decode_test_list(await self._get(spec.test_data_digest))
            except PoisonEvent as error:
                raise _fault(str(error)) from error
            self._tests[spec.test_data_digest] = tests
            if len(self._tests) > _TEST_LISTS_HELD:
                self._tests.popitem(last=False)
        self._tests.move_to_end(spec.test_data_digest)
        if len(tests) != spec.test_count:
            raise _fault(f"expected {spec.test_count} tests in {spec.test_data_digest}, came {len(tests)}")
        return tests

    async def answer(self, test: TestEntry) -> bytes:
        """The expected answer of a test.

        Raises:
            JudgeFault: it could not be had.
        """
        known = self._answers.get(test.answer_digest)
        if known is not None:
            self._answers.move_to_end(test.answer_digest)
            return known
        answer = await self._get(test.answer_digest)
        if test.answer_digest not in self._answers and len(answer) <= self._answer_budget_bytes:
            self._answers[test.answer_digest] = answer
            self._answer_bytes += len(answer)
            while self._answer_bytes > self._answer_budget_bytes:
                _, dropped = self._answers.popitem(last=False)
                self._answer_bytes -= len(dropped)
        return answer

    async def _get(self, blob_digest: str) -> bytes:
        return await fetch(self._blobs, blob_digest)


async def fetch(blobs: BlobStore, blob_digest: str) -> bytes:
    """The bytes of a blob.

    Raises:
        JudgeFault: it is missing or damaged.
    """
    try:
        return await blobs.get(blob_digest)
    except BlobMissing as error:
        raise _fault(str(error)) from error
    except OSError as error:
        raise _fault(f"expected blob {blob_digest} to be readable, came: {error.strerror}") from error


def _fault(message: str) -> JudgeFault:
    return JudgeFault(message, stage="data", retriable=True)

"""What end-to-end and fault tests do with a running stack, through its public doors."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from deploy.local.supervision import Supervisor
from schemas.codec import decode_as
from schemas.events import VerdictRecorded
from schemas.topics import VERDICTS
from services.chassis.kafka import read_to_end
from tests.conftest import FullStack

EXAMPLES = Path(__file__).parents[1] / "examples"
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """HTTP clients of one running stack. Waiting is for a state that another process must reach, with a deadline."""

    full_stack: FullStack

    @property
    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.full_stack.token}"}

    def publish(self, problem: str) -> None:
        from examples.pack import pack_problem

        response = httpx.put(
            f"{self.full_stack.stack.url('ingest')}/v1/problems/{problem}",
            content=pack_problem(EXAMPLES / "problems" / problem),
            headers=self._headers | {"content-type": "application/zip"},
            timeout=60,
        )
        assert response.status_code in {200, 201}, response.text

    def submit(self, path: Path, *, problem: str = "addition", language: str, key: str | None = None) -> httpx.Response:
        return httpx.post(
            f"{self.full_stack.stack.url('ingest')}/v1/submissions",
            data={"problem": problem, "language": language},
            files={"files": (path.name, path.read_bytes())},
            headers=self._headers | ({} if key is None else {"idempotency-key": key}),
            timeout=30,
        )

    def submit_until_taken(self, path: Path, *, language: str, key: str, deadline_seconds: float = 60) -> str:
        """Repeats a submission through outages; the key makes the repetitions one. Returns its id."""
        deadline = time.monotonic() + deadline_seconds
        last = "nothing"
        while time.monotonic() < deadline:
            try:
                response = self.submit(path, language=language, key=key)
            except httpx.HTTPError as error:
                last = repr(error)
            else:
                if response.status_code == 202:
                    return str(response.json()["submission_id"])
                assert response.status_code in {429, 503}, response.text
                last = response.text
            time.sleep(_POLL_SECONDS)
        raise AssertionError(f"expected the submission to be taken within {deadline_seconds} s, came {last}")

    def read(self, submission: str) -> dict[str, Any] | None:
        """One submission, or None while the store does not have it or does not answer."""
        try:
            response = httpx.get(
                f"{self.full_stack.stack.url('verdicts')}/v1/submissions/{submission}",
                headers=self._headers,
                timeout=10,
            )
        except httpx.HTTPError:
            return None
        if response.status_code in {404, 503}:
            return None
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def await_verdicts(self, submissions: Sequence[str], *, deadline_seconds: float) -> dict[str, str]:
        """The verdict of each; fails with what is missing when the time is up."""
        deadline = time.monotonic() + deadline_seconds
        verdicts: dict[str, str] = {}
        while time.monotonic() < deadline:
            for submission in submissions:
                if submission not in verdicts:
                    found = self.read(submission)
                    if found is None or found["verdict"] is None:
                        break
                    verdicts[submission] = found["verdict"]
            if len(verdicts) == len(submissions):
                return verdicts
            time.sleep(_POLL_SECONDS)
        missing = [submission for submission in submissions if submission not in verdicts]
        raise AssertionError(f"expected {len(submissions)} verdicts, {len(missing)} are missing: {missing[:3]}")

    def stop_hard(self, program: str) -> int:
        """`kill -9` of a program of the stack, by its pid; returns the pid."""
        status = Supervisor(self.full_stack.folders).status()[program]
        assert status.pid, f"{program} does not run: {status}"
        os.kill(status.pid, signal.SIGKILL)
        return status.pid


async def recorded_verdicts(full_stack: FullStack) -> list[VerdictRecorded]:
    """Every record of `assize.verdicts.v1`, in order."""
    events = [
        decode_as(incoming.value, VerdictRecorded)
        for incoming in await read_to_end(full_stack.stack.kafka_bootstrap, VERDICTS.name, [0])
    ]
    return [event for event in events if isinstance(event, VerdictRecorded)]

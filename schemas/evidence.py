"""The evidence blob of one judgement: what programs printed, capped. Canonical JSON, bytes as base64.

Who may see what: compiler output and sample runs with scope `read`; everything of a secret test only with `jury`.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from schemas.errors import PoisonEvent
from schemas.identity import canonical_json

KEPT_STREAM_BYTES = 16 * 1024
"""Head plus tail that is kept of each stream of a test run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptStream:
    """Whole when head and tail together are as long as `length_bytes`."""

    head: bytes
    tail: bytes
    length_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvidence:
    """What one test run printed, and what the validator said about it."""

    test: str
    group: str
    stdout: KeptStream
    stderr: KeptStream
    validator_message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Of one judgement. `compiler` is None when nothing was compiled."""

    compiler: KeptStream | None
    runs: tuple[RunEvidence, ...]


def encode_evidence(evidence: Evidence) -> bytes:
    return canonical_json(
        {
            "compiler": None if evidence.compiler is None else _encode_stream(evidence.compiler),
            "runs": [
                {
                    "group": run.group,
                    "stderr": _encode_stream(run.stderr),
                    "stdout": _encode_stream(run.stdout),
                    "test": run.test,
                    "validator_message": run.validator_message,
                }
                for run in evidence.runs
            ],
        }
    )


def decode_evidence(data: bytes) -> Evidence:
    """Reads an evidence blob.

    Raises:
        PoisonEvent: not one.
    """
    try:
        value = json.loads(data)
        compiler = value["compiler"]
        return Evidence(
            compiler=None if compiler is None else _decode_stream(compiler),
            runs=tuple(
                RunEvidence(
                    test=run["test"],
                    group=run["group"],
                    stdout=_decode_stream(run["stdout"]),
                    stderr=_decode_stream(run["stderr"]),
                    validator_message=run["validator_message"],
                )
                for run in value["runs"]
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise PoisonEvent("bad_evidence", f"expected an evidence blob, came {error!r}") from error


def _encode_stream(stream: KeptStream) -> dict[str, object]:
    return {
        "head": base64.b64encode(stream.head).decode(),
        "length_bytes": stream.length_bytes,
        "tail": base64.b64encode(stream.tail).decode(),
    }


def _decode_stream(value: dict[str, str | int]) -> KeptStream:
    return KeptStream(
        head=base64.b64decode(str(value["head"]), validate=True),
        tail=base64.b64decode(str(value["tail"]), validate=True),
        length_bytes=int(value["length_bytes"]),
    )

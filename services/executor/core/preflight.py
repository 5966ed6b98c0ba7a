"""What a pool must prove before it serves: the table of limits, how each is exceeded, and what must be seen then.

Pure: `EXCEEDINGS` says which run of the probe (`runner/probe.c`) tries what, and judges what the run showed. The adapter
performs the runs in a real sandbox of the pool's image. A limit holds only when it was seen to hold; everything else,
an error above all, is "not held", and a pool with one such finding is not served.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Final

from services.executor.core.ports import ARTIFACT_FOLDER, Ending, FolderLimits, Limit, RunLimits, RunOutcome

MEBIBYTE: Final = 1024 * 1024
PROBE_NAME: Final = "assize-probe"
PROBE_PATH: Final = f"{ARTIFACT_FOLDER}/{PROBE_NAME}"
FOLDERS: Final = FolderLimits(artifact_bytes=16 * MEBIBYTE, artifact_inodes=64, work_bytes=4 * MEBIBYTE, work_inodes=64)
LIMITS: Final = RunLimits(
    cpu_time_limit_ns=300_000_000,
    wall_time_limit_ns=30_000_000_000,
    memory_limit_bytes=32 * MEBIBYTE,
    output_limit_bytes=64 * 1024,
    error_kept_bytes=4096,
    process_limit=16,
)
SANDBOX_MEMORY_BYTES: Final = 256 * MEBIBYTE
SANDBOX_PROCESSES: Final = 64
_LATE_NS: Final = 1_000_000_000
"""How long after its limit a run may be seen to end. Generous: a busy host must not lose its pools to noise."""

Seen = tuple[str, bool]
"""What was seen, in words, and whether the limit held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exceeding:
    """One attempt to exceed one limit."""

    limit: str
    how: str
    expected: str
    arguments: tuple[str, ...]
    judge: Callable[[RunOutcome], Seen]
    wall_time_limit_ns: int = LIMITS.wall_time_limit_ns

    def run_limits(self) -> RunLimits:
        """The limits of the run that tries it."""
        return RunLimits(
            cpu_time_limit_ns=LIMITS.cpu_time_limit_ns,
            wall_time_limit_ns=self.wall_time_limit_ns,
            memory_limit_bytes=LIMITS.memory_limit_bytes,
            output_limit_bytes=LIMITS.output_limit_bytes,
            error_kept_bytes=LIMITS.error_kept_bytes,
            process_limit=LIMITS.process_limit,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What became of one attempt."""

    limit: str
    how: str
    expected: str
    seen: str
    held: bool
    elapsed_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightReport:
    """All findings about one image on one isolation backend."""

    image_digest: str
    isolation: str
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Every limit of the table was tried, and held."""
        tried = [each.limit for each in self.findings]
        return tried == [each.limit for each in EXCEEDINGS] + [EMPTINESS] and all(each.held for each in self.findings)

    @property
    def reason(self) -> str:
        """Why the pool is not served; empty when it is."""
        broken = [f"{each.limit}: expected {each.expected}, saw {each.seen}" for each in self.findings if not each.held]
        if not broken and not self.holds:
            return "not every limit was tried"
        return "; ".join(broken)

    @property
    def digest(self) -> str:
        """Names the findings, times left out: equal when the same was seen."""
        told = [{key: value for key, value in asdict(each).items() if key != "elapsed_ms"} for each in self.findings]
        text = json.dumps([self.image_digest, self.isolation, told], sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


EMPTINESS: Final = "emptiness"
"""The last finding: the host's own view that nothing but the runner lives in the sandbox."""


def emptiness(processes: int, *, elapsed_ms: float) -> Finding:
    """The host counts the sandbox's processes after all attempts."""
    return Finding(
        limit=EMPTINESS,
        how="the processes of the sandbox's group are counted from outside",
        expected="1, the runner",
        seen=str(processes),
        held=processes == 1,
        elapsed_ms=elapsed_ms,
    )


def untried(exceeding: Exceeding, error: str, *, elapsed_ms: float) -> Finding:
    """An attempt that could not be made is a limit that does not hold."""
    return Finding(
        limit=exceeding.limit,
        how=exceeding.how,
        expected=exceeding.expected,
        seen=error,
        held=False,
        elapsed_ms=elapsed_ms,
    )


def tried(exceeding: Exceeding, outcome: RunOutcome, *, elapsed_ms: float) -> Finding:
    """What an attempt showed."""
    seen, held = exceeding.judge(outcome)
    return Finding(
        limit=exceeding.limit,
        how=exceeding.how,
        expected=exceeding.expected,
        seen=seen,
        held=held,
        elapsed_ms=elapsed_ms,
    )


def _text(outcome: RunOutcome) -> str:
    return outcome.stdout.decode("ascii", errors="replace").strip()


def _ended(outcome: RunOutcome) -> str:
    return f"{outcome.ending} {outcome.exit_code if outcome.exit_code is not None else outcome.signal or ''}".strip()


def _well(outcome: RunOutcome) -> bool:
    return outcome.ending is Ending.EXITED and outcome.exit_code == 0 and outcome.limit_expired is Limit.NONE


def _memory(outcome: RunOutcome) -> Seen:
    peak = outcome.memory_peak_bytes
    seen = f"limit {outcome.limit_expired}, peak {peak // 1024} KiB, printed {_text(outcome)!r}"
    bounded = LIMITS.memory_limit_bytes // 2 <= peak <= LIMITS.memory_limit_bytes + MEBIBYTE
    return seen, outcome.limit_expired is Limit.MEMORY and bounded and not _text(outcome).startswith("held")


def _processes(outcome: RunOutcome) -> Seen:
    made = _text(outcome)
    return f"{made or _ended(outcome)} children", _well(outcome) and made == str(LIMITS.process_limit - 1)


def _counted(most: int) -> Callable[[RunOutcome], Seen]:
    def judge(outcome: RunOutcome) -> Seen:
        count, _, words = _text(outcome).partition(" ")
        seen = f"{_text(outcome) or _ended(outcome)}"
        return seen, _well(outcome) and count.isdigit() and 0 < int(count) <= most and words == _NO_SPACE

    return judge


_NO_SPACE: Final = "No space left on device"


def _output(outcome: RunOutcome) -> Seen:
    seen = f"limit {outcome.limit_expired}, {len(outcome.stdout)} bytes kept"
    held = outcome.limit_expired is Limit.OUTPUT and len(outcome.stdout) == LIMITS.output_limit_bytes
    return seen, held


def _clock(limit: Limit, limit_ns: int, read: Callable[[RunOutcome], int]) -> Callable[[RunOutcome], Seen]:
    def judge(outcome: RunOutcome) -> Seen:
        seen = f"limit {outcome.limit_expired} at {read(outcome) / 1e6:.1f} ms"
        in_time = limit_ns <= read(outcome) <= limit_ns + _LATE_NS
        return seen, outcome.ending is Ending.STOPPED_BY_LIMIT and outcome.limit_expired is limit and in_time

    return judge


def _exactly(text: str) -> Callable[[RunOutcome], Seen]:
    def judge(outcome: RunOutcome) -> Seen:
        seen = " ".join(_text(outcome).split())
        return seen or f"nothing ({_ended(outcome)})", _well(outcome) and seen == text

    return judge


def _privileges(outcome: RunOutcome) -> Seen:
    fields = dict[str, str]()
    for line in _text(outcome).splitlines():
        name, _, value = line.partition(":")
        fields[name] = value.strip()
    owners = _text(outcome).partition("\n")[0].split()
    seen = ", ".join(f"{name} {value}" for name, value in fields.items() if name != "CapBnd")
    capless = all(int(fields.get(name, "1"), 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"))
    one_user = len(owners) == 6 and owners[1] == owners[2] == owners[3] != "0" and owners[5] == "0"
    filtered = fields.get("NoNewPrivs") == "1" and fields.get("Seccomp") == "2"
    return seen or _ended(outcome), _well(outcome) and capless and one_user and filtered


def _left(outcome: RunOutcome) -> Seen:
    return f"{outcome.stopped_processes} stopped", _well(outcome) and outcome.stopped_processes >= 1


def _writable(outcome: RunOutcome) -> Seen:
    folders = sorted(_text(outcome).split())
    return " ".join(folders) or f"nothing ({_ended(outcome)})", _well(outcome) and folders == list(_OPEN_FOLDERS)


_OPEN_FOLDERS: Final = ("/tmp", "/work")  # noqa: S108 - the sandbox's own
_SHORT_WALL_NS: Final = 200_000_000

EXCEEDINGS: Final[tuple[Exceeding, ...]] = (
    Exceeding(
        limit="memory",
        how="twice the memory is touched",
        expected="MEMORY at the limit",
        arguments=("memory", str(2 * LIMITS.memory_limit_bytes)),
        judge=_memory,
    ),
    Exceeding(
        limit="processes",
        how="twice the processes are started",
        expected=f"{LIMITS.process_limit - 1} children beside their parent",
        arguments=("processes", str(2 * LIMITS.process_limit)),
        judge=_processes,
    ),
    Exceeding(
        limit="work_bytes",
        how="twice the bytes are written to /work",
        expected=f"at most {FOLDERS.work_bytes} bytes, then no space",
        arguments=("bytes", "/work/file", str(2 * FOLDERS.work_bytes)),
        judge=_counted(FOLDERS.work_bytes),
    ),
    Exceeding(
        limit="work_inodes",
        how="twice the files are made in /work",
        expected=f"at most {FOLDERS.work_inodes} files, then no space",
        arguments=("inodes", "/work", str(2 * FOLDERS.work_inodes)),
        judge=_counted(FOLDERS.work_inodes),
    ),
    Exceeding(
        limit="temporary_bytes",
        how="twice the bytes are written to /tmp",
        expected=f"at most {FOLDERS.work_bytes} bytes, then no space",
        arguments=("bytes", "/tmp/file", str(2 * FOLDERS.work_bytes)),  # noqa: S108 - the sandbox's own
        judge=_counted(FOLDERS.work_bytes),
    ),
    Exceeding(
        limit="temporary_inodes",
        how="twice the files are made in /tmp",
        expected=f"at most {FOLDERS.work_inodes} files, then no space",
        arguments=("inodes", "/tmp", str(2 * FOLDERS.work_inodes)),  # noqa: S108 - the sandbox's own
        judge=_counted(FOLDERS.work_inodes),
    ),
    Exceeding(
        limit="output",
        how="twice the output is printed",
        expected=f"OUTPUT with {LIMITS.output_limit_bytes} bytes kept",
        arguments=("output", str(2 * LIMITS.output_limit_bytes)),
        judge=_output,
    ),
    Exceeding(
        limit="cpu_time",
        how="a child that is never waited for computes for ever",
        expected="CPU_TIME at the limit",
        arguments=("cpu",),
        judge=_clock(Limit.CPU_TIME, LIMITS.cpu_time_limit_ns, lambda outcome: outcome.cpu_time_ns),
    ),
    Exceeding(
        limit="wall_time",
        how="it sleeps for ever",
        expected="WALL_TIME at the limit",
        arguments=("wall",),
        judge=_clock(Limit.WALL_TIME, _SHORT_WALL_NS, lambda outcome: outcome.wall_time_ns),
        wall_time_limit_ns=_SHORT_WALL_NS,
    ),
    Exceeding(
        limit="network",
        how="sockets of eight kinds are asked for, interfaces are listed",
        expected="interface:lo",
        arguments=("network",),
        judge=_exactly("interface:lo"),
    ),
    Exceeding(
        limit="system_calls",
        how="33 forbidden system calls are made, by old entries too",
        expected="all refused",
        arguments=("calls",),
        judge=_exactly(""),
    ),
    Exceeding(
        limit="file_system",
        how="a file is made at every mount point and in every usual folder",
        expected="only /tmp and /work take it",
        arguments=("writable",),
        judge=_writable,
    ),
    Exceeding(
        limit="privileges",
        how="the program reads what it may",
        expected="one user that is not root, no group, no capability, no new privileges, a filter",
        arguments=("privileges",),
        judge=_privileges,
    ),
    Exceeding(
        limit="descriptors",
        how="open descriptors are listed",
        expected="0 1 2",
        arguments=("descriptors",),
        judge=_exactly("0 1 2"),
    ),
    Exceeding(
        limit="leftovers",
        how="a process in a session of its own, files and closed folders are left",
        expected="the process is stopped",
        arguments=("leave",),
        judge=_left,
    ),
    Exceeding(
        limit="fresh_run",
        how="the next run looks for processes and files of the one before",
        expected="none",
        arguments=("found",),
        judge=_exactly(""),
    ),
)


def report_document(report: PreflightReport) -> Mapping[str, object]:
    """The report for people and programs: JSON-able."""
    return {
        "image_digest": report.image_digest,
        "isolation": report.isolation,
        "holds": report.holds,
        "digest": report.digest,
        "findings": [asdict(each) for each in report.findings],
    }

"""The host's side of the runner protocol (`runner/PROTOCOL.md`), without a socket in it.

Theory of operation. A `Conversation` turns what the host wants into frames (bytes and the descriptors that go with
them) and turns bytes that came into events. It holds the one table of what may be said when. Frames are answered in
the order in which they were sent, so a queue of expectations is all the memory there is; several runs may be on their
way at once. Two kinds of error are kept apart: `LocalProtocolError` is our bug (we asked for what the state does not
allow), `RemoteProtocolError` is the runner's answer that cannot be believed, after which nothing from it is.
"""

from __future__ import annotations

import enum
import errno
import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from services.executor.core.ports import Ending, Kept, Limit, Phase, RunOutcome, RunRequest

VERSION: Final = 1
MAGIC: Final = 0x455A5341
OUTSTANDING_RUNS_MAX: Final = 2
"""Two: while one runs the next is already in the runner's socket. More gains nothing (measured) and wastes runs."""
BODY_BYTES_MAX: Final = 64 * 1024
"""Of a frame that we send."""
ANSWER_BYTES_MAX: Final = 1024 * 1024
"""Of a frame that the runner sends: one chunk of output and all that is kept of standard error fit well."""
ERROR_KEPT_BYTES_MAX: Final = 256 * 1024
ARGUMENTS_MAX: Final = 1024
NAME_BYTES_MAX: Final = 255
CONTROLS: Final = (
    "cpu_usage",
    "memory_peak",
    "memory_usage",
    "memory_limit",
    "memory_and_swap_limit",
    "oom_state",
    "oom_event",
    "process_limit",
)
"""The descriptors of CONFIGURE, in their order."""
ANNOUNCEMENT: Final = f"assize-runner {VERSION} "
"""How the line begins by which the runner tells the number of the descriptor that is ours to take."""

_HEADER = struct.Struct("<IBBHII")
_CONFIGURE = struct.Struct("<IIII")
_PLACE = struct.Struct("<QHHI")
_RUN = struct.Struct("<B3xIQQQQIHH")
_HELLO = struct.Struct("<IIQQQ")
_REPORT = struct.Struct("<BBHiIIQQQQQQIIII")
_FAULT = struct.Struct("<Ii")
_PLACE_EXECUTABLE = 1
_LIMIT_MOST = 1 << 62
_PROCESSES_MOST = 1 << 20
_UNMAPPED_UID = 65534


class LocalProtocolError(AssertionError):
    """We asked for something that the protocol does not allow: a bug on this side."""


class RemoteProtocolError(Exception):
    """The runner's bytes cannot be believed. Says what was expected and what came."""


class State(enum.StrEnum):
    """Where the conversation is, counting what was sent already."""

    AWAITING_HELLO = "AWAITING_HELLO"
    STARTED = "STARTED"
    OPEN = "OPEN"
    COMPILED = "COMPILED"
    SEALED = "SEALED"
    ENDED = "ENDED"


class FrameKind(enum.IntEnum):
    """The kinds of frame; below 128 the host speaks."""

    CONFIGURE = 1
    PLACE = 2
    RUN = 3
    SEAL = 4
    HELLO = 128
    DONE = 129
    OUTPUT = 130
    REPORT = 131
    FAULT = 132


class _Step(enum.Enum):
    """What the host does, as the table of states tells it apart."""

    CONFIGURE = enum.auto()
    PLACE = enum.auto()
    COMPILE = enum.auto()
    SEAL = enum.auto()
    TEST = enum.auto()


_NEXT_STATE: Final = {
    (State.STARTED, _Step.CONFIGURE): State.OPEN,
    (State.OPEN, _Step.PLACE): State.OPEN,
    (State.OPEN, _Step.COMPILE): State.COMPILED,
    (State.OPEN, _Step.SEAL): State.SEALED,
    (State.COMPILED, _Step.COMPILE): State.COMPILED,
    (State.COMPILED, _Step.SEAL): State.SEALED,
    (State.SEALED, _Step.TEST): State.SEALED,
}


class FaultStage(enum.IntEnum):
    """Where the runner failed, as it tells it."""

    START = 1
    CONFIGURE = 2
    PLACE = 3
    SEAL = 4
    SPAWN = 5
    CONTROL = 6
    SWEEP = 7
    CLEAN = 8
    PROTOCOL = 9
    CHANNEL = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Bytes to be sent, in one piece with the descriptors."""

    content: bytes
    descriptors: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The runner lives. `memory_locked` says that hunger in the sandbox cannot make it wait for its own pages."""

    memory_locked: bool
    artifact_inodes_free: int
    work_inodes_free: int
    temporary_inodes_free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """CONFIGURE, PLACE or SEAL of that sequence number was carried out."""

    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReported:
    """A run has ended; the sandbox is as it was before it."""

    sequence: int
    outcome: RunOutcome
    left_inodes: int
    """Files and folders that the run left and the runner removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faulted:
    """The runner could not do its part and has ended the sandbox."""

    stage: FaultStage
    error: int
    message: str

    def __str__(self) -> str:
        name = f" ({errno.errorcode.get(self.error, self.error)})" if self.error else ""
        return f"the runner failed at {self.stage.name.lower()}: {self.message}{name}"


Event = Hello | Done | RunReported | Faulted


@dataclass(slots=True, kw_only=True)
class _Expected:
    sequence: int
    request: RunRequest | None
    """The run that REPORT answers; None where DONE is the answer."""
    chunks: list[bytes] = field(default_factory=list)
    chunk_bytes: int = 0


class Conversation:
    """One runner, from its HELLO to the end of the stream."""

    def __init__(self) -> None:
        self._state = State.AWAITING_HELLO
        self._sequence = 0
        self._expected: deque[_Expected] = deque()
        self._received = bytearray()

    @property
    def state(self) -> State:
        return self._state

    @property
    def runs_outstanding(self) -> int:
        return sum(1 for each in self._expected if each.request is not None)

    @property
    def last_sequence(self) -> int:
        """The number of the frame that was made last; its answer carries it."""
        return self._sequence

    def configure(self, *, controls: Sequence[int], compile_uid: int, test_uid: int) -> Frame:
        """Passes the cgroup's files (one descriptor per name of `CONTROLS`) and the users that programs run as."""
        if len(controls) != len(CONTROLS):
            raise LocalProtocolError(f"expected {len(CONTROLS)} controls, got {len(controls)}")
        if not 0 < compile_uid < _UNMAPPED_UID or not 0 < test_uid < _UNMAPPED_UID or compile_uid == test_uid:
            raise LocalProtocolError(f"expected two users of 1 to 65533, got {compile_uid} and {test_uid}")
        self._step(_Step.CONFIGURE)
        body = _CONFIGURE.pack((1 << len(CONTROLS)) - 1, compile_uid, test_uid, 0)
        return self._frame(FrameKind.CONFIGURE, body, descriptors=tuple(controls))

    def place(self, *, name: str, size_bytes: int, executable: bool, descriptor: int) -> Frame:
        """Places a file whose bytes lie in `descriptor`, which is read from its start."""
        encoded = name.encode()
        if not 0 < len(encoded) <= NAME_BYTES_MAX or b"/" in encoded or b"\0" in encoded or name in {".", ".."}:
            raise LocalProtocolError(f"expected a file name of 1 to 255 bytes without slash or zero, got {name!r}")
        self._step(_Step.PLACE)
        flags = _PLACE_EXECUTABLE if executable else 0
        body = _PLACE.pack(size_bytes, len(encoded), flags, 0) + encoded
        return self._frame(FrameKind.PLACE, body, descriptors=(descriptor,))

    def run(self, request: RunRequest, *, stdin: int | None) -> Frame:
        """Asks for a run; `stdin` is a descriptor with an offset of its own, or None for an empty input."""
        if self.runs_outstanding >= OUTSTANDING_RUNS_MAX:
            raise LocalProtocolError(f"expected at most {OUTSTANDING_RUNS_MAX} runs outstanding")
        body = _encode_run(request)
        self._step(_Step.COMPILE if request.phase is Phase.COMPILE else _Step.TEST)
        return self._frame(FrameKind.RUN, body, descriptors=() if stdin is None else (stdin,), request=request)

    def seal(self) -> Frame:
        """Asks for the artifact folder to be made read-only."""
        self._step(_Step.SEAL)
        return self._frame(FrameKind.SEAL, b"")

    def receive(self, content: bytes) -> list[Event]:
        """Takes bytes that came and tells what they mean.

        Raises:
            RemoteProtocolError: they mean nothing. The conversation has ended.
        """
        self._received += content
        events: list[Event] = []
        try:
            while (event := self._next_frame()) is not None:
                if not isinstance(event, _Nothing):
                    events.append(event)
        except RemoteProtocolError:
            self._state = State.ENDED
            raise
        return events

    def end_of_stream(self) -> None:
        """Nothing more will come.

        Raises:
            RemoteProtocolError: the stream broke off inside a frame.
        """
        self._state = State.ENDED
        if self._received:
            raise RemoteProtocolError(f"expected whole frames, got an end after {len(self._received)} bytes of one")

    def _step(self, step: _Step) -> None:
        following = _NEXT_STATE.get((self._state, step))
        if following is None:
            raise LocalProtocolError(f"{step.name} is not allowed in state {self._state}")
        self._state = following

    def _frame(
        self,
        kind: FrameKind,
        body: bytes,
        *,
        descriptors: tuple[int, ...] = (),
        request: RunRequest | None = None,
    ) -> Frame:
        if len(body) > BODY_BYTES_MAX:
            raise LocalProtocolError(f"expected a frame of at most {BODY_BYTES_MAX} bytes, got {len(body)}")
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        self._expected.append(_Expected(sequence=self._sequence, request=request))
        header = _HEADER.pack(MAGIC, VERSION, kind, len(descriptors), self._sequence, len(body))
        return Frame(content=header + body, descriptors=descriptors)

    def _next_frame(self) -> Event | _Nothing | None:
        if len(self._received) < _HEADER.size:
            return None
        magic, version, kind, descriptors, sequence, length = _HEADER.unpack_from(self._received)
        if magic != MAGIC or version != VERSION or descriptors != 0:
            raise RemoteProtocolError(
                f"expected a frame of version {VERSION}, got magic {magic:#x}, version {version}, {descriptors} fds"
            )
        if length > ANSWER_BYTES_MAX:
            raise RemoteProtocolError(f"expected an answer of at most {ANSWER_BYTES_MAX} bytes, got {length}")
        if len(self._received) < _HEADER.size + length:
            return None
        body = bytes(self._received[_HEADER.size : _HEADER.size + length])
        del self._received[: _HEADER.size + length]
        return self._on_frame(kind, sequence, body)

    def _on_frame(self, kind: int, sequence: int, body: bytes) -> Event | _Nothing:
        if self._state is State.ENDED:
            raise RemoteProtocolError(f"expected nothing after the end, got kind {kind}")
        if kind == FrameKind.FAULT:
            self._state = State.ENDED
            return _decode_fault(body)
        if kind == FrameKind.HELLO:
            return self._on_hello(sequence, body)
        if not self._expected or self._expected[0].sequence != sequence:
            waited = self._expected[0].sequence if self._expected else "nothing"
            raise RemoteProtocolError(f"expected an answer to {waited}, got kind {kind} for {sequence}")
        expected = self._expected[0]
        if kind == FrameKind.DONE and expected.request is None and not body:
            self._expected.popleft()
            return Done(sequence=sequence)
        if kind == FrameKind.OUTPUT and expected.request is not None:
            _take_chunk(expected, expected.request, body)
            return _NOTHING
        if kind == FrameKind.REPORT and expected.request is not None:
            self._expected.popleft()
            return _decode_report(expected, expected.request, body)
        raise RemoteProtocolError(f"expected the answer that frame {sequence} asks for, got kind {kind}")

    def _on_hello(self, sequence: int, body: bytes) -> Hello:
        if self._state is not State.AWAITING_HELLO or sequence != 0 or len(body) != _HELLO.size:
            raise RemoteProtocolError(f"expected HELLO once and first, got it in state {self._state}")
        version, locked, artifact, work, temporary = _HELLO.unpack(body)
        if version != VERSION or locked not in {0, 1}:
            raise RemoteProtocolError(f"expected a runner of protocol version {VERSION}, got {version}")
        self._state = State.STARTED
        return Hello(
            memory_locked=locked == 1,
            artifact_inodes_free=artifact,
            work_inodes_free=work,
            temporary_inodes_free=temporary,
        )


class _Nothing:
    """A frame that completes no event yet."""


_NOTHING: Final = _Nothing()


def _encode_run(request: RunRequest) -> bytes:
    limits = request.limits
    amounts = {
        "cpu_time_limit_ns": limits.cpu_time_limit_ns,
        "wall_time_limit_ns": limits.wall_time_limit_ns,
        "memory_limit_bytes": limits.memory_limit_bytes,
    }
    for name, amount in amounts.items():
        if not 0 < amount <= _LIMIT_MOST:
            raise LocalProtocolError(f"expected {name} of 1 to 2^62, got {amount}")
    if not 0 <= limits.output_limit_bytes <= _LIMIT_MOST:
        raise LocalProtocolError(f"expected output_limit_bytes of 0 to 2^62, got {limits.output_limit_bytes}")
    if not 0 <= limits.error_kept_bytes <= ERROR_KEPT_BYTES_MAX:
        raise LocalProtocolError(
            f"expected error_kept_bytes up to {ERROR_KEPT_BYTES_MAX}, got {limits.error_kept_bytes}"
        )
    if not 0 < limits.process_limit <= _PROCESSES_MOST:
        raise LocalProtocolError(f"expected process_limit of 1 to {_PROCESSES_MOST}, got {limits.process_limit}")
    strings = [*request.argv, *(f"{name}={value}" for name, value in request.environment)]
    if not request.argv or not request.argv[0].startswith("/") or len(strings) > ARGUMENTS_MAX:
        raise LocalProtocolError("expected argv with an absolute path first, and at most 1024 strings in all")
    if any("\0" in each for each in strings):
        raise LocalProtocolError("expected arguments and environment without zero bytes")
    fixed = _RUN.pack(
        1 if request.phase is Phase.COMPILE else 2,
        limits.process_limit,
        limits.cpu_time_limit_ns,
        limits.wall_time_limit_ns,
        limits.memory_limit_bytes,
        limits.output_limit_bytes,
        limits.error_kept_bytes,
        len(request.argv),
        len(request.environment),
    )
    return fixed + b"".join(each.encode(errors="surrogateescape") + b"\0" for each in strings)


def _take_chunk(expected: _Expected, request: RunRequest, body: bytes) -> None:
    expected.chunk_bytes += len(body)
    if expected.chunk_bytes > request.limits.output_limit_bytes:
        raise RemoteProtocolError(
            f"expected at most {request.limits.output_limit_bytes} bytes of output, got {expected.chunk_bytes}"
        )
    expected.chunks.append(body)


def _decode_fault(body: bytes) -> Faulted:
    if len(body) < _FAULT.size:
        raise RemoteProtocolError(f"expected a fault of at least {_FAULT.size} bytes, got {len(body)}")
    stage, error = _FAULT.unpack_from(body)
    try:
        return Faulted(
            stage=FaultStage(stage), error=error, message=body[_FAULT.size :].decode("ascii", errors="replace")
        )
    except ValueError as unknown:
        raise RemoteProtocolError(f"expected a known stage in a fault, got {stage}") from unknown


_LIMITS: Final = (Limit.NONE, Limit.CPU_TIME, Limit.WALL_TIME, Limit.MEMORY, Limit.OUTPUT)
_ENDINGS: Final = {
    1: Ending.EXITED,
    2: Ending.SIGNALED,
    3: Ending.STOPPED_BY_LIMIT,
    4: Ending.NOT_STARTED,
}


def _decode_report(expected: _Expected, request: RunRequest, body: bytes) -> RunReported:
    if len(body) < _REPORT.size:
        raise RemoteProtocolError(f"expected a report of at least {_REPORT.size} bytes, got {len(body)}")
    (
        ending_code,
        limit_code,
        zero,
        code,
        stopped,
        left_inodes,
        cpu_ns,
        wall_ns,
        peak_bytes,
        wait_ns,
        stdout_length,
        stderr_length,
        rest_bytes,
        head_bytes,
        tail_bytes,
        reserved,
    ) = _REPORT.unpack_from(body)
    if ending_code not in _ENDINGS or limit_code >= len(_LIMITS) or zero or reserved:
        raise RemoteProtocolError(f"expected a known ending and limit, got {ending_code} and {limit_code}")
    if len(body) != _REPORT.size + rest_bytes + head_bytes + tail_bytes:
        raise RemoteProtocolError(f"expected a report as long as its parts, got {len(body)} bytes")
    ending, limit = _ENDINGS[ending_code], _LIMITS[limit_code]
    _take_chunk(expected, request, body[_REPORT.size : _REPORT.size + rest_bytes])
    stdout = b"".join(expected.chunks)
    head_end = _REPORT.size + rest_bytes + head_bytes
    stderr = Kept(head=body[_REPORT.size + rest_bytes : head_end], tail=body[head_end:], length_bytes=stderr_length)
    if (ending is Ending.STOPPED_BY_LIMIT) and limit is Limit.NONE:
        raise RemoteProtocolError("expected a limit where the run was stopped by one")
    if (limit is Limit.OUTPUT) != (stdout_length > len(stdout)) or stdout_length < len(stdout):
        raise RemoteProtocolError(f"expected {stdout_length} bytes of output, got {len(stdout)} with limit {limit}")
    if head_bytes + tail_bytes != min(stderr_length, request.limits.error_kept_bytes):
        raise RemoteProtocolError(f"expected what may be kept of {stderr_length} bytes, got {head_bytes + tail_bytes}")
    exit_code, signal = _ending_numbers(ending, code)
    if ending is Ending.NOT_STARTED:
        reason = f"{request.argv[0]}: could not be executed: {errno.errorcode.get(code, str(code))}\n".encode()
        stderr = Kept(head=reason, tail=b"", length_bytes=len(reason))
    outcome = RunOutcome(
        ending=ending,
        exit_code=exit_code,
        signal=signal,
        limit_expired=limit,
        cpu_time_ns=cpu_ns,
        wall_time_ns=wall_ns,
        memory_peak_bytes=peak_bytes,
        stdout=stdout,
        stdout_length_bytes=stdout_length,
        stderr=stderr,
        stopped_processes=stopped,
        runnable_wait_ns=wait_ns,
        refused_calls=0,
    )
    return RunReported(sequence=expected.sequence, outcome=outcome, left_inodes=left_inodes)


def _ending_numbers(ending: Ending, code: int) -> tuple[int | None, int | None]:
    """Exit code and signal of an ending."""
    match ending:
        case Ending.EXITED:
            if not 0 <= code <= 255:
                raise RemoteProtocolError(f"expected an exit code of 0 to 255, got {code}")
            return code, None
        case Ending.SIGNALED:
            if not 0 < code < 128:
                raise RemoteProtocolError(f"expected a signal of 1 to 127, got {code}")
            return None, code
        case Ending.STOPPED_BY_LIMIT | Ending.NOT_STARTED | Ending.SANDBOX_LOST:
            return None, None
        case _:
            assert_never(ending)

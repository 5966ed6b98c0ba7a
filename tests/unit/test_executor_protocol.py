"""The host's side of the runner protocol: the table of what may be said when, and answers that must not be believed."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.core.ports import Ending, Phase, RunLimits, RunRequest
from services.executor.core.protocol import (
    ANSWER_BYTES_MAX,
    CONTROLS,
    MAGIC,
    Conversation,
    Done,
    Faulted,
    FaultStage,
    FrameKind,
    Hello,
    LocalProtocolError,
    RemoteProtocolError,
    RunReported,
    State,
)

LIMITS = RunLimits(
    cpu_time_limit_ns=10**9,
    wall_time_limit_ns=2 * 10**9,
    memory_limit_bytes=1 << 28,
    output_limit_bytes=100,
    error_kept_bytes=16,
    process_limit=8,
)


def request(phase: Phase = Phase.TEST, **changes: object) -> RunRequest:
    made = RunRequest(phase=phase, argv=("/box/program", "-x"), environment=(("A", "b"),), limits=LIMITS, stdin=None)
    return replace(made, **changes)


def frame(kind: int, sequence: int, body: bytes = b"", *, magic: int = MAGIC, version: int = 1, fds: int = 0) -> bytes:
    return struct.pack("<IBBHII", magic, version, kind, fds, sequence, len(body)) + body


HELLO = frame(FrameKind.HELLO, 0, struct.pack("<IIQQQ", 1, 1, 4095, 1023, 1023))


def report(
    sequence: int,
    *,
    ending: int = 1,
    limit: int = 0,
    code: int = 0,
    stdout: bytes = b"",
    stdout_length: int | None = None,
    head: bytes = b"",
    tail: bytes = b"",
    stderr_length: int | None = None,
    reserved: int = 0,
) -> bytes:
    length = len(stdout) if stdout_length is None else stdout_length
    told = len(head) + len(tail) if stderr_length is None else stderr_length
    fixed = struct.pack(
        "<BBHiIIQQQQQQIIII",
        *(ending, limit, 0, code, 3, 2, 111, 222, 333, 44, length, told, len(stdout), len(head), len(tail), reserved),
    )
    return frame(FrameKind.REPORT, sequence, fixed + stdout + head + tail)


def started() -> Conversation:
    conversation = Conversation()
    (hello,) = conversation.receive(HELLO)
    assert hello == Hello(
        memory_locked=True, artifact_inodes_free=4095, work_inodes_free=1023, temporary_inodes_free=1023
    )
    return conversation


def opened() -> Conversation:
    conversation = started()
    conversation.configure(controls=range(len(CONTROLS)), compile_uid=10_000, test_uid=10_001)
    assert conversation.receive(frame(FrameKind.DONE, 1)) == [Done(sequence=1)]
    return conversation


def sealed() -> Conversation:
    conversation = opened()
    conversation.seal()
    assert conversation.receive(frame(FrameKind.DONE, 2)) == [Done(sequence=2)]
    return conversation


STEPS = {
    "configure": lambda it: it.configure(controls=range(8), compile_uid=1, test_uid=2),
    "place": lambda it: it.place(name="a.c", size_bytes=1, executable=False, descriptor=5),
    "compile": lambda it: it.run(request(Phase.COMPILE), stdin=None),
    "seal": lambda it: it.seal(),
    "test": lambda it: it.run(request(), stdin=None),
}
ALLOWED = {
    State.AWAITING_HELLO: set(),
    State.STARTED: {"configure"},
    State.OPEN: {"place", "compile", "seal"},
    State.COMPILED: {"compile", "seal"},
    State.SEALED: {"test"},
    State.ENDED: set(),
}


def in_state(state: State) -> Conversation:
    match state:
        case State.AWAITING_HELLO:
            return Conversation()
        case State.STARTED:
            return started()
        case State.OPEN:
            return opened()
        case State.COMPILED:
            conversation = opened()
            conversation.run(request(Phase.COMPILE), stdin=None)
            return conversation
        case State.SEALED:
            return sealed()
        case State.ENDED:
            conversation = started()
            conversation.end_of_stream()
            return conversation


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("step", STEPS)
def test_each_state_allows_its_steps_and_no_other(state: State, step: str) -> None:
    conversation = in_state(state)
    assert conversation.state is state
    if step in ALLOWED[state]:
        STEPS[step](conversation)
    else:
        with pytest.raises(LocalProtocolError):
            STEPS[step](conversation)
        assert conversation.state is state


def test_run_is_told_whole() -> None:
    conversation = sealed()
    made = conversation.run(request(), stdin=9)
    assert made.descriptors == (9,)
    magic, version, kind, descriptors, sequence, length = struct.unpack_from("<IBBHII", made.content)
    assert (magic, version, kind, descriptors, sequence) == (MAGIC, 1, FrameKind.RUN, 1, 3)
    body = made.content[16:]
    assert len(body) == length
    assert struct.unpack_from("<B3xIQQQQIHH", body) == (2, 8, 10**9, 2 * 10**9, 1 << 28, 100, 16, 2, 1)
    assert body[48:] == b"/box/program\0-x\0A=b\0"


def test_outcome_tells_what_the_runner_saw() -> None:
    conversation = sealed()
    conversation.run(request(), stdin=None)
    (event,) = conversation.receive(report(3, ending=2, code=11, stdout=b"out", head=b"err"))
    assert isinstance(event, RunReported)
    outcome = event.outcome
    assert (outcome.ending, outcome.exit_code, outcome.signal) == (Ending.SIGNALED, None, 11)
    assert (outcome.cpu_time_ns, outcome.wall_time_ns, outcome.memory_peak_bytes) == (111, 222, 333)
    assert (outcome.stdout, outcome.stdout_length_bytes, outcome.stderr.head) == (b"out", 3, b"err")
    assert (outcome.stopped_processes, event.left_inodes, outcome.runnable_wait_ns) == (3, 2, 44)


def test_output_that_came_before_the_report_stands_before_its_rest() -> None:
    conversation = sealed()
    conversation.run(request(), stdin=None)
    stream = frame(FrameKind.OUTPUT, 3, b"a" * 60) + report(3, stdout=b"b" * 10, stdout_length=70)
    (event,) = conversation.receive(stream)
    assert isinstance(event, RunReported)
    assert event.outcome.stdout == b"a" * 60 + b"b" * 10


def test_two_runs_are_on_their_way_and_a_third_is_refused() -> None:
    conversation = sealed()
    conversation.run(request(), stdin=None)
    conversation.run(request(), stdin=None)
    with pytest.raises(LocalProtocolError, match="at most 2"):
        conversation.run(request(), stdin=None)
    first, second = conversation.receive(report(3, stdout=b"1") + report(4, stdout=b"2"))
    assert isinstance(first, RunReported)
    assert isinstance(second, RunReported)
    assert (first.outcome.stdout, second.outcome.stdout) == (b"1", b"2")
    assert conversation.runs_outstanding == 0


def test_program_that_cannot_be_executed_says_why() -> None:
    conversation = sealed()
    conversation.run(request(), stdin=None)
    (event,) = conversation.receive(report(3, ending=4, code=2))
    assert isinstance(event, RunReported)
    assert event.outcome.ending is Ending.NOT_STARTED
    assert event.outcome.stderr.head == b"/box/program: could not be executed: ENOENT\n"


def test_fault_ends_the_conversation() -> None:
    conversation = sealed()
    (event,) = conversation.receive(frame(FrameKind.FAULT, 2, struct.pack("<Ii", 7, 12) + b"it is left"))
    assert event == Faulted(stage=FaultStage.SWEEP, error=12, message="it is left")
    assert str(event) == "the runner failed at sweep: it is left (ENOMEM)"
    assert conversation.state is State.ENDED


UNBELIEVABLE = {
    "magic": frame(FrameKind.DONE, 3, magic=1),
    "version": frame(FrameKind.DONE, 3, version=2),
    "descriptors": frame(FrameKind.DONE, 3, fds=1),
    "too long": struct.pack("<IBBHII", MAGIC, 1, FrameKind.OUTPUT, 0, 3, ANSWER_BYTES_MAX + 1),
    "kind": frame(77, 3),
    "a host's kind": frame(FrameKind.RUN, 3),
    "other sequence": report(4),
    "done for a run": frame(FrameKind.DONE, 3),
    "hello again": HELLO,
    "short report": frame(FrameKind.REPORT, 3, b"\1" * 79),
    "ending": report(3, ending=9),
    "limit": report(3, limit=9),
    "reserved": report(3, reserved=1),
    "report longer than its parts": frame(FrameKind.REPORT, 3, report(3)[16:] + b"x"),
    "stopped by no limit": report(3, ending=3, limit=0),
    "exit code": report(3, code=256),
    "signal": report(3, ending=2, code=0),
    "more output than allowed": report(3, stdout=b"x" * 101),
    "less output than told": report(3, stdout=b"x", stdout_length=2),
    "output limit without excess": report(3, ending=3, limit=4, stdout=b"x"),
    "more kept than asked": report(3, head=b"x" * 9, tail=b"y" * 9),
    "less kept than there was": report(3, head=b"x", stderr_length=9),
    "unknown fault": frame(FrameKind.FAULT, 3, struct.pack("<Ii", 99, 0)),
    "short fault": frame(FrameKind.FAULT, 3, b"\1"),
}


@pytest.mark.parametrize("stream", UNBELIEVABLE.values(), ids=UNBELIEVABLE.keys())
def test_answer_that_cannot_be_believed_ends_the_conversation(stream: bytes) -> None:
    conversation = sealed()
    conversation.run(request(), stdin=None)
    with pytest.raises(RemoteProtocolError):
        conversation.receive(stream)
    assert conversation.state is State.ENDED
    with pytest.raises(RemoteProtocolError):
        conversation.receive(report(3))


def test_end_inside_a_frame_is_told() -> None:
    conversation = sealed()
    assert conversation.receive(report(3)[:20]) == []
    with pytest.raises(RemoteProtocolError, match="whole frames"):
        conversation.end_of_stream()


BAD_RUNS = {
    "no argv": {"argv": ()},
    "relative": {"argv": ("program",)},
    "zero byte": {"argv": ("/x", "a\0b")},
    "too many": {"argv": ("/x",) * 1025},
    "no time": {"limits": replace(LIMITS, cpu_time_limit_ns=0)},
    "negative": {"limits": replace(LIMITS, wall_time_limit_ns=-1)},
    "beyond": {"limits": replace(LIMITS, memory_limit_bytes=1 << 63)},
    "no process": {"limits": replace(LIMITS, process_limit=0)},
    "negative output": {"limits": replace(LIMITS, output_limit_bytes=-1)},
    "keeps too much": {"limits": replace(LIMITS, error_kept_bytes=1 << 20)},
    "frame too long": {"argv": ("/x", "y" * 70_000)},
}


@pytest.mark.parametrize("changes", BAD_RUNS.values(), ids=BAD_RUNS.keys())
def test_run_outside_the_bounds_is_our_bug(changes: dict[str, object]) -> None:
    with pytest.raises(LocalProtocolError):
        sealed().run(request(**changes), stdin=None)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a\0", "x" * 256])
def test_only_flat_names_are_placed(name: str) -> None:
    with pytest.raises(LocalProtocolError):
        opened().place(name=name, size_bytes=1, executable=False, descriptor=3)


@pytest.mark.parametrize(("compile_uid", "test_uid"), [(0, 1), (1, 0), (5, 5), (65534, 1), (1, 70_000)])
def test_users_are_two_and_none_is_root(compile_uid: int, test_uid: int) -> None:
    with pytest.raises(LocalProtocolError):
        started().configure(controls=range(8), compile_uid=compile_uid, test_uid=test_uid)


@given(cuts=st.lists(st.integers(min_value=1, max_value=64), max_size=64))
def test_stream_means_the_same_however_it_is_cut(cuts: list[int]) -> None:
    conversation = sealed()
    conversation.run(request(), stdin=None)
    conversation.run(request(), stdin=None)
    stream = frame(FrameKind.OUTPUT, 3, b"ab") + report(3, stdout=b"c", stdout_length=3) + report(4, head=b"e")
    events, at = [], 0
    for cut in [*cuts, len(stream)]:
        events += conversation.receive(stream[at : at + cut])
        at += cut
    assert [(event.sequence, event.outcome.stdout) for event in events] == [(3, b"abc"), (4, b"")]


@given(junk=st.binary(max_size=300))
def test_junk_is_an_error_or_nothing_yet(junk: bytes) -> None:
    conversation = sealed()
    conversation.run(request(), stdin=None)
    try:
        events = conversation.receive(junk)
    except RemoteProtocolError:
        return
    assert events == []

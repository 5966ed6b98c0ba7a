"""What every isolation backend must do, as one suite: a backend's test module subclasses `IsolationSuite`.

The programs are C, compiled in the sandbox itself through the port. A backend brings the fixtures `isolation`
(`ports.Isolation`) and `image` (digest of an image with gcc), and `count_processes(sandbox)`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import ClassVar

import pytest

from services.executor.adapters import inputs
from services.executor.core.faults import JudgeFault
from services.executor.core.ports import (
    Ending,
    FolderLimits,
    Isolation,
    Limit,
    Phase,
    RunLimits,
    RunOutcome,
    RunRequest,
    Sandbox,
    SealedInput,
    SourceFile,
)
from services.executor.core.protocol import LocalProtocolError

MIB = 1024 * 1024
COMPILING = RunLimits(
    cpu_time_limit_ns=20 * 10**9,
    wall_time_limit_ns=60 * 10**9,
    memory_limit_bytes=512 * MIB,
    output_limit_bytes=64 * 1024,
    error_kept_bytes=16 * 1024,
    process_limit=32,
)
TESTING = RunLimits(
    cpu_time_limit_ns=10**9,
    wall_time_limit_ns=5 * 10**9,
    memory_limit_bytes=64 * MIB,
    output_limit_bytes=64 * 1024,
    error_kept_bytes=64,
    process_limit=32,
)
FOLDERS = FolderLimits(artifact_bytes=32 * MIB, artifact_inodes=1024, work_bytes=16 * MIB, work_inodes=1024)
HEADERS = "".join(
    f"#include <{name}>\n"
    for name in (
        "errno.h",
        "fcntl.h",
        "pthread.h",
        "signal.h",
        "stdio.h",
        "stdlib.h",
        "string.h",
        "sys/mman.h",
        "sys/resource.h",
        "sys/socket.h",
        "sys/stat.h",
        "sys/syscall.h",
        "sys/wait.h",
        "unistd.h",
    )
)


def main(body: str) -> bytes:
    """A C program around the statements of its main function; `n` is argc, `w` are the words."""
    return f"#define _GNU_SOURCE\n{HEADERS}int main(int n, char **w) {{ (void)n; (void)w; {body} return 0; }}".encode()


class Bench:
    """A sandbox at work: compiles programs and runs them."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    def compile_request(self, *argv: str, **limits: int) -> RunRequest:
        return RunRequest(
            phase=Phase.COMPILE,
            argv=argv,
            environment=(("PATH", "/usr/bin:/bin"),),
            limits=replace(COMPILING, **limits),
            stdin=None,
        )

    def test_request(self, *argv: str, stdin: SealedInput | None = None, **limits: int) -> RunRequest:
        return RunRequest(
            phase=Phase.TEST,
            argv=argv or ("/box/program",),
            environment=(("LANG", "C.UTF-8"),),
            limits=replace(TESTING, **limits),
            stdin=stdin,
        )

    async def build(self, **programs: bytes) -> None:
        """Places, compiles and seals: `program=main("…")` becomes /box/program."""
        await self.sandbox.place([SourceFile(name=f"{name}.c", content=code) for name, code in programs.items()])
        for name in programs:
            outcome = await self.sandbox.run(
                self.compile_request("/usr/bin/gcc", "-O0", "-w", "-o", f"/box/{name}", f"/box/{name}.c", "-lpthread")
            )
            assert (outcome.ending, outcome.exit_code) == (Ending.EXITED, 0), outcome.stderr.head.decode()
        await self.sandbox.seal()

    async def run(self, *argv: str, stdin: SealedInput | None = None, **limits: int) -> RunOutcome:
        return await self.sandbox.run(self.test_request(*argv, stdin=stdin, **limits))


def exited(outcome: RunOutcome, code: int = 0) -> bool:
    return (outcome.ending, outcome.exit_code, outcome.limit_expired) == (Ending.EXITED, code, Limit.NONE)


class IsolationSuite:
    """Subclass it as `Test…` and give it the fixtures of its backend."""

    late_ns: ClassVar[int] = 250_000_000
    """How long after a limit the end may come on a busy machine. What was measured on a quiet one is in bench/."""

    def count_processes(self, sandbox: Sandbox) -> int:
        """All processes in a sandbox, the runner included, seen from outside."""
        raise NotImplementedError

    @pytest.fixture
    async def bench(self, isolation: Isolation, image: str) -> AsyncIterator[Bench]:
        sandbox = await self.make(isolation, image)
        yield Bench(sandbox)
        await sandbox.destroy()

    async def make(self, isolation: Isolation, image: str) -> Sandbox:
        return await isolation.create(
            image_digest=image, cpu=None, memory_limit_bytes=512 * MIB, process_limit=64, folders=FOLDERS
        )

    def assert_empty(self, bench: Bench) -> None:
        assert self.count_processes(bench.sandbox) == 1

    # --- what honest programs see ---

    async def test_input_reaches_the_program_and_output_comes_back(self, bench: Bench) -> None:
        await bench.build(program=main('long a, b; while (scanf("%ld %ld", &a, &b) == 2) printf("%ld\\n", a + b);'))
        for text, expected in ((b"1 2\n3 4\n", b"3\n7\n"), (b"", b""), (b"5 5", b"10\n")):
            sealed = inputs.seal(text)
            outcome = await bench.run(stdin=sealed)
            assert exited(outcome)
            assert outcome.stdout == expected
        assert 0 < outcome.cpu_time_ns < 10**9
        assert outcome.wall_time_ns > 0

    async def test_one_input_serves_many_runs_each_from_its_start(self, bench: Bench) -> None:
        await bench.build(program=main("char b[8]; write(1, b, read(0, b, 3));"))
        sealed = inputs.seal(b"abcdef")
        outcomes = [await bench.run(stdin=sealed) for _ in range(3)]
        assert [each.stdout for each in outcomes] == [b"abc"] * 3

    async def test_two_runs_are_pipelined_and_keep_their_order(self, bench: Bench) -> None:
        await bench.build(program=main('printf("%s", w[1]); usleep(20000);'))
        first = bench.sandbox.run(bench.test_request("/box/program", "one"))
        second = bench.sandbox.run(bench.test_request("/box/program", "two"))
        assert (await first).stdout == b"one"
        assert (await second).stdout == b"two"

    async def test_large_output_comes_whole(self, bench: Bench) -> None:
        await bench.build(program=main("for (int i = 0; i < 400000; i++) putchar('a' + i % 26);"))
        outcome = await bench.run(output_limit_bytes=400_000)
        assert exited(outcome)
        assert outcome.stdout == bytes(ord("a") + i % 26 for i in range(400_000))

    async def test_exit_codes_and_signals_are_the_programs_own(self, bench: Bench) -> None:
        await bench.build(program=main("if (n > 1) return atoi(w[1]); *(volatile int *)0 = 1;"))
        for code in (0, 1, 3, 126, 127, 255):
            assert exited(await bench.run("/box/program", str(code)), code)
        outcome = await bench.run()
        assert (outcome.ending, outcome.signal) == (Ending.SIGNALED, 11)

    async def test_environment_is_what_was_asked_for_and_nothing_else(self, bench: Bench) -> None:
        await bench.build(program=main('extern char **environ; for (char **e = environ; *e; e++) printf("%s|", *e);'))
        assert (await bench.run()).stdout == b"LANG=C.UTF-8|"

    async def test_folders_are_as_told(self, bench: Bench) -> None:
        await bench.build(
            program=main('char b[99]; puts(getcwd(b, 99)); printf("%d", open("f", O_CREAT|O_RDWR, 0600));')
        )
        assert (await bench.run()).stdout == b"/work\n3"

    async def test_standard_error_keeps_head_and_tail(self, bench: Bench) -> None:
        await bench.build(program=main('for (int i = 0; i < 10000; i++) fprintf(stderr, "%05d\\n", i);'))
        outcome = await bench.run(error_kept_bytes=24)
        assert outcome.stderr.length_bytes == 60_000
        assert (outcome.stderr.head, outcome.stderr.tail) == (b"00000\n00001\n", b"09998\n09999\n")
        assert outcome.stderr.head + (await bench.run(error_kept_bytes=60_000)).stderr.tail[-12:] != b""

    async def test_memory_is_told(self, bench: Bench) -> None:
        await bench.build(program=main("char *p = malloc(20 << 20); memset(p, 1, 20 << 20); return p[5] - 1;"))
        outcome = await bench.run()
        assert exited(outcome)
        assert 19 * MIB <= outcome.memory_peak_bytes < 22 * MIB

    async def test_memory_of_one_run_is_not_told_of_the_next(self, bench: Bench) -> None:
        await bench.build(
            hungry=main("char *p = malloc(40 << 20); memset(p, 1, 40 << 20); return p[5] - 1;"), program=main("")
        )
        assert (await bench.run("/box/hungry")).memory_peak_bytes > 39 * MIB
        assert (await bench.run()).memory_peak_bytes < 4 * MIB

    async def test_program_that_is_none_was_not_started(self, bench: Bench) -> None:
        await bench.sandbox.place([SourceFile(name="program", content=b"\0\1\2", executable=True)])
        await bench.sandbox.seal()
        for argv in (("/box/program",), ("/box/missing",), ("/box",)):
            outcome = await bench.run(*argv)
            assert outcome.ending is Ending.NOT_STARTED
            assert argv[0].encode() in outcome.stderr.head
        self.assert_empty(bench)

    # --- the order of things ---

    async def test_test_runs_need_the_seal_and_compile_runs_end_with_it(self, isolation: Isolation, image: str) -> None:
        bench = Bench(await self.make(isolation, image))
        with pytest.raises(LocalProtocolError):
            bench.sandbox.run(bench.test_request("/bin/true"))
        await bench.sandbox.seal()
        with pytest.raises(LocalProtocolError):
            bench.sandbox.run(bench.compile_request("/bin/true"))
        assert exited(await bench.run("/bin/true"))
        await bench.sandbox.destroy()

    async def test_limits_beyond_the_sandbox_are_refused(self, bench: Bench) -> None:
        await bench.sandbox.seal()
        for limits in ({"memory_limit_bytes": 1024 * MIB}, {"process_limit": 65}):
            with pytest.raises(JudgeFault, match="at most the sandbox's"):
                await bench.run("/bin/true", **limits)
        assert exited(await bench.run("/bin/true"))

    async def test_destroyed_sandbox_answers_nothing_more(self, isolation: Isolation, image: str) -> None:
        bench = Bench(await self.make(isolation, image))
        await bench.sandbox.seal()
        running = bench.sandbox.run(bench.test_request("/bin/sleep", "60", wall_time_limit_ns=50 * 10**9))
        await bench.sandbox.destroy()
        await bench.sandbox.destroy()
        with pytest.raises(JudgeFault):
            await running
        with pytest.raises(JudgeFault):
            await bench.run("/bin/true")

    async def test_image_that_does_not_exist_is_our_fault(self, isolation: Isolation) -> None:
        with pytest.raises(JudgeFault) as caught:
            await self.make(isolation, "sha256:" + "0" * 64)
        assert caught.value.stage == "sandbox_create"

    async def test_cancelled_creation_leaves_nothing(self, isolation: Isolation, image: str) -> None:
        creating = asyncio.ensure_future(self.make(isolation, image))
        await asyncio.sleep(0)
        creating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await creating

    # --- clocks ---

    async def test_busy_loop_is_stopped_by_its_cpu_clock(self, bench: Bench) -> None:
        await bench.build(program=main("for (int i = 1; i < 65; i++) signal(i, SIG_IGN); for (;;);"))
        outcome = await bench.run(cpu_time_limit_ns=100_000_000)
        assert (outcome.ending, outcome.limit_expired) == (Ending.STOPPED_BY_LIMIT, Limit.CPU_TIME)
        assert 100_000_000 <= outcome.cpu_time_ns < 100_000_000 + self.late_ns
        self.assert_empty(bench)

    @pytest.mark.parametrize("how", ["pause();", "raise(SIGSTOP);", "kill(getppid(), SIGSTOP); pause();"])
    async def test_idle_program_is_stopped_by_its_wall_clock(self, bench: Bench, how: str) -> None:
        await bench.build(program=main(how))
        outcome = await bench.run(wall_time_limit_ns=100_000_000)
        assert (outcome.ending, outcome.limit_expired) == (Ending.STOPPED_BY_LIMIT, Limit.WALL_TIME)
        assert 100_000_000 <= outcome.wall_time_ns < 100_000_000 + self.late_ns
        self.assert_empty(bench)

    async def test_grandchild_that_nobody_waits_for_is_on_the_bill(self, bench: Bench) -> None:
        await bench.build(program=main("signal(SIGCHLD, SIG_IGN); if (!fork()) for (;;); pause();"))
        outcome = await bench.run(cpu_time_limit_ns=100_000_000)
        assert outcome.limit_expired is Limit.CPU_TIME

    async def test_work_of_children_that_ended_is_on_the_bill(self, bench: Bench) -> None:
        await bench.build(
            program=main(
                "signal(SIGCHLD, SIG_IGN); if (!fork()) { for (volatile long i = 0; i < 600000000; i++); _exit(0); }"
                "wait(NULL); struct rusage r; getrusage(RUSAGE_CHILDREN, &r);"
                'printf("%ld", r.ru_utime.tv_sec * 1000000 + r.ru_utime.tv_usec);'
            )
        )
        outcome = await bench.run()
        assert outcome.stdout == b"0", "the program hid nothing: this test shows nothing"
        assert outcome.cpu_time_ns > 50_000_000

    # --- amounts ---

    @pytest.mark.parametrize(
        "how",
        [
            "for (;;) { char *p = malloc(1 << 20); if (p) memset(p, 1, 1 << 20); }",
            (
                "for (;;) { char *p = mmap(0, 1 << 20, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0); if (p != MAP_FAILED)"
                " memset(p, 1, 1 << 20); }"
            ),
            'for (;;) { int f = memfd_create("x", 0); static char b[1 << 20]; write(f, b, 1 << 20); }',
            (
                "for (int i = 0; i < 20; i++) if (!fork()) { char *p = malloc(8 << 20); memset(p, 1, 8 << 20); pause(); }"
                " pause();"
            ),
            "long down(long k) { volatile char a[4096]; a[k % 4096] = 1; return down(k + 1) + a[0]; } down(0);",
        ],
        ids=["heap", "shared", "memory files", "many processes", "stack"],
    )
    async def test_too_much_memory_is_told_as_memory(self, bench: Bench, how: str) -> None:
        await bench.build(program=main(how))
        for _ in range(3):
            outcome = await bench.run(wall_time_limit_ns=20 * 10**9, cpu_time_limit_ns=10**9)
            assert outcome.limit_expired is Limit.MEMORY
            assert 62 * MIB <= outcome.memory_peak_bytes <= 66 * MIB
            self.assert_empty(bench)
        assert exited(await bench.run("/bin/true"))

    async def test_tiny_processes_with_memory_files_do_not_take_the_runner(self, bench: Bench) -> None:
        await bench.build(
            program=main(
                'static char b[1 << 16]; for (;;) { fork(); int f = memfd_create("x", 0); write(f, b, sizeof b);'
                " int s[2]; socketpair(AF_UNIX, SOCK_STREAM, 0, s); fcntl(s[0], F_SETFL, O_NONBLOCK);"
                " while (write(s[0], b, 4096) > 0); }"
            )
        )
        for _ in range(3):
            outcome = await bench.run(
                cpu_time_limit_ns=10 * 10**9, wall_time_limit_ns=20 * 10**9, memory_limit_bytes=32 * MIB
            )
            assert outcome.limit_expired is Limit.MEMORY
            if outcome.ending is Ending.SANDBOX_LOST:
                return
            self.assert_empty(bench)

    async def test_refused_memory_is_not_used_memory(self, bench: Bench) -> None:
        await bench.build(program=main("char *p = malloc(1ul << 46); return p ? 9 : 0;"))
        assert exited(await bench.run())

    @pytest.mark.parametrize("stream", [1, 2])
    async def test_flood_ends_at_its_limit(self, bench: Bench, stream: int) -> None:
        await bench.build(program=main("static char b[65536]; for (;;) write(atoi(w[1]), b, sizeof b);"))
        outcome = await bench.run("/box/program", str(stream), cpu_time_limit_ns=200_000_000)
        if stream == 1:
            assert outcome.limit_expired is Limit.OUTPUT
            assert len(outcome.stdout) == TESTING.output_limit_bytes
            assert outcome.stdout_length_bytes > TESTING.output_limit_bytes
        else:
            assert outcome.limit_expired in {Limit.CPU_TIME, Limit.WALL_TIME}
            assert len(outcome.stderr.head) + len(outcome.stderr.tail) == TESTING.error_kept_bytes
            assert outcome.stderr.length_bytes > 1 << 20

    async def test_output_at_the_limit_is_within_it(self, bench: Bench) -> None:
        await bench.build(program=main("for (int i = 0; i < atoi(w[1]); i++) putchar('x');"))
        assert exited(await bench.run("/box/program", "1000", output_limit_bytes=1000))
        outcome = await bench.run("/box/program", "1001", output_limit_bytes=1000)
        assert (outcome.limit_expired, len(outcome.stdout), outcome.stdout_length_bytes) == (Limit.OUTPUT, 1000, 1001)

    @pytest.mark.parametrize(
        "how",
        [
            "for (;;) fork();",
            "for (;;) { if (!fork()) { setsid(); if (fork()) _exit(0); } }",
            "void *f(void *a) { for (;;); } for (;;) { pthread_t t; pthread_create(&t, 0, f, 0); }",
            "for (;;) if (!vfork()) execv(w[0], w);",
        ],
        ids=["forks", "sessions", "threads", "executions"],
    )
    async def test_bomb_is_stopped_whole(self, bench: Bench, how: str) -> None:
        await bench.build(program=main(how))
        for _ in range(3):
            outcome = await bench.run(cpu_time_limit_ns=150_000_000, wall_time_limit_ns=2 * 10**9)
            assert outcome.ending is Ending.STOPPED_BY_LIMIT
            assert outcome.limit_expired in {Limit.CPU_TIME, Limit.WALL_TIME, Limit.MEMORY}
            assert outcome.stopped_processes < TESTING.process_limit
            self.assert_empty(bench)
        assert exited(await bench.run("/bin/true"))

    async def test_processes_are_counted_with_the_first(self, bench: Bench) -> None:
        await bench.build(
            program=main(
                'int k = 0; while (k < 99) { int c = fork(); if (c < 0) break; if (!c) pause(); k++; }printf("%d", k);'
            )
        )
        outcome = await bench.run(process_limit=7)
        assert outcome.stdout == b"6"
        assert outcome.stopped_processes == 6
        assert (await bench.run(process_limit=20)).stdout == b"19"

    async def test_orphans_that_end_make_room(self, bench: Bench) -> None:
        await bench.build(
            program=main(
                "int bad = 0; for (int i = 0; i < 200; i++) { int c = fork(); if (c < 0) { bad++; usleep(1000); continue; }"
                ' if (!c) { if (!fork()) _exit(0); _exit(0); } waitpid(c, 0, 0); } printf("%d", bad > 100);'
            )
        )
        outcome = await bench.run(process_limit=8)
        assert exited(outcome)
        assert outcome.stdout == b"0"

    async def test_inode_bomb_and_big_file_end_in_the_folders(self, bench: Bench) -> None:
        await bench.build(
            program=main(
                'chdir(w[1]); int k = 0; char b[32]; for (;; k++) { sprintf(b, "%d", k);'
                " if (open(b, O_CREAT | O_WRONLY, 0) < 0 && errno != EMFILE) break; if (k % 100 == 99) closefrom(3); }"
                ' printf("%d %d", k < 2000, errno);'
            ),
            big=main(
                "static char b[1 << 16]; int f = open(w[1], O_CREAT | O_WRONLY, 0600); long k = 0; ssize_t r;"
                ' while ((r = write(f, b, sizeof b)) > 0) k += r; printf("%d %d", k <= 16 << 20, errno);'
            ),
        )
        for folder in ("/work", "/tmp"):
            assert (await bench.run("/box/program", folder)).stdout == b"1 28"
            assert (await bench.run("/box/big", f"{folder}/f")).stdout == b"1 28"
        assert exited(await bench.run("/bin/true"))

    # --- nothing stays ---

    async def test_what_a_run_leaves_is_gone_before_the_next(self, bench: Bench) -> None:
        await bench.build(
            leaves=main(
                'for (int i = 0; i < 300; i++) { char b[32]; sprintf(b, "d%d", i); mkdir(b, 0700); if (i % 3 == 0) chdir(b); }'
                ' mkfifo("/tmp/fifo", 0666); symlink("/box", "/tmp/link"); symlink("/", "/work/root");'
                ' link("/tmp/fifo", "/tmp/hard"); mkdir("/tmp/closed", 0700); mkdir("/tmp/closed/in", 0);'
                ' chmod("/tmp/closed", 0); chmod("/work/d0", 0);'
                " if (!fork()) { setsid(); if (!fork()) for (;;) sleep(1); }"
            ),
            program=main('return system("ls -A /work /tmp; ls -d /proc/[0-9]*") != 0;'),
        )
        left = await bench.run("/box/leaves")
        assert exited(left)
        assert left.stopped_processes >= 1
        self.assert_empty(bench)
        found = (await bench.run()).stdout.split()
        assert found[:2] == [b"/tmp:", b"/work:"]
        assert sum(1 for each in found[2:] if each.startswith(b"/proc/")) <= 4

    async def test_daemon_of_the_compiler_is_stopped(self, bench: Bench) -> None:
        outcome = await bench.sandbox.run(
            bench.compile_request("/bin/sh", "-c", "(setsid sleep 1000 &) ; echo made > /tmp/x; exit 0")
        )
        assert exited(outcome)
        self.assert_empty(bench)
        await bench.sandbox.seal()
        assert (await bench.run("/bin/ls", "-A", "/tmp", "/work")).stdout == b"/tmp:\n\n/work:\n"

    async def test_sealed_folder_takes_nothing(self, bench: Bench) -> None:
        await bench.sandbox.place(
            [
                SourceFile(
                    name="s.sh",
                    content=b"cd /box; umask 0; mkdir -m 777 d; echo x > d/f;"
                    b"chmod 777 d/f; mkfifo -m 666 p; ln -s /work/t l; ln d/f h;"
                    b"echo y > z; chmod 0 z; mkdir -m 0 c; i=0; cd d;"
                    b"while [ $i -lt 60 ]; do mkdir -m 777 e; cd e; i=$((i+1)); done",
                )
            ]
        )
        assert exited(await bench.sandbox.run(bench.compile_request("/bin/sh", "/box/s.sh")))
        await bench.sandbox.seal()
        tried = await bench.run(
            "/bin/sh",
            "-c",
            "cd /box; for p in n d/n d/f h z c/n p s.sh d/e/e/n; do"
            " (echo bad > $p) 2>/dev/null && echo wrote $p; done;"
            " cat d/f z; test -e p && echo fifo; rm -f d/f 2>/dev/null; mv d g 2>/dev/null; ls d | head -2;"
            " find /box -writable 2>/dev/null | grep -v '^/box/l$'",
        )
        assert tried.stdout == b"x\ny\ne\nf\n"

    async def test_link_to_the_runners_folder_misleads_nobody(self, bench: Bench) -> None:
        await bench.sandbox.run(
            bench.compile_request("/bin/sh", "-c", "ln -s /etc/passwd /box/program; ln -s / /work/x; ln -s / /tmp/x")
        )
        await bench.sandbox.seal()
        assert (await bench.run()).ending is Ending.NOT_STARTED
        assert exited(await bench.run("/bin/true"))

    # --- nothing is to be had ---

    async def test_only_three_descriptors_are_open_and_none_leads_out(self, bench: Bench) -> None:
        await bench.build(
            program=main(
                'for (int f = 0; f < 1024; f++) { if (fcntl(f, F_GETFD) >= 0) printf("%d ", f); }'
                ' char b[64]; for (int f = 3; f < 1024; f++) { write(f, "ASZE\\1\\203forged", 12); }'
                ' int c = open("/proc/1/fd/30", O_RDWR); int m = open("/proc/1/mem", O_RDWR);'
                ' printf("%d %d", c, m); kill(1, SIGKILL); kill(-1, 0);'
            )
        )
        outcome = await bench.run()
        assert exited(outcome)
        assert outcome.stdout == b"0 1 2 -1 -1"
        assert exited(await bench.run("/bin/true"))

    async def test_frames_in_the_output_are_output(self, bench: Bench) -> None:
        forged = "ASZE\\1\\203\\0\\0\\5\\0\\0\\0\\120\\0\\0\\0"
        await bench.build(
            program=main(f'fwrite("{forged}", 1, 16, stdout); fwrite("{forged}", 1, 16, stderr); return 42;')
        )
        outcome = await bench.run()
        assert exited(outcome, 42)
        assert outcome.stdout == outcome.stderr.head == b"ASZE\x01\x83\0\0\x05\0\0\0\x50\0\0\0"

    async def test_input_cannot_be_changed_or_marked(self, bench: Bench) -> None:
        await bench.build(
            program=main(
                'write(0, "x", 1); int f = open("/proc/self/fd/0", O_RDWR); ftruncate(0, 0);'
                " int l = syscall(SYS_flock, 0, 2); struct flock k = {.l_type = F_RDLCK}; int p = fcntl(0, F_SETLK, &k);"
                ' int u = futimens(0, 0); char b[9] = {0}; read(0, b, 8); printf("%s %d %d %d %d", b, f, l, p, u);'
            )
        )
        sealed = inputs.seal(b"secret")
        assert (await bench.run(stdin=sealed)).stdout == b"secret -1 -1 -1 -1"
        assert (await bench.run(stdin=sealed)).stdout == b"secret -1 -1 -1 -1"

    async def test_forbidden_calls_show_in_the_outcome(self, bench: Bench) -> None:
        await bench.build(program=main("syscall(atoi(w[1]), 0, 0, 0, 0); return 7;"))
        for number in (101, 165, 272, 321, 250):  # ptrace, mount, unshare, bpf, keyctl
            outcome = await bench.run("/box/program", str(number))
            assert (outcome.ending, outcome.signal) == (Ending.SIGNALED, 31)
        for number in (41, 425, 298, 323):  # socket, io_uring_setup, perf_event_open, userfaultfd
            assert exited(await bench.run("/box/program", str(number)), 7)

    async def test_sandboxes_do_not_share_their_users_limits(self, isolation: Isolation, image: str) -> None:
        benches: Sequence[Bench] = [Bench(await self.make(isolation, image)) for _ in range(2)]
        try:
            bomb, neighbour = benches
            await bomb.build(program=main("for (;;) fork();"))
            await neighbour.build(
                program=main(
                    "int k = 0; for (int i = 0; i < 20; i++) { int c = fork(); if (!c) _exit(0); if (c > 0) k++; }"
                    'printf("%d", k);'
                )
            )
            exploding = bomb.sandbox.run(bomb.test_request(cpu_time_limit_ns=10**9))
            assert (await neighbour.run(wall_time_limit_ns=30 * 10**9)).stdout == b"20"
            assert (await exploding).ending is Ending.STOPPED_BY_LIMIT
        finally:
            for each in benches:
                await each.sandbox.destroy()

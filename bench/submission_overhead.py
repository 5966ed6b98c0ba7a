"""A whole C++ submission of ten tests: the executor's own loop against the same compile and runs done bare.

    python -m bench.submission_overhead

Bare: a C program inside a sandbox that spawns the compiler, then the program ten times with its input from a file and
its output on a pipe, and compares. Ours: a claimed warm sandbox, from placing the source to the last comparison, as
`services.executor.adapters.judgement` does it: compile, seal, ten runs with two on their way. Both on the same pinned
CPU, in turns; the figures are medians of the rounds' ratios.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections import deque
from collections.abc import Awaitable

import uvloop

from bench.results import write_results
from bench.run_overhead import MEBIBYTE, engine
from deploy.images.recipe import compile_argv, load_recipes, run_argv
from services.executor.adapters import inputs
from services.executor.adapters.container import ContainerIsolation
from services.executor.core.ports import Phase, RunLimits, RunOutcome, RunRequest, Sandbox, SourceFile
from services.executor.core.validator import ValidatorFlags, validate

ROUNDS = 15
TESTS = 10
INPUT = b"20 22\n"
ANSWER = b"42\n"
SOURCE = b"#include <iostream>\nint main() { long a, b; std::cin >> a >> b; std::cout << a + b << std::endl; }\n"
LIMITS = RunLimits(
    cpu_time_limit_ns=40 * 10**9,
    wall_time_limit_ns=80 * 10**9,
    memory_limit_bytes=1024 * MEBIBYTE,
    output_limit_bytes=MEBIBYTE,
    error_kept_bytes=4096,
    process_limit=32,
)
BARE = b"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static int wait_for(pid_t child) {
    int status;
    return waitpid(child, &status, 0) != child || status != 0;
}

static int run_once(void) {
    char *arguments[] = {"/box/program", NULL}, buffer[64];
    int output[2], error[2];
    ssize_t length = 0, got;
    pid_t child;
    posix_spawn_file_actions_t actions;
    if (pipe2(output, O_CLOEXEC) || pipe2(error, O_CLOEXEC))
        return 1;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/box/input", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output[1], 1);
    posix_spawn_file_actions_adddup2(&actions, error[1], 2);
    if (posix_spawn(&child, arguments[0], &actions, NULL, arguments, environ))
        return 1;
    posix_spawn_file_actions_destroy(&actions);
    close(output[1]);
    close(error[1]);
    while ((got = read(output[0], buffer + length, sizeof buffer - length)) > 0)
        length += got;
    while (read(error[0], buffer + length, sizeof buffer - length) > 0)
        ;
    close(output[0]);
    close(error[0]);
    return wait_for(child) || length != 3 || memcmp(buffer, "42\\n", 3) != 0;
}

int main(int count, char **words) {
    pid_t child;
    double started = now_us(), compiled;
    (void)count;
    if (posix_spawn(&child, words[1], NULL, NULL, words + 1, environ) || wait_for(child))
        return 1;
    compiled = now_us();
    for (int i = 0; i < 10; i++)
        if (run_once())
            return 2;
    printf("%.1f %.1f\\n", compiled - started, now_us() - compiled);
    return 0;
}
"""


def main() -> int:
    with engine("cpp") as (docker_host, image):
        uvloop.run(_measure(docker_host, image))
    return 0


async def _measure(docker_host: str, image: str) -> None:
    isolation = ContainerIsolation(docker_host=docker_host, executor="bench-submissions")
    cpus = os.sched_getaffinity(0)
    cpu = max(cpus)
    os.sched_setaffinity(0, cpus - {cpu} or cpus)

    async def fresh() -> Sandbox:
        return await isolation.create(image_digest=image, cpu=cpu, memory_limit_bytes=2048 * MEBIBYTE, process_limit=64)

    bare_box = await fresh()
    rounds = []
    try:
        await _prepare_bare(bare_box)
        for _ in range(ROUNDS):
            ours_box = await fresh()
            rounds.append((await _bare(bare_box), await _ours(ours_box)))
            await ours_box.destroy()
    finally:
        await bare_box.destroy()
        await isolation.close()
    whole = [sum(ours) / sum(bare) for bare, ours in rounds[1:]]
    tests = [ours[1] / bare[1] for bare, ours in rounds[1:]]
    write_results(
        "submission_overhead",
        command="python -m bench.submission_overhead",
        figures={
            "bare_ms": round(statistics.median(sum(bare) for bare, _ in rounds[1:]), 1),
            "ours_ms": round(statistics.median(sum(ours) for _, ours in rounds[1:]), 1),
            "ratio_whole": round(statistics.median(whole), 3),
            "ratio_ten_tests": round(statistics.median(tests), 3),
            "rounds": len(whole),
        },
        limits={"ratio_whole": "<= 1.15"},
    )


async def _prepare_bare(sandbox: Sandbox) -> None:
    files = [("bare.c", BARE), ("main.cpp", SOURCE), ("input", INPUT)]
    await sandbox.place([SourceFile(name=name, content=content) for name, content in files])
    argv = ("/usr/bin/gcc", "-O2", "-o", "/box/bare", "/box/bare.c")
    outcome = await sandbox.run(_request(Phase.COMPILE, argv))
    assert outcome.exit_code == 0, outcome.stderr.head


async def _bare(sandbox: Sandbox) -> tuple[float, float]:
    """Milliseconds of compiling and of the ten runs."""
    outcome = await sandbox.run(_request(Phase.COMPILE, ("/box/bare", *_compile_argv())))
    assert outcome.exit_code == 0, outcome
    compiling, running = (float(word) / 1000 for word in outcome.stdout.split())
    return compiling, running


async def _ours(sandbox: Sandbox) -> tuple[float, float]:
    sealed = inputs.seal(INPUT)
    run = RunRequest(phase=Phase.TEST, argv=_run_argv(), environment=_ENVIRONMENT, limits=LIMITS, stdin=sealed)
    started = time.perf_counter()
    await sandbox.place([SourceFile(name="main.cpp", content=SOURCE)])
    outcome = await sandbox.run(_request(Phase.COMPILE, _compile_argv()))
    assert outcome.exit_code == 0, outcome.stderr.head
    await sandbox.seal()
    compiled = time.perf_counter()
    outstanding: deque[Awaitable[RunOutcome]] = deque([sandbox.run(run)])
    for number in range(TESTS):
        if number + 1 < TESTS:
            outstanding.append(sandbox.run(run))
        outcome = await outstanding.popleft()
        assert validate(outcome.stdout, ANSWER, ValidatorFlags()).accepted, outcome
    ended = time.perf_counter()
    os.close(sealed.descriptor)
    return (compiled - started) * 1000, (ended - compiled) * 1000


_ENVIRONMENT = (("PATH", "/usr/bin:/bin"),)


def _request(phase: Phase, argv: tuple[str, ...]) -> RunRequest:
    return RunRequest(phase=phase, argv=argv, environment=_ENVIRONMENT, limits=LIMITS, stdin=None)


def _compile_argv() -> tuple[str, ...]:
    return compile_argv(load_recipes()["cpp"], file_names=["main.cpp"], entry="main.cpp")


def _run_argv() -> tuple[str, ...]:
    return run_argv(load_recipes()["cpp"], entry="main.cpp", memory_limit_bytes=LIMITS.memory_limit_bytes)


if __name__ == "__main__":
    sys.exit(main())

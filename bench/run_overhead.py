"""What one run costs beyond the program: the executor's own loop against bare spawn+wait, in the same sandbox.

    python -m bench.run_overhead

The program is trivial and dynamically linked. Bare: a C program inside the sandbox that spawns it with its output and
errors on pipes, reads them to their end and waits. Ours: runs through the isolation port, two on their way, input from
a sealed memory file, everything included (limits, clocks, counters, sweep, proof of emptiness, report). Both run on
the same pinned CPU, in turns; the figure is the median of the rounds' ratios.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections import deque
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager

import uvloop

from bench.results import percentile, write_results
from deploy.images.load import read_images
from deploy.local.folders import StackSettings
from deploy.local.progress import Progress
from deploy.local.stack import down, up
from services.executor.adapters import inputs
from services.executor.adapters.container import ContainerIsolation
from services.executor.core.ports import Ending, Phase, RunLimits, RunOutcome, RunRequest, Sandbox, SourceFile

STATE = "/var/lib/assize/bench-runs"
ROUNDS = 40
RUNS_PER_ROUND = 100
MEBIBYTE = 1024 * 1024
LIMITS = RunLimits(
    cpu_time_limit_ns=20 * 10**9,
    wall_time_limit_ns=60 * 10**9,
    memory_limit_bytes=256 * MEBIBYTE,
    output_limit_bytes=MEBIBYTE,
    error_kept_bytes=4096,
    process_limit=32,
)
TRIVIAL = b"int main(void) { return 0; }\n"
BARE = b"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

int main(int count, char **words) {
    int rounds = atoi(words[1]);
    char *arguments[] = {"/box/trivial", NULL}, *environment[] = {NULL}, buffer[4096];
    (void)count;
    for (int i = 0; i < rounds; i++) {
        double started = now_us();
        int output[2], error[2], status;
        pid_t child;
        posix_spawn_file_actions_t actions;
        if (pipe2(output, O_CLOEXEC) || pipe2(error, O_CLOEXEC))
            return 1;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, output[1], 1);
        posix_spawn_file_actions_adddup2(&actions, error[1], 2);
        if (posix_spawn(&child, arguments[0], &actions, NULL, arguments, environment))
            return 1;
        posix_spawn_file_actions_destroy(&actions);
        close(output[1]);
        close(error[1]);
        while (read(output[0], buffer, sizeof buffer) > 0)
            ;
        while (read(error[0], buffer, sizeof buffer) > 0)
            ;
        if (waitpid(child, &status, 0) != child || status != 0)
            return 1;
        close(output[0]);
        close(error[0]);
        printf("%.1f\\n", now_us() - started);
    }
    return 0;
}
"""


def main() -> int:
    with engine("c") as (docker_host, image):
        uvloop.run(_measure(docker_host, image))
    return 0


async def _measure(docker_host: str, image: str) -> None:
    isolation = ContainerIsolation(docker_host=docker_host, executor="bench-runs")
    cpus = os.sched_getaffinity(0)
    cpu = max(cpus)
    # A slot's CPU is the sandbox's: the executor lives on the others, as its settings have it.
    os.sched_setaffinity(0, cpus - {cpu} or cpus)
    sandbox = await isolation.create(image_digest=image, cpu=cpu, memory_limit_bytes=512 * MEBIBYTE, process_limit=64)
    try:
        await _build(sandbox)
        await _ours(sandbox, RUNS_PER_ROUND)
        rounds = [(await _bare(sandbox, RUNS_PER_ROUND), await _ours(sandbox, RUNS_PER_ROUND)) for _ in range(ROUNDS)]
    finally:
        await sandbox.destroy()
        await isolation.close()
    bare = [each for round_bare, _ in rounds for each in round_bare]
    ours = [each for _, round_ours in rounds for each in round_ours]
    ratios = [statistics.median(ours_us) / statistics.median(bare_us) for bare_us, ours_us in rounds]
    write_results(
        "run_overhead",
        command="python -m bench.run_overhead",
        figures={
            "bare_p50_us": round(percentile(bare, 0.5), 1),
            "bare_p99_us": round(percentile(bare, 0.99), 1),
            "ours_p50_us": round(percentile(ours, 0.5), 1),
            "ours_p99_us": round(percentile(ours, 0.99), 1),
            "ratio_p50": round(statistics.median(ratios), 3),
            "runs": len(ours),
        },
        limits={"ratio_p50": "<= 1.5"},
    )


async def _build(sandbox: Sandbox) -> None:
    await sandbox.place([SourceFile(name="trivial.c", content=TRIVIAL), SourceFile(name="bare.c", content=BARE)])
    for name in ("trivial", "bare"):
        argv = ("/usr/bin/gcc", "-O2", "-o", f"/box/{name}", f"/box/{name}.c")
        outcome = await sandbox.run(_request(Phase.COMPILE, *argv))
        assert outcome.exit_code == 0, outcome.stderr.head
    await sandbox.seal()


async def _bare(sandbox: Sandbox, count: int) -> list[float]:
    outcome = await sandbox.run(_request(Phase.TEST, "/box/bare", str(count)))
    assert outcome.exit_code == 0, outcome
    return [float(line) for line in outcome.stdout.split()]


async def _ours(sandbox: Sandbox, count: int) -> list[float]:
    """Microseconds from one outcome to the next, two runs on their way."""
    sealed = inputs.seal(b"1 2\n")
    request = RunRequest(phase=Phase.TEST, argv=("/box/trivial",), environment=(), limits=LIMITS, stdin=sealed)
    outstanding: deque[Awaitable[RunOutcome]] = deque()
    took = []
    for _ in range(2):
        outstanding.append(sandbox.run(request))
    await outstanding.popleft()
    at = time.perf_counter()
    for _ in range(count):
        outstanding.append(sandbox.run(request))
        outcome = await outstanding.popleft()
        assert outcome.ending is Ending.EXITED, outcome
        now = time.perf_counter()
        took.append((now - at) * 1e6)
        at = now
    await outstanding.popleft()
    os.close(sealed.descriptor)
    return took


def _request(phase: Phase, *argv: str) -> RunRequest:
    return RunRequest(phase=phase, argv=argv, environment=(("PATH", "/usr/bin:/bin"),), limits=LIMITS, stdin=None)


@contextmanager
def engine(language: str) -> Iterator[tuple[str, str]]:
    """The engine of a stack of our own, and the digest of the image for a language."""
    settings = StackSettings.from_environment({"ASSIZE_STATE_DIR": STATE})
    progress = Progress(sys.stderr)
    try:
        stack = up(settings, progress, services=())
        yield stack.docker_host, read_images(stack.folders.images_file)[language]
    finally:
        down(settings, progress)


if __name__ == "__main__":
    sys.exit(main())

"""The executor as a process of its own: how it starts, refuses to start, is stopped, and is killed."""

import asyncio
import signal
import sys
from contextlib import asynccontextmanager

import docker
import pytest

from schemas.events import JudgementCompleted, Verdict
from tests.integration.executor_desk import desk_of, executor_place

SUM = b'#include <stdio.h>\nint main(void){int a,b;scanf("%d %d",&a,&b);printf("%d\\n",a+b);}'
SLEEPS = b"#include <unistd.h>\nint main(void){sleep(60);}"


@pytest.fixture
def place(stack, images, tmp_path):
    with executor_place(stack, tmp_path) as made:
        yield made


@asynccontextmanager
async def process(place, **environment):
    """`python -m services.executor`; killed at the end if it still lives."""
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.executor",
        env=place.environment(**environment),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


def sandboxes(place):
    client = docker.DockerClient(base_url=place.stack.docker_host)
    try:
        found = client.api.containers(all=True, filters={"label": f"assize.executor={place.name}"})
        return {each["Id"] for each in found}
    finally:
        client.close()


def serves_c(report):
    return any(pool.language == "c" and pool.serving and pool.warm for pool in report.pools)


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o400])
async def test_a_key_that_others_may_read_refuses_the_start(place, mode):
    place.key_path.chmod(mode)
    async with process(place) as executor:
        _, words = await executor.communicate()
    assert executor.returncode == 2
    assert b"start_refused" in words
    assert b"0600" in words


async def test_an_unknown_setting_refuses_the_start(place):
    async with process(place, ASSIZE_EXECUTOR_SLOT="3") as executor:
        _, words = await executor.communicate()
    assert executor.returncode == 2
    assert b"ASSIZE_EXECUTOR_SLOT" in words


async def test_without_an_engine_it_says_so_and_serves_nothing(place, tmp_path):
    async with desk_of(place) as desk, process(place, DOCKER_HOST=f"unix://{tmp_path}/none.sock"):
        report = await desk.capacity(lambda report: "engine" in report.health)
        assert not any(pool.serving for pool in report.pools)


async def test_it_judges_and_leaves_nothing_when_it_is_told_to_stop(place):
    async with desk_of(place) as desk, process(place) as executor:
        await desk.capacity(serves_c, 100)
        spec = desk.spec([("main.c", SUM)], **desk.problem([(b"1 2", b"3")]))
        completed = await desk.last_word(await desk.assign(spec))
        assert isinstance(completed, JudgementCompleted)
        assert completed.verdict is Verdict.AC
        asleep = await desk.assign(
            desk.spec([("main.c", SLEEPS)], **desk.problem([(b"", b"")]), wall_clock_millis=60_000)
        )
        await desk.until(lambda: desk.events_of(asleep))
        executor.send_signal(signal.SIGTERM)
        last = await desk.capacity(lambda report: report.draining and not report.running)
        assert last.slots == 1
        await executor.communicate()
    assert executor.returncode == 0
    assert sandboxes(place) == set()


async def test_after_kill_9_the_next_process_removes_what_was_left_and_judges(place):
    async with desk_of(place) as desk:
        async with process(place) as first:
            before = await desk.capacity(serves_c, 100)
            asleep = await desk.assign(
                desk.spec([("main.c", SLEEPS)], **desk.problem([(b"", b"")]), wall_clock_millis=60_000)
            )
            await desk.until(lambda: desk.events_of(asleep))
            first.kill()
            await first.communicate()
        left = sandboxes(place)
        assert left
        async with process(place) as second:
            await desk.capacity(lambda now: now.incarnation != before.incarnation and serves_c(now), 100)
            assert not left & sandboxes(place)
            spec = desk.spec([("main.c", SUM)], **desk.problem([(b"1 2", b"3")]))
            assert (await desk.last_word(await desk.assign(spec))).verdict is Verdict.AC
            second.send_signal(signal.SIGTERM)
            await second.communicate()
    assert sandboxes(place) == set()

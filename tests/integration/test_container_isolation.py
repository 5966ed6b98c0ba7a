"""Containers on a real engine: the suite of the isolation port, and what only a container can show."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import docker
import pytest

from services.chassis.clock import SystemClock
from services.executor.adapters.container import LABEL_EXECUTOR, ContainerIsolation
from services.executor.adapters.preflight import prove
from services.executor.adapters.sandbox import RunnerSandbox
from services.executor.core.faults import JudgeFault
from services.executor.core.ports import Ending, Isolation, Limit, Sandbox
from tests.contract.isolation_suite import FOLDERS, MIB, Bench, IsolationSuite, exited, main


@pytest.fixture
def executor() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def isolation(docker_host: str, executor: str) -> AsyncIterator[ContainerIsolation]:
    made = ContainerIsolation(docker_host=docker_host, executor=executor)
    yield made
    await made.close()
    assert await remaining(docker_host, executor) == []


@pytest.fixture
def image(images: Mapping[str, str]) -> str:
    return images["c"]


@pytest.fixture
def engine(docker_host: str) -> Iterator[docker.APIClient]:
    client = docker.APIClient(base_url=docker_host)
    yield client
    client.close()


async def remaining(docker_host: str, executor: str) -> list[str]:
    """Containers of an executor that are still there, once those that are on their way out have gone."""

    def names() -> list[str]:
        client = docker.APIClient(base_url=docker_host)
        found = client.containers(all=True, filters={"label": f"{LABEL_EXECUTOR}={executor}"})
        for each in found:
            with contextlib.suppress(docker.errors.NotFound):
                client.wait(each["Id"], condition="removed", timeout=10)
        client.close()
        return [each["Id"] for each in found]

    await asyncio.to_thread(names)
    return await asyncio.to_thread(names)


async def make(isolation: Isolation, image: str) -> Sandbox:
    return await isolation.create(
        image_digest=image, cpu=None, memory_limit_bytes=512 * MIB, process_limit=64, folders=FOLDERS
    )


class TestContainerIsolation(IsolationSuite):
    def count_processes(self, sandbox: Sandbox) -> int:
        assert isinstance(sandbox, RunnerSandbox)
        return len(sandbox.processes())


@pytest.mark.parametrize("language", ["c", "cpp", "python3", "java"])
async def test_preflight_holds_for_every_image(
    isolation: ContainerIsolation, images: Mapping[str, str], language: str
) -> None:
    report = await prove(isolation, image_digest=images[language], clock=SystemClock())
    assert report.holds, report.reason
    assert report.isolation == "container"


async def test_preflight_without_its_probe_cannot_hold(
    isolation: ContainerIsolation, image: str, tmp_path: Path
) -> None:
    with pytest.raises(JudgeFault, match="expected the probe"):
        await prove(isolation, image_digest=image, clock=SystemClock(), probe=tmp_path / "none")


async def test_preflight_sees_a_lost_sandbox_as_not_held(
    isolation: ContainerIsolation, image: str, tmp_path: Path
) -> None:
    probe = tmp_path / "probe"
    probe.write_bytes(b"no program")
    report = await prove(isolation, image_digest=image, clock=SystemClock(), probe=probe)
    assert not report.holds
    assert not any(finding.held for finding in report.findings if finding.limit != "emptiness")


async def test_orphans_of_a_dead_executor_are_removed_and_no_others(
    docker_host: str, image: str, executor: str
) -> None:
    dead = ContainerIsolation(docker_host=docker_host, executor=executor, incarnation="dead")
    other = ContainerIsolation(docker_host=docker_host, executor=f"{executor}-other")
    alive = ContainerIsolation(docker_host=docker_host, executor=executor, incarnation="alive")
    lost, kept, own = await make(dead, image), await make(other, image), await make(alive, image)
    assert await alive.remove_orphans() == 1
    assert await alive.remove_orphans() == 0
    for sandbox in (kept, own):
        await sandbox.seal()
        await sandbox.destroy()
    with pytest.raises(JudgeFault):
        await lost.seal()
    await lost.destroy()
    for each in (dead, other, alive):
        await each.close()


async def test_runner_that_is_stopped_is_our_fault(isolation: ContainerIsolation, image: str) -> None:
    sandbox = await make(isolation, image)
    assert isinstance(sandbox, RunnerSandbox)
    bench = Bench(sandbox)
    await sandbox.seal()
    running = sandbox.run(bench.test_request("/bin/sleep", "30", wall_time_limit_ns=30 * 10**9))
    runner = min(sandbox.processes())
    os.kill(runner, signal.SIGKILL)
    with pytest.raises(JudgeFault) as caught:
        await running
    assert caught.value.retriable
    with pytest.raises(JudgeFault):
        await bench.run("/bin/true")
    await sandbox.destroy()


async def test_host_that_goes_away_ends_the_sandbox(
    isolation: ContainerIsolation, image: str, engine: docker.APIClient
) -> None:
    sandbox = await make(isolation, image)
    assert isinstance(sandbox, RunnerSandbox)
    await sandbox.seal()
    sandbox.run(Bench(sandbox).test_request("/bin/sleep", "30", wall_time_limit_ns=30 * 10**9))
    sandbox._channel.close()
    ended = await asyncio.to_thread(engine.wait, sandbox.sandbox_id, timeout=10)
    assert ended["StatusCode"] == 0
    await sandbox.destroy()


async def test_pinned_sandbox_stays_on_its_cpu(isolation: ContainerIsolation, image: str) -> None:
    sandbox = await make(isolation, image)
    cpu = max(os.sched_getaffinity(0))
    await sandbox.pin(cpu)
    bench = Bench(sandbox)
    await sandbox.seal()
    outcome = await bench.run("/bin/grep", "Cpus_allowed_list", "/proc/self/status")
    assert outcome.stdout.split() == [b"Cpus_allowed_list:", str(cpu).encode()]
    with pytest.raises(JudgeFault):
        await sandbox.pin(10_000)
    await sandbox.destroy()


async def test_container_is_made_as_promised(
    isolation: ContainerIsolation, image: str, engine: docker.APIClient
) -> None:
    sandbox = await make(isolation, image)
    made = await asyncio.to_thread(engine.inspect_container, sandbox.sandbox_id)
    host = made["HostConfig"]
    assert made["Config"]["NetworkDisabled"] is True
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert sorted(host["CapAdd"]) == ["KILL", "SETGID", "SETUID"]
    assert host["IpcMode"] == "none"
    assert host["Memory"] == host["MemorySwap"] == 512 * MIB
    assert host["Privileged"] is False
    assert host["LogConfig"]["Type"] == "none"
    assert [mount["RW"] for mount in made["Mounts"] if mount["Type"] == "bind"] == [False]
    await sandbox.destroy()


async def test_runner_that_others_may_write_is_refused(docker_host: str, image: str, tmp_path: Path) -> None:
    runner = tmp_path / "runner"
    runner.write_bytes(b"")
    runner.chmod(0o777)
    isolation = ContainerIsolation(docker_host=docker_host, executor="test-writable", runner=runner)
    with pytest.raises(JudgeFault, match="writable by none else"):
        await make(isolation, image)
    await isolation.close()


async def test_engine_that_is_not_there_is_our_fault(tmp_path: Path, image: str) -> None:
    isolation = ContainerIsolation(docker_host=f"unix://{tmp_path}/none.sock", executor="test-absent")
    for attempt in (make(isolation, image), isolation.remove_orphans()):
        with pytest.raises(JudgeFault) as caught:
            await attempt
        assert caught.value.retriable
    await isolation.close()


def let_the_killer_loose(runner: int) -> None:
    """The kernel's own answer to hunger again, and the runner made its first choice."""
    groups = Path(f"/proc/{runner}/cgroup").read_text().split()
    group = next(line.rpartition(":")[2] for line in groups if ":memory:" in line)
    Path(f"/sys/fs/cgroup/memory{group}/memory.oom_control").write_text("0")
    Path(f"/proc/{runner}/oom_score_adj").write_text("1000")


async def test_memory_that_ends_the_whole_sandbox_is_memory(isolation: ContainerIsolation, image: str) -> None:
    sandbox = await make(isolation, image)
    assert isinstance(sandbox, RunnerSandbox)
    bench = Bench(sandbox)
    await bench.build(program=main("for (;;) { char *p = malloc(1 << 20); if (p) memset(p, 1, 1 << 20); }"))
    let_the_killer_loose(min(sandbox.processes()))
    outcome = await bench.run(cpu_time_limit_ns=10 * 10**9, wall_time_limit_ns=20 * 10**9)
    assert outcome.limit_expired is Limit.MEMORY
    await sandbox.destroy()


async def test_output_that_the_host_is_slow_to_take_waits(isolation: ContainerIsolation, image: str) -> None:
    sandbox = await make(isolation, image)
    bench = Bench(sandbox)
    await bench.build(program=main("static char b[1 << 16]; for (int i = 0; i < 64; i++) write(1, b, sizeof b);"))
    outcome = bench.sandbox.run(bench.test_request(output_limit_bytes=8 * MIB, memory_limit_bytes=16 * MIB))
    finished = await outcome
    assert exited(finished)
    assert finished.stdout_length_bytes == 4 * MIB
    assert finished.ending is Ending.EXITED
    assert finished.memory_peak_bytes < 8 * MIB
    await sandbox.destroy()

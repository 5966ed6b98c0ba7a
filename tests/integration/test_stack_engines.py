"""The engines of a stack live through what happens to them, and leave nothing behind."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from deploy.local import leftovers
from deploy.local.folders import StackRefused, StackSettings
from deploy.local.progress import Progress
from deploy.local.stack import Stack, down, up
from deploy.local.supervision import Supervisor
from schemas.topics import TOPICS

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def settings(hurt_state: Path) -> Iterator[StackSettings]:
    """A stack of this test's own: it is going to be hurt. Docker's data is kept, images are not what is tested."""
    environment = {"ASSIZE_STATE_DIR": str(hurt_state)}
    if "ASSIZE_CACHE_DIR" in os.environ:
        environment["ASSIZE_CACHE_DIR"] = os.environ["ASSIZE_CACHE_DIR"]
    given = StackSettings.from_environment(environment)
    down(given, Progress(io.StringIO()))
    for folder in (given.folders.keys, given.folders.kafka):
        shutil.rmtree(folder, ignore_errors=True)
    yield given
    left = down(given, Progress(io.StringIO()))
    assert left.is_clean, str(left)


def quiet_up(settings: StackSettings, **options: object) -> Stack:
    return up(settings, Progress(io.StringIO()), services=())


async def produce(bootstrap: str, topic: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    await producer.send_and_wait(topic, value)
    await producer.stop()


async def consume(bootstrap: str, topic: str) -> bytes:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        record = await asyncio.wait_for(consumer.getone(), 60)
    finally:
        await consumer.stop()
    return bytes(record.value)


def test_up_makes_every_topic_with_its_retention(stack: Stack) -> None:
    async def topics() -> set[str]:
        client = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
        await client.start()
        try:
            return set(await client.list_topics())
        finally:
            await client.close()

    assert {topic.name for topic in TOPICS} | {"assize.intake.local.v1"} <= asyncio.run(topics())


def test_private_files_are_private(stack: Stack) -> None:
    folders = stack.folders
    private = [*folders.keys.glob("*.key"), folders.tokens_file, folders.cli_token, folders.postgres_password]
    assert len(private) == 6
    for path in [*private, folders.supervisor_config]:
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_second_up_changes_nothing(settings: StackSettings) -> None:
    quiet_up(settings)
    before = {name: status.pid for name, status in Supervisor(settings.folders).status().items()}
    quiet_up(settings)
    assert {name: status.pid for name, status in Supervisor(settings.folders).status().items()} == before


def test_down_leaves_nothing_and_data_stays(settings: StackSettings) -> None:
    stack = quiet_up(settings)
    asyncio.run(produce(stack.kafka_bootstrap, "assize.problems.v1", b"kept"))
    with_container(stack)
    left = down(settings, Progress(io.StringIO()))
    assert left.is_clean, str(left)
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{settings.folders.tag}"))
    again = quiet_up(settings)
    assert again.ports == stack.ports
    assert asyncio.run(consume(again.kafka_bootstrap, "assize.problems.v1")) == b"kept"


@pytest.mark.parametrize("engine", ["kafka", "postgres", "docker"])
def test_engine_stopped_hard_comes_back_with_its_data(settings: StackSettings, engine: str) -> None:
    stack = quiet_up(settings)
    asyncio.run(produce(stack.kafka_bootstrap, "assize.problems.v1", b"kept"))
    with_container(stack)
    pid = Supervisor(settings.folders).status()[engine].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await_gone(pid)
    stack = quiet_up(settings)
    assert Supervisor(settings.folders).status()[engine].pid not in (None, pid)
    assert asyncio.run(consume(stack.kafka_bootstrap, "assize.problems.v1")) == b"kept"
    with_container(stack)


def test_up_heals_what_a_supervisor_stopped_hard_left(settings: StackSettings) -> None:
    stack = quiet_up(settings)
    with_container(stack)
    supervisor = Supervisor(settings.folders).pid()
    orphans = set(leftovers.find(settings.folders).processes) - {supervisor}
    os.kill(supervisor, signal.SIGKILL)
    await_gone(supervisor)
    stack = quiet_up(settings)
    assert not orphans & set(leftovers.find(settings.folders).processes)
    assert containers(stack) == 0
    with_container(stack)


def test_down_clears_a_stack_that_was_stopped_hard_altogether(settings: StackSettings) -> None:
    stack = quiet_up(settings)
    with_container(stack)
    # Innermost last: the supervisor first, so that nothing is started again meanwhile.
    found = leftovers.find(settings.folders).processes
    supervisor = Supervisor(settings.folders).pid()
    for pid in [supervisor, *(pid for pid in found if pid != supervisor)]:
        os.kill(pid, signal.SIGKILL)
    for pid in found:
        await_gone(pid)
    left = down(settings, Progress(io.StringIO()))
    assert left.is_clean, str(left)
    quiet_up(settings)


def test_given_engines_are_used_and_left_alone(stack: Stack, settings: StackSettings) -> None:
    given = StackSettings.from_environment(
        {
            "ASSIZE_STATE_DIR": str(settings.state),
            "ASSIZE_CACHE_DIR": str(settings.cache),
            "ASSIZE_KAFKA_BOOTSTRAP": stack.kafka_bootstrap,
            "ASSIZE_POSTGRES_DSN": stack.postgres_dsn,
            "DOCKER_HOST": stack.docker_host,
        }
    )
    # The keys belong to the broker's topics: a stack of another state folder brings them along.
    shutil.copytree(stack.folders.keys, settings.folders.keys, dirs_exist_ok=True)
    before = {name: status.pid for name, status in Supervisor(stack.folders).status().items()}
    used = quiet_up(given)
    assert used.embedded == frozenset()
    assert used.kafka_bootstrap == stack.kafka_bootstrap
    down(given, Progress(io.StringIO()))
    assert {name: status.pid for name, status in Supervisor(stack.folders).status().items()} == before


def test_topic_with_another_number_of_cells_is_refused(settings: StackSettings) -> None:
    quiet_up(settings)
    more = StackSettings.from_environment(
        {"ASSIZE_STATE_DIR": str(settings.state), "ASSIZE_CACHE_DIR": str(settings.cache), "ASSIZE_CELL_COUNT": "2"}
    )
    with pytest.raises(StackRefused, match=r"has 1 partitions, expected 2 for 2 cells"):
        quiet_up(more)


def with_container(stack: Stack) -> None:
    """Leaves one running container behind."""
    client = docker.DockerClient(base_url=stack.docker_host)
    try:
        image = client.images.list("assize/c")[0]
        container = client.containers.create(image, command=["/bin/sleep", "600"], network_disabled=True)
        container.start()
        container.reload()
        assert container.status == "running"
    finally:
        client.close()


def containers(stack: Stack) -> int:
    client = docker.DockerClient(base_url=stack.docker_host)
    try:
        return len(client.api.containers(all=True))
    finally:
        client.close()


def await_gone(pid: int) -> None:
    """Returns when the process has ended (or waits to be reaped): the kernel says so through a pidfd."""
    import select

    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], 30)[0], f"process {pid} did not end"
    finally:
        os.close(descriptor)

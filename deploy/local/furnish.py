"""What a stack needs inside its engines before services start: topics, keys, tokens, the database. Idempotent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from deploy.local.files import write_atomically
from deploy.local.folders import Folders, StackRefused
from schemas.signing import SigningKey
from schemas.topics import TOPICS, Topic, intake_topic
from services.chassis.clock import SystemClock
from services.chassis.keys import publish_keys
from services.chassis.tokens import Scope, TokenStore, create_token

LOCAL_TENANT: Final = "local"
LOCAL_EXECUTOR: Final = "local"
_COPIES: Final = 3
"""Of every partition, where there are brokers enough; two of them acknowledge a write."""
_TOKEN_NAME: Final = "operator"  # noqa: S105  the token's name, not the token


async def create_topics(bootstrap: str, *, cell_count: int, tenants: Iterable[str]) -> int:
    """Creates the topics that are not there and returns how many.

    Raises:
        StackRefused: a cell topic is there with another number of partitions, or the broker refuses one.
    """
    topics = [*TOPICS, *(intake_topic(tenant) for tenant in sorted(tenants))]
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        there = await client.list_topics()
        await _check_partitions(client, [topic for topic in topics if topic.name in there], cell_count)
        missing = [topic for topic in topics if topic.name not in there]
        if not missing:
            return 0
        copies = min(_COPIES, len((await client.describe_cluster())["brokers"]))
        durable = {"min.insync.replicas": "2"} if copies == _COPIES else {}
        answer = await client.create_topics(
            [
                NewTopic(
                    name=topic.name,
                    num_partitions=topic.partition_count(cell_count),
                    replication_factor=copies,
                    topic_configs=dict(topic.configuration()) | durable,
                )
                for topic in missing
            ]
        )
        for name, code, *message in answer.topic_errors:
            if code != 0 and for_code(code) is not TopicAlreadyExistsError:
                raise StackRefused(
                    f"the broker refused the topic {name}: {for_code(code).__name__} {message}",
                    advice="create it by hand with the configuration of schemas/topics.py, or allow this client to",
                )
        return len(missing)
    finally:
        await client.close()


async def create_database(dsn: str) -> None:
    """Creates the database that `dsn` names, asked of the server's own `postgres` database."""
    parts = urlsplit(dsn)
    name = parts.path.lstrip("/")
    connection = await asyncpg.connect(urlunsplit(parts._replace(path="/postgres")))
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
            await connection.execute('CREATE DATABASE "{}"'.format(name.replace('"', '""')))
    finally:
        await connection.close()


async def create_keys(bootstrap: str, folders: Folders, *, executors: Sequence[str] = (LOCAL_EXECUTOR,)) -> None:
    """Makes the private keys that are not there and publishes the public ones, signed by the root."""
    names = ["scheduler", *(f"executor-{executor}" for executor in executors)]
    SigningKey.load_or_create(folders.keys / "root.key")
    keys = [SigningKey.load_or_create(folders.keys / f"{name}.key") for name in names]
    await publish_keys(bootstrap, folders.keys, keys, SystemClock())


def create_local_tokens(folders: Folders) -> None:
    """The operator's token, with every scope, and the page's, which may only read; files of root alone."""
    _create_token(folders, folders.cli_token, name=_TOKEN_NAME, scopes=tuple(Scope))
    _create_token(folders, folders.page_token, name="page", scopes=(Scope.READ,))


def _create_token(folders: Folders, path: Path, *, name: str, scopes: Sequence[Scope]) -> None:
    if path.exists() and folders.tokens_file.exists():
        known = TokenStore(folders.tokens_file).access(path.read_text().strip())
        if known is not None:
            return
    token = create_token(folders.tokens_file, name=name, tenant=LOCAL_TENANT, scopes=scopes)
    write_atomically(path, token + "\n", mode=0o600)


async def _check_partitions(client: AIOKafkaAdminClient, topics: Sequence[Topic], cell_count: int) -> None:
    if not topics:
        return
    for described in await client.describe_topics([topic.name for topic in topics]):
        topic = next(topic for topic in topics if topic.name == described["topic"])
        expected, came = topic.partition_count(cell_count), len(described["partitions"])
        if expected != came:
            raise StackRefused(
                f"the topic {topic.name} has {came} partitions, expected {expected} for {cell_count} cells",
                advice=f"start with ASSIZE_CELL_COUNT={came}, or use another state folder",
            )

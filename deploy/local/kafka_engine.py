"""The embedded Kafka broker: one KRaft node, broker and controller in one small JVM.

Lives here: where its jars lie, how its log folder is formatted, and the argv and configuration it runs with. Measured
on two cores: 0.9 s from spawn to the first produce with the class-data archive, 200 MB resident when idle. The short
broker session lets a broker that was stopped hard take its own place again in seconds instead of fourteen.
A production cluster is not configured from here: replication 3, min ISR 2, TLS and ACLs belong to its operators.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from deploy.local.files import write_atomically
from deploy.local.folders import PROJECT_ROOT, Folders, StackRefused, inherited_environment
from deploy.local.progress import Report

_POM: Final = PROJECT_ROOT / "deploy/local/kafka/pom.xml"
_CHECKSUMS: Final = PROJECT_ROOT / "deploy/local/kafka/jars.sha256"
_LOGGING: Final = PROJECT_ROOT / "deploy/local/kafka/log4j2.properties"
_JVM_OPTIONS: Final = (
    "-Xms128m",
    "-Xmx128m",
    "-XX:+UseSerialGC",
    "-XX:MaxDirectMemorySize=128m",
    "-Xss512k",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
)
_TRAINING_DEADLINE_SECONDS: Final = 60.0
JAVA: Final = "/usr/lib/jvm/java-17-openjdk-amd64/bin/java"


def home(cache: Path) -> Path:
    """The cache folder of exactly these jars, run by exactly this Java."""
    told = hashlib.sha256(_POM.read_bytes() + _CHECKSUMS.read_bytes() + "\n".join(_JVM_OPTIONS).encode())
    return cache / "kafka" / told.hexdigest()[:16]


def fetch_jars(goal: Path, report: Report) -> None:
    """Brings the jars into `goal`/libs by Maven and holds each against its checksum.

    Raises:
        StackRefused: Maven failed, or a jar is not the one that is expected.
    """
    report("Maven resolves 53 jars, 45 MB")
    beside = goal.with_name(goal.name + ".new")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    argv = ["mvn", "-B", "-q", "-f", str(_POM), "dependency:copy-dependencies"]
    argv += [f"-DoutputDirectory={beside / 'libs'}", "-DincludeScope=runtime"]
    done = subprocess.run(argv, capture_output=True, text=True, env=inherited_environment(), check=False)
    if done.returncode != 0:
        raise StackRefused(
            f"Maven could not bring Kafka's jars (exit {done.returncode}): {_last_lines(done.stdout + done.stderr)}",
            advice="see that `mvn` reaches its repository from this machine, then call `make setup` again",
        )
    expected = {name: digest for digest, name in map(str.split, _CHECKSUMS.read_text().splitlines())}
    came = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in (beside / "libs").glob("*.jar")}
    wrong = sorted(name for name in expected.keys() | came.keys() if expected.get(name) != came.get(name))
    if wrong:
        raise StackRefused(
            f"Kafka's jars differ from jars.sha256: {', '.join(wrong)}",
            advice="remove these artifacts from the local Maven repository (~/.m2) and call `make setup` again",
        )
    beside.rename(goal)


def train_archive(goal: Path, report: Report) -> None:
    """Runs the broker once to its first moments and keeps its loaded classes, which halves every later start."""
    report("one training start")
    archive = goal / "classes.jsa"
    beside = goal / "classes.jsa.new"
    with tempfile.TemporaryDirectory(prefix="assize-kafka-") as scratch, _two_ports() as (port, controller):
        config = Path(scratch) / "server.properties"
        data = Path(scratch) / "data"
        config.write_text(server_properties(data=data, port=port, controller_port=controller))
        format_data(goal, config, data)
        argv = [*_java(goal), f"-XX:ArchiveClassesAtExit={beside}", "kafka.Kafka", str(config)]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=scratch) as broker:
            try:
                _await_listening(port, broker, time.monotonic() + _TRAINING_DEADLINE_SECONDS)
            finally:
                broker.send_signal(signal.SIGTERM)
            broker.wait(_TRAINING_DEADLINE_SECONDS)
    if not beside.exists():
        raise StackRefused("Kafka's training start left no class archive", advice="call `make setup` again")
    beside.rename(archive)


def server_properties(*, data: Path, port: int, controller_port: int) -> str:
    """The broker's configuration, everything on loopback."""
    lines = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(data),
        "num.partitions": "1",
        "auto.create.topics.enable": "false",
        "offsets.topic.num.partitions": "1",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "broker.session.timeout.ms": "2000",
        "broker.heartbeat.interval.ms": "500",
        "log.cleaner.dedupe.buffer.size": "4194304",
        "log.segment.bytes": "67108864",
        "message.max.bytes": "8388608",
        "num.network.threads": "2",
        "num.io.threads": "2",
        "background.threads": "2",
    }
    return "".join(f"{key}={value}\n" for key, value in lines.items())


def format_data(jars: Path, config: Path, data: Path) -> None:
    """Formats the log folder unless that is done; an id of its own tells it from every other cluster.

    Raises:
        StackRefused: Kafka would not format it.
    """
    if (data / "meta.properties").exists():
        return
    # Formatting writes meta.properties last: a folder without it holds nothing but a cut-off formatting.
    shutil.rmtree(data, ignore_errors=True)
    cluster = base64.urlsafe_b64encode(hashlib.sha256(str(data).encode()).digest()[:16]).decode().rstrip("=")
    argv = [
        *_java(jars),
        "kafka.tools.StorageTool",
        "format",
        f"--cluster-id={cluster}",
        "-c",
        str(config),
        "--ignore-formatted",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StackRefused(
            f"Kafka could not format {data}: {_last_lines(done.stdout + done.stderr)}",
            advice="see that the disk has room",
        )


def prepare(folders: Folders, cache: Path, *, port: int, controller_port: int) -> Sequence[str]:
    """Writes the configuration, formats once, and gives the argv to run. Called before every start."""
    jars = home(cache)
    config = folders.kafka / "server.properties"
    data = folders.kafka / "data"
    write_atomically(config, server_properties(data=data, port=port, controller_port=controller_port), mode=0o644)
    format_data(jars, config, data)
    archive = jars / "classes.jsa"
    sharing = [f"-XX:SharedArchiveFile={archive}", "-Xshare:auto"] if archive.exists() else []
    return [*_java(jars), *sharing, "kafka.Kafka", str(config)]


def _java(jars: Path) -> list[str]:
    # The class path is spelled out in one order: the archive is only used with the class path it was trained with.
    path = ":".join(str(jar) for jar in sorted((jars / "libs").glob("*.jar")))
    return [JAVA, *_JVM_OPTIONS, f"-Dlog4j2.configurationFile={_LOGGING}", "-cp", path]


@contextlib.contextmanager
def _two_ports() -> Iterator[tuple[int, int]]:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        ports = int(first.getsockname()[1]), int(second.getsockname()[1])
    yield ports


def _await_listening(port: int, broker: subprocess.Popen[bytes], deadline: float) -> None:
    while broker.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise StackRefused(
        f"Kafka's training start did not listen within {_TRAINING_DEADLINE_SECONDS:.0f} s (exit {broker.poll()})",
        advice="see that the machine has 512 MB of memory to spare, then call `make setup` again",
    )


def _last_lines(text: str) -> str:
    return " | ".join(line.strip() for line in text.strip().splitlines()[-4:])

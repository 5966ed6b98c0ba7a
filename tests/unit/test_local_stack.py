"""The parts of the one-machine stack that need no engine: settings, ports, files, configuration, progress."""

from __future__ import annotations

import configparser
import io
import socket
import threading
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from deploy.local import kafka_engine
from deploy.local.files import locked, write_atomically
from deploy.local.folders import Folders, StackRefused, StackSettings
from deploy.local.ports import keep_ports, read_ports
from deploy.local.progress import Progress
from deploy.local.stack import Stack, programs, service_environment
from deploy.local.supervision import Program, Supervisor, Unreachable, configuration


def settings(**environment: str) -> StackSettings:
    return StackSettings.from_environment({"ASSIZE_STATE_DIR": "/var/lib/assize/x", **environment})


def a_stack(given: StackSettings) -> Stack:
    ports = {name: 21000 + n for n, name in enumerate(("kafka", "ingest", "scheduler", "executor", "verdicts"))}
    return Stack(
        folders=given.folders,
        kafka_bootstrap="127.0.0.1:21000",
        postgres_dsn="postgresql://assize:secret%20word@127.0.0.1:1/assize",
        docker_host="unix:///x",
        ports=ports,
        embedded=frozenset({"kafka", "postgres", "docker"}),
    )


@pytest.mark.parametrize("cells", ["0", "-1", "NaN", "1.5", "1025", "9" * 30, "²"])
def test_wrong_number_of_cells_is_refused(cells: str) -> None:
    with pytest.raises(StackRefused, match="ASSIZE_CELL_COUNT must be a number from 1 to 1024, got"):
        settings(ASSIZE_CELL_COUNT=cells)


@pytest.mark.parametrize("folder", ["relative", "/var/../etc"])
def test_state_folder_must_be_absolute(folder: str) -> None:
    with pytest.raises(StackRefused, match="ASSIZE_STATE_DIR must be an absolute path"):
        settings(ASSIZE_STATE_DIR=folder)


def test_a_service_is_given_its_own_settings_and_no_others() -> None:
    given = settings(ASSIZE_EXECUTOR_SLOTS="1", ASSIZE_INGEST_X="2", ASSIZE_LOG_LEVEL="debug", SECRET="s")
    environment = service_environment(given, a_stack(given), "executor")
    assert environment["ASSIZE_EXECUTOR_SLOTS"] == "1"
    assert environment["ASSIZE_LOG_LEVEL"] == "debug"
    assert not {"ASSIZE_INGEST_X", "SECRET", "ASSIZE_POSTGRES_DSN"} & environment.keys()
    assert "ASSIZE_POSTGRES_DSN" in service_environment(given, a_stack(given), "verdicts")


def test_given_engine_is_not_run_by_the_supervisor() -> None:
    given = settings()
    names = [program.name for program in programs(given, a_stack(given))]
    assert names == ["kafka", "postgres", "docker", "ingest", "scheduler", "executor", "verdicts"]


def test_supervisord_reads_its_configuration_as_it_was_meant(tmp_path: Path) -> None:
    folders = Folders(state=tmp_path)
    folders.make()
    program = Program(
        name="x",
        argv=("/bin/x", "two words", "100%"),
        environment={"DSN": "postgresql://a:b%20c@h/d?x=1&y=2"},
        stop_deadline_seconds=7,
        stop_signal="INT",
    )
    path = tmp_path / "supervisord.conf"
    path.write_text(configuration(folders, [program]))
    options = ServerOptions()
    options.realize(["-c", str(path)])
    [group] = options.process_group_configs
    [process] = group.process_configs
    assert process.command == '"/bin/x" "two words" "100%"'
    assert process.environment["DSN"] == "postgresql://a:b%20c@h/d?x=1&y=2"
    assert process.stopwaitsecs == 7
    assert process.autorestart
    assert not process.autostart


@pytest.mark.parametrize("value", ['a"b', "a\nb", "a ;b"])
def test_value_that_supervisord_would_read_otherwise_is_refused(tmp_path: Path, value: str) -> None:
    program = Program(name="x", argv=("/bin/x",), environment={"V": value}, stop_deadline_seconds=1)
    with pytest.raises(StackRefused, match="expected a value without"):
        configuration(Folders(state=tmp_path), [program])


def test_no_supervisor_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"no supervisor answers on .*supervisor\.sock"):
        Supervisor(Folders(state=tmp_path)).status()


def test_ports_are_kept_below_the_ephemeral_range_and_left_to_who_took_them(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    first = keep_ports(path, ("a", "b"))
    assert keep_ports(path, ("a", "b")) == first == read_ports(path)
    assert all(20_000 < port < 32_768 for port in first.values())
    with socket.create_server(("127.0.0.1", first["a"])):
        second = keep_ports(path, ("a", "b"))
    assert second["a"] != first["a"]
    assert second["b"] == first["b"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 0}', '{"a": "x"}', '{"a": 70000}'])
def test_torn_ports_file_is_no_ports(tmp_path: Path, content: str) -> None:
    path = tmp_path / "ports.json"
    path.write_text(content)
    assert read_ports(path) == {}


def test_private_file_is_private_from_its_first_byte_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_atomically(path, "new", mode=0o600)
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_second_caller_waits_and_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    waiting = threading.Event()
    order: list[str] = []

    def second() -> None:
        with locked(path, waiting=waiting.set):
            order.append("second")

    with locked(path, waiting=lambda: None):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_progress_says_what_how_long_and_how_it_ended() -> None:
    stream = io.StringIO()
    with Progress(stream).step("building") as report:
        report("half")
    with pytest.raises(ValueError, match="broken"), Progress(stream).step("loading"):
        raise ValueError("broken")
    done, failed = stream.getvalue().splitlines()
    assert done.startswith("building: done in ")
    assert done.endswith("(half)")
    assert failed.startswith("loading: failed after ")


def test_kafka_listens_on_loopback_alone() -> None:
    text = kafka_engine.server_properties(data=Path("/d"), port=1, controller_port=2)
    parser = configparser.ConfigParser()
    parser.read_string("[x]\n" + text)
    listeners = parser["x"]["listeners"].split(",")
    assert listeners == ["PLAINTEXT://127.0.0.1:1", "CONTROLLER://127.0.0.1:2"]
    assert parser["x"]["auto.create.topics.enable"] == "false"


def test_every_jar_has_a_checksum_and_no_address_is_named() -> None:
    folder = Path(kafka_engine.__file__).parent / "kafka"
    lines = [line.split() for line in (folder / "jars.sha256").read_text().splitlines()]
    assert len(lines) > 50
    assert all(len(digest) == 64 and name.endswith(".jar") for digest, name in lines)
    assert "<repository>" not in (folder / "pom.xml").read_text()


def test_tag_tells_state_folders_apart() -> None:
    tags = {Folders(state=Path(path)).tag for path in ("/a", "/b", "/a/b")}
    assert len(tags) == 3

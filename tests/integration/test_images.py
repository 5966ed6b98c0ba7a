"""The language images in a real engine: the digest is ours, nothing in them gives privileges, and each language works."""

from __future__ import annotations

import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import docker
import pytest

from deploy.images.build import ensure_images
from deploy.images.recipe import MEBIBYTE, Recipe, compile_argv, load_recipes, run_argv
from deploy.local.folders import StackSettings

LANGUAGES = sorted(load_recipes())
PROGRAMS = {
    "c": (
        "main.c",
        '#include <stdio.h>\n#include <math.h>\nint main(){int a,b;scanf("%d%d",&a,&b);printf("%d\\n",(int)fmin(a+b,99));}',
    ),
    "cpp": ("main.cpp", "#include <bits/stdc++.h>\nint main(){int a,b;std::cin>>a>>b;std::cout<<a+b<<std::endl;}"),
    "python3": ("main.py", "a, b = map(int, input().split())\nprint(a + b)\n"),
    "java": (
        "Main.java",
        """import java.util.*;
        public class Main { public static void main(String[] arguments) {
            Scanner input = new Scanner(System.in);
            System.out.println(input.nextInt() + input.nextInt());
        } }""",
    ),
}


@pytest.fixture(scope="module")
def engine(docker_host: str) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=docker_host)
    yield client
    client.close()


@pytest.mark.parametrize("language", LANGUAGES)
def test_engine_computes_the_digest_that_the_builder_computed(
    engine: docker.DockerClient, images: Mapping[str, str], language: str
) -> None:
    settings = StackSettings.from_environment(dict(os.environ))
    built = ensure_images(settings.cache, lambda _words: None)[language]
    assert engine.images.get(built.name).id == built.digest == images[language]


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_file_gives_privileges_or_is_open_to_everybody(language: str) -> None:
    settings = StackSettings.from_environment(dict(os.environ))
    image = ensure_images(settings.cache, lambda _words: None)[language]
    writable = {}
    for layer in image.layers:
        with tarfile.open(layer.tar) as tar:
            for member in tar:
                assert not member.isdev(), member.name
                if member.issym():
                    continue
                assert not member.mode & (stat.S_ISUID | stat.S_ISGID), member.name
                if member.mode & stat.S_IWOTH:
                    writable[member.name] = stat.S_IMODE(member.mode)
    assert writable == {"box": 0o1777, "work": 0o1777, "tmp": 0o1777}


@pytest.mark.parametrize("language", LANGUAGES)
def test_image_names_no_package_source(language: str) -> None:
    settings = StackSettings.from_environment(dict(os.environ))
    image = ensure_images(settings.cache, lambda _words: None)[language]
    names: set[str] = set()
    for layer in image.layers:
        with tarfile.open(layer.tar) as tar:
            names.update(tar.getnames())
    assert names
    assert not [name for name in names if name.startswith(("etc/apt/", "var/lib/apt/", "usr/lib/apt/", "usr/bin/apt"))]


@pytest.mark.parametrize("language", LANGUAGES)
def test_language_compiles_and_runs_without_network_as_an_unprivileged_user(
    engine: docker.DockerClient, images: Mapping[str, str], language: str
) -> None:
    recipe = load_recipes()[language]
    container = engine.containers.create(
        images[language],
        command=["/bin/sleep", "60"],
        network_disabled=True,
        read_only=True,
        cap_drop=["ALL"],
        user="1001:1001",
        environment=dict(recipe.environment),
        tmpfs={"/box": "exec,mode=1777", "/work": "exec,mode=1777", "/tmp": "mode=1777"},
        pids_limit=recipe.sandbox_processes(64),
        mem_limit=recipe.sandbox_memory_bytes(1024 * MEBIBYTE),
    )
    try:
        container.start()
        assert _judged(engine, container.id or "", recipe) == b"42\n"
    finally:
        container.remove(force=True)


def _judged(engine: docker.DockerClient, container: str, recipe: Recipe) -> bytes:
    name, text = PROGRAMS[recipe.language]
    _checked(engine, container, ["/bin/sh", "-c", 'printf %s "$1" >"$2"', "sh", text, f"/box/{name}"], "/box")
    _checked(engine, container, list(compile_argv(recipe, file_names=[name], entry=name)), "/box")
    limit = recipe.sandbox_memory_bytes(256 * MEBIBYTE)
    argv = list(run_argv(recipe, entry=name, memory_limit_bytes=limit))
    return _checked(engine, container, ["/bin/sh", "-c", 'echo 40 2 | "$@"', "sh", *argv], "/work")


def _checked(engine: docker.DockerClient, container: str, argv: list[str], folder: str) -> bytes:
    made = engine.api.exec_create(container, argv, workdir=folder)
    output: bytes = engine.api.exec_start(made["Id"])
    assert engine.api.exec_inspect(made["Id"])["ExitCode"] == 0, output.decode()
    return output


def test_containers_root_is_nobody_on_the_host(engine: docker.DockerClient, images: Mapping[str, str]) -> None:
    container = engine.containers.create(images["c"], command=["/bin/sleep", "60"], network_disabled=True)
    try:
        container.start()
        container.reload()
        pid = container.attrs["State"]["Pid"]
        status = Path(f"/proc/{pid}/status").read_text()
        uid = int(next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1])
        assert uid >= 65536
        interfaces = subprocess.run(
            ["nsenter", "--net", "-t", str(pid), "cat", "/proc/net/dev"], capture_output=True, text=True, check=True
        ).stdout.splitlines()[2:]
        assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]
    finally:
        container.remove(force=True)

"""Brings built images into an engine and says which digest stands for which language."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import docker

from deploy.images.build import BuildFailed, LanguageImage, Report, write_archive

if TYPE_CHECKING:
    from docker.models.images import Image

_LOAD_DEADLINE_SECONDS: Final = 600


def load_images(
    docker_host: str, images: Mapping[str, LanguageImage], report: Report
) -> Mapping[str, Mapping[str, str]]:
    """Loads what the engine lacks. Returns {language: {"image": name, "digest": image id, "version": …}}.

    Raises:
        BuildFailed: the engine refused the archive, or computed another id than we did.
    """
    client = docker.DockerClient(base_url=docker_host, timeout=_LOAD_DEADLINE_SECONDS)
    try:
        missing = [image for image in images.values() if not _has(client, image)]
        if missing:
            report("loading " + ", ".join(image.language for image in missing))
            _load(client, missing)
        for image in missing:
            if not _has(client, image):
                raise BuildFailed(
                    f"the engine does not know {image.name} as {image.digest} after loading it",
                    advice="call `assize down`, then `make setup` and `assize up` again",
                )
    finally:
        client.close()
    return {
        language: {"image": image.name, "digest": image.digest, "version": image.version}
        for language, image in images.items()
    }


def read_images(path: Path) -> Mapping[str, str]:
    """{language: image digest} of an images.json.

    Raises:
        BuildFailed: the file is not there or not what `load_images` gives.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        return {str(language): str(entry["digest"]) for language, entry in content.items()}
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise BuildFailed(f"expected {{language: {{digest}}}} in {path}: {error}", advice="call `assize up`") from error


def _has(client: docker.DockerClient, image: LanguageImage) -> bool:
    try:
        found: Image = client.images.get(image.name)
    except docker.errors.ImageNotFound:
        return False
    return found.id == image.digest


def _load(client: docker.DockerClient, images: list[LanguageImage]) -> None:
    reading, writing = os.pipe()

    def write() -> None:
        # A closed pipe means that the engine had enough; its own answer says why.
        try:
            with os.fdopen(writing, "wb") as stream:
                write_archive(images, stream)
        except BrokenPipeError:
            return

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        with io.open(reading, "rb", buffering=1 << 20) as stream:  # noqa: UP020  a descriptor, not a path
            client.images.load(stream)
    except docker.errors.DockerException as error:
        raise BuildFailed(f"the engine refused the images: {error}", advice="see `assize logs docker`") from error
    finally:
        writer.join()

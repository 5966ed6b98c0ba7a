"""`python -m deploy.local.provision`: what is slow to fetch or build and the same for every checkout, into the cache.

Kafka's jars and class archive, and the layers of the language images. Each is a folder named by what it is made from,
and is there only when whole; concurrent callers take turns.
"""

from __future__ import annotations

import sys
from pathlib import Path

from deploy.images.build import BuildFailed, are_cached, ensure_images
from deploy.local import kafka_engine
from deploy.local.files import locked
from deploy.local.folders import StackRefused, StackSettings
from deploy.local.progress import Progress


def provision(cache: Path, progress: Progress) -> None:
    """Makes what is missing; costs milliseconds when nothing is.

    Raises:
        StackRefused, BuildFailed: a step failed; nothing half-done is left in its place.
    """
    if _is_complete(cache):
        return
    with locked(cache / "provision.lock", waiting=lambda: progress.say("another set-up is at work; waiting for it")):
        jars = kafka_engine.home(cache)
        if not jars.exists():
            with progress.step("Kafka") as report:
                kafka_engine.fetch_jars(jars, report)
        if not (jars / "classes.jsa").exists():
            with progress.step("Kafka's class archive") as report:
                kafka_engine.train_archive(jars, report)
        if not are_cached(cache):
            with progress.step("language images (two minutes the first time)") as report:
                ensure_images(cache, report)


def _is_complete(cache: Path) -> bool:
    return (kafka_engine.home(cache) / "classes.jsa").exists() and are_cached(cache)


def main() -> int:
    """Exit code 0 when all is there, 1 when a step failed."""
    try:
        provision(StackSettings.from_environment().cache, Progress(sys.stdout))
    except (StackRefused, BuildFailed) as failure:
        sys.stderr.write(f"setup: {failure.reason}\n  what to do: {failure.advice}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

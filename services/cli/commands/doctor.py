"""`assize doctor`: why does it not work here?"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections.abc import Sequence

import click

from deploy.images.build import BuildFailed
from deploy.images.load import read_images
from deploy.images.recipe import load_recipes
from deploy.local.doctor import Finding, Level, examine
from deploy.local.folders import StackRefused, StackSettings
from deploy.local.readiness import docker_probe
from deploy.local.report import report
from services.cli.commands.stack import EXIT_FAILED, explained

_COLOURS = {Level.OK: "green", Level.NOTE: "yellow", Level.BAD: "red"}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@explained
def doctor_command(*, as_json: bool) -> None:
    """Look at everything a stack needs; each finding says what to do. Exit 1 when something must be done."""
    settings = StackSettings.from_environment()
    findings = [*examine(settings), *_engines(settings)]
    if as_json:
        click.echo(json.dumps({"findings": [dataclasses.asdict(finding) for finding in findings]}, indent=1))
    else:
        for finding in findings:
            _print(finding)
    sys.exit(EXIT_FAILED if any(finding.level is Level.BAD for finding in findings) else 0)


def _engines(settings: StackSettings) -> Sequence[Finding]:
    """What can only be seen while the stack runs."""
    try:
        found = report(settings)
    except StackRefused:
        return []
    if not found.running:
        return []
    findings = [
        Finding(check=part.name, level=Level.OK, saw="ready")
        if part.ready
        else Finding(check=part.name, level=Level.BAD, saw=part.detail, advice=f"assize logs {part.name}")
        for part in found.parts
    ]
    if asyncio.run(docker_probe(found.stack.docker_host)()) is None:
        findings.append(_images(settings))
    return findings


def _images(settings: StackSettings) -> Finding:
    try:
        known = read_images(settings.folders.images_file)
    except BuildFailed as failure:
        return Finding(check="images", level=Level.BAD, saw=failure.reason, advice=failure.advice)
    missing = sorted(load_recipes().keys() - known.keys())
    if missing:
        return Finding(check="images", level=Level.BAD, saw=f"not loaded: {', '.join(missing)}", advice="assize up")
    return Finding(check="images", level=Level.OK, saw=", ".join(sorted(known)))


def _print(finding: Finding) -> None:
    mark = click.style(f"{finding.level:>4}", fg=_COLOURS[finding.level])
    click.echo(f"{mark}  {finding.check}: {finding.saw}")
    if finding.advice:
        click.echo(f"      what to do: {finding.advice}")

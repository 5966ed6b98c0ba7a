"""`assize preflight`: exceeds every limit in a real sandbox of each pool, here and now, and shows what was seen.

It asks the engine itself, not the executor, so that it can be used before anything else runs, and to see why a pool is
not served. Nothing of a running executor is touched.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Final

import click

from deploy.images.build import BuildFailed
from deploy.images.load import read_images
from deploy.local.folders import StackRefused, StackSettings
from deploy.local.stack import describe
from services.chassis.clock import SystemClock, random_id
from services.executor.adapters.container import ContainerIsolation
from services.executor.adapters.preflight import prove
from services.executor.core.faults import JudgeFault
from services.executor.core.preflight import Finding, PreflightReport, report_document

EXIT_FAILED: Final = 1
EXIT_NO_STACK: Final = 3
_OWNER: Final = "_preflight"
"""Names the sandboxes of this command. No executor can have this name, so neither removes the sandboxes of the other."""


@click.command("preflight")
@click.option("--language", "languages", multiple=True, metavar="ID", help="Only this language; may be repeated.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on standard output: the report of each language."
)
def preflight(*, languages: tuple[str, ...], as_json: bool) -> None:
    """Prove each limit by exceeding it in a real sandbox of each pool.

    Exit code 0: every limit held. 1: one did not, or could not be tried. 3: there is no engine, or no image.
    """
    try:
        stack = describe(StackSettings.from_environment())
        images = read_images(stack.folders.images_file)
    except (StackRefused, BuildFailed) as failure:
        click.echo(f"assize: {failure.reason}\n  what to do: {failure.advice}", err=True)
        sys.exit(EXIT_NO_STACK)
    unknown = sorted(set(languages) - set(images))
    if unknown:
        raise click.UsageError(f"expected languages of {sorted(images)}, came {unknown}")
    wanted = {language: image for language, image in images.items() if not languages or language in languages}
    reports, faults = asyncio.run(_prove_all(stack.docker_host, wanted, quiet=as_json))
    if as_json:
        documents = {language: report_document(report) for language, report in reports.items()}
        click.echo(json.dumps({"reports": documents, "faults": faults}, indent=2, sort_keys=True))
    sys.exit(0 if not faults and all(report.holds for report in reports.values()) else EXIT_FAILED)


async def _prove_all(
    docker_host: str, images: Mapping[str, str], *, quiet: bool
) -> tuple[dict[str, PreflightReport], dict[str, str]]:
    """The reports that could be had, and why the others could not."""
    isolation = ContainerIsolation(docker_host=docker_host, executor=_OWNER, incarnation=random_id())
    reports: dict[str, PreflightReport] = {}
    faults: dict[str, str] = {}
    try:
        for language, image_digest in sorted(images.items()):
            try:
                reports[language] = await prove(isolation, image_digest=image_digest, clock=SystemClock())
            except JudgeFault as fault:
                faults[language] = str(fault)
            if not quiet:
                _show(language, reports.get(language), faults.get(language, ""))
    finally:
        await isolation.close()
    return reports, faults


def _show(language: str, report: PreflightReport | None, fault: str) -> None:
    if report is None:
        click.secho(f"{language}: could not be tried", fg="red", bold=True)
        click.echo(f"  {fault}")
        return
    words, colour = ("every limit holds", "green") if report.holds else ("is not served", "red")
    click.secho(f"{language}: {words} ({report.isolation}, {report.image_digest[:19]})", fg=colour, bold=True)
    width = max(len(finding.limit) for finding in report.findings)
    for finding in report.findings:
        _show_finding(finding, width)


def _show_finding(finding: Finding, width: int) -> None:
    mark, colour = ("held", None) if finding.held else ("NOT HELD", "red")
    click.secho(f"  {finding.limit:<{width}}  {mark:<8}  {finding.elapsed_ms:>6.0f} ms  {finding.how}", fg=colour)
    click.secho(f"  {'':<{width}}  expected {finding.expected}; saw {finding.seen}", dim=finding.held, fg=colour)

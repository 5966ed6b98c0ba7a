"""All cells of a process: taken over, given up, fed and watched together."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping

from services.chassis.clock import Clock
from services.chassis.faults import StartRefused
from services.chassis.kafka import Incoming
from services.chassis.logs import logger
from services.scheduler.adapters.cell import RunningCell
from services.scheduler.adapters.intake import INPUT_TOPICS
from services.scheduler.adapters.keys import KeyFollower
from services.scheduler.adapters.log import DecisionLog
from services.scheduler.adapters.metrics import SchedulerMetrics
from services.scheduler.config import SchedulerSettings, read_images
from services.scheduler.core.rules import Image, Rules, Signer

_IMAGES_EVERY_SECONDS = 1.0


class Office:
    """The cells this process was assigned."""

    def __init__(
        self,
        settings: SchedulerSettings,
        *,
        signer: Signer,
        keys: KeyFollower,
        clock: Clock,
        metrics: SchedulerMetrics,
    ) -> None:
        self._settings = settings
        self._signer = signer
        self._keys = keys
        self._clock = clock
        self._metrics = metrics
        self._images_path = settings.images_file or settings.state_dir / "images.json"
        self._images: Mapping[str, Image] = read_images(self._images_path)
        self._rules: dict[int, Rules] = {}
        self._cells: dict[int, RunningCell] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        # Faust asks for positions from more than one task; a cell that is taken over twice fences itself.
        self._moving = asyncio.Lock()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Ends with the exception that ends the process."""

    @property
    def cells(self) -> tuple[int, ...]:
        return tuple(sorted(self._cells))

    def describe(self) -> dict[str, object]:
        """For /readyz."""
        return {
            str(number): {
                "unconcluded": len(cell.state.judgements),
                "executors": sorted(cell.state.executors),
                "images": sorted(self._images),
            }
            for number, cell in sorted(self._cells.items())
        }

    async def positions(self, cells: frozenset[int]) -> Mapping[tuple[str, int], int]:
        """Takes these cells over, gives others up, and says where their inputs go on."""
        async with self._moving:
            for number in sorted(set(self._cells) - cells):
                await self._give_up(number)
            for number in sorted(cells - set(self._cells)):
                await self._take_over(number)
        return {
            (topic.name, number): cell.next_offset(topic.name)
            for number, cell in self._cells.items()
            for topic in INPUT_TOPICS
        }

    async def give_up_all(self) -> None:
        """Another process may write for these cells from now on."""
        async with self._moving:
            for number in tuple(self._cells):
                await self._give_up(number)

    async def deliver(self, incoming: Incoming) -> None:
        """Hands a record to its cell; one that is not ours any more is read again by whoever has it."""
        cell = self._cells.get(incoming.partition)
        if cell is not None:
            await cell.put(incoming)

    async def follow_images(self) -> None:
        """Takes new images up when the file changes; a broken file leaves the old ones in force."""
        seen = self._stamp()
        while True:
            await asyncio.sleep(_IMAGES_EVERY_SECONDS)
            stamp = self._stamp()
            if stamp == seen:
                continue
            seen = stamp
            try:
                self._images = read_images(self._images_path)
            except StartRefused as error:
                logger().warning("images_refused", reason=str(error))
                continue
            self._rules = {
                number: dataclasses.replace(known, images=self._images) for number, known in self._rules.items()
            }
            logger().info("images_read", languages=sorted(self._images))

    def _stamp(self) -> tuple[int, int] | None:
        try:
            status = self._images_path.stat()
        except FileNotFoundError:
            return None
        return (status.st_mtime_ns, status.st_ino)

    async def _take_over(self, number: int) -> None:
        bootstrap = self._settings.kafka_bootstrap
        self._rules[number] = rules = self._settings.rules(number, self._images)
        log = await DecisionLog.open(bootstrap, cell=number, snapshot_every=self._settings.snapshot_every)
        cell = RunningCell(
            await log.recover(bootstrap, rules=rules),
            log,
            rules=lambda: self._rules[number],
            signer=self._signer,
            keys=self._keys.trusted.ring,
            clock=self._clock,
            metrics=self._metrics,
            tick_seconds=self._settings.tick_ms / 1000,
        )
        self._cells[number] = cell
        task = asyncio.create_task(cell.run(), name=f"cell-{number}")
        task.add_done_callback(self._ended)
        self._tasks[number] = task

    async def _give_up(self, number: int) -> None:
        task = self._tasks.pop(number)
        del self._cells[number]
        task.cancel()
        # Waited for, not awaited: what a cell failed of is told through `failed` alone.
        await asyncio.wait({task})
        logger().info("cell_given_up", cell=number)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self.failed.done():
            return
        error = task.exception()
        self.failed.set_exception(error or RuntimeError(f"{task.get_name()} ended by itself"))

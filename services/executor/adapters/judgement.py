"""Performs the effects of one judgement in one claimed sandbox. `core.judge` decides what happens; this makes it happen.

The sandbox is destroyed whatever happened, and inputs are held until no run can read them any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, assert_never

from deploy.images.recipe import Recipe
from schemas.events import RunReport
from schemas.problems import TestEntry
from schemas.spec import ExecutionSpec
from services.chassis.clock import Clock
from services.executor.adapters.data import JudgementData
from services.executor.adapters.warm import Claimed, WarmPools
from services.executor.core.faults import JudgeFault
from services.executor.core.judge import (
    AwaitRun,
    CompareOutput,
    Compile,
    CompileFinished,
    Conclude,
    Conclusion,
    Effect,
    Event,
    FilesPlaced,
    FolderSealed,
    OutputCompared,
    PlaceFiles,
    RunFinished,
    SealFolder,
    StartRun,
    advance,
    begin,
    uncompilable,
)
from services.executor.core.plan import NoEntry, Plan, plan_of, requirement_of
from services.executor.core.ports import InputStore, RunOutcome, Sandbox, SourceFile
from services.executor.core.validator import Validation, parse_flags, validate

COMPARED_AT_ONCE_BYTES: Final = 64 * 1024
"""Output and answer up to this together are compared in the loop; a hand-over to a thread would cost more."""


Compare = Callable[[bytes, bytes], Validation]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What every judgement of an executor works with."""

    pools: WarmPools
    inputs: InputStore
    data: JudgementData
    clock: Clock


@dataclass(slots=True, kw_only=True)
class _Handed:
    """A run that the sandbox has: its outcome to come, and the input that it reads."""

    outcome: asyncio.Future[RunOutcome]
    held: AbstractAsyncContextManager[object]


class Judgement:
    """One judgement. Call `conclude` once, then `close`, whatever `conclude` did."""

    def __init__(
        self,
        *,
        spec: ExecutionSpec,
        recipe: Recipe,
        cpu: int | None,
        tools: Tools,
        started: Callable[[Claimed], Awaitable[None]],
        progressed: Callable[[tuple[RunReport, ...]], Awaitable[None]],
    ) -> None:
        self._spec = spec
        self._recipe = recipe
        self._cpu = cpu
        self._tools = tools
        self._started = started
        self._progressed = progressed
        self._handed: dict[int, _Handed] = {}
        self.claimed: Claimed | None = None

    @property
    def has_leftovers(self) -> bool:
        """Whether runs that nobody wants any more may still be using the CPU."""
        return bool(self._handed)

    async def conclude(self) -> Conclusion:
        """Judges to the end.

        Raises:
            JudgeFault: ours; nothing is known about the submission.
        """
        tests = await self._tools.data.tests(self._spec)
        sources = await self._tools.data.sources(self._spec)
        self.claimed = await self._tools.pools.claim(
            self._spec.language, requirement_of(self._spec, self._recipe), self._cpu
        )
        try:
            plan = plan_of(self._spec, self._recipe)
        except NoEntry as objection:
            await self._started(self.claimed)
            return uncompilable(str(objection), len(tests))
        try:
            async with asyncio.timeout(plan.deadline_ns() / 1_000_000_000):
                return await self._advance_to_end(plan, tests, sources)
        except TimeoutError as error:
            raise JudgeFault(
                f"expected the judgement to end within {plan.deadline_ns() // 1_000_000_000} s, came nothing",
                stage="deadline",
                retriable=True,
            ) from error

    async def close(self) -> None:
        """Destroys the sandbox and lets go of the inputs. Idempotent; never raises."""
        if self.claimed is not None:
            await self.claimed.sandbox.destroy()
        for handed in self._handed.values():
            handed.outcome.cancel()
        # A run that was thrown away may end in a fault or in nothing at all: both are what was meant to happen.
        await asyncio.gather(*(handed.outcome for handed in self._handed.values()), return_exceptions=True)
        for handed in self._handed.values():
            await handed.held.__aexit__(None, None, None)
        self._handed.clear()

    async def _advance_to_end(
        self, plan: Plan, tests: tuple[TestEntry, ...], sources: tuple[SourceFile, ...]
    ) -> Conclusion:
        flags = parse_flags(self._spec.validator_args)

        def compare(output: bytes, answer: bytes) -> Validation:
            return validate(output, answer, flags)

        state, effects = begin(plan, tests)
        while True:
            event: Event | None = None
            for effect in effects:
                if isinstance(effect, Conclude):
                    return effect.conclusion
                event = await self._perform(effect, plan, tests, sources, compare)
            assert event is not None, "a batch of effects ends with one that yields an event"
            before = len(state.runs)
            state, effects = advance(state, event)
            if len(state.runs) > before:
                await self._progressed(state.runs)

    async def _perform(
        self,
        effect: Effect,
        plan: Plan,
        tests: tuple[TestEntry, ...],
        sources: tuple[SourceFile, ...],
        compare: Compare,
    ) -> Event | None:
        match effect:
            case PlaceFiles():
                await self._place(plan, sources)
                return FilesPlaced()
            case Compile():
                return CompileFinished(outcome=await self._sandbox.run(plan.compile))
            case SealFolder():
                await self._sandbox.seal()
                return FolderSealed()
            case StartRun(index=index):
                await self._start_run(plan, index, tests[index])
                return None
            case AwaitRun(index=index):
                return RunFinished(index=index, outcome=await self._outcome_of(index))
            case CompareOutput(index=index, output=output):
                answer = await self._tools.data.answer(tests[index])
                return OutputCompared(index=index, validation=await _compared(output, answer, compare))
            case Conclude():
                raise AssertionError("conclusions are taken by the loop")
            case _ as unreachable:
                assert_never(unreachable)

    @property
    def _sandbox(self) -> Sandbox:
        assert self.claimed is not None, "no sandbox is claimed"
        return self.claimed.sandbox

    async def _place(self, plan: Plan, sources: tuple[SourceFile, ...]) -> None:
        """Places the sources; a warm sandbox may have died unseen while it waited, so that one is replaced once."""
        assert self.claimed is not None
        try:
            await self._sandbox.place(sources)
        except JudgeFault:
            if not self.claimed.was_warm:
                raise
            await self._sandbox.destroy()
            self.claimed = await self._tools.pools.claim_anew(self._spec.language, plan.requirement, self._cpu)
            await self._sandbox.place(sources)
        await self._started(self.claimed)

    async def _start_run(self, plan: Plan, index: int, test: TestEntry) -> None:
        holding = self._tools.inputs.hold(test.input_digest)
        stdin = await holding.__aenter__()
        try:
            outcome = asyncio.ensure_future(self._sandbox.run(plan.test_request(stdin)))
        except BaseException:
            await holding.__aexit__(None, None, None)
            raise
        self._handed[index] = _Handed(outcome=outcome, held=holding)

    async def _outcome_of(self, index: int) -> RunOutcome:
        # The run leaves the table only when it ended: until then its input must stay, whatever interrupts us here.
        outcome = await self._handed[index].outcome
        handed = self._handed.pop(index)
        await handed.held.__aexit__(None, None, None)
        return outcome


async def _compared(output: bytes, answer: bytes, compare: Compare) -> Validation:
    if len(output) + len(answer) <= COMPARED_AT_ONCE_BYTES:
        return compare(output, answer)
    return await asyncio.to_thread(compare, output, answer)

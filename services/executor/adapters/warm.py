"""Warm sandboxes: proving pools, filling them off the critical path, and handing sandboxes out exactly once.

One keeper task does everything slow, one thing at a time: it fills pools that lack their lower bound, proves pools that
are not proved, follows demand, and gives back what is too much. A pool serves only between a proof that held and the
first sign that it does not: a sandbox that could not be made or used takes the proof away (fail closed), and the
keeper proves the pool anew. What was handed out never comes back; the judgement that got it destroys it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Final

from deploy.images.recipe import Recipe
from schemas.events import PoolReport
from services.chassis.clock import Clock
from services.chassis.logs import logger
from services.executor.core.assignments import Served
from services.executor.core.faults import JudgeFault
from services.executor.core.plan import Requirement
from services.executor.core.pool import PoolBounds, PoolCounts, next_refill, next_surplus, recent_claims
from services.executor.core.ports import Isolation, Sandbox

RETRY_FAULT_NS: Final = 3 * 1_000_000_000
"""After a fault of the host (the engine is down): how long until the pool is tried again."""
RETRY_PROOF_NS: Final = 60 * 1_000_000_000
"""After a proof that did not hold: only a change of the host can mend it, so it is tried seldom."""
_IDLE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolProof:
    """What preflight found about a pool."""

    holds: bool
    reason: str
    """Why not; empty when it holds."""
    digest: str
    """sha256:<hex> of the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageImage:
    """The image that stands for a language."""

    image: str
    digest: str


Prove = Callable[[str, LanguageImage], Awaitable[PoolProof]]
"""Exceeds every limit in real sandboxes of a language's image. Raises JudgeFault when it cannot even try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A sandbox that belongs to one judgement now, and the proof it is used under."""

    sandbox: Sandbox
    preflight_digest: str
    was_warm: bool


@dataclass(slots=True, kw_only=True)
class _Pool:
    recipe: Recipe
    image: LanguageImage
    shape: Requirement
    proof: PoolProof | None = None
    reason: str = "preflight has not run yet"
    due_ns: int = 0
    warm: deque[Sandbox] = field(default_factory=deque)
    claimed_at_ns: tuple[int, ...] = ()

    @property
    def serving(self) -> bool:
        return self.proof is not None and self.proof.holds


class WarmPools:
    """The pools of all languages. `changed` is called whenever a capacity report would say something else."""

    def __init__(
        self,
        *,
        isolation: Isolation,
        recipes: Mapping[str, Recipe],
        bounds: PoolBounds,
        shape_of: Callable[[str], Requirement],
        prove: Prove,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self._isolation = isolation
        self._recipes = recipes
        self._bounds = bounds
        self._shape_of = shape_of
        self._prove = prove
        self._clock = clock
        self._changed = changed
        self._pools: dict[str, _Pool] = {}
        self._wanted = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()

    def set_images(self, images: Mapping[str, LanguageImage]) -> None:
        """Which image stands for which language from now on; a changed one is proved before it serves."""
        for language, recipe in self._recipes.items():
            image = images.get(language)
            known = self._pools.get(language)
            if known is not None and known.image == image:
                continue
            if known is not None:
                self._discard_warm(known)
                del self._pools[language]
            if image is not None:
                self._pools[language] = _Pool(recipe=recipe, image=image, shape=self._shape_of(image.digest))
        self._tell()

    def served(self) -> Mapping[str, Served]:
        return {
            language: Served(
                recipe=pool.recipe,
                image=pool.image.image,
                image_digest=pool.image.digest,
                serving=pool.serving,
                reason=pool.reason,
            )
            for language, pool in self._pools.items()
        }

    def reports(self) -> tuple[PoolReport, ...]:
        return tuple(
            PoolReport(
                language=language,
                image=pool.image.image,
                image_digest=pool.image.digest,
                isolation=self._isolation.name,
                serving=pool.serving,
                reason=pool.reason,
                warm=len(pool.warm),
                min_warm=self._bounds.min_warm,
                max_warm=self._bounds.max_warm,
            )
            for language, pool in self._pools.items()
        )

    async def claim(self, language: str, requirement: Requirement, cpu: int | None) -> Claimed:
        """A fresh sandbox for one judgement, pinned to `cpu`: a warm one, else one made for it.

        Raises:
            JudgeFault: there is none to be had; the pool does not serve until it is proved again.
        """
        pool = self._serving(language)
        assert pool.proof is not None
        digest = pool.proof.digest
        pool.claimed_at_ns = recent_claims(pool.claimed_at_ns, self._clock.monotonic_ns(), self._bounds)
        self._wanted.set()
        if not requirement.is_met_by(pool.shape) or not pool.warm:
            return Claimed(
                sandbox=await self._create(language, requirement, cpu), preflight_digest=digest, was_warm=False
            )
        sandbox = pool.warm.popleft()
        self._changed()
        try:
            if cpu is not None:
                await sandbox.pin(cpu)
        except BaseException:
            await sandbox.destroy()
            raise
        return Claimed(sandbox=sandbox, preflight_digest=digest, was_warm=True)

    async def claim_anew(self, language: str, requirement: Requirement, cpu: int | None) -> Claimed:
        """Like `claim` after a warm sandbox turned out to be dead: its siblings are not believed either."""
        pool = self._serving(language)
        assert pool.proof is not None
        self._discard_warm(pool)
        self._wanted.set()
        return Claimed(
            sandbox=await self._create(language, requirement, cpu),
            preflight_digest=pool.proof.digest,
            was_warm=False,
        )

    def distrust_all(self, fault: JudgeFault) -> None:
        """The isolation backend itself does not answer: no pool serves until it is proved again."""
        for language, pool in list(self._pools.items()):
            if pool.serving:
                self._distrust(language, fault)

    async def keep(self) -> None:
        """Keeps the pools for ever; cancel it to stop."""
        while True:
            if await self._keep_once():
                self._tell()
                continue
            self._wanted.clear()
            try:
                async with asyncio.timeout(_IDLE_SECONDS):
                    await self._wanted.wait()
            except TimeoutError:
                continue  # Demand that ended and retries that are due come without a signal.

    async def close(self) -> None:
        """Destroys what is warm, and waits until all that was given up is gone."""
        for pool in self._pools.values():
            self._discard_warm(pool)
        self._pools.clear()
        while self._closing:
            await asyncio.wait(self._closing)

    def _serving(self, language: str) -> _Pool:
        pool = self._pools.get(language)
        if pool is None or not pool.serving:
            reason = "it has no image" if pool is None else pool.reason
            raise JudgeFault(f"expected a pool that serves {language}, came: {reason}", stage="claim", retriable=True)
        return pool

    async def _create(self, language: str, requirement: Requirement, cpu: int | None) -> Sandbox:
        creating = asyncio.ensure_future(
            self._isolation.create(
                image_digest=requirement.image_digest,
                cpu=cpu,
                memory_limit_bytes=requirement.memory_limit_bytes,
                process_limit=requirement.process_limit,
                folders=requirement.folders,
            )
        )
        try:
            return await asyncio.shield(creating)
        except asyncio.CancelledError:
            # Making one takes an instant and cannot be stopped half-way; what nobody wants any more is destroyed.
            self._later(_destroy_made(creating))
            raise
        except JudgeFault as fault:
            self._distrust(language, fault)
            raise

    def _distrust(self, language: str, fault: JudgeFault) -> None:
        """A pool that made no sandbox is not served until it is proved again."""
        pool = self._pools.get(language)
        if pool is None:
            return
        logger().warning("pool_distrusted", language=language, stage=fault.stage, reason=fault.message)
        pool.proof = None
        pool.reason = str(fault)
        pool.due_ns = self._clock.monotonic_ns() + RETRY_FAULT_NS
        self._discard_warm(pool)
        self._tell()

    async def _keep_once(self) -> bool:
        """Does at most one slow thing; False when there is nothing to do."""
        now_ns = self._clock.monotonic_ns()
        counts = [
            PoolCounts(language=language, warm=len(pool.warm), claimed_at_ns=pool.claimed_at_ns)
            for language, pool in self._pools.items()
            if pool.serving
        ]
        refill = next_refill(counts, self._bounds, now_ns)
        if refill is not None and len(self._pools[refill].warm) < self._bounds.min_warm:
            return await self._refill(refill)
        for language, pool in list(self._pools.items()):
            if not pool.serving and pool.due_ns <= now_ns:
                await self._prove_pool(language, pool)
                return True
        if refill is not None:
            return await self._refill(refill)
        surplus = next_surplus(counts, self._bounds, now_ns)
        if surplus is not None:
            self._destroy_later(self._pools[surplus].warm.popleft())
            return True
        return False

    async def _refill(self, language: str) -> bool:
        pool = self._pools[language]
        try:
            sandbox = await self._create(language, pool.shape, None)
        except JudgeFault:
            return True  # The pool is distrusted now, and said so.
        if self._pools.get(language) is pool and pool.serving:
            pool.warm.append(sandbox)
        else:
            self._destroy_later(sandbox)
        return True

    async def _prove_pool(self, language: str, pool: _Pool) -> None:
        pool.reason = "preflight is running"
        self._tell()
        try:
            proof = await self._prove(language, pool.image)
        except JudgeFault as fault:
            logger().warning("preflight_faulted", language=language, stage=fault.stage, reason=fault.message)
            pool.reason = str(fault)
            pool.due_ns = self._clock.monotonic_ns() + RETRY_FAULT_NS
            return
        pool.proof = proof
        pool.reason = proof.reason
        if proof.holds:
            logger().info("pool_serves", language=language, image=pool.image.image, preflight=proof.digest)
        else:
            pool.due_ns = self._clock.monotonic_ns() + RETRY_PROOF_NS
            logger().error("preflight_failed", language=language, image=pool.image.image, reason=proof.reason)

    def _discard_warm(self, pool: _Pool) -> None:
        while pool.warm:
            self._destroy_later(pool.warm.popleft())

    def _destroy_later(self, sandbox: Sandbox) -> None:
        self._later(sandbox.destroy())

    def _later(self, ending: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(ending)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _tell(self) -> None:
        self._wanted.set()
        self._changed()


async def _destroy_made(creating: asyncio.Future[Sandbox]) -> None:
    try:
        sandbox = await creating
    except JudgeFault:
        return  # Nothing was made.
    await sandbox.destroy()

"""Makes the large tests of this problem, the same bytes each time: 5 MB do not belong into a repository."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

LARGEST_COUNT: Final = 700_000
LARGEST_VALUE: Final = 1_000_000
_MODULUS: Final = 2**48


def generate() -> dict[str, bytes]:
    """Test files by their path in the problem package."""
    tests = {
        "02-thousand": list(_values(seed=2, count=1_000, least=-LARGEST_VALUE)),
        "03-hundred-thousand": list(_values(seed=3, count=100_000, least=-LARGEST_VALUE)),
        "04-most": list(_values(seed=4, count=LARGEST_COUNT, least=100_000)),
        "05-all-largest": [LARGEST_VALUE] * 50_000,
    }
    files: dict[str, bytes] = {}
    for name, values in tests.items():
        lines = [str(len(values)), *map(str, values)]
        files[f"data/secret/{name}.in"] = ("\n".join(lines) + "\n").encode()
        files[f"data/secret/{name}.ans"] = f"{sum(values)}\n".encode()
    return files


def _values(*, seed: int, count: int, least: int) -> Iterator[int]:
    """Numbers from `least` to LARGEST_VALUE, by the generator of drand48, whose high bits are good enough here."""
    state = seed
    for _ in range(count):
        state = (state * 0x5DEECE66D + 0xB) % _MODULUS
        yield least + (state >> 16) % (LARGEST_VALUE - least + 1)

"""`python -m bench`: every measurement, one after another."""

from __future__ import annotations

import subprocess
import sys

MEASUREMENTS = ("bench.run_overhead", "bench.submission_overhead", "bench.pipeline", "bench.stack")


def main() -> int:
    codes = [subprocess.run([sys.executable, "-m", name], check=False).returncode for name in MEASUREMENTS]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())

# Standard error is kept up to a cap and else thrown away: 32 MiB of it are no reason against a right answer.
import sys

a, b = map(int, input().split())
for _ in range(32):
    sys.stderr.write("e" * (1024 * 1024))
print(a + b)

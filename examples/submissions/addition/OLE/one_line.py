# One line of a gibibyte.
import sys

for _ in range(1024):
    sys.stdout.write("9" * (1024 * 1024))

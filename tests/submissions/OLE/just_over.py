# One byte more than 8 MiB.
import sys

sys.stdout.write("1" * (8 * 1024 * 1024 + 1))

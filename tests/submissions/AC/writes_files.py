# The working folder is the program's own to write in, and it says so on standard error.
import pathlib
import sys

scratch = pathlib.Path("/tmp/scratch")
scratch.write_text(sys.stdin.read())
a, b = map(int, scratch.read_text().split())
sys.stderr.write("debug: " + "x" * 100_000)
print(a + b)

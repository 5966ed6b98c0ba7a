# The right sum, and an exit code that says otherwise.
import sys

a, b = map(int, input().split())
print(a + b)
sys.exit(7)

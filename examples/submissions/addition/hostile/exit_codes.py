# The exit code with which Kattis validators accept means nothing from a program.
import sys

a, b = map(int, input().split())
print(a + b)
sys.exit(42)

# Keeps a copy of what is left for every number: far more than fits for any large test.
import sys

numbers = sys.stdin.buffer.read().split()[1:]
kept = [numbers[at:] for at in range(len(numbers))]
print(sum(int(tail[0]) for tail in kept))

# Copies what is left of the list for every number: minutes for the largest test.
import sys

numbers = sys.stdin.buffer.read().split()[1:]
total = 0
while numbers:
    total += int(numbers[0])
    numbers = numbers[1:]
print(total)

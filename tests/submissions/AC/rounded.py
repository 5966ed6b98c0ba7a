# problem: circle
# A relative error just inside the tolerance.
import math

print(math.pi * float(input()) ** 2 * (1 + 9e-7))

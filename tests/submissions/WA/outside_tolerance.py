# problem: circle
# A relative error just outside the tolerance.
import math

print(math.pi * float(input()) ** 2 * (1 + 2e-6))

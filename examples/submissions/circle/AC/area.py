# Scientific notation is a number like any other.
import math

print(f"{math.pi * float(input()) ** 2:.9e}")

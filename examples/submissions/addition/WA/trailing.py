# The right sum, and a word too many.
a, b = map(int, input().split())
print(a + b, "done")

# expect: AC, row: C4
a, b = map(int, input().split())
print(a + b)

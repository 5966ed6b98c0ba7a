print(*input().split(), sep="")

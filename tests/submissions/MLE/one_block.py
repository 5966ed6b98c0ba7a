block = b"y" * (1 << 30)
print(len(block))

# expect: OLE, row: A4
import os

block = b"7" * (1 << 20)
for _ in range(1024):
    os.write(1, block)

# The right sum, then a signal of its own making.
import os
import signal

a, b = map(int, input().split())
print(a + b, flush=True)
os.kill(os.getpid(), signal.SIGTERM)

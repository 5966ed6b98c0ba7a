# expect: TLE|MLE, row: A1
import os

while True:
    try:
        os.fork()
    except OSError:
        pass

# Uses no CPU at all: only the wall clock can end this.
import time

while True:
    time.sleep(3600)

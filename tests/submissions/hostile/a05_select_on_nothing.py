# expect: TLE, row: A5
import select

while True:
    select.select([], [], [])

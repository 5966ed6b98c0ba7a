line = "0123456789" * 1000
while True:
    print(line)

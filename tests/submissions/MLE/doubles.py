numbers = [7]
while len(numbers) < 1 << 28:
    numbers += numbers
print(len(numbers))

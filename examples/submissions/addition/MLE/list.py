# One gibibyte, every page touched.
kept = []
for _ in range(64):
    kept.append(b"x" * (16 * 1024 * 1024))
print(len(kept))

# expect: AC, row: A3
# The right sum only if a gibibyte could be written nowhere; a file may claim a terabyte if it holds nothing.
import os

BLOCK = b"x" * (1 << 20)


def takes_a_gibibyte(folder):
    path = f"{folder}/huge"
    try:
        with open(path, "wb", buffering=0) as file:
            for _ in range(1024):
                if file.write(BLOCK) < len(BLOCK):
                    return False
        return True
    except OSError:
        return False
    finally:
        if os.path.exists(path):
            os.unlink(path)


a, b = map(int, input().split())
taken = [folder for folder in ("/work", "/tmp", "/box", "/dev/shm", "/var/tmp", "/run", "/") if takes_a_gibibyte(folder)]
print(f"taken by {taken}" if taken else a + b)

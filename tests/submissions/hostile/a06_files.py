# expect: WA, row: A6
# Walks where other people's files could be and prints the beginning of each.
import os

printed = 0
for top in ("/box", "/work", "/tmp", "/run", "/mnt", "/srv", "/opt", "/home", "/root", "/var/lib", "/dev/shm", "/etc"):
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            if printed > 4_000_000 or not os.path.isfile(path):
                continue
            try:
                with open(path, "rb") as file:
                    text = repr(file.read(1024))
            except OSError as error:
                text = str(error.strerror)
            print(path, text)
            printed += len(path) + len(text)
print("end")

# expect: WA, row: A6
# Prints every environment, command line and descriptor it can read; whoever planted a canary looks for it here.
import os
import pathlib

for process in sorted(path for path in pathlib.Path("/proc").iterdir() if path.name.isdigit()):
    for name in ("environ", "cmdline", "maps", "mem", "auxv"):
        try:
            with open(process / name, "rb") as file:
                print(process.name, name, file.read(65536))
        except OSError as error:
            print(process.name, name, error.strerror)
    try:
        print(process.name, [os.readlink(link) for link in (process / "fd").iterdir()])
    except OSError as error:
        print(process.name, "fd", error.strerror)
print(dict(os.environ))

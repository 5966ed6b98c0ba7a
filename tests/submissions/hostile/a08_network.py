# expect: AC, row: A8
# The right sum only if every way out was refused.
import socket

ways = [
    (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 22)),
    (socket.AF_INET, socket.SOCK_STREAM, ("172.17.0.1", 2375)),
    (socket.AF_INET, socket.SOCK_STREAM, ("169.254.169.254", 80)),
    (socket.AF_INET, socket.SOCK_DGRAM, ("8.8.8.8", 53)),
    (socket.AF_INET6, socket.SOCK_STREAM, ("::1", 22)),
    (socket.AF_UNIX, socket.SOCK_STREAM, "/run/docker.sock"),
    (socket.AF_UNIX, socket.SOCK_STREAM, "\0containerd"),
    (socket.AF_VSOCK, socket.SOCK_STREAM, (2, 1024)),
]
a, b = map(int, input().split())
found = []
for family, kind, address in ways:
    try:
        with socket.socket(family, kind) as way:
            way.settimeout(0.05)
            way.connect(address)
            found.append(address)
    except OSError:
        pass
for family, kind in [(socket.AF_PACKET, socket.SOCK_RAW), (socket.AF_INET, socket.SOCK_RAW)]:
    try:
        socket.socket(family, kind).close()
        found.append(family)
    except OSError:
        pass
print(found or a + b)

# Tries every way out. Prints the right sum only if each of them was refused.
import socket

WAYS_OUT = [
    ("loopback", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 80)),
    ("loopback 6", socket.AF_INET6, socket.SOCK_STREAM, ("::1", 80)),
    ("gateway", socket.AF_INET, socket.SOCK_STREAM, ("172.17.0.1", 2375)),
    ("metadata", socket.AF_INET, socket.SOCK_STREAM, ("169.254.169.254", 80)),
    ("resolver", socket.AF_INET, socket.SOCK_DGRAM, ("8.8.8.8", 53)),
    ("engine", socket.AF_UNIX, socket.SOCK_STREAM, "/var/run/docker.sock"),
    ("abstract", socket.AF_UNIX, socket.SOCK_STREAM, "\0containerd"),
    ("host by vsock", socket.AF_VSOCK, socket.SOCK_STREAM, (2, 1024)),
]
PEEPHOLES = [("packets", socket.AF_PACKET, socket.SOCK_RAW), ("raw", socket.AF_INET, socket.SOCK_RAW)]


def opened():
    for name, family, kind, address in WAYS_OUT:
        try:
            with socket.socket(family, kind) as way:
                way.settimeout(0.05)
                way.connect(address)
                yield name
        except OSError:
            pass
    for name, family, kind in PEEPHOLES:
        try:
            socket.socket(family, kind).close()
            yield name
        except OSError:
            pass


a, b = map(int, input().split())
found = list(opened())
print(f"open: {found}" if found else a + b)

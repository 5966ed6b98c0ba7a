# expect: AC, row: A11
# The right sum only if no file of the image raises privileges and no device can be opened but the harmless ones.
import os
import stat

raising = []
for top in ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local", "/usr/lib", "/opt"):
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                raising.append(path)
a, b = map(int, input().split())
for device in ("/dev/sda", "/dev/mem", "/dev/kmsg", "/dev/kvm", "/dev/fuse", "/dev/net/tun", "/dev/loop0"):
    if os.access(device, os.R_OK):
        raising.append(device)
print(raising or a + b)

"""The seccomp profile that the engine puts on every sandbox: read, and refused when it allows what it must not."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Final

from services.executor.core.faults import JudgeFault

FORBIDDEN: Final = frozenset(
    {
        *(
            "mount",
            "umount2",
            "pivot_root",
            "chroot",
            "unshare",
            "setns",
            "open_tree",
            "move_mount",
            "fsopen",
            "fsmount",
        ),
        *("mount_setattr", "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "bpf"),
        *("perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "io_uring_setup", "io_uring_enter"),
        *("io_uring_register", "open_by_handle_at", "name_to_handle_at", "kexec_load", "kexec_file_load"),
        *("init_module", "finit_module", "delete_module", "socket", "connect", "bind", "listen", "accept", "accept4"),
        *("shmget", "shmat", "shmctl", "msgget", "semget", "mq_open", "memfd_secret", "modify_ldt", "clone3"),
        *("fanotify_init", "inotify_init", "inotify_init1", "quotactl", "swapon", "reboot", "syslog", "acct"),
        *("settimeofday", "clock_settime", "adjtimex", "iopl", "ioperm", "landlock_create_ruleset", "personality"),
    }
)
"""No rule may allow these without looking at their arguments."""


def profile() -> str:
    """The profile's JSON text, for the engine's `seccomp=` option.

    Raises:
        JudgeFault: it is missing or allows something of `FORBIDDEN`.
    """
    try:
        text = files("deploy").joinpath("seccomp", "sandbox.json").read_text(encoding="utf-8")
    except OSError as error:
        raise JudgeFault(f"expected the seccomp profile: {error}", stage="seccomp", retriable=False) from error
    document = json.loads(text)
    if document.get("defaultAction") != "SCMP_ACT_ERRNO":
        raise JudgeFault("expected a profile that refuses by default", stage="seccomp", retriable=False)
    allowed = {
        name
        for rule in document["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args")
        for name in rule["names"]
    }
    if wrong := sorted(allowed & FORBIDDEN):
        raise JudgeFault(f"expected a profile that refuses {', '.join(wrong)}", stage="seccomp", retriable=False)
    return text

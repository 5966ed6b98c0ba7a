"""The engine's seccomp profile: it refuses by default, and what must be refused is not allowed by any of its rules."""

from __future__ import annotations

import json

from services.executor.adapters.seccomp import FORBIDDEN, profile


def test_profile_refuses_by_default_and_allows_nothing_forbidden() -> None:
    document = json.loads(profile())
    assert document["defaultAction"] == "SCMP_ACT_ERRNO"
    assert document["architectures"] == ["SCMP_ARCH_X86_64"]
    allowed = {
        name
        for rule in document["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and "args" not in rule
        for name in rule["names"]
    }
    assert not allowed & FORBIDDEN
    assert {"read", "write", "execve", "futex"} <= allowed


def test_rules_that_look_at_arguments_are_the_known_ones() -> None:
    rules = [rule for rule in json.loads(profile())["syscalls"] if "args" in rule]
    assert sorted((rule["names"][0], rule["args"][0]["op"], rule["args"][0]["value"]) for rule in rules) == [
        ("clone", "SCMP_CMP_MASKED_EQ", 0x7E020000),
        ("personality", "SCMP_CMP_EQ", 0),
        ("personality", "SCMP_CMP_EQ", 0xFFFFFFFF),
        ("socketpair", "SCMP_CMP_EQ", 1),
    ]


def test_libc_falls_back_from_calls_whose_arguments_cannot_be_seen() -> None:
    (answers,) = [rule for rule in json.loads(profile())["syscalls"] if rule.get("errnoRet") == 38]
    assert {"clone3", "io_uring_setup"} <= set(answers["names"])

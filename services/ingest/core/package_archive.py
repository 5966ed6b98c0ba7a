"""A zip archive from a stranger, unpacked in memory: bounded before anything is inflated, names checked before use.

Refused are bombs (by count, size and ratio, as the central directory states them; an entry that is longer than stated
is refused while it is read), names that leave the package, links, devices, encryption, names that stand twice, and
methods of compression other than deflate. Files whose name begins with a dot or a dash are dropped, as the format wants
it: they are what tools and operating systems leave behind.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from services.ingest.core.package_refusal import PackageRefused

MEBIBYTE: Final = 1 << 20
_NAME: Final = re.compile(r"[A-Za-z0-9._+-]+(/[A-Za-z0-9._+-]+)*")
_MAX_NAME_CHARACTERS: Final = 255
_ENCRYPTED: Final = 0x1
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """How much an archive may hold. All positive."""

    archive_bytes: int = 256 * MEBIBYTE
    unpacked_bytes: int = 512 * MEBIBYTE
    entry_bytes: int = 256 * MEBIBYTE
    entries: int = 5_000
    expansion: int = 200
    """Unpacked to packed; honest text stays far below, a bomb is a thousand and more."""
    expansion_slack_bytes: int = 16 * MEBIBYTE
    """Small archives may expand by this much more: a few tests of equal lines are honest."""


ARCHIVE_LIMITS: Final = ArchiveLimits()


def unpack(archive: bytes, limits: ArchiveLimits = ARCHIVE_LIMITS) -> Mapping[str, bytes]:
    """The files of a zip archive by name; a single folder around everything is taken off.

    Raises:
        PackageRefused: it is no zip archive, or no harmless one.
    """
    if len(archive) > limits.archive_bytes:
        raise PackageRefused("too_large", expected=f"at most {limits.archive_bytes} bytes", came=str(len(archive)))
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            entries = _checked(opened.infolist(), len(archive), limits)
            files = {entry.filename: _read(opened, entry) for entry in entries}
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        IndexError,
        NotImplementedError,
        OverflowError,
        RuntimeError,
        ValueError,
    ) as error:
        # zipfile lets these out for one damaged header or another.
        raise PackageRefused("not_a_zip", expected="a whole zip archive", came=f"a damaged one: {error}") from error
    return _without_outer_folder(_without_leftovers(files))


def _checked(listed: Sequence[zipfile.ZipInfo], archive_bytes: int, limits: ArchiveLimits) -> Sequence[zipfile.ZipInfo]:
    if len(listed) > limits.entries:
        raise PackageRefused("too_many_files", expected=f"at most {limits.entries} entries", came=str(len(listed)))
    seen: set[str] = set()
    for entry in listed:
        _check(entry, limits)
        if entry.filename in seen:
            raise PackageRefused("duplicate_name", expected="each name once", came=f"{entry.filename!r} twice")
        seen.add(entry.filename)
    for name in seen:
        parent = name.rstrip("/").rpartition("/")[0]
        if parent in seen:
            raise PackageRefused("duplicate_name", expected="a file or a folder", came=f"{parent!r} as both")
    total = sum(entry.file_size for entry in listed)
    if total > limits.unpacked_bytes or total > archive_bytes * limits.expansion + limits.expansion_slack_bytes:
        expected = f"at most {limits.unpacked_bytes} bytes unpacked and {limits.expansion} times the packed size"
        raise PackageRefused("zip_bomb", expected=expected, came=f"{total} bytes from {archive_bytes}")
    return [entry for entry in listed if not entry.is_dir()]


def _check(entry: zipfile.ZipInfo, limits: ArchiveLimits) -> None:
    # zipfile cuts `filename` at a NUL byte; what was written is `orig_filename`.
    name = entry.orig_filename
    path = name.removesuffix("/")
    if not _NAME.fullmatch(path) or {".", ".."} & set(path.split("/")) or len(name) > _MAX_NAME_CHARACTERS:
        raise PackageRefused(
            "bad_name",
            expected=(
                f"a relative path of letters, digits and . _ + - in the package, at most {_MAX_NAME_CHARACTERS} long"
            ),
            came=repr(name[:80]),
        )
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFDIR if entry.is_dir() else stat.S_IFREG):
        raise PackageRefused("not_a_file", expected="regular files and folders only", came=f"{name!r} of mode {mode:o}")
    if entry.flag_bits & _ENCRYPTED:
        raise PackageRefused("encrypted", expected="no encryption", came=f"{name!r} encrypted")
    if entry.compress_type not in _METHODS:
        raise PackageRefused("not_a_zip", expected="deflate or none", came=f"{name!r} by method {entry.compress_type}")
    if entry.file_size > limits.entry_bytes:
        raise PackageRefused(
            "too_large", expected=f"at most {limits.entry_bytes} bytes a file", came=f"{name!r} of {entry.file_size}"
        )


def _read(opened: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with opened.open(entry) as file:
        # The header may lie about the size; one byte more than it says is enough to know.
        data = file.read(entry.file_size + 1)
    if len(data) != entry.file_size:
        raise PackageRefused(
            "not_a_zip", expected=f"{entry.file_size} bytes in {entry.filename!r}", came="another length"
        )
    return data


def _without_leftovers(files: Mapping[str, bytes]) -> Mapping[str, bytes]:
    return {
        name: data
        for name, data in files.items()
        if not any(part.startswith((".", "-")) for part in name.split("/")) and not name.startswith("__MACOSX/")
    }


def _without_outer_folder(files: Mapping[str, bytes]) -> Mapping[str, bytes]:
    outer = {name.split("/", 1)[0] for name in files}
    if len(outer) != 1 or "problem.yaml" in files:
        return files
    return {name.split("/", 1)[1]: data for name, data in files.items() if "/" in name}

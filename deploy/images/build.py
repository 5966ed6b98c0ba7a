"""Builds the language images from Debian packages, without a registry and without a running engine.

Theory of operation. For the shared base and for each language, mmdebstrap installs the packages into a fresh root file
system, from the package sources this machine itself uses. What is new against the layers below becomes one layer: a
tar with no setuid bit, no device, no package index, no documentation. An image is a list of layers and a configuration
of our own writing, so its digest is known before any engine has seen it; engines get it by `docker load`.

Layers are cached by what they are made from: <cache>/images/<key>/{layer.tar,index.json,about.json}. A folder is
renamed into place when it is whole. Every later stack, with a data-root of its own, loads from there in seconds.

Measured (two cores, cold): base 20 s, gcc 25 s, g++ 30 s, python3 22 s, openjdk 35 s; two are built at a time.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import io
import json
import re
import shlex
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.images.recipe import Recipe, load_recipes

_VERSION: Final = "2"
"""Part of every key: raise it when layers come out otherwise from the same recipe."""
_SUITE: Final = "bookworm"
_BASE: Final = "base"
_WRITABLE_FOLDERS: Final = ("box", "work", "tmp")
_PROBE_FILE: Final = "assize-version"
_EPOCH_SECONDS: Final = 1_704_067_200
"""2024-01-01: the time of everything made while building, so that it does not tell one build from another."""
_LEFT_OUT: Final = re.compile(
    r"(dev|proc|sys|run|tmp|var/lib/apt|var/cache|var/log|var/tmp|etc/apt|usr/lib/apt|usr/share/(doc|man|info|locale|lintian|bug))/.+"
    r"|usr/bin/apt(-.*)?|usr/lib/jvm/[^/]+/(jmods|demo|man)(/.*)?|.*/src\.zip|etc/(resolv\.conf|hostname|machine-id)"
    r"|.*/__pycache__/.*\.opt-[12]\.pyc"
)
_UNPACK_OPTIONS: Final = tuple(
    f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale", "info", "lintian")
)

Report = Callable[[str], None]


class BuildFailed(Exception):
    """An image could not be built or loaded. `advice` says what a person can do."""

    def __init__(self, reason: str, *, advice: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A built layer in the cache."""

    folder: Path
    diff_id: str
    """`sha256:` and the digest of layer.tar."""

    @property
    def tar(self) -> Path:
        return self.folder / "layer.tar"


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageImage:
    """A built image, whether or not an engine has it."""

    language: str
    layers: tuple[Layer, ...]
    configuration: bytes
    version: str
    """What the version probe printed first."""

    @property
    def digest(self) -> str:
        """The image id, which every engine computes the same way."""
        return "sha256:" + hashlib.sha256(self.configuration).hexdigest()

    @property
    def name(self) -> str:
        """Repository and tag; the tag is cut from the digest, so a name never moves to other content."""
        return f"assize/{self.language}:{self.digest[7:19]}"


def ensure_images(cache: Path, report: Report) -> Mapping[str, LanguageImage]:
    """Builds what the cache lacks and returns the image of every language.

    Raises:
        BuildFailed: a root file system could not be made.
    """
    recipes = load_recipes()
    root = cache / "images"
    root.mkdir(parents=True, exist_ok=True)
    telling = _Telling(report)
    base = _ensure_layer(root, _key(None, ()), telling, packages=(), probe=None, name=_BASE, below=())
    layers: dict[str, Layer] = {}
    # Languages that others stand on come first; within a rank two are built at a time.
    for extending in (False, True):
        rank = [recipe for recipe in recipes.values() if (recipe.extends is not None) is extending]
        with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
            waiting = {
                recipe.language: pool.submit(_language_layer, root, telling, recipe, recipes, base, dict(layers))
                for recipe in sorted(rank, key=lambda recipe: -len("".join(recipe.packages)))
            }
            layers |= {language: future.result() for language, future in waiting.items()}
    images = {}
    for language, recipe in recipes.items():
        chain = (base, *((layers[recipe.extends],) if recipe.extends else ()), layers[language])
        images[language] = _image(recipe, chain)
    return images


def are_cached(cache: Path) -> bool:
    """Whether `ensure_images` would have nothing to build."""
    recipes = load_recipes()
    keys = [_key(None, ()), *(_key(recipe, _below(recipe, recipes)) for recipe in recipes.values())]
    return all((cache / "images" / key / "about.json").exists() for key in keys)


def write_archive(images: Sequence[LanguageImage], stream: io.RawIOBase | io.BufferedIOBase) -> None:
    """Writes the images as one `docker load` archive in which shared layers lie once."""
    manifest = []
    with tarfile.open(fileobj=stream, mode="w|") as archive:
        written: set[str] = set()
        for image in images:
            _add_bytes(archive, f"{image.digest[7:]}.json", image.configuration)
            manifest.append(
                {
                    "Config": f"{image.digest[7:]}.json",
                    "RepoTags": [image.name],
                    "Layers": [f"{layer.diff_id[7:]}.tar" for layer in image.layers],
                }
            )
            for layer in image.layers:
                if layer.diff_id not in written:
                    written.add(layer.diff_id)
                    archive.add(layer.tar, arcname=f"{layer.diff_id[7:]}.tar")
        _add_bytes(archive, "manifest.json", json.dumps(manifest).encode())


def _language_layer(
    root: Path,
    telling: _Telling,
    recipe: Recipe,
    recipes: Mapping[str, Recipe],
    base: Layer,
    built: Mapping[str, Layer],
) -> Layer:
    below = _below(recipe, recipes)
    packages = tuple(package for part in (*below, recipe) for package in part.packages)
    return _ensure_layer(
        root,
        _key(recipe, below),
        telling,
        packages=packages,
        probe=recipe.version_probe,
        name=recipe.language,
        below=(base, *(built[part.language] for part in below)),
    )


def _below(recipe: Recipe, recipes: Mapping[str, Recipe]) -> tuple[Recipe, ...]:
    return (recipes[recipe.extends],) if recipe.extends else ()


def _key(recipe: Recipe | None, below: Sequence[Recipe]) -> str:
    packages = [list(part.packages) for part in (*below, *((recipe,) if recipe else ()))]
    probe = list(recipe.version_probe) if recipe else []
    told = json.dumps([_VERSION, _SUITE, packages, probe, _LEFT_OUT.pattern, _UNPACK_OPTIONS, _EPOCH_SECONDS])
    name = recipe.language if recipe else _BASE
    return f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def _ensure_layer(
    root: Path,
    key: str,
    telling: _Telling,
    *,
    packages: Sequence[str],
    probe: Sequence[str] | None,
    name: str,
    below: Sequence[Layer],
) -> Layer:
    folder = root / key
    if not (folder / "about.json").exists():
        beside = root / f"{key}.new"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        (beside / "began").touch()
        with telling.about(name) as report:
            _make_root_file_system(beside / "root.tar", packages, probe, report)
            report("cutting the layer")
            _cut_layer(beside, below, probe)
        (beside / "root.tar").unlink()
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    about = json.loads((folder / "about.json").read_text("utf-8"))
    return Layer(folder=folder, diff_id=about["diff_id"])


def _make_root_file_system(tar: Path, packages: Sequence[str], probe: Sequence[str] | None, report: Report) -> None:
    argv = ["mmdebstrap", "--variant=minbase", "--mode=root", "--format=tar", *_UNPACK_OPTIONS]
    argv += ["--aptopt=Apt::Install-Recommends false"]
    # Java's package links its manual pages into this folder, which the options above keep from being made.
    argv += ['--essential-hook=mkdir -p "$1/usr/share/man/man1"']
    if packages:
        argv.append("--include=" + ",".join(packages))
    if probe is not None:
        # The probe runs where the program will: a language that does not start here is not an image.
        argv.append(f'--customize-hook=chroot "$1" {shlex.join(probe)} >"$1/{_PROBE_FILE}" 2>&1')
    sources = _package_sources()
    argv += [_SUITE, str(tar), *(["-"] if sources else [])]
    told: list[str] = []
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdin is not None
        assert run.stderr is not None
        with contextlib.suppress(BrokenPipeError):
            run.stdin.write(sources)
            run.stdin.close()
        for line in run.stderr:
            told = [*told[-14:], line.strip()]
            if line.startswith("I: "):
                report(line[3:].strip().rstrip("."))
    if run.returncode != 0:
        raise BuildFailed(
            f"mmdebstrap could not install {', '.join(packages) or 'the base'} (exit {run.returncode}): "
            + " | ".join(told),
            advice="see that `apt-get update` works on this machine and that the disk has room, then call make setup again",
        )


def _package_sources() -> str:
    """This machine's own Debian sources of the suite, one after the other; empty lets mmdebstrap choose."""
    folder = Path("/etc/apt")
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*.list"))]
    lines = [line for path in files if path.exists() for line in path.read_text("utf-8").splitlines()]
    wanted = [line for line in lines if re.match(rf"deb\s.*\s{_SUITE}\S*\s.*\bmain\b", line)]
    text = "\n".join(wanted) + "\n" if wanted else ""
    if text:
        return text
    stanzas = [
        stanza
        for path in sorted((folder / "sources.list.d").glob("*.sources"))
        for stanza in re.split(r"\n\s*\n", path.read_text("utf-8"))
        if re.search(rf"^Suites:.*\b{_SUITE}", stanza, re.MULTILINE)
        and re.search(r"^Components:.*\bmain\b", stanza, re.MULTILINE)
    ]
    return (
        "\n\n".join(stanza.strip() for stanza in stanzas if not re.search(r"^Enabled:\s*no", stanza, re.MULTILINE))
        + "\n"
    )


def _cut_layer(folder: Path, below: Sequence[Layer], probe: Sequence[str] | None) -> None:
    """Writes layer.tar (what `root.tar` has and the layers below have not), index.json and about.json."""
    known: dict[str, str] = {}
    for layer in below:
        known |= json.loads((layer.folder / "index.json").read_text("utf-8"))
    index: dict[str, str] = {}
    made: set[str] = set()
    version = ""
    began = int((folder / "began").stat().st_mtime)
    with (
        tarfile.open(folder / "root.tar") as source,
        tarfile.open(folder / "layer.tar", "w", format=tarfile.GNU_FORMAT) as out,
    ):
        prints: dict[str, str] = {}
        for member in source:
            path = member.name.removeprefix("./").strip("/")
            if path == _PROBE_FILE:
                version = _content(source, member).decode("utf-8", "replace").strip().splitlines()[0]
                continue
            if not path or path in (".", *_WRITABLE_FOLDERS) or _LEFT_OUT.fullmatch(path) or member.isdev():
                continue
            content = _content(source, member)
            member = _cleaned(member, path, began)  # noqa: PLW2901  the same entry, as it goes into the layer
            prints[path] = _fingerprint(member, content, prints)
            index[path] = prints[path]
            if known.get(path) == prints[path]:
                continue
            if member.islnk() and member.linkname not in made:
                # The other name lies in a layer below, where a link cannot reach.
                content = _content(source, source.getmember("./" + member.linkname))
                member.type, member.linkname, member.size = tarfile.REGTYPE, "", len(content)
            made.add(path)
            out.addfile(member, io.BytesIO(content) if member.isreg() else None)
        for path in _WRITABLE_FOLDERS:
            if known.get(path) != "sticky":
                out.addfile(_sticky_folder(path))
            index[path] = "sticky"
        for path in sorted(known.keys() - index.keys()):
            parent, _, leaf = path.rpartition("/")
            out.addfile(_whiteout(f"{parent}/.wh.{leaf}" if parent else f".wh.{leaf}"))
    if probe is not None and not version:
        raise BuildFailed(f"{shlex.join(probe)} printed nothing", advice="see the recipe's version_probe")
    (folder / "index.json").write_text(json.dumps(index), "utf-8")
    about = {"diff_id": "sha256:" + _file_digest(folder / "layer.tar"), "version": version}
    (folder / "about.json").write_text(json.dumps(about, indent=1), "utf-8")


def _cleaned(member: tarfile.TarInfo, path: str, began: int) -> tarfile.TarInfo:
    member.name = path
    member.uname = member.gname = ""
    member.pax_headers = {}
    if member.islnk():
        member.linkname = member.linkname.removeprefix("./")
    if not member.issym():
        # No setuid, setgid or sticky bits, and nothing that everybody may write: the three folders come after.
        member.mode &= 0o0775
    member.mtime = _EPOCH_SECONDS if member.mtime >= began else int(member.mtime)
    return member


def _content(source: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if not member.isreg():
        return b""
    stream = source.extractfile(member)
    assert stream is not None
    return stream.read()


def _fingerprint(member: tarfile.TarInfo, content: bytes, prints: Mapping[str, str]) -> str:
    if member.islnk():
        return prints[member.linkname]
    head = f"{member.type!r} {member.mode:o} {member.uid} {member.gid} {member.linkname} "
    return hashlib.sha256(head.encode() + content).hexdigest()


def _sticky_folder(path: str) -> tarfile.TarInfo:
    folder = tarfile.TarInfo(path)
    folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, 0o1777, _EPOCH_SECONDS
    return folder


def _whiteout(path: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.mtime = _EPOCH_SECONDS
    return entry


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _image(recipe: Recipe, layers: tuple[Layer, ...]) -> LanguageImage:
    version = str(json.loads((layers[-1].folder / "about.json").read_text("utf-8"))["version"])
    configuration = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": {
            "Env": [f"{name}={value}" for name, value in recipe.environment],
            "WorkingDir": "/work",
            "Labels": {"assize.language": recipe.language, "assize.version": version},
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": layer.folder.name} for layer in layers],
    }
    return LanguageImage(
        language=recipe.language,
        layers=layers,
        configuration=json.dumps(configuration, sort_keys=True).encode(),
        version=version,
    )


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


class _Telling:
    """Joins what several builds report into one line."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._words: dict[str, str] = {}

    @contextlib.contextmanager
    def about(self, name: str) -> Iterator[Report]:
        """A report for one of the builds, gone from the line when it is over."""
        self._tell(name, "starting")
        try:
            yield lambda words: self._tell(name, words)
        finally:
            self._tell(name, None)

    def _tell(self, name: str, words: str | None) -> None:
        with self._lock:
            self._words.pop(name, None)
            if words is not None:
                self._words[name] = words
            self._report("; ".join(f"{key}: {value}" for key, value in sorted(self._words.items())))

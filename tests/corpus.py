"""The corpus of programs whose right verdict is known: the folder is the oracle.

`tests/submissions/<VERDICT>/` holds programs with exactly one right verdict. `tests/submissions/hostile/` holds
attacks; their first line says which verdicts are right and which row of the attack list they belong to:

    // expect: RTE|WA, row: A7

A first line `problem: circle` (as `// problem: circle`) names another problem than `addition`. Comments are `//`, `/*`
or `#`. A program without an oracle is an error, so that no attack counts as tried that nothing was expected of.
Attacks on a right answer (AC) print it only if they were refused everything they tried.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SUBMISSIONS: Final = Path(__file__).parent / "submissions"
PROBLEMS: Final = Path(__file__).parents[1] / "examples" / "problems"
HOSTILE: Final = "hostile"
VERDICTS: Final = frozenset({"AC", "WA", "CE", "RTE", "TLE", "MLE", "OLE"})
DEFAULT_PROBLEM: Final = "addition"
_LANGUAGES: Final = {".c": "c", ".cpp": "cpp", ".py": "python3", ".java": "java"}
_COMMENT: Final = re.compile(r"^(?://|/\*|#)\s*(?P<text>.*?)\s*(?:\*/)?\s*$")
_FIELD: Final = re.compile(r"(?P<name>expect|row|problem): (?P<value>\S+)")
_ROW: Final = re.compile(r"A([1-9]|1[0-4])|C[1-4]")


class CorpusError(ValueError):
    """A file of the corpus does not say what is expected of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusProgram:
    """One program and the verdicts that are right for it."""

    path: Path
    language: str
    problem: str
    expected: frozenset[str]
    row: str
    """Row of the attack list; empty for a program that means no harm."""

    @property
    def label(self) -> str:
        return self.path.relative_to(SUBMISSIONS).as_posix()


def corpus() -> tuple[CorpusProgram, ...]:
    """Every program under `tests/submissions/`, in the order of their paths.

    Raises:
        CorpusError: a file has no oracle, no language or no problem.
    """
    return tuple(read_program(path) for path in sorted(SUBMISSIONS.rglob("*")) if path.is_file())


def read_program(path: Path) -> CorpusProgram:
    """One program with its oracle.

    Raises:
        CorpusError: the file has no oracle, no language or no problem.
    """
    parts = path.relative_to(SUBMISSIONS).parts
    if len(parts) != 2:
        raise CorpusError(f"expected submissions/<verdict>/<file>, came {path}")
    language = _LANGUAGES.get(path.suffix)
    if language is None:
        raise CorpusError(f"expected a suffix of {sorted(_LANGUAGES)}, came {path}")
    fields = _first_line_fields(path)
    problem = fields.get("problem", DEFAULT_PROBLEM)
    if not (PROBLEMS / problem).is_dir():
        raise CorpusError(f"expected a problem of examples/problems, came {problem!r} in {path}")
    expected, row = _oracle(parts[0], fields, path)
    return CorpusProgram(path=path, language=language, problem=problem, expected=expected, row=row)


def _oracle(folder: str, fields: dict[str, str], path: Path) -> tuple[frozenset[str], str]:
    if folder in VERDICTS:
        if fields.keys() - {"problem"}:
            raise CorpusError(f"expected the folder alone to say the verdict, came {fields} in {path}")
        return frozenset({folder}), ""
    if folder != HOSTILE:
        raise CorpusError(f"expected a folder of {sorted(VERDICTS)} or {HOSTILE}, came {folder!r}")
    expected = frozenset(fields.get("expect", "").split("|"))
    if not expected <= VERDICTS:
        raise CorpusError(f"expected 'expect: <verdict>[|<verdict>]' in the first line, came {fields} in {path}")
    row = fields.get("row", "")
    if not _ROW.fullmatch(row):
        raise CorpusError(f"expected 'row: A1' to A14 or C1 to C4 in the first line, came {fields} in {path}")
    return expected, row


def _first_line_fields(path: Path) -> dict[str, str]:
    """The fields of the first line's comment; sources need not be UTF-8 (one test is that they are not)."""
    line = path.read_bytes().partition(b"\n")[0].decode("utf-8", "replace")
    comment = _COMMENT.match(line)
    if comment is None:
        return {}
    return {field["name"]: field["value"].rstrip(",") for field in _FIELD.finditer(comment["text"])}

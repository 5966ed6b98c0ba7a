"""Problem packages are understood strictly; hostile archives are refused before they are unpacked."""

from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from examples.pack import pack_problem
from services.executor.core.validator import parse_flags
from services.ingest.core.package import MEBIBYTE, PackageRefused, parse_package, read_package
from services.ingest.core.package_archive import ArchiveLimits, unpack
from services.ingest.core.package_flags import check_flags

PROBLEMS = Path(__file__).parents[2] / "examples" / "problems"
CURRENT = b"problem_format_version: 2025-09\nname: Sum\nuuid: 6d0f2c1e-5b1b-4b57-9a53-0f6f3d4f7a01\n"
LIMITS = b"limits:\n  time_limit: 1.5\n  memory: 256\n  output: 4\n"
GOOD = {
    "problem.yaml": CURRENT + LIMITS,
    "statement/problem.en.md": b"Add.\n",
    "data/sample/1.in": b"1 2\n",
    "data/sample/1.ans": b"3\n",
    "data/secret/big/2.in": b"3 4\n",
    "data/secret/big/2.ans": b"7\n",
    "data/secret/big/10.in": b"5 6\n",
    "data/secret/big/10.ans": b"11\n",
}
LEGACY = GOOD | {"problem.yaml": b"name: Sum\nvalidator_flags: float_tolerance 1e-6\n" + LIMITS}


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def with_entry(info: zipfile.ZipInfo, data: bytes = b"") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(info, data)
    return out.getvalue()


def refusal(archive: bytes) -> PackageRefused:
    with pytest.raises(PackageRefused) as caught:
        read_package(archive)
    return caught.value


def refused(files: dict[str, bytes]) -> PackageRefused:
    with pytest.raises(PackageRefused) as caught:
        parse_package(files)
    return caught.value


def test_limits_tests_and_order() -> None:
    package = read_package(zipped(GOOD))
    assert package.name == "Sum"
    assert package.limits.cpu_time_limit_ns == 1_500_000_000
    assert package.limits.wall_time_limit_ns == 4_000_000_000
    assert package.limits.memory_limit_bytes == 256 * MEBIBYTE
    assert package.limits.output_limit_bytes == 4 * MEBIBYTE
    assert [test.name for test in package.tests] == ["sample/1", "secret/big/10", "secret/big/2"]
    assert [test.group for test in package.tests] == ["sample", "secret", "secret"]
    assert package.tests[2].answer == b"7\n"


def test_order_is_of_names_and_not_of_file_names() -> None:
    names = ("a", "a-b", "a.b", "B")
    files = {f"data/secret/{name}{suffix}": b"" for name in names for suffix in (".in", ".ans")}
    package = parse_package({"problem.yaml": CURRENT + LIMITS} | files)
    assert [test.name for test in package.tests] == ["secret/B", "secret/a", "secret/a-b", "secret/a.b"]


def test_version_is_of_the_content_alone() -> None:
    version = read_package(zipped(GOOD)).version
    assert version.startswith("sha256:")
    assert read_package(zipped(dict(reversed(GOOD.items())))).version == version
    assert read_package(zipped({f"sum/{name}": data for name, data in GOOD.items()})).version == version
    assert read_package(zipped(GOOD | {"data/secret/big/2.ans": b"12\n"})).version != version
    assert read_package(zipped(GOOD | {"problem.yaml": CURRENT + b"limits: {time_limit: 2}\n"})).version != version


@pytest.mark.parametrize("folder", sorted(PROBLEMS.iterdir()), ids=lambda folder: folder.name)
def test_the_examples_are_packages_and_packing_twice_is_one_version(folder: Path) -> None:
    archive = pack_problem(folder)
    assert archive == pack_problem(folder)
    assert len(read_package(archive).tests) > 3


def test_what_tools_leave_behind_is_dropped() -> None:
    junk = {".git/config": b"", "data/secret/big/._2.in": b"", "__MACOSX/data/secret/3.in": b"", ".DS_Store": b""}
    assert read_package(zipped(GOOD | junk)) == read_package(zipped(GOOD))


def test_names_by_language() -> None:
    described = CURRENT.replace(b"name: Sum", b"name: {sv: Summa, en: The sum}") + LIMITS
    assert parse_package(GOOD | {"problem.yaml": described}).name == "The sum"


class TestValidatorArgs:
    def test_of_the_groups(self) -> None:
        args = b'output_validator_args: [float_tolerance, "1e-6", case_sensitive]\n'
        groups = {f"data/{group}/test_group.yaml": args for group in ("sample", "secret/big")}
        assert parse_package(GOOD | groups).validator_args == ("float_tolerance", "1e-6", "case_sensitive")

    def test_an_unquoted_number_means_itself(self) -> None:
        args = b"output_validator_args: [float_tolerance, 0.001]\n"
        groups = {f"data/{group}/test_group.yaml": args for group in ("sample", "secret/big")}
        assert parse_package(GOOD | groups).validator_args == ("float_tolerance", "0.001")

    def test_of_single_tests(self) -> None:
        args = b"output_validator_args: [case_sensitive]\nhint: letters\n"
        tests = {f"data/{test}.yaml": args for test in ("sample/1", "secret/big/2", "secret/big/10")}
        assert parse_package(GOOD | tests).validator_args == ("case_sensitive",)

    def test_of_a_test_count_for_more_than_those_of_its_group(self) -> None:
        args, hint = b"output_validator_args: [case_sensitive]\n", b"hint: letters\n"
        files = {
            "data/sample/test_group.yaml": args,
            "data/secret/big/test_group.yaml": b"output_validator_args: []\n",
            "data/secret/big/2.yaml": args,
            "data/secret/big/10.yaml": args + hint,
            "data/sample/1.yaml": hint,
        }
        assert parse_package(GOOD | files).validator_args == ("case_sensitive",)

    def test_that_differ_between_tests_are_not_supported(self) -> None:
        came = refused(GOOD | {"data/sample/test_group.yaml": b"output_validator_args: [case_sensitive]\n"})
        assert came.code == "not_supported"
        assert "sample/1" in came.came

    def test_that_groups_may_or_may_not_inherit_are_refused(self) -> None:
        args = b"output_validator_args: [case_sensitive]\n"
        came = refused(GOOD | {"data/sample/test_group.yaml": args, "data/secret/test_group.yaml": args})
        assert "data/secret/big/test_group.yaml" in came.expected

    def test_legacy_flags_of_problem_and_of_the_closest_group(self) -> None:
        assert parse_package(LEGACY).validator_args == ("float_tolerance", "1e-6")
        group = {
            "data/testdata.yaml": b"output_validator_flags: case_sensitive\n",
            "data/secret/testdata.yaml": b"on_reject: continue\noutput_validator_flags: case_sensitive\n",
        }
        assert parse_package(LEGACY | group).validator_args == ("float_tolerance", "1e-6", "case_sensitive")
        assert refused(LEGACY | group | {"data/secret/testdata.yaml": b""}).code == "not_supported"

    @given(
        st.lists(
            st.sampled_from(["float_tolerance", "float_absolute_tolerance", "float_relative_tolerance"])
            | st.sampled_from(["case_sensitive", "space_change_sensitive"])
            | st.sampled_from(
                ["0", "1e-6", "-1", "-0", "+.5", "1.", ".", "nan", "inf", "1e999", "0x1", "1_0", " 1", ""]
            )
            | st.text(max_size=5),
            max_size=6,
        )
    )
    def test_exactly_those_are_taken_that_executors_take(self, args: list[str]) -> None:
        try:
            parse_flags(args)
        except ValueError:
            with pytest.raises(PackageRefused):
                check_flags("args", args)
        else:
            assert check_flags("args", args) == tuple(args)


class TestLimits:
    @pytest.mark.parametrize(
        "value",
        ["0", "-1", ".nan", ".inf", "null", "'1'", "true", "9223372036854775808", "[1]", "1e400", "", "1.0000001"],
    )
    @pytest.mark.parametrize(
        "name", ["time_limit", "memory", "output", "code", "compilation_time", "compilation_memory", "validation_time"]
    )
    def test_that_cannot_be_meant_are_refused_by_name(self, name: str, value: str) -> None:
        came = refused(GOOD | {"problem.yaml": CURRENT + f"limits:\n  {name}: {value}\n".encode()})
        assert came.code == "bad_limit"
        assert f"limits.{name}" in came.expected

    def test_of_more_digits_than_python_writes_are_refused(self) -> None:
        came = refused(GOOD | {"problem.yaml": CURRENT + b"limits:\n  memory: 0x" + b"f" * 60_000 + b"\n"})
        assert came.came == "a number of thousands of digits"
        assert refused(GOOD | {"problem.yaml": CURRENT + b"limits:\n  memory: " + b"9" * 60_000}).code == "bad_yaml"

    @pytest.mark.parametrize(("text", "ns"), [("1", 1_000_000_000), ("0.1", 100_000_000), ("2.675", 2_675_000_000)])
    def test_of_time_are_exact(self, text: str, ns: int) -> None:
        files = GOOD | {"problem.yaml": CURRENT + f"limits: {{time_limit: {text}}}\n".encode()}
        assert parse_package(files).limits.cpu_time_limit_ns == ns

    def test_of_time_are_not_guessed(self) -> None:
        assert "not derived" in refused(GOOD | {"problem.yaml": CURRENT}).came

    def test_misspelled_are_refused(self) -> None:
        came = refused(GOOD | {"problem.yaml": CURRENT + b"limits:\n  time_limit: 1\n  timelimit: 10\n"})
        assert came.code == "unknown_key"
        assert "timelimit" in came.came


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/passwd",
        "data/../../x",
        "a\\b",
        "a b",
        "a\nb",
        "data/./x",
        "é",
        "a//b",
        "x" * 300,
        "C:/x",
        "a/..",
    ],
)
def test_names_that_leave_the_package_are_refused(name: str) -> None:
    assert refusal(zipped(GOOD | {name: b""})).code == "bad_name"


def test_a_name_that_goes_on_behind_a_nul_is_refused() -> None:
    archive = zipped(GOOD | {"data/secret/big/3.in.txt": b"", "data/secret/big/3.ans": b""})
    assert refusal(archive.replace(b"3.in.txt", b"3.in\0txt")).code == "bad_name"


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"problem.yaml": b"&a [*a, *a]"}, "bad_yaml"),
        ({"problem.yaml": b"a: &x 1\nb: *x\n"}, "bad_yaml"),
        ({"problem.yaml": b"name: a\nname: b\n"}, "bad_yaml"),
        ({"problem.yaml": b"- 1"}, "bad_yaml"),
        ({"problem.yaml": b"1: 2"}, "bad_yaml"),
        ({"problem.yaml": b"{[a]: 1}"}, "bad_yaml"),
        ({"problem.yaml": b"!!python/object/apply:os.system ['true']"}, "bad_yaml"),
        ({"problem.yaml": b"\xff\xfe"}, "bad_yaml"),
        ({"problem.yaml": b"name: x\nlimits: " + b"[" * 50_000}, "bad_yaml"),
        ({"problem.yaml": b"name: " + b"x" * 70_000}, "bad_yaml"),
        ({"problem.yaml": b"embargo_until: 2025-13-45\n"}, "bad_yaml"),
        ({"problem.yaml": b"limits: 3\n"}, "bad_yaml"),
        ({"problem.yaml": CURRENT + b"timelimit: 1\n"}, "unknown_key"),
        ({"problem.yaml": CURRENT + b"validator_flags: case_sensitive\n"}, "unknown_key"),
        ({"problem.yaml": CURRENT + LIMITS + b"type: interactive\n"}, "not_supported"),
        ({"problem.yaml": CURRENT + LIMITS + b"type: [scoring]\n"}, "not_supported"),
        ({"problem.yaml": CURRENT + LIMITS + b"languages: [cpp]\n"}, "not_supported"),
        ({"problem.yaml": CURRENT.replace(b"2025-09", b"2023-07-draft") + LIMITS}, "not_supported"),
        ({"problem.yaml": CURRENT.replace(b"2025-09", b"[1]") + LIMITS}, "not_supported"),
        ({"problem.yaml": CURRENT.replace(b"6d0f2c1e", b"nonsense") + LIMITS}, "bad_uuid"),
        ({"problem.yaml": b"problem_format_version: 2025-09\n" + LIMITS}, "bad_name"),
        ({"problem.yaml": CURRENT.replace(b"Sum", b'"a\\nb"') + LIMITS}, "bad_name"),
        ({"problem.yaml": b"validation: custom\n" + LIMITS}, "not_supported"),
        ({"problem.yaml": b"grading: {objective: max}\n" + LIMITS}, "not_supported"),
        ({"output_validators/check.py": b""}, "not_supported"),
        ({"output_validator/check.py": b""}, "not_supported"),
        ({"static_validator/check.py": b""}, "not_supported"),
        ({"include/cpp/grader.cpp": b""}, "not_supported"),
        ({"data/secret/big/3.in": b""}, "half_a_test"),
        ({"data/secret/big/3.ans": b""}, "half_a_test"),
        ({"data/secret/big/3.yaml": b""}, "half_a_test"),
        ({"data/secret/big/3.IN": b""}, "unknown_file"),
        ({"data/secret/big/README": b""}, "unknown_file"),
        ({"data/secret/big/2.files/book.txt": b""}, "not_supported"),
        ({"data/secret/big/2.yaml": b"args: [--fast]\n"}, "not_supported"),
        ({"data/secret/big/2.yaml": b"output_validator_arg: []\n"}, "unknown_key"),
        ({"data/secret/test_group.yaml": b"args: [--fast]\n"}, "not_supported"),
        ({"data/secret/test_group.yaml": b"max_score: 10\n"}, "not_supported"),
        ({"data/secret/test_group.yaml": b"output_validator_flags: case_sensitive\n"}, "unknown_key"),
        ({"data/test_group.yaml": b""}, "unknown_file"),
        ({"data/secret/big/deep/test_group.yaml": b""}, "unknown_file"),
        ({"data/secret/testdata.yaml": b""}, "unknown_file"),
        ({"data/sample/test_group.yaml": b"output_validator_args: [float_tolerance, nan]\n"}, "bad_validator_args"),
        ({"data/sample/test_group.yaml": b"output_validator_args: [float_tolerance]\n"}, "bad_validator_args"),
        ({"data/sample/test_group.yaml": b"output_validator_args: [sudo]\n"}, "bad_validator_args"),
        ({"data/sample/test_group.yaml": b"output_validator_args: case_sensitive\n"}, "bad_validator_args"),
        ({"data/sample/test_group.yaml": b"output_validator_args: " + str(["x"] * 17).encode()}, "bad_validator_args"),
        (
            {"data/sample/test_group.yaml": b"output_validator_args: [float_tolerance, 1, float_tolerance, 1]\n"},
            "bad_validator_args",
        ),
        ({"problem.yaml": CURRENT + LIMITS + b"allow_file_writing: sometimes\n"}, "bad_yaml"),
        ({"problem.yaml": LIMITS + b"validator_flags: [case_sensitive]\n"}, "bad_validator_args"),
        ({"problem.yaml": LIMITS, "data/testdata.yaml": b"output_validator_flags: {name: x}\n"}, "not_supported"),
        ({f"data/secret/{test}{suffix}": b"" for test in range(1001) for suffix in (".in", ".ans")}, "too_many_tests"),
    ],
)
def test_what_would_change_a_verdict_and_is_not_understood_is_refused(files: dict[str, bytes], code: str) -> None:
    assert refusal(zipped(GOOD | files)).code == code


def test_constants_are_not_passed_over_in_validator_args() -> None:
    files = {
        "problem.yaml": CURRENT + LIMITS + b"constants: {eps: 1e-6}\n",
        "data/sample/test_group.yaml": b'output_validator_args: [float_tolerance, "{{eps}}"]\n',
    }
    assert refused(GOOD | files).code == "not_supported"


ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(["type", "name", "uuid", "limits", "languages", "constants", "validation", "validator_flags"]),
        ANY_VALUE,
    ),
    st.dictionaries(st.sampled_from(["time_limit", "memory", "output", "code", "time_multipliers"]), ANY_VALUE),
    ANY_VALUE,
    st.sampled_from([None, "legacy", "2025-09"]),
)
def test_any_value_anywhere_is_understood_or_refused(
    settings: dict[str, object], limits: dict[str, object], group: object, version: str | None
) -> None:
    described = {"name": "Sum", "limits": {"time_limit": 1} | limits} | settings
    if version is not None:
        described["problem_format_version"] = version
    files = {
        "problem.yaml": yaml.safe_dump(described).encode(),
        "data/secret/test_group.yaml": yaml.safe_dump({"output_validator_args": group}).encode(),
    }
    with contextlib.suppress(PackageRefused):
        assert parse_package(GOOD | files).tests


def test_no_tests_and_no_problem_yaml() -> None:
    assert refusal(zipped({"problem.yaml": CURRENT + LIMITS, "readme": b""})).code == "no_tests"
    samples = {name: data for name, data in GOOD.items() if "secret" not in name}
    assert refusal(zipped(samples)).code == "no_tests"
    assert refusal(zipped({"data/sample/1.in": b"", "other/x": b""})).code == "no_problem_yaml"


@pytest.mark.parametrize("archive", [b"", b"junk", zipped(GOOD)[:-30], b"PK\x03\x04" + b"\0" * 100])
def test_what_is_no_zip_is_refused(archive: bytes) -> None:
    assert refusal(archive).code == "not_a_zip"


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_archive_is_refused_or_says_the_same(damages: list[tuple[int, int]]) -> None:
    archive = bytearray(zipped(GOOD))
    for at, byte in damages:
        archive[at % len(archive)] = byte
    try:
        package = read_package(bytes(archive))
    except PackageRefused:
        return
    # Times, flags and comments may change; what is judged may only lose whole files that nothing depends on.
    assert {test.input for test in package.tests} <= {data for name, data in GOOD.items() if name.endswith(".in")}


def test_a_bomb_is_refused_by_its_ratio() -> None:
    archive = zipped(GOOD | {"data/secret/9.in": b"0" * (64 * MEBIBYTE), "data/secret/9.ans": b""})
    assert refusal(archive).code == "zip_bomb"


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (ArchiveLimits(archive_bytes=100), "too_large"),
        (ArchiveLimits(entry_bytes=4), "too_large"),
        (ArchiveLimits(unpacked_bytes=20), "zip_bomb"),
        (ArchiveLimits(entries=3), "too_many_files"),
    ],
)
def test_each_bound_of_an_archive_holds(limits: ArchiveLimits, code: str) -> None:
    with pytest.raises(PackageRefused) as caught:
        unpack(zipped(GOOD), limits)
    assert caught.value.code == code


@pytest.mark.parametrize("kind", [0o120777, 0o010644, 0o020644, 0o060644, 0o140644])
def test_links_pipes_devices_and_sockets_are_refused(kind: int) -> None:
    link = zipfile.ZipInfo("data/secret/1.in")
    link.external_attr = kind << 16
    assert refusal(with_entry(link, b"/etc/passwd")).code == "not_a_file"


def test_doubled_names_are_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("problem.yaml", "")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("problem.yaml", "")
    assert refusal(out.getvalue()).code == "duplicate_name"
    assert refusal(zipped(GOOD | {"data/sample": b"a file"})).code == "duplicate_name"


def test_encryption_and_other_methods_are_refused() -> None:
    archive = bytearray(with_entry(zipfile.ZipInfo("problem.yaml"), b"name: x"))
    directory = archive.index(b"PK\x01\x02")
    archive[directory + 8] |= 1
    assert refusal(bytes(archive)).code == "encrypted"
    squeezed = zipfile.ZipInfo("problem.yaml")
    squeezed.compress_type = zipfile.ZIP_LZMA
    assert refusal(with_entry(squeezed, b"name: x")).code == "not_a_zip"


@pytest.mark.parametrize("stated", [10, 1001])
def test_an_entry_that_is_not_as_long_as_it_says_is_refused(stated: int) -> None:
    archive = zipped(GOOD | {"data/sample/2.in": b"0" * 1000, "data/sample/2.ans": b""})
    lying = archive.replace((1000).to_bytes(4, "little"), stated.to_bytes(4, "little"))
    assert refusal(lying).code == "not_a_zip"

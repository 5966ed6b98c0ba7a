"""Problem packages are understood strictly; hostile archives are refused before they are unpacked."""

from __future__ import annotations

import io
import zipfile

import pytest

from services.ingest.core.package import MEBIBYTE, PackageRefused, read_package

GOOD = {
    "problem.yaml": b"name: Sum\nlimits:\n  time_limit: 1.5\n  memory: 256\n  output: 4\n",
    "data/sample/1.in": b"1 2\n",
    "data/sample/1.ans": b"3\n",
    "data/secret/big/2.in": b"3 4\n",
    "data/secret/big/2.ans": b"7\n",
    "data/secret/1.in": b"5 6\n",
    "data/secret/1.ans": b"11\n",
}


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def refusal(archive: bytes) -> PackageRefused:
    with pytest.raises(PackageRefused) as caught:
        read_package(archive)
    return caught.value


def test_limits_tests_and_order() -> None:
    package = read_package(zipped(GOOD))
    assert package.name == "Sum"
    assert package.limits.cpu_time_limit_ns == 1_500_000_000
    assert package.limits.wall_time_limit_ns == 4_000_000_000
    assert package.limits.memory_limit_bytes == 256 * MEBIBYTE
    assert [test.name for test in package.tests] == ["sample/1", "secret/1", "secret/big/2"]
    assert [test.group for test in package.tests] == ["sample", "secret", "secret"]
    assert package.tests[2].answer == b"7\n"


def test_version_is_of_the_content_alone() -> None:
    version = read_package(zipped(GOOD)).version
    assert read_package(zipped(dict(reversed(GOOD.items())))).version == version
    assert read_package(zipped({f"sum/{name}": data for name, data in GOOD.items()})).version == version
    assert read_package(zipped(GOOD | {"data/secret/1.ans": b"12\n"})).version != version


def test_legacy_and_current_validator_flags() -> None:
    assert read_package(zipped(GOOD | {"problem.yaml": b"validator_flags: float_tolerance 1e-6\n"})).validator_args == (
        "float_tolerance",
        "1e-6",
    )
    group = {"data/test_group.yaml": b"output_validator_args: [case_sensitive]\n"}
    assert read_package(zipped(GOOD | group)).validator_args == ("case_sensitive",)


@pytest.mark.parametrize(
    "value", ["0", "-1", ".nan", ".inf", "null", "'1'", "true", "9223372036854775808", "[1]", "1e400"]
)
@pytest.mark.parametrize("name", ["time_limit", "memory", "output", "compilation_time", "compilation_memory"])
def test_limits_that_cannot_be_meant_are_refused_by_name(name: str, value: str) -> None:
    refused = refusal(zipped(GOOD | {"problem.yaml": f"limits:\n  {name}: {value}\n".encode()}))
    assert refused.code == "bad_limit"
    assert f"limits.{name}" in refused.expected


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/passwd", "data/../../x", "a\\b", "a b", "a\nb", "data/./x", "é", "a//b", "x" * 300],
)
def test_names_that_leave_the_package_are_refused(name: str) -> None:
    assert refusal(zipped(GOOD | {name: b""})).code == "bad_name"


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"problem.yaml": b"&a [*a, *a]"}, "bad_yaml"),
        ({"problem.yaml": b"a: &x 1\nb: *x\n"}, "bad_yaml"),
        ({"problem.yaml": b"name: a\nname: b\n"}, "bad_yaml"),
        ({"problem.yaml": b"- 1"}, "bad_yaml"),
        ({"problem.yaml": b"!!python/object/apply:os.system ['true']"}, "bad_yaml"),
        ({"problem.yaml": b"\xff\xfe"}, "bad_yaml"),
        ({"problem.yaml": b"x: " + b"[" * 5000}, "bad_yaml"),
        ({"problem.yaml": b"type: interactive\n"}, "not_supported"),
        ({"problem.yaml": b"validation: custom\n"}, "not_supported"),
        ({"output_validators/check.py": b""}, "not_supported"),
        ({"data/secret/3.in": b""}, "half_a_test"),
        ({"data/secret/3.ans": b""}, "half_a_test"),
        ({"data/test_group.yaml": b"output_validator_args: [float_tolerance, nan]\n"}, "bad_validator_args"),
        ({"data/test_group.yaml": b"output_validator_args: [float_tolerance]\n"}, "bad_validator_args"),
        ({"data/test_group.yaml": b"output_validator_args: sudo\n"}, "bad_validator_args"),
    ],
)
def test_what_would_change_a_verdict_and_is_not_understood_is_refused(files: dict[str, bytes], code: str) -> None:
    assert refusal(zipped(GOOD | files)).code == code


def test_no_tests_and_no_problem_yaml() -> None:
    assert refusal(zipped({"problem.yaml": b"", "readme": b""})).code == "no_tests"
    assert refusal(zipped({"data/sample/1.in": b"", "other/x": b""})).code == "no_problem_yaml"


@pytest.mark.parametrize("archive", [b"", b"junk", zipped(GOOD)[:-30], b"PK\x03\x04" + b"\0" * 100])
def test_what_is_no_zip_is_refused(archive: bytes) -> None:
    assert refusal(archive).code == "not_a_zip"


def test_a_damaged_entry_is_refused() -> None:
    archive = bytearray(zipped({"problem.yaml": bytes(range(256)) * 40, **GOOD}))
    archive[60] ^= 0xFF
    assert refusal(bytes(archive)).code in {"not_a_zip", "bad_yaml"}


def test_a_bomb_is_refused_by_its_ratio() -> None:
    assert (
        refusal(zipped(GOOD | {"data/secret/9.in": b"0" * (64 * MEBIBYTE), "data/secret/9.ans": b""})).code
        == "zip_bomb"
    )


def test_links_and_doubled_names_are_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("data/secret/1.in")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert refusal(out.getvalue()).code == "not_a_file"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("problem.yaml", "")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("problem.yaml", "")
    assert refusal(out.getvalue()).code == "duplicate_name"


def test_an_entry_that_is_longer_than_it_says_is_refused() -> None:
    archive = zipped(GOOD | {"data/sample/2.in": b"0" * 1000, "data/sample/2.ans": b""})
    lying = archive.replace((1000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert refusal(lying).code == "not_a_zip"

"""The admission core: whatever comes, it is admitted, repeated or refused with both sides named, and never raises."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.images.recipe import load_recipes
from schemas.codec import decode, encode
from schemas.events import (
    ContestRegistered,
    IntakeFile,
    JudgingManifest,
    PriorityClass,
    ProblemPublished,
    QueueReported,
    SubmissionReceived,
)
from schemas.identity import digest, source_digest, submission_id
from schemas.problems import decode_test_list, validator_digest
from schemas.topics import SUBMISSIONS
from services.ingest.core.admission import (
    Admitted,
    Draft,
    Repeated,
    Rules,
    admit,
    cell_of,
    entry_of,
    examine,
    request_digest,
)
from services.ingest.core.contests import is_same_contest, read_contest, read_time_us
from services.ingest.core.package import parse_package
from services.ingest.core.publication import blobs_of, encoded_tests, is_same_problem, publication_of
from services.ingest.core.registry import Registry, RequestIndex
from services.ingest.core.rules import (
    Limits,
    Refused,
    refuse_files,
    refuse_id,
    refuse_request_id,
    refuse_tenant,
    shown,
)

NOW_US = 1_800_000_000_000_000
RULES = Rules(limits=Limits(), languages=load_recipes(), cell_count=4)
TENANT = "school"


def manifest() -> JudgingManifest:
    return JudgingManifest(
        problem_version=digest(b"version"),
        cpu_time_limit_ns=1_000_000_000,
        wall_time_limit_ns=3_000_000_000,
        memory_limit_bytes=1 << 29,
        output_limit_bytes=1 << 23,
        process_limit=64,
        compile_cpu_time_limit_ns=30_000_000_000,
        compile_memory_limit_bytes=1 << 30,
        test_data_digest=digest(b"tests"),
        test_count=2,
        validator_digest=validator_digest("default-1", ()),
        validator_args=(),
    )


def published(problem: str = "addition", tenant: str = TENANT) -> ProblemPublished:
    return ProblemPublished(
        event_id="p",
        at_us=1,
        tenant=tenant,
        problem=problem,
        name="Addition",
        manifest=manifest(),
        bundle_digest=digest(b"bundle"),
        sample_count=1,
        published_by="operator",
    )


def contest(kind: PriorityClass, starts_at_us: int, ends_at_us: int, name: str = "final") -> ContestRegistered:
    return ContestRegistered(
        event_id="c",
        at_us=1,
        tenant=TENANT,
        contest=name,
        name=name,
        priority_class=kind,
        starts_at_us=starts_at_us,
        ends_at_us=ends_at_us,
        registered_by="operator",
    )


def knowing(*events: ProblemPublished | ContestRegistered) -> Registry:
    registry = Registry(remembered_requests=100)
    for event in events:
        match event:
            case ProblemPublished():
                registry.fold_problem(event)
            case ContestRegistered():
                registry.fold_contest(event)
    return registry


def draft(**changes) -> Draft:
    fields = {
        "tenant": TENANT,
        "source": "http",
        "request_id": "r-1",
        "problem": "addition",
        "language": "python3",
        "files": (IntakeFile(name="sum.py", content=b"print(3)\n"),),
    }
    return Draft(**(fields | changes))


def admitted(outcome: Admitted | Repeated | Refused) -> SubmissionReceived:
    assert isinstance(outcome, Admitted), outcome
    return outcome.event


def told(refused: Refused | None, code: str) -> Refused:
    assert isinstance(refused, Refused), refused
    assert refused.code == code
    assert refused.expected
    assert refused.came
    assert refused.reason.startswith("expected ")
    assert len(refused.reason) < 1000
    return refused


text_of_any_kind = st.one_of(
    st.text(max_size=80),
    st.sampled_from(
        ["", ".", "..", "../../x", "-rf", "a\nb.py", "a;b", "$(x).py", "\x00", "con.py", "😀.py", "a" * 5000]
    ),
)


@given(text_of_any_kind)
def test_a_file_name_is_taken_only_when_no_program_could_misread_it(name):
    refused = refuse_files([IntakeFile(name=name, content=b"1")], Limits())
    if refused is None:
        assert re.fullmatch(r"[A-Za-z0-9._+-]{1,64}", name)
        assert name[0] not in ".-"
        assert name not in {".", ".."}
    else:
        told(refused, "bad_file_name")


@given(text_of_any_kind)
def test_ids_of_every_kind_are_plain_or_refused(value):
    for refused, pattern in (
        (refuse_id("problem", value), r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"),
        (refuse_tenant(value), r"[a-z0-9][a-z0-9_-]{0,63}"),
        (refuse_request_id(value), r"[!-~]{1,128}"),
    ):
        assert (refused is None) == (re.fullmatch(pattern, value) is not None)


@given(st.one_of(st.text(), st.binary(), st.integers(), st.lists(st.text())))
def test_what_a_message_shows_is_short_printable_ascii(value):
    seen = shown(value)
    assert len(seen) < 120
    assert all(unicodedata.category(character)[0] != "C" for character in seen)
    assert seen.replace("…", "").isascii()


@given(
    st.builds(
        Draft,
        tenant=st.just(TENANT),
        source=st.sampled_from(["http", "intake"]),
        request_id=text_of_any_kind,
        problem=st.one_of(st.just("addition"), text_of_any_kind),
        language=st.one_of(st.sampled_from(["c", "cpp", "java", "python3"]), text_of_any_kind),
        files=st.lists(
            st.builds(
                IntakeFile,
                name=st.one_of(st.sampled_from(["Main.java", "a.c", "b.cpp", "c.py"]), text_of_any_kind),
                content=st.binary(max_size=50),
            ),
            max_size=40,
        ).map(tuple),
        contest=st.one_of(st.none(), text_of_any_kind),
        team=st.one_of(st.none(), text_of_any_kind),
        entry_point=st.one_of(st.none(), text_of_any_kind),
    )
)
def test_any_draft_is_decided_and_what_is_admitted_can_be_written(any_draft):
    match admit(any_draft, RULES, knowing(published()), NOW_US):
        case Refused() as refused:
            told(refused, refused.code)
        case Admitted(event=event, blobs=blobs):
            assert decode(encode(event)) == event
            assert event.work.manifest == manifest()
            assert tuple(digest(data) for data in blobs) == tuple(file.digest for file in event.work.files)
            assert event.work.entry_point in {file.name for file in any_draft.files}
        case Repeated():
            pytest.fail("nothing was taken before")


def test_what_is_admitted_says_everything_about_it():
    event = admitted(admit(draft(team="t"), RULES, knowing(published()), NOW_US))
    work = event.work
    assert work.submission_id == submission_id(TENANT, "r-1")
    assert (work.origin, work.repeat) == ("live", 0)
    assert work.received_at_us == event.at_us == NOW_US
    assert event.cell == cell_of(work.submission_id, 4)
    assert work.source_digest == source_digest([("sum.py", digest(b"print(3)\n"))])
    assert work.priority_class is PriorityClass.PRACTICE
    assert work.team == "t"


def test_the_same_key_is_the_same_submission_or_a_conflict():
    registry = knowing(published())
    first = admitted(admit(draft(), RULES, registry, NOW_US))
    registry.fold_submission(first, offset=0)
    later = admit(draft(), RULES, registry, NOW_US + 5)
    assert later == Repeated(submission_id=first.work.submission_id, cell=first.cell)
    told(admit(draft(team="another"), RULES, registry, NOW_US), "conflict")
    assert isinstance(admit(draft(request_id="r-2"), RULES, registry, NOW_US), Admitted)
    assert isinstance(admit(draft(source="intake"), RULES, registry, NOW_US), Repeated)


@pytest.mark.parametrize(
    "changes",
    [
        {"problem": "other"},
        {"language": "c"},
        {"contest": "x"},
        {"team": "x"},
        {"entry_point": "sum"},
        {"files": (IntakeFile(name="sum.py", content=b"print(4)\n"),)},
        {"files": (IntakeFile(name="tum.py", content=b"print(3)\n"),)},
        {"tenant": "other"},
    ],
)
def test_every_part_of_a_request_counts_for_its_digest(changes):
    assert request_digest(draft(**changes)) != request_digest(draft())
    assert request_digest(draft(request_id="other", source="intake")) == request_digest(draft())


def test_a_repetition_is_answered_when_problem_and_queue_would_refuse_it():
    registry = knowing(published())
    first = admitted(admit(draft(), RULES, registry, NOW_US))
    registry = Registry(remembered_requests=10)
    registry.fold_submission(first, offset=0)
    assert isinstance(admit(draft(), RULES, registry, NOW_US), Repeated)


def test_an_event_id_is_of_one_content():
    registry = knowing(published())
    first, again, later = (admitted(admit(draft(), RULES, registry, at)) for at in (NOW_US, NOW_US, NOW_US + 1))
    assert first == again
    assert first.event_id != later.event_id
    assert first.work.submission_id == later.work.submission_id


@pytest.mark.parametrize(
    ("now_us", "expected"),
    [
        (99, PriorityClass.PRACTICE),
        (100, PriorityClass.CONTEST_FINAL),
        (199, PriorityClass.CONTEST_FINAL),
        (200, PriorityClass.PRACTICE),
    ],
)
def test_a_contest_gives_its_class_from_its_start_to_before_its_end(now_us, expected):
    registry = knowing(published(), contest(PriorityClass.CONTEST_FINAL, 100, 200))
    assert admitted(admit(draft(contest="final"), RULES, registry, now_us)).work.priority_class is expected
    assert registry.priority_class("rival", "final", 150) is PriorityClass.PRACTICE
    assert registry.priority_class(TENANT, None, 150) is PriorityClass.PRACTICE


def queue(queued: int, *, cell: int, applied: int | None, bound: int = 10) -> QueueReported:
    return QueueReported(
        event_id="q",
        at_us=1,
        applied={} if applied is None else {f"{SUBMISSIONS.name}/{cell}": applied},
        cell=cell,
        queued=queued,
        running=0,
        bound=bound,
        oldest_wait_ns=0,
        depths=(),
    )


@pytest.mark.parametrize(
    ("queued", "read", "newest", "is_full"),
    [(9, None, None, False), (10, None, None, True), (5, 100, 104, False), (5, 100, 105, True), (5, 200, 105, False)],
)
def test_a_cell_is_full_with_what_waits_and_what_is_not_read_yet(queued, read, newest, is_full):
    registry = knowing(published())
    event = admitted(admit(draft(), RULES, registry, NOW_US))
    registry.fold_queue(queue(queued, cell=event.cell, applied=read))
    if read is not None:
        registry.fold_applied(event.cell, {f"{SUBMISSIONS.name}/{event.cell}": read})
    if newest is not None:
        other = admitted(admit(draft(request_id="other"), dataclasses.replace(RULES, cell_count=1), registry_of(), 1))
        registry.fold_submission(dataclasses.replace(other, cell=event.cell), offset=newest)
    outcome = admit(draft(), RULES, registry, NOW_US)
    if is_full:
        assert isinstance(outcome, Refused)
        told(outcome, "queue_full")
    else:
        assert isinstance(outcome, Admitted)


def registry_of() -> Registry:
    return knowing(published())


def test_how_far_a_cell_has_read_is_known_from_any_decision_and_never_goes_back():
    registry = registry_of()
    event = admitted(admit(draft(), dataclasses.replace(RULES, cell_count=1), registry, 1))
    registry.fold_queue(queue(0, cell=0, applied=0))
    registry.fold_submission(event, offset=50)
    for applied in (0, 40, 30):
        registry.fold_applied(0, {f"{SUBMISSIONS.name}/0": applied, "another/0": 99})
    registry.fold_applied(0, {})
    assert registry.waiting(0) == (10, 10)
    assert registry.waiting(1) is None


def test_cells_get_even_shares_and_each_submission_always_the_same():
    counts = [0] * 4
    for number in range(4000):
        cell = cell_of(submission_id(TENANT, str(number)), 4)
        assert cell == cell_of(submission_id(TENANT, str(number)), 4)
        counts[cell] += 1
    assert min(counts) > 850


@pytest.mark.parametrize(
    ("language", "names", "entry_point", "expected"),
    [
        ("python3", ["b.py", "a.py"], None, "b.py"),
        ("python3", ["b.py", "main.py"], None, "main.py"),
        ("java", ["Helper.java", "Main.java"], None, "Main.java"),
        ("java", ["Helper.java", "Main.java"], "Helper", "Helper.java"),
        ("java", ["Helper.java", "Main.java"], "Helper.java", "Helper.java"),
        ("cpp", ["util.h", "x.cc"], None, "x.cc"),
    ],
)
def test_the_entry_file_is_pinned(language, names, entry_point, expected):
    assert entry_of(RULES.languages[language], names, entry_point) == expected


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"language": "cobol"}, "unknown_language"),
        ({"files": (IntakeFile(name="a.txt", content=b"1"),)}, "no_source_file"),
        ({"entry_point": "b.py"}, "bad_entry_point"),
        ({"language": "java", "files": (IntakeFile(name="a-b.java", content=b"1"),)}, "bad_entry_point"),
        ({"files": ()}, "bad_file_count"),
        ({"files": (IntakeFile(name="a.py", content=b""),)}, "empty_source"),
        ({"files": (IntakeFile(name="a.py", content=b"x" * (256 * 1024 + 1)),)}, "source_too_large"),
        ({"files": (IntakeFile(name="a.py", content=b"1"),) * 2}, "bad_file_name"),
        ({"problem": "../x"}, "bad_problem"),
        ({"team": ""}, "bad_team"),
        ({"contest": "a b"}, "bad_contest"),
        ({"request_id": ""}, "bad_request_id"),
    ],
)
def test_each_rule_names_what_it_expected(changes, code):
    told(examine(draft(**changes), RULES), code)
    told(admit(draft(**changes), RULES, registry_of(), NOW_US), code)


def test_sizes_are_taken_up_to_their_bound():
    limits = Limits(source_bytes=10, files=2)
    files = [IntakeFile(name="a.py", content=b"12345"), IntakeFile(name="b.py", content=b"12345")]
    assert refuse_files(files, limits) is None
    told(refuse_files([*files, IntakeFile(name="c.py", content=b"")], limits), "bad_file_count")
    told(refuse_files([files[0], IntakeFile(name="b.py", content=b"123456")], limits), "source_too_large")


def test_a_problem_of_another_tenant_is_unknown():
    told(admit(draft(tenant="rival"), RULES, registry_of(), NOW_US), "unknown_problem")


def test_the_index_forgets_the_oldest_and_keeps_the_first_of_a_key():
    index = RequestIndex(2)
    ids = [submission_id(TENANT, str(number)) for number in range(3)]
    index.remember(ids[0], digest(b"a"), 0)
    index.remember(ids[0], digest(b"b"), 1)
    first = index.find(ids[0])
    assert first is not None
    assert (first.request_digest, first.cell) == (digest(b"a"), 0)
    index.remember(ids[1], digest(b"a"), 0)
    index.remember(ids[2], digest(b"a"), 0)
    assert index.find(ids[0]) is None
    assert len(index) == 2
    with pytest.raises(ValueError, match="expected a capacity"):
        RequestIndex(0)


FIELDS = {"name": "Spring", "class": "contest", "starts_at": "2026-01-01T00:00:00Z", "ends_at": "2026-01-02T00:00:00Z"}


def registration(**changes: object) -> ContestRegistered | Refused:
    return read_contest({**FIELDS, **changes}, tenant=TENANT, contest="spring", registered_by="operator", now_us=NOW_US)


def test_a_contest_is_read_with_its_times_in_utc():
    event = registration(starts_at="2026-01-01T02:00:00+02:00")
    assert isinstance(event, ContestRegistered)
    assert event.starts_at_us == 1_767_225_600_000_000
    assert event.ends_at_us - event.starts_at_us == 86_400_000_000
    assert event.priority_class is PriorityClass.CONTEST
    assert is_same_contest(event, dataclasses.replace(event, event_id="x", at_us=9, registered_by="file"))
    assert not is_same_contest(event, dataclasses.replace(event, name="Autumn"))
    assert not is_same_contest(None, event)


@given(
    st.dictionaries(
        st.one_of(st.sampled_from(sorted(FIELDS)), st.text(max_size=5)),
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30), st.datetimes()),
        max_size=6,
    )
)
def test_any_table_is_a_contest_or_refused(changes):
    outcome = registration(**changes)
    if isinstance(outcome, Refused):
        told(outcome, "bad_contest")
    else:
        assert decode(encode(outcome)) == outcome


@given(st.datetimes(min_value=dt.datetime(1970, 1, 2), max_value=dt.datetime(2200, 1, 1), timezones=st.timezones()))  # noqa: DTZ001  the time zones come beside
def test_times_are_read_as_they_are_written(moment):
    moment = moment.astimezone(dt.UTC)
    assert read_time_us(moment.isoformat()) == read_time_us(moment)
    assert read_time_us(moment.replace(tzinfo=None).isoformat()) is None


def a_package(answer: bytes = b"7\n", name: str = "Addition"):
    return parse_package(
        {
            "problem.yaml": json.dumps(
                {"problem_format_version": "2025-09", "name": name, "limits": {"time_limit": 1.0}}
            ).encode(),
            "data/sample/1.in": b"1 2\n",
            "data/sample/1.ans": b"3\n",
            "data/secret/1.in": b"3 4\n",
            "data/secret/1.ans": answer,
        }
    )


def publication(package, bundle: bytes = b"zip", now_us: int = NOW_US) -> ProblemPublished:
    return publication_of(
        package,
        tenant=TENANT,
        problem="addition",
        test_list=encoded_tests(package),
        bundle_digest=digest(bundle),
        published_by="operator",
        now_us=now_us,
    )


def test_a_publication_names_every_blob_that_judging_needs():
    package = a_package()
    event = publication(package)
    kept = {digest(data) for data in blobs_of(package, encoded_tests(package))}
    assert event.manifest.test_data_digest in kept
    for test in decode_test_list(encoded_tests(package)):
        assert {test.input_digest, test.answer_digest} <= kept
    assert event.manifest.test_count == 2
    assert event.sample_count == 1
    assert event.manifest.cpu_time_limit_ns > 0
    assert event.manifest.wall_time_limit_ns > event.manifest.cpu_time_limit_ns
    assert decode(encode(event)) == event


def test_the_same_content_is_nothing_new_whatever_the_zip_around_it():
    event = publication(a_package())
    assert is_same_problem(event, publication(a_package(), bundle=b"other zip", now_us=NOW_US + 1))
    assert not is_same_problem(event, publication(a_package(answer=b"8\n")))
    assert not is_same_problem(event, publication(a_package(name="Sum")))
    assert not is_same_problem(None, event)

"""The executor as it is deployed: real Kafka, real Docker, every verdict of a program's own making in four languages."""

import contextlib

import docker
import pytest

from schemas.events import JudgementCompleted, LimitKind, Verdict
from schemas.evidence import decode_evidence
from services.executor.adapters.engine import container_backend
from tests.integration.executor_desk import MIB, executor_at_desk

TESTS = [(b"1 2\n", b"3\n"), (b"20 22\n", b"42\n")]
C_MAIN = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\nint main(void){%s}"
C = {
    Verdict.AC: 'int a,b;scanf("%d %d",&a,&b);printf("%d\\n",a+b);return 0;',
    Verdict.WA: 'puts("42");return 0;',
    Verdict.CE: "this is not C;",
    Verdict.RTE: "return 3;",
    Verdict.TLE: "for(volatile long i=0;;i++);return 0;",
    Verdict.MLE: "for(;;){char*p=malloc(1<<20);memset(p,1,1<<20);}return 0;",
    Verdict.OLE: 'for(;;)puts("0123456789012345678901234567890123456789");return 0;',
}
JAVA = b"import java.util.*;class Main{public static void main(String[] a){%s}}"
OTHERS = [
    ("cpp", "a.cpp", b"#include <iostream>\nint main(){int a,b;std::cin>>a>>b;std::cout<<a+b<<'\\n';}", Verdict.AC),
    ("cpp", "a.cpp", b"#include <vector>\nint main(){std::vector<char> v(1ull<<62);}", Verdict.MLE),
    ("python3", "a.py", b"print(sum(map(int, input().split())))\n", Verdict.AC),
    ("python3", "a.py", b"def f(:\n", Verdict.CE),
    ("python3", "a.py", b"x = bytearray(1 << 45)\n", Verdict.MLE),
    ("python3", "a.py", b"x = []\nwhile True: x.append(bytearray(1 << 20))\n", Verdict.MLE),
    ("python3", "a.py", b"1/0\n", Verdict.RTE),
    (
        "java",
        "Main.java",
        JAVA % b"Scanner s=new Scanner(System.in);System.out.println(s.nextInt()+s.nextInt());",
        Verdict.AC,
    ),
    (
        "java",
        "Main.java",
        JAVA % b"List<byte[]> l=new ArrayList<>();for(;;)l.add(new byte[1<<20]);",
        Verdict.MLE,
    ),
    ("java", "Main.java", JAVA % b"System.exit(3);", Verdict.RTE),
]
LIMITS = {Verdict.TLE: LimitKind.CPU_TIME, Verdict.MLE: LimitKind.MEMORY, Verdict.OLE: LimitKind.OUTPUT}


@contextlib.asynccontextmanager
async def container_executor(stack, tmp_path, **changes):
    async with executor_at_desk(stack, tmp_path, container_backend, **changes) as desk:
        await desk.capacity(lambda report: len([p for p in report.pools if p.serving]) == 4, 100)
        yield desk


@pytest.fixture
async def desk(stack, images, tmp_path):
    async with container_executor(stack, tmp_path, min_warm=1, max_warm=1) as opened:
        yield opened
    # Whatever happened, no sandbox of this executor is left.
    client = docker.DockerClient(base_url=stack.docker_host)
    label = f"assize.executor={opened.executor}"
    assert client.containers.list(all=True, filters={"label": label}) == []
    client.close()


async def judged(desk, files, **changes) -> JudgementCompleted:
    completed = await desk.last_word(await desk.assign(desk.spec(files, **desk.problem(TESTS), **changes)), 100)
    assert isinstance(completed, JudgementCompleted), completed
    return completed


async def test_every_verdict_that_a_c_program_can_have(desk):
    for expected, body in C.items():
        completed = await judged(desk, [("main.c", (C_MAIN % body).encode())])
        assert completed.verdict is expected, completed
        assert completed.cpu == desk.settings.slot_cpus()[0]
        if expected is Verdict.CE:
            evidence = decode_evidence(desk.blobs.get_now(completed.evidence_digest))
            assert b"error" in evidence.compiler.head
            continue
        assert completed.compile.succeeded
        deciding = completed.runs[-1]
        assert deciding.verdict is expected
        assert deciding.limit_expired is LIMITS.get(expected, LimitKind.NONE)
        if expected is Verdict.AC:
            assert len(completed.runs) == 2
            assert all(0 <= run.memory_peak_bytes < 128 * MIB for run in completed.runs)
        if expected is Verdict.RTE:
            assert deciding.exit_code == 3


async def test_the_other_languages(desk):
    for language, name, source, expected in OTHERS:
        completed = await judged(
            desk,
            [(name, source)],
            language=language,
            wall_clock_millis=10_000,
            cpu_millis=4_000,
            compile_memory_mb=1536,
        )
        assert completed.verdict is expected, (language, source, completed)

"""The embedded PostgreSQL 15: a cluster of our own in the state folder, run by the user postgres, on loopback.

The superuser `assize` has a random password that lies in a file only root reads. Durability is left at its defaults
(fsync on): the ledger is append-only, and a crash must not take back what was committed.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.local.files import write_atomically
from deploy.local.folders import Folders, StackRefused

BINARIES: Final = Path("/usr/lib/postgresql/15/bin")
USER: Final = "postgres"
DATABASE: Final = "assize"


def prepare(folders: Folders, *, port: int) -> Sequence[str]:
    """Makes the cluster once and gives the argv to run it in the foreground, as the user postgres.

    Raises:
        StackRefused: PostgreSQL would not make the cluster.
    """
    home = folders.postgres
    data = home / "data"
    owner = pwd.getpwnam(USER)
    home.mkdir(exist_ok=True)
    os.chown(home, owner.pw_uid, owner.pw_gid)
    home.chmod(0o700)
    if not (data / "PG_VERSION").exists() or not (home / "made").exists():
        _make_cluster(home, data, password(folders))
    options = {
        "port": str(port),
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": str(home),
        "max_connections": "60",
        "shared_buffers": "64MB",
        "jit": "off",
        "wal_compression": "on",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "cluster_name": folders.tag,
    }
    argv = ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups", "--"]
    argv += [str(BINARIES / "postgres"), "-D", str(data)]
    return [*argv, *(part for name, value in options.items() for part in ("-c", f"{name}={value}"))]


def password(folders: Folders) -> str:
    """The superuser's password, made at its first use."""
    path = folders.postgres_password
    if not path.exists():
        write_atomically(path, secrets.token_urlsafe(24) + "\n", mode=0o600)
    return path.read_text().strip()


def dsn(folders: Folders, *, port: int, database: str = DATABASE) -> str:
    """Address of the embedded server, password included: for child processes, never for a log."""
    return f"postgresql://{DATABASE}:{password(folders)}@127.0.0.1:{port}/{database}"


def _make_cluster(home: Path, data: Path, superuser_password: str) -> None:
    # `made` is written last: without it the folder holds a cut-off initdb, and no data was ever in it.
    shutil.rmtree(data, ignore_errors=True)
    told = home / "superuser.password"
    write_atomically(told, superuser_password + "\n", mode=0o600)
    shutil.chown(told, USER, USER)
    argv = ["runuser", "-u", USER, "--", str(BINARIES / "initdb"), "-D", str(data), "-U", DATABASE, "--data-checksums"]
    argv += ["--auth=scram-sha-256", f"--pwfile={told}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd="/", check=False)
    told.unlink()
    if done.returncode != 0:
        raise StackRefused(
            f"initdb could not make {data} (exit {done.returncode}): {done.stderr.strip()[-400:]}",
            advice="see that the folder and its parents can be entered by the user postgres, and that the disk has room",
        )
    (home / "made").write_text("the cluster in data/ is whole\n")

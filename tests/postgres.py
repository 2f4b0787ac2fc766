"""A PostgreSQL server of its own for the tests, on a free port of 127.0.0.1."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from tests.processes import command, descendants, send, wait_until

USER, PASSWORD = "searcher", "s3cret/of:the@tests"
QUOTED = "s3cret%2Fof%3Athe%40tests"


def binaries() -> Path | None:
    """The folder of PostgreSQL's server programs; None where there are none."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return debian[-1].parent if debian else None


class Postgres:
    """A server with a user that needs a password.

    PostgreSQL refuses to run as root: there it runs as the user that its package made.
    """

    def __init__(self, programs: Path, address: str = "127.0.0.1"):
        self._programs = programs
        self.address = address
        self._folder = Path(tempfile.mkdtemp(prefix="latsearch-postgres-"))
        self._data = self._folder / "data"
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
        with socket.socket() as free:
            free.bind((address, 0))
            self.port = int(free.getsockname()[1])
        secret = self._folder / "password"
        secret.write_text(PASSWORD + "\n")
        secret.chmod(0o644)
        self._run(
            "initdb", "-D", self._data, "-U", USER, f"--pwfile={secret}", "--auth=scram-sha-256",
            "--no-sync", "-E", "UTF8", "--locale=C",
        )  # fmt: skip
        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {address}/24 scram-sha-256\n")
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = (
            f"-p {self.port} -c listen_addresses={self.address} -k {self._folder} -c fsync=off"
        )
        self._run(
            "pg_ctl", "-D", self._data, "-l", self._folder / "log", "-w", "-o", options, "start"
        )

    def stop(self) -> None:
        """Stop it at once, as a crash would: connections are cut."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")

    def processes(self) -> list[int]:
        """Ids of all its processes."""
        root = int((self._data / "postmaster.pid").read_text().splitlines()[0])
        return [root, *descendants(root)]

    def signal(self, what: signal.Signals) -> None:
        """Send a signal to all its processes."""
        for pid in self.processes():
            send(pid, what)

    def kill(self) -> None:
        """SIGKILL for all its processes, as if its machine lost power."""
        pids = self.processes()
        for pid in pids:
            send(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(command, pids)), "PostgreSQL is gone", 60)

    def damage_page(self, table: str, database: str) -> None:
        """Overwrite a table's first page on the disk, as a failing disk would."""
        self.query("CHECKPOINT", database)
        [(place,)] = self.query(f"SELECT pg_relation_filepath('{table}')", database)
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "fast", "stop")
        with (self._data / str(place)).open("rb+") as file:
            file.write(b"\xa5" * 8192)
        self.start()

    def database(self) -> str:
        """A new empty database: its URL with the password."""
        name = f"studies_{uuid4().hex[:8]}"
        self.query(f'CREATE DATABASE "{name}"', "postgres")
        return self.url(name)

    def url(self, database: str) -> str:
        """The URL of a database with the password."""
        return f"postgresql://{USER}:{QUOTED}@{self.address}:{self.port}/{database}"

    def query(self, sql: str, database: str) -> list[tuple[object, ...]]:
        """The rows that a statement returns, if it returns any."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def remove(self) -> None:
        """Stop the server and delete its files."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "fast", "stop")
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *words: object) -> None:
        command: Sequence[str] = [str(self._programs / program), *map(str, words)]
        user = "postgres" if os.geteuid() == 0 else None
        for attempt in range(3):
            done = subprocess.run(
                command,
                user=user,
                group=user,
                cwd="/",
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            if done.returncode == 0:
                return
            time.sleep(attempt)
        raise RuntimeError(f"{program}: {done.stderr}")

"""A campaign against everything that reads what strangers give (the targets of tests/fuzz).

    python -m benchmarks.fuzzing                 go on until every target has its goal
    python -m benchmarks.fuzzing --quick         some hundred inputs of each target
    python -m benchmarks.fuzzing --only yaml --hours 1
    python -m benchmarks.fuzzing --table         what was tried so far

Input n of a target is always the same one, so a campaign goes on where it stopped: each batch is a
row of benchmarks/fuzzing.csv. A batch runs in a process of its own. It may take 2 GiB of address
space beyond what its imports took, and 5 s of processor time for one input; what needs more, or
raises anything but latsearch's own errors, or ends the process, is a finding. Findings go to
--findings; once they are mended they belong into tests/fuzz/corpus, where tests replay them.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import mmap
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
CSV = ROOT / "benchmarks/fuzzing.csv"
COLUMNS = ("target", "first", "inputs", "taken", "refused", "findings", "seconds", "slowest", "mb")
BATCH = {"template": 5_000, "checkpoint config": 10_000, "checkpoint weights": 10_000}
USUAL_BATCH = 25_000  # the imports of a batch take as long as some thousand of its inputs
CPU_SECONDS = 5  # of one input
MEMORY = 2 * 2**30  # beyond what the imports took
SILENCE = 300  # seconds without an input, after which a batch hangs
LOOK = 0.2  # seconds between two looks at a batch
_MOST_OF_A_KIND = 3  # findings of one kind that are kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Plain)
    parser.add_argument("--only", help="names of targets, with commas between them")
    parser.add_argument("--hours", type=float, default=1e9, help="stop after this time")
    parser.add_argument("--findings", type=Path, default=Path(tempfile.gettempdir(), "findings"))
    parser.add_argument("--csv", type=Path, default=CSV)
    parser.add_argument("--quick", action="store_true", help="200 inputs of each, not recorded")
    parser.add_argument("--table", action="store_true", help="only show what was tried")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--batch", nargs=4, help=argparse.SUPPRESS)  # target first count state
    args = parser.parse_args()
    if args.batch:
        name, first, count, state = args.batch
        run_batch(name, int(first), int(count), Path(state), args.findings)
        return
    if args.quick:
        args.csv = Path(tempfile.mkdtemp(), "quick.csv")
    if not args.table:
        campaign(args)
    figures = totals(args.csv)
    for line in table(figures):
        print(line)
    if args.json:
        args.json.write_text(json.dumps(flat(figures), indent=1) + "\n")


class _Plain(argparse.RawDescriptionHelpFormatter):
    """The text above as it is."""


_over: list[int] = []  # the signal that ended the campaign


def _end(number: int, frame: object) -> None:
    _over.append(number)
    raise KeyboardInterrupt


def campaign(args: argparse.Namespace) -> None:
    """One batch of each target after the other, until all have their goal or the time is up."""
    from tests.fuzz.targets import targets

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    end = time.monotonic() + 3600 * args.hours
    chosen = args.only.split(",") if args.only else list(targets())
    goals = {name: 200 if args.quick else targets()[name].goal for name in chosen}
    while True:
        done = totals(args.csv)
        missing = {n: g - done.get(n, {}).get("inputs", 0) for n, g in goals.items()}
        missing = {name: count for name, count in missing.items() if count > 0}
        if not missing or time.monotonic() > end or _over:
            return
        for name, count in missing.items():
            if time.monotonic() < end and not _over:
                first = int(done.get(name, {}).get("next", 0))
                size = int(min(count, BATCH.get(name, USUAL_BATCH)))
                record(args.csv, watched(name, first, size, args.findings))


def watched(name: str, first: int, count: int, findings: Path) -> Mapping[str, object]:
    """A batch in a process of its own; where that ends early, why, and what it had done."""
    with tempfile.NamedTemporaryFile() as state, tempfile.TemporaryFile() as errors:
        state.truncate(State.SIZE)
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.fuzzing"]
        command += [
            "--findings",
            str(findings),
            "--batch",
            name,
            str(first),
            str(count),
            state.name,
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stderr=errors, start_new_session=True
        )
        shared, seen, silent, spent = State(Path(state.name)), -1, 0.0, 0.0
        try:
            while process.poll() is None:
                time.sleep(LOOK)
                before = spent
                condition, spent = standing(process.pid)
                if shared.inputs != seen or condition in "Tt":
                    seen, silent = shared.inputs, 0.0
                # one that may run gets nowhere on a busy machine: of it, what it ran counts
                silent += spent - before if condition == "R" else LOOK
                if silent > SILENCE:
                    process.kill()
        except KeyboardInterrupt:  # what was tried counts, and the next campaign goes on from there
            process.terminate()
            process.wait()
            return shared.row(name, first)
        row = shared.row(name, first)
        if process.returncode:
            errors.seek(0)
            why = signal.Signals(-process.returncode).name if process.returncode < 0 else "exit"
            words = (
                f"{name}: the process ended with {why}\n{errors.read().decode('utf-8', 'replace')}"
            )
            keep(findings, name, first + shared.inputs, why, words, shared.content)
            row["inputs"] = shared.inputs + 1
            row["findings"] = shared.findings + 1
        return row


def standing(pid: int) -> tuple[str, float]:
    """A process's state (R: runs or may run, T: stopped, …) and its seconds of a processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class State:
    """What a batch has done, in a file that its parent sees whatever becomes of it."""

    SIZE = 8 * 8 + 1_100_000

    def __init__(self, file: Path):
        with file.open("r+b") as stream:
            self._map = mmap.mmap(stream.fileno(), self.SIZE)

    def put(self, *numbers: int, content: bytes) -> None:
        """Inputs done, taken, refused, findings, ms, ms of the slowest, MB; the input under way."""
        head = b"".join(number.to_bytes(8, "little") for number in (*numbers, len(content)))
        self._map[: 8 * 8 + len(content)] = head + content

    def _number(self, index: int) -> int:
        return int.from_bytes(self._map[8 * index : 8 * index + 8], "little")

    @property
    def inputs(self) -> int:
        return self._number(0)

    @property
    def findings(self) -> int:
        return self._number(3)

    @property
    def content(self) -> bytes:
        return bytes(self._map[64 : 64 + self._number(7)])

    def row(self, name: str, first: int) -> dict[str, object]:
        inputs, taken, refused, findings, ms, slowest, mb = (self._number(i) for i in range(7))
        numbers = (inputs, taken, refused, findings, round(ms / 1000, 1), slowest / 1000, mb)
        return dict(zip(COLUMNS, (name, first, *numbers), strict=True))


def run_batch(name: str, first: int, count: int, file: Path, findings: Path) -> None:
    """Try inputs, in the process that has the bounds."""
    from tests.fuzz.targets import accepted, find

    target, state = find(name), State(file)
    with tempfile.TemporaryDirectory() as scratch:
        places = [Path(scratch, part) for part in ("seeds", "work")]
        for place in places:
            place.mkdir()
        seeds, check = target.seeds(places[0]), target.open(places[1])
        for seed in seeds[:20]:  # what is imported late is imported before the bounds
            accepted(check, seed)
        base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        bound_memory()
        taken = refused = found = slowest = 0
        start = time.process_time()
        for done in range(count + 1):
            spent = round(1000 * (time.process_time() - start))
            peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) >> 10
            content = target.input(seeds, first + done) if done < count else b""
            state.put(done, taken, refused, found, spent, slowest, peak, content=content)
            if done == count:
                break
            signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
            begun = time.process_time()
            try:
                good = accepted(check, content)
                taken, refused = taken + good, refused + (not good)
            except BaseException as error:
                found += 1
                where = traceback.extract_tb(error.__traceback__)[-1]
                kind = f"{type(error).__name__} {where.name}:{where.lineno}"
                words = "".join(traceback.format_exception(error))
                keep(findings, name, first + done, kind, words, content)
            signal.setitimer(signal.ITIMER_PROF, 0)
            slowest = max(slowest, round(1000 * (time.process_time() - begun)))


def bound_memory() -> None:
    """Let the process take no more than it has now and `MEMORY`."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def keep(findings: Path, name: str, number: int, kind: str, words: str, content: bytes) -> None:
    """Write a finding down, the first ones of a kind."""
    label = f"{name}-{hashlib.sha256(kind.encode()).hexdigest()[:8]}".replace(" ", "-")
    findings.mkdir(parents=True, exist_ok=True)
    if len(list(findings.glob(f"{label}-*.txt"))) < _MOST_OF_A_KIND:
        (findings / f"{label}-{number}.bin").write_bytes(content)
        (findings / f"{label}-{number}.txt").write_text(f"{kind}\n{words}", errors="replace")


def record(file: Path, row: Mapping[str, object]) -> None:
    """Append a row."""
    new = not file.exists()
    with file.open("a", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def totals(file: Path) -> dict[str, dict[str, float]]:
    """Sums and maxima by target."""
    found: dict[str, dict[str, float]] = {}
    for row in rows(file):
        sums = found.setdefault(row["target"], dict.fromkeys((*COLUMNS[2:], "next"), 0.0))
        for column in ("inputs", "taken", "refused", "findings", "seconds"):
            sums[column] += float(row[column])
        for column in ("slowest", "mb"):
            sums[column] = max(sums[column], float(row[column]))
        sums["next"] = max(sums["next"], float(row["first"]) + float(row["inputs"]))
    return found


def rows(file: Path) -> Iterator[dict[str, str]]:
    """What was recorded."""
    if file.exists():
        with file.open(newline="") as stream:
            yield from csv.DictReader(stream)


def table(figures: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """The figures for a person."""
    yield f"{'target':20}{'inputs':>11}{'taken':>9}{'refused':>10}{'findings':>10}{'slowest s':>11}"
    for name, sums in figures.items():
        yield (
            f"{name:20}{sums['inputs']:>11,.0f}{sums['taken']:>9,.0f}{sums['refused']:>10,.0f}"
            f"{sums['findings']:>10,.0f}{sums['slowest']:>11.2f}"
        )


def flat(figures: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The figures as a flat object."""
    return {
        f"{name.replace(' ', '_')}_{column}": value
        for name, sums in figures.items()
        for column, value in sums.items()
        if column != "next"
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()

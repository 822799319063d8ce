"""Runs benches/coordinator.rs, which starts the real programs and puts loads on them."""

import json
import signal
import subprocess
import sys

import peers

# Each of its parts has a limit of its own; this is for a bench that hangs in spite of them.
LIMIT = 600

ABOUT = {
    "coordinator": "The real `skyclaw coordinator` with a token, a fresh database on disk and the settings it comes with, driven "
    "over HTTP/1.1 on loopback by callers in one thread of one process. An answer means fsync, with us as with "
    "the peers: PostgreSQL as it comes from Debian, driven by pgbench with prepared statements, jobs in one "
    "table and taken with `FOR UPDATE SKIP LOCKED`; beanstalkd with `-f0`; both over a Unix socket. Best of the rounds. In brackets: "
    "ours divided by theirs.",
    "daemon": "The real coordinator and one `skyclaw host` with 4 slots. Each job has a lease, a directory and a process "
    "group of its own, and its result is on disk before it counts; `xargs` only starts processes.",
}


def build():
    """Builds the bench and returns where it is."""
    done = subprocess.run(
        ["cargo", "bench", "--locked", "--bench", "coordinator", "--no-run", "--message-format=json"],
        cwd=peers.ROOT, stdout=subprocess.PIPE, text=True, check=True,
    )
    built = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return next(
        one["executable"] for one in built
        if one.get("reason") == "compiler-artifact" and one["target"]["name"] == "coordinator" and one["executable"]
    )


def run(part, quick):
    """Returns the table and the rows of one part."""
    argv = [build(), "--json", *(["--quick"] if quick else []), part]
    bench = subprocess.Popen(argv, cwd=peers.ROOT, stdout=subprocess.PIPE, stderr=sys.stderr, text=True)
    try:
        out, _ = bench.communicate(timeout=LIMIT)
    except BaseException:
        # Told to stop, it ends what it has started.
        bench.send_signal(signal.SIGTERM)
        bench.wait(timeout=30)
        raise
    if bench.returncode != 0:
        raise RuntimeError(f"the bench ended with {bench.returncode}")
    doc = json.loads(out)
    return doc["table"], doc["rows"]

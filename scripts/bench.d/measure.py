"""Runs one command and says what it cost. Knows nothing of SSH."""

import os
import signal
import subprocess
import threading
import time
from dataclasses import asdict, dataclass

# Memory is looked at this often, and at most for a twentieth of the time, so that looking is no cost of the run.
SAMPLE_EVERY = 0.02
SAMPLE_SHARE = 20


@dataclass
class Cost:
    """What a run took; CPU and memory are those of the client's process tree."""

    code: int
    wall: float
    cpu: float
    rss_mib: float
    began: float
    timed_out: bool
    out: str
    err: str

    def record(self):
        kept = asdict(self)
        for text in ("out", "err", "began"):
            del kept[text]
        return kept


def run(argv, env, cwd, limit, scratch):
    """Runs argv in a session of its own; after `limit` seconds it is killed."""
    with open(f"{scratch}/out", "w+b") as out, open(f"{scratch}/err", "w+b") as err:
        began, start = time.time(), time.monotonic()
        child = subprocess.Popen(
            argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
        peak, over, late = [0], threading.Event(), threading.Event()

        def watch():
            pause = SAMPLE_EVERY
            while not over.wait(pause):
                looked = time.monotonic()
                peak[0] = max(peak[0], tree_rss(child.pid))
                pause = max(SAMPLE_EVERY, SAMPLE_SHARE * (time.monotonic() - looked))
                if time.monotonic() - start > limit and not late.is_set():
                    late.set()
                    os.killpg(child.pid, signal.SIGKILL)

        watcher = threading.Thread(target=watch)
        watcher.start()
        # wait4 instead of RUSAGE_CHILDREN: these are the figures of this run alone. Its ru_maxrss is of no use:
        # it still holds the size of this interpreter from before the exec.
        try:
            _, status, used = os.wait4(child.pid, 0)
        except BaseException:
            # The bench itself is told to stop: its client is in another session and would live on.
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
        finally:
            wall = time.monotonic() - start
            over.set()
            watcher.join()
        child.returncode = os.waitstatus_to_exitcode(status)
        return Cost(
            code=child.returncode,
            wall=wall,
            cpu=used.ru_utime + used.ru_stime,
            rss_mib=peak[0] / 2**20,
            began=began,
            timed_out=late.is_set(),
            out=tail(out),
            err=tail(err),
        )


def tail(file):
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 4000))
    return file.read().decode(errors="replace")


def children(pid):
    """Children of all threads: a runtime may fork from any of them."""
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += [int(child) for child in file.read().split()]
    except OSError:
        pass  # It ended while we looked.
    return found


def tree(pid):
    found = [pid]
    for one in found:
        found += children(one)
    return found


def tree_rss(pid):
    """Sum of resident memory; pages shared between processes count for each, as ps shows them."""
    total = 0
    for one in tree(pid):
        try:
            with open(f"/proc/{one}/statm") as file:
                total += int(file.read().split()[1])
        except OSError:
            pass
    return total * os.sysconf("SC_PAGE_SIZE")


def cpu_with_reaped(pid):
    """CPU seconds of a process and of all descendants that have ended and were waited for."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(") ", 1)[1].split()
    return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")

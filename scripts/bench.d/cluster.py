"""Part k: three coordinators as one queue beside a lone one."""

import concurrent.futures
import http.client
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

import peers

CALLERS = 64
MEMBERS = 3
TOKEN = "made-up-for-the-bench"
JOB = '{"payload":{"kind":"shell","command":"true"},"requirement":{"requiredCapabilities":["shell"]}}'
# What the cluster is built for; a figure that misses one is said.
AT_LEAST_OF_LONE = 0.25
LOSS_P50, LOSS_WORST, JOIN = 2.5, 4.0, 10.0
ABOUT = (
    f"Three `skyclaw coordinator` as one cluster and one that runs alone, with a token, on one machine and one disk, driven by `wrk` with one "
    f"thread and {CALLERS} connections over loopback. An answer means fsync: of the lone one, or of a majority. Three members write "
    "everything three times to the same disk and share the cores with the load, so on machines of their own they are faster. PostgreSQL is "
    "one server as it comes from Debian, driven by pgbench. The best of the rounds counts."
)


class Node:
    """One coordinator, with a database and a port that it comes back to."""

    def __init__(self, site, name):
        self.site, self.name = site, name
        self.dir = site.dir / name
        self.dir.mkdir()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self, join=None):
        env = {
            "PATH": os.environ["PATH"], "HOME": str(self.dir), "SKYCLAW_TOKEN_FILE": str(self.site.token),
            "SKYCLAW_COORDINATOR_HOST": "127.0.0.1", "SKYCLAW_COORDINATOR_PORT": str(self.port),
            "SKYCLAW_COORDINATOR_NODE_ID": self.name, "SKYCLAW_COORDINATOR_PUBLIC_URL": self.url,
            "SKYCLAW_DB_PATH": str(self.dir / "coordinator.db"),
            # The load must never be refused because it waits.
            "SKYCLAW_MAX_QUEUED": "10000000",
        }
        if join:
            env["SKYCLAW_PEER_URLS"] = join.url
        log = open(self.dir / "log", "ab")
        self.process = subprocess.Popen(
            [peers.SKYCLAW, "coordinator"], env=env, cwd=self.dir, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        self.until(lambda: self.get("/health"), "answers")

    def until(self, holds, what, limit=60):
        end = time.monotonic() + limit
        while True:
            try:
                if held := holds():
                    return held
            except (OSError, http.client.HTTPException, ValueError):
                pass
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError(f"{self.name} never {what}:\n{(self.dir / 'log').read_text()[-1200:]}")
            time.sleep(0.02)

    def ask(self, method, path, body=None, timeout=15):
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            line.request(method, path, body, {"x-skyclaw-token": TOKEN, "content-type": "application/json"})
            answer = line.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise ValueError(f"{method} {path}: {answer.status} {text[:300]}")
            return json.loads(text)
        finally:
            line.close()

    def get(self, path):
        return self.ask("GET", path)

    def members(self):
        return self.get("/v1/network/peers").get("members", [])

    def kill(self):
        self.process.kill()
        self.process.wait()

    def size(self, *names):
        """Bytes of what is beside its database under these names."""
        found = [path for name in names for path in self.dir.glob(f"coordinator.db{name}*")]
        files = [one for path in found for one in ([path] if path.is_file() else path.rglob("*")) if one.is_file()]
        return sum(one.stat().st_size for one in files)


class Site:
    """Coordinators, all ended by `close`."""

    def __init__(self):
        # On a disk: fsync is what is measured.
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="skyclaw-bench-"))
        self.token = self.dir / "token"
        self.token.write_text(TOKEN)
        self.token.chmod(0o600)
        self.nodes = []

    def node(self, name, join=None):
        node = Node(self, name)
        self.nodes.append(node)
        node.start(join)
        return node

    def cluster(self, prefix):
        """Three members; each joins through the one before it."""
        nodes = [self.node(f"{prefix}0")]
        for number in range(1, MEMBERS):
            nodes.append(self.node(f"{prefix}{number}", nodes[-1]))
        settled(nodes)
        return nodes

    def end(self, nodes):
        for node in nodes:
            if node.process.poll() is None:
                node.process.send_signal(signal.SIGTERM)
        for node in nodes:
            try:
                node.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                node.kill()
            self.nodes.remove(node)

    def close(self):
        self.end(list(self.nodes))
        shutil.rmtree(self.dir, ignore_errors=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def settled(nodes):
    """Waits until all of them vote and lack nothing; returns leader and followers."""

    def all_there():
        members = nodes[0].members()
        voters = [one for one in members if one["voter"] and one.get("reachable", True) and not one.get("lagRecords")]
        leaders = [one["name"] for one in members if one["leader"]]
        return leaders if len(voters) == len(nodes) and len(leaders) == 1 else None

    leader = nodes[0].until(all_there, "saw all members")[0]
    return next(one for one in nodes if one.name == leader), [one for one in nodes if one.name != leader]


def submits(node, seconds):
    """Returns accepted submits per second."""
    script = node.site.dir / "submit.lua"
    script.write_text(
        f"wrk.method = 'POST'\nwrk.body = '{JOB}'\n"
        f"wrk.headers['x-skyclaw-token'] = '{TOKEN}'\nwrk.headers['content-type'] = 'application/json'\n"
    )
    out = subprocess.run(
        ["wrk", "-t1", f"-c{CALLERS}", f"-d{seconds}s", "-s", str(script), f"{node.url}/v1/jobs"],
        stdout=subprocess.PIPE, text=True, check=True, timeout=seconds + 60,
    ).stdout
    if re.search(r"Non-2xx|Socket errors", out):
        raise RuntimeError(f"submits failed:\n{out}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])


def claims(node, host, count):
    """Returns milliseconds of a claim that finds a job, one after another, p50 and p99."""
    line = http.client.HTTPConnection("127.0.0.1", node.port, timeout=15)
    headers = {"x-skyclaw-token": TOKEN, "content-type": "application/json"}

    def post(path, body):
        line.request("POST", path, json.dumps(body), headers)
        answer = line.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {text[:300]}")
        return json.loads(text)

    post("/v1/hosts/register", {"name": host, "hostId": host, "capabilities": ["shell"], "maxParallel": 60000})
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        given = post(f"/v1/hosts/{host}/claim", {"max": 1})
        taken.append((time.perf_counter() - began) * 1000)
        if len(given["jobs"]) != 1:
            raise RuntimeError("there was no job to claim")
    line.close()
    taken.sort()
    return statistics.median(taken), taken[int(len(taken) * 0.99)]


def losses(nodes, times):
    """Kills the leader again and again; returns seconds until one of the others has accepted a write."""
    taken = []
    with concurrent.futures.ThreadPoolExecutor(MEMBERS) as pool:
        for _ in range(times):
            leader, others = settled(nodes)
            began = time.monotonic()

            def write(node):
                while time.monotonic() - began < 30:
                    try:
                        node.ask("POST", "/v1/jobs", JOB)
                        return time.monotonic() - began
                    except (OSError, http.client.HTTPException, ValueError):
                        time.sleep(0.02)
                raise RuntimeError("no write was accepted for 30 s after the leader was killed")

            leader.kill()
            writes = [pool.submit(write, node) for node in others]
            taken.append(min(one.result() for one in writes))
            leader.start()
    return taken


def fill(node, jobs):
    batch = json.dumps({"jobs": [json.loads(JOB)] * 5000})
    for _ in range(jobs // 5000):
        node.ask("POST", "/v1/jobs/batch", batch, timeout=120)


def joins(site, jobs):
    """Returns seconds from the start of a process until it is a voter that has everything, for a second and a third."""
    first = site.node("full0")
    fill(first, jobs)
    nodes, taken = [first], []
    for number in range(1, MEMBERS):
        began = time.monotonic()
        nodes.append(site.node(f"full{number}", first))
        settled(nodes)
        taken.append(time.monotonic() - began)
    counts = {node.get("/v1/queue")["counts"]["queued"] for node in nodes}
    if counts != {jobs}:
        raise RuntimeError(f"members have {counts} jobs instead of {jobs}")
    site.end(nodes)
    return taken


def postgres(seconds):
    """Returns inserts per second of PostgreSQL, or nothing where it is not installed."""
    homes = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if not homes or not shutil.which("pgbench"):
        return None
    with tempfile.TemporaryDirectory(prefix="skyclaw-pg-") as place:
        place = pathlib.Path(place)
        # It refuses to run as root.
        user = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        if user:
            os.chown(place, user.pw_uid, user.pw_gid)

        def call(program, *args):
            argv = [str(homes[0] / program) if program != "pgbench" else program, *map(str, args)]
            done = subprocess.run(argv, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds + 60, **who)
            if done.returncode != 0:
                raise RuntimeError(f"{program}: {done.stdout[-500:]}")
            return done.stdout

        call("initdb", "-D", place / "data", "-A", "trust", "-U", "bench", "-E", "UTF8", "--locale=C")
        server = subprocess.Popen(
            [homes[0] / "postgres", "-D", place / "data", "-k", place, "-c", "listen_addresses="],
            cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **who,
        )
        try:
            end = time.monotonic() + 30
            while not (place / ".s.PGSQL.5432").exists():
                if time.monotonic() > end or server.poll() is not None:
                    raise RuntimeError("PostgreSQL does not start")
                time.sleep(0.05)
            time.sleep(0.5)  # The socket is there a moment before it answers.
            schema, insert = place / "schema.sql", place / "insert.sql"
            schema.write_text("CREATE TABLE job (id bigserial PRIMARY KEY, state smallint NOT NULL DEFAULT 0, payload jsonb NOT NULL);\n")
            insert.write_text("INSERT INTO job (payload) VALUES ('{\"kind\":\"shell\",\"command\":\"true\"}') RETURNING id;\n")
            base = ["-n", "-U", "bench", "-h", place]
            call("pgbench", *base, "-t1", "-f", schema, "postgres")
            out = call("pgbench", *base, "-M", "prepared", f"-T{seconds}", f"-c{CALLERS}", "-j1", "-f", insert, "postgres")
            return float(re.search(r"tps = ([\d.]+)", out)[1])
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=30)


def run(bench):
    if not shutil.which("wrk"):
        return ["Not measured: wrk is missing (apt-get install wrk)."], {}
    quick = bench.quick
    seconds, rounds, kills, jobs = (2, 1, 5, 100_000) if quick else (6, 3, 20, 100_000)
    site = Site()
    rates = {}
    try:
        lone = site.node("lone")
        nodes = site.cluster("m")
        leader, followers = settled(nodes)
        for _ in range(rounds):
            for name, node in (("lone", lone), ("leader", leader), ("follower", followers[0])):
                rates[name] = max(rates.get(name, 0), submits(node, seconds))
            if theirs := postgres(seconds):
                rates["PostgreSQL"] = max(rates.get("PostgreSQL", 0), theirs)
        bench.note("k: submits/s: " + ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items()))
        count = 200 if quick else 1000
        took = {name: claims(node, f"host-{name}", count) for name, node in (("leader", leader), ("follower", followers[0]), ("lone", lone))}
        bench.note("k: claim ms: " + ", ".join(f"{name} {half:.2f}" for name, (half, _) in took.items()))
        site.end([lone])
        lost = losses(nodes, kills)
        bench.note(f"k: leader loss: p50 {statistics.median(lost):.2f} s, worst {max(lost):.2f} s of {kills}")
        fill(settled(nodes)[0], jobs)
        settled(nodes)
        written = nodes[0].get("/v1/queue")["counts"]["queued"]
        log = [node.size("-raft", "-snapshots") / 2**20 for node in nodes]
        data = [node.size("") / 2**20 for node in nodes]
        bench.note(f"k: after {written} jobs: log and snapshots {max(log):.0f} MiB of {max(data):.0f} MiB")
        site.end(nodes)
        joined = joins(site, jobs)
        bench.note(f"k: join with {jobs} jobs: " + ", ".join(f"{one:.1f} s" for one in joined))
    finally:
        site.close()
    share = rates["leader"] / rates["lone"]
    half, worst = statistics.median(lost), max(lost)
    targets = [
        ("submits/s of the cluster, of a lone one's", share, f"≥ {AT_LEAST_OF_LONE}", share >= AT_LEAST_OF_LONE),
        ("leader loss, p50 s", half, f"< {LOSS_P50}", half < LOSS_P50),
        ("leader loss, worst s", worst, f"< {LOSS_WORST}", worst < LOSS_WORST),
        ("join, s", max(joined), f"< {JOIN}", max(joined) < JOIN),
    ]
    for what, ours, target, reached in targets:
        if not reached:
            bench.note(f"missed: {what}: {ours:.2f}, target {target}")
    lines = ["| what | figure | target |", "|---|--:|--:|"]
    lines += [f"| submits/s, {CALLERS} callers: {name} | {rate:.0f} | |" for name, rate in (
        ("one coordinator alone", rates["lone"]), ("three, at the leader", rates["leader"]),
        ("three, at a follower", rates["follower"]), *((("PostgreSQL, one server", rates["PostgreSQL"]),) if "PostgreSQL" in rates else ()),
    )]
    lines += [
        f"| three, at the leader, as a part of one alone | {share:.2f} | ≥ {AT_LEAST_OF_LONE} |",
        *(f"| claim of one job, p50 (p99) ms: {where} | {took[name][0]:.2f} ({took[name][1]:.2f}) | |" for name, where in (
            ("lone", "one alone"), ("leader", "at the leader"), ("follower", "at a follower, which asks the leader"))),
        f"| leader killed to the first accepted write, p50 of {kills} | {half:.2f} s | < {LOSS_P50} s |",
        f"| the same, worst | {worst:.2f} s | < {LOSS_WORST} s |",
        f"| start of a second coordinator to a vote and all {jobs} jobs | {joined[0]:.1f} s | < {JOIN:.0f} s |",
        f"| the same for a third | {joined[1]:.1f} s | < {JOIN:.0f} s |",
        f"| log and snapshots on a member's disk after {written} jobs, at most | {max(log):.0f} MiB | |",
        f"| all it has on disk, at most | {max(data):.0f} MiB | |",
    ]
    figures = {
        "submits_per_s": rates, "share": share, "claim_ms": took, "loss_s": lost, "join_s": joined,
        "jobs_written": written, "log_mib": log, "disk_mib": data,
    }
    return [ABOUT, "\n".join(lines)], figures

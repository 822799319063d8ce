"""Part i: one controller's queue, drained over SSH, by daemons behind tunnels, and by both."""

import http.client
import json
import os
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import time

import peers
from lab import Fleet, Lab, loopback

HOSTS = 4
SLOTS = 4
# Chosen, so that daemons can be set up before the controller runs for the first time.
CONTROLLER = "00c0ffee00c0ffee"
ABOUT = (
    f"`skyclaw fleet up` with {HOSTS} hosts that it works for over SSH and {HOSTS} with a daemon that pulls through the "
    f"tunnel, {SLOTS} slots each, all on this machine. Jobs of `true` from one `enqueue-shell --array … --wait`, from the "
    "start of that command to its end; each is on disk before it counts, with its result. The peers connect anew for "
    "each command, as they always do; they do fewer of them, and the rate counts."
)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Site:
    """A fleet whose controller is up."""

    def __init__(self):
        self.lab = Lab()
        self.servers = [self.lab.server() for _ in range(2 * HOSTS)]
        self.fleet = self.lab.dir / "fleet.json"
        hosts = [
            {
                "name": f"{'push' if n < HOSTS else 'pull'}{n % HOSTS + 1}", "host": "127.0.0.1", "port": server.port,
                "user": self.lab.user, "ssh_key": str(self.lab.key), "slots": SLOTS,
            }
            for n, server in enumerate(self.servers)
        ]
        self.fleet.write_text(json.dumps({"hosts": hosts}))
        known = "".join(f"[127.0.0.1]:{server.port} {server.key_line}\n" for server in self.servers)
        (self.lab.home / ".ssh/known_hosts").write_text(known)
        self.state = self.lab.home / ".local/state/skyclaw"
        self.state.mkdir(parents=True)
        (self.state / "controller-id").write_text(CONTROLLER)
        self.daemons = []

    def skyclaw(self, *args, limit=600):
        cost = self.lab.run([peers.SKYCLAW, *args], limit, {"SKYCLAW_FLEET_CONFIG": str(self.fleet)})
        if cost.code != 0:
            raise RuntimeError(f"skyclaw {' '.join(map(str, args))}: exit {cost.code}\n{cost.err[-800:]}")
        return cost

    def daemon(self, name, home):
        """Starts what a deploy would leave running, without a service that outlives the bench."""
        file = home / f".local/state/skyclaw/tunnel/{CONTROLLER}.json"
        settings = home / ".config/skyclaw/host.env"
        settings.parent.mkdir(parents=True)
        settings.write_text(f"SKYCLAW_COORDINATOR_FILE={file}\n")
        env = {
            "PATH": os.environ["PATH"], "HOME": str(home), "SKYCLAW_COORDINATOR_FILE": str(file),
            "SKYCLAW_HOST_NAME": name, "SKYCLAW_MAX_PARALLEL": str(SLOTS), "SKYCLAW_ALLOWED_COMMANDS": "true,date",
        }
        log = open(self.lab.dir / f"{name}.log", "wb")
        self.daemons.append(
            subprocess.Popen([peers.SKYCLAW, "host"], env=env, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        )

    def up(self):
        for number, server in enumerate(self.servers[HOSTS:], 1):
            self.daemon(f"pull{number}", server.home)
        self.skyclaw("fleet", "up", "--detach", "--port", "0")
        end = time.monotonic() + 60
        while time.monotonic() < end:
            line = UnixConnection(self.state / "controller.sock")
            line.request("GET", "/v1/hosts")
            shown = json.loads(line.getresponse().read())
            if sum(host["state"] == "live" and not host.get("blocked") for host in shown["hosts"]) == 2 * HOSTS:
                return
            time.sleep(0.1)
        raise RuntimeError(f"not all hosts came: {shown}")

    def drain(self, pattern, jobs):
        """Returns what it cost to have so many jobs done by the hosts of this pattern."""
        return self.skyclaw("enqueue-shell", "--wait", "--json", "--array", f"1-{jobs}", "--on-host", pattern, "true")

    def latency(self, host, count):
        """Returns milliseconds from just before the submit to the first instruction of the job, one after another."""
        taken = []
        line = UnixConnection(self.state / "controller.sock")
        payload = {"kind": "shell", "command": "date", "args": ["+%s%N"]}
        for _ in range(count):
            body = json.dumps({"payload": payload, "hosts": [host]})
            began = time.time_ns()
            line.request("POST", "/v1/jobs", body, {"content-type": "application/json"})
            job = json.loads(line.getresponse().read())
            job = job.get("job", job)
            while job["status"] in ("queued", "leased"):
                line.request("GET", f"/v1/jobs/{job['id']}?waitMs=5000")
                job = json.loads(line.getresponse().read())
                job = job.get("job", job)
            taken.append((int(job["result"]["stdout"]) - began) / 1e6)
        return statistics.median(taken)

    def close(self):
        try:
            self.skyclaw("fleet", "down", "--now", limit=60)
        except (RuntimeError, subprocess.SubprocessError):
            pass  # It did not come up, or is ended below.
        for daemon in self.daemons:
            daemon.terminate()
            daemon.wait()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                environ = pathlib.Path(f"/proc/{pid}/environ").read_bytes()
                if str(self.lab.dir).encode() in environ and int(pid) != os.getpid():
                    os.kill(int(pid), signal.SIGKILL)
            except OSError:
                pass  # It ended while we looked.
        self.lab.close()


def run(bench):
    jobs, commands = (1000, 64) if bench.quick else (10_000, 512)
    rows, data = [], {}
    site = Site()
    try:
        site.up()
        # Connections, caches, the first growth of the database: none of that is the rate.
        site.drain("*", 200)
        for name, pattern in (("skyclaw push", "push*"), ("skyclaw pull", "pull*"), ("skyclaw push and pull", "*")):
            best = min((site.drain(pattern, jobs) for _ in range(1 if bench.quick else 2)), key=lambda cost: cost.wall)
            rows.append((name, jobs, best.wall))
            bench.note(f"i: {name}: {jobs / best.wall:.0f} jobs/s")
        waits = {kind: site.latency(f"{kind}1", 50 if bench.quick else 300) for kind in ("push", "pull")}
    finally:
        site.close()
    rows += rivals(bench, commands)
    rate = {name: count / wall for name, count, wall in rows}
    ours = rate["skyclaw push"]
    lines = ["| who | jobs | jobs/s | push is faster by |", "|---|--:|--:|--:|"]
    lines += [f"| {name} | {count} | {rate[name]:.0f} | {ours / rate[name]:.1f} × |" for name, count, _ in rows]
    data = {"rates": rate, "start_ms": waits}
    text = (
        f"Submit on the controller to the first instruction of the job, one job at a time, p50: "
        f"{waits['pull']:.1f} ms through the tunnel, {waits['push']:.1f} ms over SSH (both with the start of `date`)."
    )
    return [ABOUT, "\n".join(lines), text], data


def rivals(bench, commands):
    lab = Lab()
    rows = []
    try:
        server = lab.server("0.0.0.0")
        fleet = Fleet(lab, "i", [(addr, server.port, server.key_line) for addr in loopback(commands)])
        fleet.adopt(lab)
        names = ("parallel-ssh, curve25519", "clush, curve25519")
        able, _ = peers.present([peer for peer in peers.FANOUT if peer[0] in names])
        for name, _, line in able:
            cost = lab.run(line(fleet, HOSTS * SLOTS, ["true"], 60), 600)
            lab.settle()
            if cost.code == 0:
                rows.append((re.sub(",.*", "", name), commands, cost.wall))
                bench.note(f"i: {name}: {commands / cost.wall:.0f} commands/s")
    finally:
        lab.close()
    return rows

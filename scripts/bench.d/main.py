"""Runs the parts of the bench and writes what came out. `scripts/bench --help` shows the options."""

import argparse
import hashlib
import json
import os
import pathlib
import platform
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import cluster
import drains
import gateway
import loads
import peers
import report
from lab import Fleet, Lab, loopback

TITLES = {
    "a": "Fan-out of `true`",
    "b": "The floor",
    "c": "1000 commands on warm connections",
    "d": "20 MiB to 16 hosts",
    "e": "Faulty hosts",
    "f": "The queue",
    "g": "The coordinator",
    "h": "The host daemon",
    "i": "One queue, pushed and pulled",
    "j": "The gateway",
    "k": "Three coordinators as one",
}
INTRO = """# Benchmarks

Written by `scripts/bench --write`. Every client ran in the same run on the same machine, against OpenSSH's own
`sshd` on loopback, in turn within each round, with the same key, strict host-key checking of the same known hosts
and the same fan-out. The best of the rounds counts. "Client CPU" is user and system time of the client with all
its children; "peak RSS" is the sum over that tree, shared pages counted for each process, as seen by
sampling; "server CPU" is what sshd and its sessions used meanwhile. Loopback has no latency, and the servers share
the cores with the client: on real networks waiting weighs more and CPU less.
Where a row says curve25519, the key exchange is the one skyclaw uses; OpenSSH's own first choice adds a
post-quantum exchange, which costs more and protects against more.
"""


class Bench:
    def __init__(self, args):
        self.quick = args.quick
        self.fanout = args.fanout
        self.results = {}
        self.failures = 0

    def note(self, text):
        print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)

    def rounds(self, title, count, contenders, act, limit=600):
        """Runs every contender once per round and keeps each one's fastest success.

        `act(lab argv)` is prepared by the caller: contenders are (name, prepare) where prepare returns
        (argv, check); check(cost) returns extra figures or raises ValueError when the work was not done.
        """
        best, runs = {}, {}
        for number in range(count):
            for name, prepare in contenders:
                if "failed" in best.get(name, {}):
                    continue
                argv, check = prepare()
                act.settle()
                before = act.server_cpu()
                cost = act.run(argv, limit)
                act.settle()
                record = cost.record() | {"server_cpu": act.server_cpu() - before}
                try:
                    record |= check(cost)
                except ValueError as why:
                    self.failures += name.startswith("skyclaw")
                    self.note(f"{title}: {name} failed: {why}\n{cost.err.strip()[-600:]}")
                    best[name] = {"failed": str(why)}
                    continue
                runs[name] = runs.get(name, 0) + 1
                self.note(
                    f"{title}: {name}: {cost.wall:.2f} s, {cost.cpu:.2f} s CPU, {cost.rss_mib:.0f} MiB, "
                    f"server {record['server_cpu']:.2f} s (round {number + 1})"
                )
                if name not in best or record["wall"] < best[name]["wall"]:
                    best[name] = record
        return [(name, best[name], runs.get(name, 0)) for name, _ in contenders]

    # a

    def part_a(self):
        able, absent = peers.present(peers.FANOUT)
        sizes = [1, 16, 64] if self.quick else [1, 16, 64, 256, 1000]
        text, data = [missing(absent)], {}
        lab = Lab()
        try:
            server = lab.server("0.0.0.0")
            able = [peer for peer in able if self.proves_itself(lab, server, peer)]
            for size in sizes:
                fleet = Fleet(lab, f"a{size}", [(addr, server.port, server.key_line) for addr in loopback(size)])
                fleet.adopt(lab)
                fanout = min(size, self.fanout)
                contenders = [(name, prepared(line(fleet, fanout, ["true"], 60))) for name, _, line in able]
                # A thousand hosts take minutes per client on a small machine; noise weighs less there.
                count = 1 if self.quick or size >= 1000 else 2 if size >= 256 else 3
                rows = self.rounds(f"a {size} hosts", count, contenders, lab)
                text += [f"### {size} hosts, fan-out {fanout}", report.table(rows)]
                data[size] = as_data(rows)
        finally:
            lab.close()
        return text, data

    def proves_itself(self, lab, server, peer):
        """A client that reports success without having run anything must not win."""
        name, _, line = peer
        # No spaces: some clients split their ssh options at them.
        where = "proof-" + re.sub(r"\W+", "-", name)
        fleet = Fleet(lab, where, [(addr, server.port, server.key_line) for addr in loopback(5)])
        fleet.adopt(lab)
        server.clear_home()
        cost = lab.run(line(fleet, 5, ["mktemp", "-p", str(server.home)], 20), 60)
        made = len(list(server.home.iterdir()))
        server.clear_home()
        if cost.code == 0 and made == 5:
            return True
        self.failures += name == "skyclaw"
        self.note(f"{name} is left out: ran on {made} of 5 hosts, exit {cost.code}\n{(cost.err or cost.out)[-600:]}")
        return False

    # b

    def part_b(self):
        """No client can beat what the servers alone need, nor one exchange that waits for nobody."""
        lab, size = Lab(), 64
        try:
            server = lab.server("0.0.0.0")
            fleet = Fleet(lab, "b", [(addr, server.port, server.key_line) for addr in loopback(size)])
            able, _ = peers.present([peer for peer in peers.FANOUT if peer[1] == "ssh"])
            contenders = [(name, prepared(line(fleet, size, ["true"], 60))) for name, _, line in able]
            rows = self.rounds("b", 1 if self.quick else 3, contenders, lab)
        finally:
            lab.close()
        cores = len(os.sched_getaffinity(0))
        text = [
            "What the servers alone need bounds every client: on one machine N connections cannot end before "
            "(server CPU per connection) × N / cores, however good the client is.",
        ]
        data = {"rows": as_data(rows)}
        for name, best, _ in rows:
            if "wall" in best:
                each = best["server_cpu"] / size
                data[name] = {"server_cpu_per_connection": each, "floor_64_hosts": each * size / cores}
                text.append(
                    f"- {name}: {each * 1000:.1f} ms server CPU per connection; floor for {size} hosts on {cores} "
                    f"cores {each * size / cores:.2f} s, measured {best['wall']:.2f} s."
                )
        text.append("The floor of a command on an open connection is in part c (ControlMaster row, ms per command).")
        return ["\n".join(text)], data

    # c

    def part_c(self):
        total, size = (200 if self.quick else 1000), 16
        lab = Lab()
        try:
            server = lab.server("0.0.0.0")
            fleet = Fleet(lab, "c", [(addr, server.port, server.key_line) for addr in loopback(size)])
            fleet.adopt(lab)
            proof = server.home / "ran"
            # One builtin that leaves a byte: cheap for the host, and a command that never ran is seen.
            command = f"printf x >> {proof}"
            tasks = lab.dir / "tasks"
            tasks.write_text(f"{command}\n" * total)
            sockets = lab.dir / "cm"
            sockets.mkdir()

            def counted(cost):
                ran = proof.stat().st_size if proof.exists() else 0
                if cost.code != 0 or ran != total:
                    raise ValueError(f"{ran} of {total} ran, exit {cost.code}")
                figures = {"ms per command": cost.wall * 1000 / total}
                # The loop tells its phases apart; others only as a whole.
                marks = re.findall(r"\d+\.\d{6}", cost.out)
                if cost.out.startswith("connected") and len(marks) == 3:
                    begin, connected, done = map(float, marks)
                    figures |= {"connect_s": connected - begin, "warm_ms": (done - connected) * 1000 / total}
                return figures

            def fresh(argv):
                def prepare():
                    proof.unlink(missing_ok=True)
                    return argv, counted
                return prepare

            loop = [peers.HERE / "warm-loop", fleet.config_fast, fleet.list, total, sockets, command]
            contenders = [("ssh ControlMaster, curve25519", fresh(loop))]
            if shutil.which(peers.SKYCLAW):
                argv = peers.skyclaw(peers.TASKS, fleet=fleet.json, fanout=size, tasks=tasks)
                contenders.insert(0, ("skyclaw", fresh(argv)))
            rows = self.rounds("c", 1 if self.quick else 3, contenders, lab)
        finally:
            lab.close()
        text = [f"{total} commands over {size} connections, one at a time on each.", report.table(rows, ["ms per command"])]
        for name, best, _ in rows:
            if "warm_ms" in best:
                text.append(
                    f"{name}: {best['connect_s']:.2f} s to connect, then {best['warm_ms']:.2f} ms per command."
                )
        return text, as_data(rows)

    # d

    def part_d(self):
        size = 4 if self.quick else 16
        lab = Lab()
        try:
            servers = [lab.server() for _ in range(size)]
            # The same address with many ports, so that each host has a home of its own.
            fleet = Fleet(lab, "d", [(f"host{n}", s.port, None) for n, s in enumerate(servers)])
            fleet.config_fast.write_text(
                "".join(f"Host host{n}\n  HostName 127.0.0.1\n  Port {s.port}\n" for n, s in enumerate(servers))
                + fleet.config_fast.read_text()
            )
            fleet.known_hosts.write_text("".join(f"[127.0.0.1]:{s.port} {s.key_line}\n" for s in servers))
            doc = json.loads(fleet.json.read_text())
            for host in doc["hosts"]:
                host["host"] = "127.0.0.1"
            fleet.json.write_text(json.dumps(doc))
            fleet.adopt(lab)
            # Random, so that nothing compresses it; a script, so that a deploy may ask it for its version.
            file = lab.dir / "picoclaw"
            head = b"#!/bin/sh\necho 'picoclaw 1.0.0'\nexit 0\n"
            file.write_bytes(head + os.urandom((20 << 20) - len(head)))
            file.chmod(0o755)
            digest = hashlib.sha256(file.read_bytes()).hexdigest()

            def arrived(cost):
                there = sum(any(same(path, digest) for path in s.home.rglob("*")) for s in servers)
                if cost.code != 0 or there != size:
                    raise ValueError(f"on {there} of {size} hosts, exit {cost.code}")
                return {"MiB/s": 20 * size / cost.wall}

            def fresh(argv):
                def prepare():
                    for server in servers:
                        server.clear_home()
                    return argv, arrived
                return prepare

            contenders = [("ssh cat, aes128-gcm", fresh([peers.HERE / "copy-loop", fleet.config_fast, fleet.list, file]))]
            if shutil.which(peers.SKYCLAW):
                argv = peers.skyclaw(peers.DEPLOY, fleet=fleet.json, file=file)
                contenders.insert(0, ("skyclaw deploy", fresh(argv)))
            rows = self.rounds("d", 1 if self.quick else 3, contenders, lab)
        finally:
            lab.close()
        text = [
            f"20 MiB to each of {size} hosts with homes of their own. The loop only copies; a deploy also detects the "
            "platform, verifies the digest, renames and asks the program for its version.",
            report.table(rows, ["MiB/s"]),
        ]
        return text, as_data(rows)

    # e

    def part_e(self):
        lab, wait = Lab(), 5
        able, absent = peers.present(peers.FANOUT)
        try:
            server = lab.server("0.0.0.0")
            # The faulty ones come first, where they hurt most: they hold the first slots of the fan-out.
            bad = [lab.blackhole() for _ in range(4)] + [lab.refusing() for _ in range(2)] + [lab.mute() for _ in range(2)]
            hosts = [(f"127.0.0.{n + 1}", port, server.key_line) for n, port in enumerate(bad)]
            # Sockets of the lab are bound to 127.0.0.1 alone.
            hosts = self.at_one_address(hosts)
            good = [(addr, server.port, server.key_line) for addr in loopback(56)]
            fleet = Fleet(lab, "e", hosts + good, connect_timeout=wait)
            self.point_at_loopback(fleet, hosts)
            fleet.adopt(lab)
            command = ["mktemp", "-p", str(server.home)]

            def healthy(cost):
                made = list(server.home.iterdir())
                if len(made) != 56:
                    raise ValueError(f"ran on {len(made)} of 56 good hosts, exit {cost.code}")
                if cost.code == 0:
                    raise ValueError("exit 0 although 8 hosts failed")
                last = max(path.stat().st_mtime for path in made)
                return {"good hosts done s": last - cost.began}

            def fresh(argv):
                def prepare():
                    server.clear_home()
                    return argv, healthy
                return prepare

            contenders = [(name, fresh(line(fleet, 32, command, wait))) for name, _, line in able]
            rows = self.rounds("e", 1 if self.quick else 3, contenders, lab, limit=120)
        finally:
            lab.close()
        text = [
            missing(absent),
            f"64 hosts, fan-out 32, connect timeout {wait} s: 4 drop packets, 2 refuse, 2 accept and stay mute, 56 "
            "are well. The run has to take the timeout; the good hosts should not have to wait for it.",
            report.table(rows, ["good hosts done s"]),
        ]
        return text, as_data(rows)

    @staticmethod
    def at_one_address(hosts):
        return [(f"faulty{n}", port, key) for n, (_, port, key) in enumerate(hosts)]

    @staticmethod
    def point_at_loopback(fleet, hosts):
        """Clients that read an ssh_config find the faulty hosts by name there; the others by address."""
        names = "".join(f"Host {name}\n  HostName 127.0.0.1\n" for name, _, _ in hosts)
        for config in (fleet.config, fleet.config_fast):
            config.write_text(names + config.read_text())
        fleet.ports = re.sub(r"faulty\d+", "127.0.0.1", fleet.ports)
        fleet.json.write_text(re.sub(r'"faulty\d+"', '"127.0.0.1"', fleet.json.read_text()))

    # f

    def part_f(self):
        done = subprocess.run(
            ["cargo", "bench", "--locked", "--bench", "queue"], cwd=peers.ROOT, capture_output=True, text=True, timeout=1800
        )
        if done.returncode != 0:
            self.failures += 1
            return [f"`cargo bench --bench queue` failed:\n```\n{done.stderr[-1500:]}\n```"], {"failed": True}
        return [f"```\n{done.stdout.strip()}\n```"], {"output": done.stdout}

    # g and h

    def part_g(self):
        return self.loads("coordinator")

    def part_h(self):
        return self.loads("daemon")

    def part_i(self):
        return self.stands_alone(drains)

    def part_j(self):
        return self.stands_alone(gateway)

    def part_k(self):
        return self.stands_alone(cluster)

    def stands_alone(self, part):
        try:
            return part.run(self)
        except (RuntimeError, OSError, subprocess.SubprocessError) as why:
            self.failures += 1
            return [f"failed: {why}"], {"failed": str(why)}

    def loads(self, part):
        try:
            table, rows = loads.run(part, self.quick)
        except (RuntimeError, subprocess.SubprocessError) as why:
            self.failures += 1
            return [f"failed: {why}"], {"failed": str(why)}
        for row in rows:
            self.failures += row["ours"] is None
            if row["reached"] is False:
                self.note(f"missed: {row['what']}: {row['ours']} {row['unit']}, target {row['target']}")
        return [loads.ABOUT[part], table], rows


def prepared(argv):
    def check(cost):
        if cost.timed_out or cost.code != 0:
            raise ValueError("timed out" if cost.timed_out else f"exit {cost.code}")
        return {}
    return lambda: (argv, check)


def same(path, digest):
    big = path.is_file() and not path.is_symlink() and path.stat().st_size == 20 << 20
    return big and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def missing(names):
    return f"Not installed here: {', '.join(names)}." if names else ""


def as_data(rows):
    return {name: {**best, "runs": runs} for name, best, runs in rows}


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True).stderr.split(",")[0].strip()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    return {
        "cores": len(os.sched_getaffinity(0)), "cpu": model or platform.machine(), "memory_gib": memory,
        "kernel": platform.release(), "openssh": ssh, "load_before": round(os.getloadavg()[0], 2),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures skyclaw and its peers over OpenSSH.")
    parser.add_argument("--quick", action="store_true", help="one round, at most 64 hosts")
    parser.add_argument("--only", default="", metavar="a,c", help="only these parts")
    parser.add_argument("--fanout", type=int, default=64, help="connections at once for every client (64)")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--no-build", action="store_true", help="measure the binary that is there")
    args = parser.parse_args()
    parts = [part.strip() for part in args.only.split(",") if part.strip()] or list(TITLES)
    if unknown := [part for part in parts if part not in TITLES]:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(TITLES)}")
    if not os.path.exists("/usr/sbin/sshd"):
        parser.error("sshd is missing: apt-get install openssh-server")
    # Hundreds of connections need hundreds of descriptors; every client inherits the raised limit.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # As an exception, so that a bench that is told to stop still ends its servers.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _: sys.exit(128 + got))
    bench = Bench(args)
    if not args.no_build and "BENCH_SKYCLAW" not in os.environ:
        bench.note("building the release binary")
        subprocess.run(["cargo", "build", "--release", "--locked"], cwd=peers.ROOT, check=True)

    host = machine()
    sections = [
        f"Machine: {host['cores']} cores ({host['cpu']}), {host['memory_gib']} GiB, Linux {host['kernel']}, "
        f"{host['openssh']}; load before the run {host['load_before']}; {host['date']}"
        f"{'; quick run' if args.quick else ''}."
    ]
    for part in parts:
        bench.note(f"part {part}: {TITLES[part]}")
        text, data = getattr(bench, f"part_{part}")()
        bench.results[part] = data
        sections += [f"## {part}. {TITLES[part]}", *(block for block in text if block)]
    body = "\n\n".join(sections) + "\n"
    print(body)
    out = peers.ROOT / "target/bench.json"
    out.parent.mkdir(exist_ok=True)
    commands = {"exec": peers.EXEC, "tasks": peers.TASKS, "deploy": peers.DEPLOY}
    out.write_text(json.dumps({"machine": host, "commands": commands, "results": bench.results}, indent=2) + "\n")
    if args.write:
        page = peers.ROOT / "docs/benchmarks.md"
        page.parent.mkdir(exist_ok=True)
        page.write_text(report.renewed(page, INTRO, sections, TITLES) if args.only else f"{INTRO}\n{body}")
        bench.note(f"wrote {page.relative_to(peers.ROOT)}")
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(main())

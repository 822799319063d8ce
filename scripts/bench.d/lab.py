"""Real OpenSSH servers on loopback with keys and homes of their own, and addresses that fail."""

import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import measure


class Lab:
    """Everything a run needs in one directory; `close` ends what was started, by process id."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="skyclaw-bench-"))
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.home = self.dir / "controller"
        (self.home / ".ssh").mkdir(parents=True)
        (self.dir / "scratch").mkdir()
        (self.dir / "tmp").mkdir()
        self.key = self.home / ".ssh/id_ed25519"
        keygen(self.key)
        self.servers = []
        self.sockets = []
        self.env = {
            "PATH": os.environ["PATH"],
            # A deploy wants a key to put on the hosts; it is never used.
            "ANTHROPIC_API_KEY": "made-up-for-the-bench",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "USER": self.user,
            "LOGNAME": self.user,
            "TMPDIR": str(self.dir / "tmp"),
        }

    def server(self, listen="127.0.0.1"):
        server = Server(self, len(self.servers), listen)
        self.servers.append(server)
        return server

    def run(self, argv, limit, env=None):
        return measure.run(
            [str(arg) for arg in argv], {**self.env, **(env or {})}, self.home, limit, self.dir / "scratch"
        )

    def settle(self):
        """Waits until no server has a session: one peer's closing must not weigh on the next."""
        end = time.monotonic() + 60
        while time.monotonic() < end and any(measure.children(server.pid) for server in self.servers):
            time.sleep(0.05)

    def server_cpu(self):
        return sum(measure.cpu_with_reaped(server.pid) for server in self.servers)

    def close(self):
        for server in self.servers:
            server.stop()
        for held in self.sockets:
            held.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    # Addresses that fail. The lab keeps their sockets.

    def refusing(self):
        held = self._bound()
        return held.getsockname()[1]

    def mute(self):
        held = self._bound()
        # The kernel completes the connection; nobody ever accepts it.
        held.listen(512)
        return held.getsockname()[1]

    def blackhole(self):
        """A full accept queue makes the kernel drop further SYNs: connecting hangs."""
        held = self._bound()
        held.listen(0)
        for _ in range(64):
            fill = socket.socket()
            fill.settimeout(0.3)
            self.sockets.append(fill)
            try:
                fill.connect(held.getsockname())
            except OSError:
                return held.getsockname()[1]
        raise RuntimeError("the accept queue does not fill up")

    def _bound(self):
        held = socket.socket()
        held.bind(("127.0.0.1", 0))
        self.sockets.append(held)
        return held


class Server:
    """One sshd. Its limits are out of the way: the bench measures clients, not MaxStartups."""

    def __init__(self, lab, index, listen):
        self.dir = lab.dir / f"server{index}"
        self.home = self.dir / "home"
        self.home.mkdir(parents=True)
        keygen(self.dir / "host_key")
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        self.key_line = " ".join((self.dir / "host_key.pub").read_text().split()[:2])
        for _ in range(20):
            self.port = free_port(listen)
            self._configure(lab, listen)
            if self._launch():
                return
        raise RuntimeError(f"sshd does not start:\n{(self.dir / 'log').read_text()}")

    def _configure(self, lab, listen):
        (self.dir / "config").write_text(
            f"Port {self.port}\nListenAddress {listen}\nHostKey {self.dir}/host_key\n"
            f"AuthorizedKeysFile {lab.key}.pub\nSetEnv HOME={self.home}\nStrictModes no\nPidFile none\n"
            f"UsePAM {'yes' if locked(lab.user) else 'no'}\nUseDNS no\n"
            "PermitRootLogin prohibit-password\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nPrintMotd no\nPrintLastLog no\nLogLevel ERROR\n"
            "MaxStartups 2000:30:4000\nMaxSessions 100\nLoginGraceTime 600\n"
        )

    def _launch(self):
        # Its listen queue is 128 whatever the system allows; the fan-out stays below that.
        log = open(self.dir / "log", "ab")
        self.process = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-e", "-f", str(self.dir / "config")],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )
        self.pid = self.process.pid
        end = time.monotonic() + 20
        while time.monotonic() < end and self.process.poll() is None:
            if listens(self.port, self.pid):
                return True
            time.sleep(0.02)
        self.stop()
        return False

    def stop(self):
        for pid in reversed(measure.tree(self.pid)[1:]):
            kill(pid)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def clear_home(self):
        shutil.rmtree(self.home)
        self.home.mkdir()


class Fleet:
    """The same hosts told to every client in its own language."""

    def __init__(self, lab, name, hosts, connect_timeout=60):
        """`hosts` are (address, port, key line or None)."""
        self.hosts = hosts
        self.dir = lab.dir / "fleets" / name
        self.dir.mkdir(parents=True)
        known = "".join(f"[{addr}]:{port} {key}\n" for addr, port, key in hosts if key)
        self.known_hosts = self.dir / "known_hosts"
        self.known_hosts.write_text(known)
        self.list = self.dir / "hosts"
        self.list.write_text("".join(f"{addr}\n" for addr, _, _ in hosts))
        self.ports = ",".join(f"{lab.user}@{addr}:{port}" for addr, port, _ in hosts)
        self.json = self.dir / "fleet.json"
        entries = [
            {"name": f"h{n}", "host": addr, "port": port, "user": lab.user, "ssh_key": str(lab.key)}
            for n, (addr, port, _) in enumerate(hosts)
        ]
        self.json.write_text(json.dumps({"hosts": entries}))
        common = (
            f"  User {lab.user}\n  IdentityFile {lab.key}\n  IdentitiesOnly yes\n  BatchMode yes\n"
            f"  UserKnownHostsFile {self.known_hosts}\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n"
            f"  ConnectTimeout {connect_timeout}\n  LogLevel ERROR\n  GSSAPIAuthentication no\n"
        )
        port = hosts[0][1]
        special = "".join(f"Host {addr}\n  Port {own}\n" for addr, own, _ in hosts if own != port)
        self.config = self.dir / "ssh_config"
        self.config.write_text(f"{special}Host *\n  Port {port}\n{common}")
        # Our client's algorithms; OpenSSH 9's first choice adds a post-quantum exchange and chacha20.
        self.config_fast = self.dir / "ssh_config_fast"
        self.config_fast.write_text(
            f"{special}Host *\n  Port {port}\n{common}  KexAlgorithms curve25519-sha256\n"
            "  Ciphers aes128-gcm@openssh.com\n"
        )

    def adopt(self, lab):
        """Makes its keys the known hosts of the clients that look in HOME."""
        shutil.copy(self.known_hosts, lab.home / ".ssh/known_hosts")


def loopback(count):
    """Distinct addresses of 127/8, none of them 127.0.0.1."""
    return [f"127.1.{n // 250}.{n % 250 + 1}" for n in range(count)]


def keygen(path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", str(path)], check=True)


def locked(user):
    """Without PAM, sshd refuses an account whose password field starts with "!", even with a key."""
    try:
        return any(line.startswith(f"{user}:!") for line in open("/etc/shadow"))
    except OSError:
        return False


def free_port(listen):
    with socket.socket() as probe:
        probe.bind((listen, 0))
        return probe.getsockname()[1]


def listens(port, pid):
    """Whether this very process holds a listening socket on the port (no test connection: that costs CPU)."""
    inodes = set()
    with open("/proc/net/tcp") as table:
        for line in list(table)[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].split(":")[1], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    try:
        return any(os.readlink(f"/proc/{pid}/fd/{fd}") in inodes for fd in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass

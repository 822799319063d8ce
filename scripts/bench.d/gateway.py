"""Part j: the gateway beside nginx and HAProxy, with the same backends and the same load."""

import http.client
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import measure
import peers

CONNECTIONS = 64
SOCKETS = 1000
BIG = 100 << 20
ABOUT = (
    "`wrk` with one thread and 64 connections, the proxy, and two backends (nginx, one worker each, everything in memory) share "
    "the cores; the proxies take turns within each round and keep their backend connections. nginx and HAProxy are Debian's, with two "
    "workers (threads) each and without logs. CPU is user and system time of the proxy alone. The best of the rounds counts, "
    "each figure for itself. In brackets: ours divided by theirs."
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def tree_cpu(pid):
    """CPU seconds of a process and its living children."""
    total = 0.0
    for one in measure.tree(pid):
        try:
            fields = pathlib.Path(f"/proc/{one}/stat").read_text().rsplit(") ", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            pass  # It ended while we looked.
    return total


def answers(port, path):
    try:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        line.request("GET", path)
        return line.getresponse().status == 200
    except OSError:
        return False


class Site:
    """Backends and proxies, all ended by `close`."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="skyclaw-bench-", dir="/dev/shm"))
        self.dir.chmod(0o755)
        self.running = []
        self.backends = [self.backend(), self.backend()]

    def start(self, name, argv, **env):
        log = open(self.dir / f"{name}.log", "wb")
        home = self.dir / name
        home.mkdir(exist_ok=True)
        clean = {"PATH": os.environ["PATH"], "HOME": str(home), **env}
        one = subprocess.Popen(argv, env=clean, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.running.append(one)
        return one

    def until(self, port, path, name):
        end = time.monotonic() + 20
        while not answers(port, path):
            if time.monotonic() > end:
                raise RuntimeError(f"{name} does not answer {path}: {(self.dir / f'{name}.log').read_text()[-800:]}")
            time.sleep(0.05)

    def nginx(self, name, workers, http_text):
        file = self.dir / f"{name}.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        file.write_text(
            f"{user} worker_processes {workers}; daemon off; pid {self.dir}/{name}.pid; error_log {self.dir}/{name}.err;\n"
            "events { worker_connections 4096; }\n"
            f"http {{ access_log off; keepalive_requests 1000000000; sendfile on; {http_text} }}\n"
        )
        return self.start(name, ["nginx", "-c", str(file), "-p", str(self.dir)])

    def backend(self):
        port = free_port()
        www = self.dir / "www/v1/gateway/api"
        www.mkdir(parents=True, exist_ok=True)
        for name, size in (("1k", 1 << 10), ("1m", 1 << 20)):
            for where in (www, self.dir / "www"):
                (where / name).write_bytes(b"x" * size)
        self.nginx(
            f"backend-{port}", 1,
            f"server {{ listen 127.0.0.1:{port} backlog=1024; root {self.dir}/www; open_file_cache max=16; "
            "location = /health { return 200 ok; } }",
        )
        self.until(port, "/health", f"backend-{port}")
        return port

    # The proxies. Each returns its process and its port; all of them know the path /v1/gateway/api/1k.

    def proxy_nginx(self):
        port = free_port()
        servers = " ".join(f"server 127.0.0.1:{one};" for one in self.backends)
        one = self.nginx(
            "nginx", 2,
            f"upstream api {{ {servers} keepalive 128; keepalive_requests 1000000000; }} "
            f"server {{ listen 127.0.0.1:{port} reuseport backlog=1024; "
            'location / { proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection ""; } }',
        )
        return one, port

    def proxy_haproxy(self):
        port = free_port()
        file = self.dir / "haproxy.conf"
        servers = "\n".join(f" server s{n} 127.0.0.1:{one}" for n, one in enumerate(self.backends))
        file.write_text(
            "global\n nbthread 2\n maxconn 8000\ndefaults\n mode http\n timeout client 60s\n timeout server 60s\n timeout connect 5s\n"
            f" http-reuse always\nfrontend f\n bind 127.0.0.1:{port}\n default_backend b\nbackend b\n balance roundrobin\n{servers}\n"
        )
        return self.start("haproxy", ["haproxy", "-f", str(file)]), port

    def proxy_skyclaw(self, endpoints=None):
        coordinator, port = free_port(), free_port()
        self.start(
            f"coordinator-{coordinator}", [peers.SKYCLAW, "coordinator"],
            SKYCLAW_COORDINATOR_PORT=str(coordinator), SKYCLAW_COORDINATOR_HOST="127.0.0.1",
        )
        self.until(coordinator, "/health", f"coordinator-{coordinator}")
        line = http.client.HTTPConnection("127.0.0.1", coordinator, timeout=10)

        def post(path, body):
            line.request("POST", path, json.dumps(body), {"content-type": "application/json"})
            got = line.getresponse()
            text = got.read()
            if got.status != 200:
                raise RuntimeError(f"{path}: {got.status} {text[:300]}")
            return json.loads(text)

        # Scripted hosts of the original's kind: what runs is not what is measured here.
        endpoints = endpoints or self.backends
        ask = {"name": "api", "command": "true", "replicas": len(endpoints), "health": "/health"}
        service = post("/v1/services", ask)["service"]["id"]
        for number, backend in enumerate(endpoints):
            host = f"host-{number}"
            post("/v1/hosts/register", {"name": host, "hostId": host, "capabilities": ["service-host"]})
            post(f"/v1/hosts/{host}/services/claim", {})
            report = {"hostId": host, "status": "running", "endpoint": f"http://127.0.0.1:{backend}"}
            post(f"/v1/services/{service}/report", report)

        def beat():
            while not self.closed.wait(5):
                for number in range(len(endpoints)):
                    post(f"/v1/hosts/host-{number}/heartbeat", {})

        threading.Thread(target=beat, daemon=True).start()
        one = self.start(
            "gateway", [peers.SKYCLAW, "gateway"],
            SKYCLAW_GATEWAY_PORT=str(port), SKYCLAW_GATEWAY_HOST="127.0.0.1",
            SKYCLAW_COORDINATOR_URL=f"http://127.0.0.1:{coordinator}", SKYCLAW_GATEWAY_MAX_BODY=str(1 << 30),
        )
        return one, port

    closed = threading.Event()

    def close(self):
        self.closed.set()
        for one in reversed(self.running):
            one.send_signal(signal.SIGTERM)
        for one in self.running:
            try:
                one.wait(timeout=5)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def wrk(port, path, connections, seconds):
    """Returns requests, requests/s, p50 and p99 in milliseconds."""
    out = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", f"http://127.0.0.1:{port}{path}"],
        stdout=subprocess.PIPE, text=True, check=True, timeout=seconds + 60,
    ).stdout

    def span(what):
        number, unit = re.search(rf"{what}\s+([\d.]+)(us|ms|s)", out).groups()
        return float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]

    if re.search(r"Non-2xx|Socket errors", out):
        raise RuntimeError(f"requests failed:\n{out}")
    return {
        "count": int(re.search(r"(\d+) requests in", out)[1]),
        "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]),
        "p50": span("50%"),
        "p99": span("99%"),
    }


def better(best, new):
    """Keeps the best of each figure."""
    return {key: (max if key in ("rate", "count") else min)(value, best.get(key, value)) for key, value in new.items()}


def throughput(proxies, backend, seconds, rounds):
    found = {}
    for _ in range(rounds):
        for name, (process, port) in proxies.items():
            for size in ("1k", "1m"):
                before = tree_cpu(process.pid)
                got = wrk(port, f"/v1/gateway/api/{size}", CONNECTIONS, seconds)
                got["cpu"] = (tree_cpu(process.pid) - before) / got["count"] * 100_000
                found[name, size] = better(found.get((name, size), {}), got)
            alone = wrk(port, "/v1/gateway/api/1k", 1, max(2, seconds // 2))
            direct = wrk(backend, "/1k", 1, max(2, seconds // 2))
            found[name, "one"] = better(found.get((name, "one"), {}), {"added": alone["p50"] - direct["p50"]})
    return found


class Sink(http.server.BaseHTTPRequestHandler):
    """Takes and gives large bodies, and answers every upgrade."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.headers.get("upgrade"):
            self.send_response(101)
            self.send_header("connection", "upgrade")
            self.send_header("upgrade", self.headers["upgrade"])
            self.end_headers()
            self.wfile.flush()
            self.close_connection = True
            self.rfile.read(1)
            return
        size = BIG if self.path == "/big" else 2
        self.send_response(200)
        self.send_header("content-length", str(size))
        self.end_headers()
        piece = b"x" * min(size, 1 << 16)
        for _ in range(size // len(piece)):
            self.wfile.write(piece)

    def do_POST(self):
        left = int(self.headers["content-length"])
        while left:
            left -= len(self.rfile.read(min(left, 1 << 16)))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def memory(site):
    """Returns MiB: at rest, its peak over large bodies both ways, and with idle upgraded connections."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    server.daemon_threads = True
    server.request_queue_size = 1024
    threading.Thread(target=server.serve_forever, daemon=True).start()
    gateway, port = site.proxy_skyclaw([server.server_port])
    site.until(port, "/v1/gateway/api/health", "gateway")

    def status(field):
        text = pathlib.Path(f"/proc/{gateway.pid}/status").read_text()
        return int(re.search(rf"{field}:\s+(\d+) kB", text)[1]) / 1024

    at_rest = status("VmRSS")
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    line.request("GET", "/v1/gateway/api/big")
    got, answer = 0, line.getresponse()
    while piece := answer.read(1 << 16):
        got += len(piece)
    line.request("POST", "/v1/gateway/api/", (b"x" * (1 << 16) for _ in range(BIG >> 16)), {"content-length": str(BIG)})
    posted = line.getresponse()
    posted.read()
    if got != BIG or posted.status != 200:
        raise RuntimeError(f"large bodies: {got} bytes came, the upload was answered {posted.status}")
    bodies = status("VmHWM")
    before, lines = status("VmRSS"), []
    for _ in range(SOCKETS):
        one = socket.create_connection(("127.0.0.1", port), timeout=20)
        one.sendall(b"GET /v1/gateway/api/ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        if not one.recv(64).startswith(b"HTTP/1.1 101"):
            raise RuntimeError("an upgrade was refused")
        lines.append(one)
    upgraded = status("VmRSS")
    for one in lines:
        one.close()
    server.shutdown()
    return {"rest": at_rest, "bodies": bodies, "before": before, "upgraded": upgraded}


def run(bench):
    missing = [tool for tool in ("wrk", "nginx") if not shutil.which(tool)]
    if missing:
        return [f"Not measured: {' and '.join(missing)} missing (apt-get install wrk nginx haproxy)."], {}
    seconds, rounds = (2, 1) if bench.quick else (6, 3)
    site = Site()
    try:
        proxies = {"skyclaw": site.proxy_skyclaw(), "nginx": site.proxy_nginx()}
        if shutil.which("haproxy"):
            proxies["HAProxy"] = site.proxy_haproxy()
        for name, (_, port) in proxies.items():
            site.until(port, "/v1/gateway/api/1k", {"skyclaw": "gateway", "HAProxy": "haproxy"}.get(name, name))
        found = throughput(proxies, site.backends[0], seconds, rounds)
        held = memory(site)
    finally:
        site.close()
    rows = [
        ("1 KiB: proxy CPU s per 100 000 requests", "1k", "cpu", ".2f"),
        ("1 KiB: requests/s", "1k", "rate", ".0f"),
        ("1 KiB: p99 ms", "1k", "p99", ".2f"),
        ("1 MiB: requests/s", "1m", "rate", ".0f"),
        ("1 MiB: proxy CPU s per 100 000 requests", "1m", "cpu", ".1f"),
        ("one connection: added p50 ms", "one", "added", ".3f"),
    ]
    lines = ["| what | " + " | ".join(proxies) + " |", "|---|" + "--:|" * len(proxies)]
    for title, size, key, form in rows:
        ours = found["skyclaw", size][key]
        cells = [f"{ours:{form}}"]
        for name in list(proxies)[1:]:
            theirs = found[name, size][key]
            cells.append(f"{theirs:{form}} ({ours / theirs:.2f})" if theirs > 0 else f"{theirs:{form}}")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
        bench.note(f"j: {title}: " + ", ".join(f"{name} {cell}" for name, cell in zip(proxies, cells)))
    text = (
        f"Memory of the gateway: {held['rest']:.0f} MiB at rest; {held['bodies']:.0f} MiB at most while {BIG >> 20} MiB went down and "
        f"{BIG >> 20} MiB up; {SOCKETS} idle upgraded connections add {held['upgraded'] - held['before']:.0f} MiB."
    )
    bench.note(f"j: {text}")
    data = {"figures": {f"{name} {size}": best for (name, size), best in found.items()}, "memory_mib": held}
    return [ABOUT, "\n".join(lines), text], data

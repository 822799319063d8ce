"""The clients that are compared, each as a command line for a fleet and a fan-out.

A peer is asked for its command with everything it needs to be treated like the others: the same key, the same
known hosts checked strictly, the same fan-out, and a connect timeout of the scenario.
"""

import os
import pathlib
import shlex
import shutil

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# How skyclaw is called; override to measure another form. Words in braces are filled in.
EXEC = os.environ.get(
    "BENCH_SKYCLAW_EXEC",
    "{skyclaw} fleet exec --config {fleet} --fanout {fanout} --connect-timeout {timeout} -- {command}",
)
TASKS = os.environ.get(
    "BENCH_SKYCLAW_TASKS", "{skyclaw} fleet exec --config {fleet} --fanout {fanout} --tasks {tasks}"
)
DEPLOY = os.environ.get("BENCH_SKYCLAW_DEPLOY", "{skyclaw} fleet deploy --config {fleet} --from {file}")
SKYCLAW = os.environ.get("BENCH_SKYCLAW", str(ROOT / "target/release/skyclaw"))


def skyclaw(template, **words):
    words = {key: str(value) for key, value in words.items()}
    return [part.format(skyclaw=SKYCLAW, **words) for part in shlex.split(template)]


def ssh_loop(fleet, fanout, command, timeout):
    return [HERE / "ssh-loop", fleet.config, fanout, fleet.list, *command]


def ssh_loop_fast(fleet, fanout, command, timeout):
    return [HERE / "ssh-loop", fleet.config_fast, fanout, fleet.list, *command]


def pssh(fleet, fanout, command, timeout):
    return ["parallel-ssh", "-h", fleet.list, "-p", fanout, "-t", 0, "-x", f"-F {fleet.config}", *command]


def pssh_fast(fleet, fanout, command, timeout):
    return ["parallel-ssh", "-h", fleet.list, "-p", fanout, "-t", 0, "-x", f"-F {fleet.config_fast}", *command]


def pdsh(fleet, fanout, command, timeout):
    # -S: the exit code tells of failures, as with the others.
    args = f"PDSH_SSH_ARGS_APPEND=-F {fleet.config_fast}"
    # -t: without it pdsh asks ssh for a connect timeout of 10 s, whatever its configuration says.
    options = ["-S", "-R", "ssh", "-f", fanout, "-t", timeout]
    return ["env", args, "pdsh", *options, "-w", f"^{fleet.list}", *command]


def clush(fleet, fanout, command, timeout):
    options = ["-o", f"-F {fleet.config_fast}", "-t", timeout]
    return ["clush", "-S", "-f", fanout, *options, "--hostfile", fleet.list, *command]


def bssh(fleet, fanout, command, timeout):
    options = ["--parallel", fanout, "--strict-host-key-checking", "yes", "--connect-timeout", timeout]
    key = pathlib.Path(fleet.known_hosts).parents[2] / "controller/.ssh/id_ed25519"
    return ["bssh", "-H", fleet.ports, "-i", key, *options, "--timeout", 0, "--require-all-success", " ".join(command)]


def skyclaw_exec(fleet, fanout, command, timeout):
    argv = skyclaw(EXEC, fleet=fleet.json, fanout=fanout, timeout=timeout, command="@COMMAND@")
    at = argv.index("@COMMAND@")
    return argv[:at] + list(command) + argv[at + 1:]


# name, program that must exist, command line
FANOUT = [
    ("skyclaw", SKYCLAW, skyclaw_exec),
    ("ssh loop", "ssh", ssh_loop),
    ("ssh loop, curve25519", "ssh", ssh_loop_fast),
    ("parallel-ssh", "parallel-ssh", pssh),
    ("parallel-ssh, curve25519", "parallel-ssh", pssh_fast),
    ("pdsh, curve25519", "pdsh", pdsh),
    ("clush, curve25519", "clush", clush),
    ("bssh", "bssh", bssh),
]


def present(peers):
    """Splits into peers that can run and names of those that cannot."""
    able = [peer for peer in peers if shutil.which(peer[1])]
    return able, [peer[0] for peer in peers if peer not in able]

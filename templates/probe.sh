# Tells what a host is like, in one answer. Read by fleet/status.rs. Changes nothing there.
#
# stdin: the marker, then one line of code that sets k (seconds that a program may take to tell its version)
# and defines last, which sets l to the process started last: its name in shell must not stand in a template.
# Answers the marker with the time, lines of key=value, what the programs said, and the marker with `end`.
IFS= read -r c || exit 1;
k=4;
eval "$c";
echo "$_m probe $(date +%s%N)";
exec 2>/dev/null;
b=$HOME/.local/bin;
echo "uname=$(uname -sm)";
for f in config.json .security.yml .env; do [ -f "$HOME/.picoclaw/$f" ] && echo "file=$f"; done;
if [ -r /proc/loadavg ]; then read -r a c </proc/loadavg; echo "load=$a";
else echo "load=$(sysctl -n vm.loadavg)"; fi;
echo "cpus=$(getconf _NPROCESSORS_ONLN || nproc || sysctl -n hw.ncpu)";
if [ -r /proc/meminfo ]; then
while read -r a c d; do case $a in MemAvailable:) echo "mem_kib=$c"; break;; esac; done </proc/meminfo;
else
echo "page=$(sysctl -n hw.pagesize)";
vm_stat | while read -r a c d; do case $a$c in Pagesfree:|Pagesinactive:) echo "pages=${d%.}";; esac; done;
fi;
df -Pk "$HOME" | while read -r a c d e f; do case $e in *[0-9]) echo "disk_kib=$e";; esac; done;
# Every process of a task carries its word in the environment; the same word twice is the same task.
o=;
for f in /proc/[0-9]*/environ; do [ -O "$f" ] && o="$o $f"; done;
if [ -n "$o" ]; then printf "tasks="; LC_ALL=C grep -zohs "^SKYCLAW_TASK=[A-Za-z0-9_-]*" $o; echo; fi;
f=$HOME/.local/state/skyclaw/last-task;
if [ -f "$f" ]; then IFS= read -r a <"$f"; echo "last=$a"; fi;
f=$HOME/.local/state/skyclaw/ephemeral;
if [ -f "$f/mark" ]; then
IFS= read -r a <"$f/mark";
IFS= read -r c <"$f/pid";
x=yes;
kill -0 "$c" || x=;
# A dead process that nobody has waited for, or another one under the same number.
[ -r "/proc/$c/cmdline" ] && { grep -q skyclaw/ephemeral "/proc/$c/cmdline" || x=; };
[ -n "$x" ] || echo "abandoned=$a";
fi;
# Runs a program that may hang or ask; the pipe behind it bounds what it says.
r() {
"$@" </dev/null & last; p=$l;
(sleep "$k" & last; trap "kill $l; exit 0" TERM; wait $l; kill -KILL $p) >/dev/null & last; q=$l;
wait $p;
kill $q;
};
if [ -f "$HOME/.config/systemd/user/skyclaw-host.service" ]; then
XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run/user/$(id -u)}; export XDG_RUNTIME_DIR;
echo "unit=$(r systemctl --user is-active skyclaw-host.service | head -c 64)";
elif [ -f "$HOME/.local/state/skyclaw/service/keeper.sh" ]; then
a=inactive;
read -r p <"$HOME/.local/state/skyclaw/service/daemon" && kill -0 "$p" && a=active;
echo "unit=$a";
fi;
s() {
if [ -f "$b/$1" ] && [ -x "$b/$1" ]; then echo "$1=there"; echo "$_m $1"; r "$b/$@" | head -c 4096; echo; echo "$_m";
elif [ -e "$b/$1" ]; then echo "$1=unusable";
else echo "$1=missing"; fi;
};
s skyclaw --version;
s picoclaw version;
echo "$_m end"

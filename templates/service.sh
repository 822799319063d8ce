# Looks after the service of the host daemon. Read by fleet/service/mod.rs.
#
# stdin: the marker, then one line of code that sets a (what to do), m (systemd, launchd or keeper), r (1: start anew what runs),
# w (seconds that running jobs may take to end), f (1: they may not), y (the state directory of the daemon), j (the line for cron)
# and i (the property list for launchd).
# Answers, by a:
#   look    `up MANAGER PID SINCE answers|silent` or `down`
#   lines   `lines` and the last lines of the daemon
#   choose  `systemd`, `launchd`, or `keeper` and why not systemd; makes the user linger, and notes that, if that takes it
#   start   `up ...` as above, or `down` and the last lines of the daemon
#   stop    `stopped`
IFS= read -r c || exit 1;
a=; m=; r=; w=60; f=; y=; j=; i=;
eval "$c";
h=$HOME;
d=$h/.local/state/skyclaw/service;
n=skyclaw-host.service;
v=$h/.config/systemd/user/$n;
q=$h/Library/LaunchAgents/skyclaw-host.plist;
umask 077;
XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run/user/$(id -u)}; export XDG_RUNTIME_DIR;
nap() { sleep 0.1 2>/dev/null || sleep 1; };
now() { date +%s; };
sc() { systemctl --user "$@" </dev/null; };
managed() { has systemctl && sc show-environment >/dev/null 2>&1; };
# A sandbox is no machine of its own: its user's systemd and cron are those of the person beside it.
has() { [ -z "$SKYCLAW_SANDBOX" ] && command -v "$1" >/dev/null 2>&1; };
# Where launchd keeps what this user runs: with the desktop if somebody is logged in there, else without.
domain() {
for x in "gui/$(id -u)" "user/$(id -u)"; do launchctl print "$x" </dev/null >/dev/null 2>&1 && echo "$x" && return; done;
false;
};
launchd() { [ "$(uname -s)" = Darwin ] && has launchctl && domain >/dev/null; };
unlaunchd() {
[ -e "$q" ] || return 0;
for x in "gui/$(id -u)" "user/$(id -u)"; do launchctl bootout "$x/skyclaw-host"; done </dev/null >/dev/null 2>&1;
rm -f "$q";
};
# Has launchd keep the keeper running: now, whenever it dies and from the next login on.
launch() {
launchd && mkdir -p "${q%/*}" && printf %s "$i" >"$q" || return;
p=$(domain);
launchctl bootout "$p/skyclaw-host" </dev/null >/dev/null 2>&1;
# One that goes is in the way for a moment.
for x in 1 2 3 4 5 6 7 8 9; do launchctl bootstrap "$p" "$q" </dev/null >"$d.said" 2>&1 && return; nap; done;
rm -f "$q";
false;
};
# Whether that process is there and bears one of our names.
lives() {
[ -n "$1" ] && [ "$1" -gt 0 ] 2>/dev/null && kill -0 "$1" 2>/dev/null || return 1;
[ -d /proc/self ] || return 0;
grep -q skyclaw "/proc/$1/cmdline" 2>/dev/null;
};
since() {
if [ -r "/proc/$1/stat" ]; then x=$(cat "/proc/$1/stat"); set -- ${x##*) }; echo "${20}";
else ps -o lstart= -p "$1" | tr -d " "; fi;
};
# The daemon: its manager and number.
seek() {
p=;
if [ -e "$v" ] && managed; then
p=$(sc show -p MainPID "$n" 2>/dev/null); p=${p#MainPID=}; k=systemd;
lives "$p" && return 0;
fi;
p=$(cat "$d/daemon" 2>/dev/null); k=keeper;
[ -e "$q" ] && k=launchd;
lives "$p";
};
answers() { "$h/.local/bin/skyclaw" host jobs --json --state-dir "$y" </dev/null >/dev/null 2>&1; };
tell() { if answers; then x=answers; else x=silent; fi; echo "$_m up $k $p $(since "$p") $x"; };
# Reads the table of cron into t. Fails unless it is known what is in it: whatever is written replaces all of it.
cron() {
has crontab || return 1;
t=$(crontab -l 2>/dev/null </dev/null) && return 0;
t=;
x=$(LC_ALL=C crontab -l 2>&1 >/dev/null </dev/null) && return 1;
# The second is what busybox says.
case $x in *"no crontab"*|*"t open "*": No such file or directory"*) return 0;; esac;
return 1;
};
uncron() {
[ -n "$j" ] && cron || return 0;
case $t in *"$j"*) ;; *) return;; esac;
x=$(printf "%s$_n" "$t" | grep -vF "$j") || [ $? = 1 ] || return;
if [ -n "$x" ]; then printf "%s$_n" "$x" | crontab -; else crontab -r; fi;
};
# Ends a daemon with this number, kindly first.
finish() {
lives "$1" || return 0;
kill -TERM "$1";
[ "$f" = 1 ] && { nap; kill -TERM "$1" 2>/dev/null; };
x=$(($(now)+w));
while lives "$1" && [ "$(now)" -lt "$x" ]; do nap; done;
lives "$1" && kill -KILL "$1";
for x in 1 2 3 4 5 6 7 8 9; do lives "$1" || break; nap; done;
};
unkeep() {
[ -d "$d" ] || return 0;
: >"$d/stop";
finish "$(cat "$d/daemon" 2>/dev/null)";
p=$(cat "$d/pid" 2>/dev/null);
for x in 1 2 3 4 5 6 7 8 9; do lives "$p" || break; nap; done;
lives "$p" && kill -TERM "$p";
# One that was just about to start the daemon.
finish "$(cat "$d/daemon" 2>/dev/null)";
rm -f "$d/stop" "$d/pid" "$d/daemon";
};
unsystemd() {
[ -e "$v" ] && managed || return 0;
if [ "$f" = 1 ]; then sc kill "$n"; nap; sc kill "$n"; fi >/dev/null 2>&1;
sc disable --now "$n" >/dev/null 2>&1;
};
lines() {
if [ -e "$v" ] && managed; then journalctl --user -u "$n" -n 20 --no-pager -o cat </dev/null; else tail -n 20 "$d/log"; fi 2>&1;
};
case $a in
lines) echo "$_m lines"; lines;;
look) if seek; then tell; else echo "$_m down"; fi;;
choose)
l=$h/.local/state/skyclaw/linger;
i=$(id -un);
if launchd; then echo "$_m launchd"; exit 0; fi;
lingers() { [ -e "/var/lib/systemd/linger/$i" ] || [ "$(loginctl show-user "$i" -p Linger 2>/dev/null </dev/null)" = Linger=yes ]; };
if has systemctl && has loginctl; then :; else echo "$_m keeper there is no systemd"; exit 0; fi;
if lingers; then :; else
x=$(loginctl enable-linger </dev/null 2>&1) || { echo "$_m keeper this user may not linger: $x"; exit 0; };
mkdir -p "${l%/*}" && : >"$l";
fi;
# A manager that lingers from now on takes a moment.
for x in 1 2 3 4 5 6 7 8 9; do managed && break; [ -d /run/systemd/system ] || break; sleep 1; done;
if managed; then echo "$_m systemd";
else
[ -e "$l" ] && loginctl disable-linger </dev/null >/dev/null 2>&1 && rm -f "$l";
echo "$_m keeper systemd runs no services for this user";
fi;;
start)
mkdir -p "$d";
if [ "$m" = systemd ]; then
unkeep; uncron;
rm -f "$d/keeper.sh";
{ sc daemon-reload && sc enable "$n" && if [ "$r" = 1 ]; then sc restart "$n"; else sc start "$n"; fi; } >"$d.said" 2>&1;
else
unsystemd;
if [ -e "$v" ]; then rm -f "$v"; managed && sc daemon-reload >/dev/null 2>&1; fi;
[ "$r" = 1 ] && unkeep;
rm -f "$d/stop";
o=; command -v setsid >/dev/null 2>&1 && o=setsid;
if launch; then uncron;
elif $o sh "$d/keeper.sh" </dev/null >/dev/null 2>&1 & cron; then
case $t in *"$j"*) ;; *) printf "%s$_n" ${t:+"$t"} "$j" | crontab - >"$d.said" 2>&1;; esac;
fi;
fi;
x=$(($(now)+15));
until seek && answers; do [ "$(now)" -lt "$x" ] || break; nap; done;
if seek && answers; then rm -f "$d.said"; tell; exit 0; fi;
echo "$_m down";
cat "$d.said" 2>/dev/null; rm -f "$d.said";
lines;;
stop) unsystemd; unkeep; unlaunchd; uncron; echo "$_m stopped";;
esac

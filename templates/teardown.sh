# Removes what deploy put on a host, or only says what is there. Read by fleet/teardown.rs.
#
# stdin: the marker, then one line of code that sets d (1: remove nothing), a (1: the agent), y (1: its key
# file too), s (1: the host daemon), e (1: its settings too), k (1: keep the agent's program), z (1: purge).
# Answers the marker, lines of `WORD PATH`, and the marker with `end`. Words: gone (removed, or with d=1
# there), cut (our lines taken out), link (a symlink that is not followed), fail, tasks (a number).
IFS= read -r c || exit 1;
d=; a=; y=; s=; e=; k=; z=;
eval "$c";
echo "$_m teardown";
h=$HOME;
case $h in /?*) ;; *) echo "fail ~"; echo "$_m end"; exit 1;; esac;
# A path below the home, if it is there; a symlink is removed itself and never followed.
g() {
[ -e "$h/$1" ] || [ -L "$h/$1" ] || return 0;
if [ "$d" = 1 ] || rm -rf "$h/$1"; then echo "gone ~/$1"; else echo "fail ~/$1"; fi;
};
# The same for a file: a directory in its place is not ours.
f() {
if [ -L "$h/$1" ]; then g "$1"; elif [ -d "$h/$1" ]; then echo "fail ~/$1"; else g "$1"; fi;
};
# Our lines of an rc file. A block without its end is left alone: it could go on to the end of the file.
b() {
q=$(sed -n "/^# >>> skyclaw >>>$/,/^# <<< skyclaw <<<$/p" "$h/$1" 2>/dev/null | tail -n 1);
[ -n "$q" ] || return 0;
if [ -L "$h/$1" ]; then echo "link ~/$1"; return 0; fi;
if [ "$q" = "# <<< skyclaw <<<" ]; then :; else echo "fail ~/$1"; return 0; fi;
if [ "$d" = 1 ]; then echo "cut ~/$1"; return 0; fi;
t=$h/.skyclaw-upload.$$;
if cp -p "$h/$1" "$t" && sed "/^# >>> skyclaw >>>$/,/^# <<< skyclaw <<<$/d" "$h/$1" >"$t" && mv -f "$t" "$h/$1";
then echo "cut ~/$1"; else rm -f "$t"; echo "fail ~/$1"; fi;
};
# Upload leftovers in a directory.
u() { for x in "$h/$1".skyclaw-upload.[0-9]*; do f "${x#"$h"/}"; done; };
# Tasks of ours in this home; their word is in their environment.
p() {
for x in $(LC_ALL=C grep -lsz "^SKYCLAW_TASK=" /proc/[0-9]*/environ); do
x=${x#/proc/}; x=${x%/environ};
[ -O "/proc/$x/environ" ] && grep -qszxF "HOME=$h" "/proc/$x/environ" && echo "$x";
done;
};
if [ "$z" = 1 ] && [ -d /proc/self ]; then
o=$(p);
if [ -n "$o" ]; then
set -- $o; echo "tasks $#";
if [ "$d" = 1 ]; then :; else
kill -TERM $o 2>/dev/null;
for x in 1 2 3 4 5; do o=$(p); [ -n "$o" ] || break; sleep 1; done;
for x in 1 2 3; do [ -n "$o" ] || break; kill -KILL $o 2>/dev/null; o=$(p); done;
fi;
fi;
fi;
if [ "$s" = 1 ]; then
v=.config/systemd/user;
f $v/skyclaw-host.service;
f $v/default.target.wants/skyclaw-host.service;
g .local/state/skyclaw/service;
f .local/state/skyclaw/service.said;
if [ "$e" = 1 ]; then f .config/skyclaw/host.env; fi;
f .local/bin/skyclaw;
f .local/bin/skyclaw.prev;
fi;
if [ "$a" = 1 ]; then
if [ "$k" = 1 ]; then :; else f .local/bin/picoclaw; f .local/bin/picoclaw.prev; fi;
u .local/bin/; u "";
for x in .profile .bashrc .zshrc; do b $x; done;
g .local/state/skyclaw/lock;
if [ -L "$h/.picoclaw" ]; then echo "link ~/.picoclaw";
elif [ "$z" = 1 ]; then g .picoclaw;
else f .picoclaw/.env; u .picoclaw/; if [ "$y" = 1 ]; then f .picoclaw/.security.yml; fi; fi;
fi;
# Not the whole directories: a controller on this machine keeps its queue and its runs beside these.
if [ "$z" = 1 ]; then
if [ -e "$h/.local/state/skyclaw/linger" ]; then [ "$d" = 1 ] || loginctl disable-linger </dev/null >/dev/null 2>&1; fi;
f .local/state/skyclaw/linger;
f .local/state/skyclaw/last-task;
g .local/state/skyclaw/host;
g .local/state/skyclaw/tunnel;
f .config/skyclaw/host.env;
fi;
echo "$_m end"

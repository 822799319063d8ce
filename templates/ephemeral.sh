# Keeps what a host is like before an ephemeral run, and puts it back. Read by fleet/ephemeral.rs.
#
# stdin: the marker, then one line of code that sets a (arm, or undo), r (whose mark it is, nobody's if empty), w (the mark for
# people), g (the grace of tasks in seconds), z (1: end the guard of another run, whose tasks may go on) and d (1: undo nothing, only say what would be).
# Answers one of
#   armed, present, none, undone, busy, stays or failed
# and the mark found there, or the reason. After `undone` and `stays` come lines of `WORD PATH` as in teardown.sh and the marker
# with `end`. After `armed` stdin stays open: the line `UNDO` is answered like that, and end of file means that the controller is gone:
# everything is undone without anybody to tell. The mark outlives even this script, and who comes next undoes what it says.
IFS= read -r c || exit 1;
a=; r=; w=; g=5; z=; d=;
eval "$c";
h=$HOME;
case $h in /?*) ;; *) echo "$_m failed HOME is not set"; exit 1;; esac;
umask 077;
trap "" HUP INT TERM PIPE;
s=$h/.local/state/skyclaw/ephemeral;
# Whether the process with this number is a guard.
guards() {
kill -0 "$1" 2>/dev/null || return 1;
[ -r "/proc/$1/cmdline" ] || return 0;
grep -q skyclaw/ephemeral "/proc/$1/cmdline";
};
# Whether somebody still watches over the mark. A fresh one may not have its number yet.
alive() {
[ -e "$s/pid" ] || sleep 1;
p=$(cat "$s/pid" 2>/dev/null);
[ -n "$p" ] && guards "$p";
};
# Whether tasks or uploads are still about to end in this home.
busy() {
for x in "$h"/.local/bin/.skyclaw-upload.[0-9]* "$h"/.picoclaw/.skyclaw-upload.[0-9]*; do [ -e "$x" ] && return 0; done;
for x in $(LC_ALL=C grep -lsz "^SKYCLAW_TASK=" /proc/[0-9]*/environ); do
[ -O "$x" ] && grep -qszxF "HOME=$h" "$x" && return 0;
done;
return 1;
};
calm() { n=$((g+5)); while [ "$n" -gt 0 ] && busy; do sleep 1; n=$((n-1)); done; };
t() {
[ -e "$h/$1" ] || [ -L "$h/$1" ] || return 0;
if [ "$d" = 1 ] || rm -rf "$h/$1"; then echo "gone ~/$1"; else echo "fail ~/$1"; fi;
};
back() {
t .local/bin/picoclaw;
if [ -e "$s/home" ]; then
for f in .env config.json .security.yml; do
if [ -e "$s/$f" ] || [ -L "$s/$f" ]; then
if [ "$d" = 1 ] || { cp -pP "$s/$f" "$s/new" && mv -f "$s/new" "$h/.picoclaw/$f"; }; then echo "cut ~/.picoclaw/$f";
else echo "fail ~/.picoclaw/$f"; fi;
else t ".picoclaw/$f"; fi;
done;
else t .picoclaw; fi;
};
# Directories that only we needed go too, unless somebody has put something there.
wipe() {
m=$(cat "$s/made" 2>/dev/null);
rm -rf "$s";
for x in $m; do rmdir "$h/$x" 2>/dev/null; done;
};
tell() { echo "$1"; echo "$_m end"; };
o=;
# A guard that has lost its controller will be done in a moment.
q=; [ -e "$s/leaving" ] && q=$(cat "$s/pid" 2>/dev/null);
n=20; while [ -n "$q" ] && [ "$n" -gt 0 ] && guards "$q"; do sleep 1; n=$((n-1)); done;
if [ -d "$s" ]; then
o=$(cat "$s/mark" 2>/dev/null);
if alive; then
k=$z;
[ -n "$r" ] && [ "$(cat "$s/key" 2>/dev/null)" = "$r" ] && k=1;
if [ "$k" = 1 ]; then [ "$d" = 1 ] || kill -KILL "$p"; else echo "$_m busy $o"; exit 0; fi;
fi;
l=;
# Without a whole mark nobody was told to begin, and what was there before is not known.
if [ -e "$s/mark" ]; then [ "$d$z" = "" ] && calm; l=$(back); fi;
case $l in *"fail ~"*) echo "$_m stays $o"; tell "$l"; exit 1;; esac;
[ "$d" = 1 ] || wipe;
if [ "$a" = undo ]; then echo "$_m undone $o"; tell "$l"; exit 0; fi;
elif [ "$a" = undo ]; then echo "$_m none"; exit 0;
fi;
if [ -e "$h/.local/bin/picoclaw" ] || [ -L "$h/.local/bin/picoclaw" ]; then echo "$_m present $o"; exit 0; fi;
# One by one, to know which of them are ours: a guard that leaves may just be removing its own.
m=;
for x in .local .local/state .local/state/skyclaw; do mkdir "$h/$x" 2>/dev/null && m="$x $m"; done;
save() {
echo $$ >"$s/pid" && echo "$m" >"$s/made" && echo "$r" >"$s/key" || return 1;
if [ -e "$h/.picoclaw" ] || [ -L "$h/.picoclaw" ]; then
echo yes >"$s/home" || return 1;
for f in .env config.json .security.yml; do
x=$h/.picoclaw/$f;
if [ -f "$x" ] || [ -L "$x" ]; then cp -pP "$x" "$s/$f" || return 1;
elif [ -e "$x" ]; then echo "$x is no file"; return 1; fi;
done;
sync;
fi;
echo "$w" >"$s/mark.new" && mv "$s/mark.new" "$s/mark" && { sync "$s/mark" 2>/dev/null || sync; };
};
x=$(mkdir -p "${s%/*}" 2>&1 && mkdir "$s" 2>&1) || { echo "$_m failed $x"; exit 1; };
for x in .local/bin .cache .cache/skyclaw; do [ -d "$h/$x" ] || m="$x $m"; done;
x=$(save 2>&1) || { wipe; echo "$_m failed $x"; exit 1; };
echo "$_m armed $o";
x=;
while IFS= read -r x; do [ "$x" = UNDO ] && break; done;
if [ "$x" = UNDO ]; then l=$(back);
else
exec </dev/null >/dev/null 2>&1;
# What was on its way when the connection went may still arrive: look twice.
echo yes >"$s/leaving";
sleep 1; calm; back; sleep 2; l=$(back);
fi;
case $l in *"fail ~"*) tell "$l"; exit 1;; esac;
wipe;
tell "$l"

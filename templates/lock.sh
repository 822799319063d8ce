# Keeps others from changing a host while we do. Read by fleet/deploy/lock.rs.
#
# stdin: the marker, then one line of code that sets w (who we are). Answers
#   locked OWNER  it is ours; the owner of an abandoned lock that was taken over, or nothing
#   busy OWNER    somebody else has it
#   failed WHY
# After `locked` stdin stays open: end of file, which every kind of death of ours leads to, gives it back. One is abandoned that
# is older than 15 minutes and whose keeper, a process like this one, is gone.
IFS= read -r c || exit 1;
w=;
eval "$c";
umask 077;
trap "" HUP INT TERM PIPE;
l=$HOME/.local/state/skyclaw/lock;
m=;
for x in .local .local/state .local/state/skyclaw; do mkdir "$HOME/$x" 2>/dev/null && m="$x $m"; done;
mark() { date +%s >"$l/time"; echo $$ >"$l/pid" && echo "$w" >"$l/owner"; };
alive() {
kill -0 "$1" 2>/dev/null || return 1;
[ -d /proc/self ] || return 0;
grep -q skyclaw/lock "/proc/$1/cmdline" 2>/dev/null;
};
busy() { echo "$_m busy $(cat "$l/owner" 2>/dev/null)"; exit 0; };
o=;
x=$(mkdir "$l" 2>&1);
if [ -z "$x" ]; then mark || { rm -rf "$l"; echo "$_m failed cannot write in $l"; exit 1; };
elif [ -d "$l" ]; then
o=$(cat "$l/owner" 2>/dev/null);
p=$(cat "$l/pid" 2>/dev/null);
[ -n "$p" ] && alive "$p" && busy;
[ -n "$(find "$l" -prune -mmin +15)" ] || busy;
# Two may come to this at once: only one makes the directory, and the other may have done it before.
mkdir "$l/taking" 2>/dev/null || busy;
[ "$p" = "$(cat "$l/pid" 2>/dev/null)" ] || { rmdir "$l/taking"; busy; };
mark;
rmdir "$l/taking";
[ -n "$o" ] || o=somebody;
else echo "$_m failed $x"; exit 1;
fi;
echo "$_m locked $o";
while IFS= read -r x; do :; done;
[ "$(cat "$l/pid" 2>/dev/null)" = $$ ] && rm -rf "$l";
for x in $m; do rmdir "$HOME/$x" 2>/dev/null; done;
echo "$_m free"

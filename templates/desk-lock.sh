# Keeps others from changing a host while we do. Part of desk.sh; fleet/deploy/lock.rs reads the answer.
#
# lock wants w (who we are) and n (the time in seconds). It answers
#   locked OWNER  it is ours; the owner of an abandoned lock that was taken over, or nothing
#   busy OWNER    somebody else has it
#   failed WHY
# The end of this shell gives it back. A lock is abandoned that is older than 15 minutes and whose keeper, a process like this
# one, is gone.
lk=$HOME/.local/state/skyclaw/lock;
# Whether it is ours, and the directories that were made for it.
hl=; mk=;
# Sets x to the first line of a file of the lock.
line() { x=; { IFS= read -r x <"$lk/$1"; } 2>/dev/null; };
mark() { hl=1; echo "$n" >"$lk/time"; echo $$ >"$lk/pid" && echo "$w" >"$lk/owner"; };
alive() {
kill -0 "$1" 2>/dev/null || return 1;
[ -d /proc/self ] || return 0;
grep -q skyclaw/lock "/proc/$1/cmdline" 2>/dev/null;
};
busy() { line owner; say busy "$x"; };
lock() {
set --;
for x in .local .local/state .local/state/skyclaw; do [ -d "$HOME/$x" ] || { mk="$x $mk"; set -- "$@" "$HOME/$x"; }; done;
[ $# = 0 ] || mkdir "$@" 2>/dev/null;
o=;
y=$(mkdir "$lk" 2>&1);
if [ -z "$y" ]; then mark || { rm -rf "$lk"; say failed "cannot write in $lk"; return 1; };
elif [ -d "$lk" ]; then
line owner; o=$x;
line pid; y=$x;
if [ -n "$y" ] && alive "$y"; then busy; return 1; fi;
[ -n "$(find "$lk" -prune -mmin +15)" ] || { busy; return 1; };
# Two may come to this at once: only one makes the directory, and the other may have done it before.
mkdir "$lk/taking" 2>/dev/null || { busy; return 1; };
line pid;
[ "$x" = "$y" ] || { rmdir "$lk/taking"; busy; return 1; };
mark;
rmdir "$lk/taking";
[ -n "$o" ] || o=somebody;
else say failed "$y"; return 1;
fi;
say locked "$o";
};
unlock() {
if [ -n "$hl" ]; then line pid; [ "$x" = $$ ] && rm -rf "$lk"; fi;
[ -z "$mk" ] || { cd "$HOME" && rmdir $mk 2>/dev/null; };
};

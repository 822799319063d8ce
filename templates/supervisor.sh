# Runs one task so that it cannot outlive us. Read by fleet/supervise.rs.
#
# stdin: the marker; a line of code that sets g (grace in seconds) and l (1: also end what the task
# leaves behind in its group); a line of code that exports the task's environment, changes directory
# and ends in `set -- COMMAND ARGUMENTS`. After that stdin stays open: a line `TERM` or `KILL` is a
# signal to send, and end of file means that the session is gone.
#
# The task replaces this shell, so its exit status or signal is what sshd reports, and it runs in the
# process group that sshd made for the session (p). The watcher is one fork of this shell that sleeps
# in read: it costs no exec and never wakes before something happens. It has the null device for
# output, or it would hold the session open.
n=${IFS#??};
while IFS= read -r m; do case $m in skyclaw-*) break;; esac; done;
IFS= read -r k && IFS= read -r c || exit 255;
p=$$;
if [ -r /proc/$$/stat ]; then read -r a a a a p b </proc/$$/stat; fi;
w() {
trap "" HUP INT QUIT TERM;
exec 0</dev/null 1>/dev/null 2>&1;
while read -r x <&3; do case $x in TERM) kill -TERM -$p;; KILL) s; kill -KILL -$p;; esac; done;
if kill -0 $$; then
kill -TERM -$p;
while [ "$g" -gt 0 ] && kill -0 $$; do sleep 1; g=$((g-1)); done;
s;
kill -KILL -$p;
elif [ "$l" = 1 ]; then
exec 3<&-;
x=$(command -v setsid) && exec "$x" /bin/sh -c "kill -0 -$p || exit 0; sleep 2; kill -KILL -$p";
sleep 2;
kill -KILL -$p;
fi;
};
# Also what left the group is the task's: it still carries our word in its environment.
s() { for f in $(grep -lsF "SKYCLAW_TASK=$m" /proc/[0-9]*/environ); do f=${f#/proc/}; kill -KILL "${f%/environ}"; done; };
exec 3<&0;
g=5; l=0; i=; j=;
eval "$k";
w &
exec 3<&- </dev/null;
eval "$c";
SKYCLAW_TASK=$m; export SKYCLAW_TASK;
if [ -n "$j" ]; then exec <"$j"; rm -f "$j"; fi;
echo "$m run $p";
echo "$m" >&2;
if [ -n "$i" ]; then printf %s "$i" | "$@"; exit; fi;
exec "$@"

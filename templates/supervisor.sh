# Runs one task so that it cannot outlive us. Read by fleet/supervise.
#
# stdin, after the marker: a line of code that sets _g (grace in seconds), _j (a file for its input) and _l (1: also end what the task
# leaves behind in its group); a line of code that exports the task's environment, changes directory
# and ends in `set -- COMMAND ARGUMENTS`. After that stdin stays open: a line `TERM` or `KILL` is a
# signal to send, and end of file means that the session is gone.
#
# The task replaces this shell, so its exit status or signal is what sshd reports, and it runs in the
# process group that sshd made for the session (_p). The watcher is one fork of this shell that sleeps
# in read: it costs no exec and never wakes before something happens. It has the null device for
# output, or it would hold the session open. Our variables begin with `_`, the task's may not.
IFS= read -r _k && IFS= read -r _c || exit 255;
_p=$$;
if [ -r /proc/$$/stat ]; then read -r _x _x _x _x _p _f </proc/$$/stat; fi;
_g=5; _l=0; _i=; _j=;
eval "$_k";
exec 3<&0 </dev/null;
if [ -n "$_j" ]; then { exec 4<"$_j" && rm -f "$_j"; } || { echo "$_m noinput $_j"; exit 1; }; fi;
# What the task started and what left its group still carries our word in its environment.
ours() { grep -lsF "SKYCLAW_TASK=$_m" /proc/[0-9]*/environ; };
sweep() { for _f in $(ours); do _f=${_f#/proc/}; kill -KILL "${_f%/environ}"; done; };
watch() {
trap "" HUP INT QUIT TERM;
exec 0</dev/null 1>/dev/null 2>&1 4<&-;
_t=0;
while read -r _x <&3; do case $_x in TERM) _t=1; kill -TERM -$_p;; KILL) sweep; kill -KILL -$_p;; esac; done;
if kill -0 $$; then
[ $_t = 1 ] || kill -TERM -$_p;
while [ "$_g" -gt 0 ] && kill -0 $$; do sleep 1; _g=$((_g-1)); done;
sweep;
elif [ $_t = 1 ]; then sleep 1; sweep;
elif [ "$_l" = 0 ]; then exit 0;
elif [ -n "$(ours)" ]; then sleep 2; sweep;
fi;
kill -KILL -$_p;
};
watch &
exec 3<&-;
eval "$_c";
SKYCLAW_TASK=$_m; export SKYCLAW_TASK;
if [ -n "$_j" ]; then exec <&4 4<&-; fi;
echo "$_m run $_p";
echo "$_m" >&2;
if [ -n "$_i" ]; then printf %s "$_i" | "$@"; exit; fi;
exec "$@"

# Ends what a task has left, or asks whether there is anything. Read by fleet/supervise.
#
# stdin, after the marker: a line of code that sets s (0 to ask, KILL to end), p (the process group, if it is known) and w (the
# word the task's processes carry). Answers `yes` if there was something, else `no`.
IFS= read -r c || exit 1;
eval "$c";
a=no;
if [ -n "$p" ]; then kill -$s -$p 2>/dev/null && a=yes; fi;
for f in $(grep -lsF "SKYCLAW_TASK=$w" /proc/[0-9]*/environ); do
f=${f#/proc/};
kill -$s "${f%/environ}" 2>/dev/null && a=yes;
done;
echo "$_m $a"

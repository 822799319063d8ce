# Tells whether the settings of a host daemon lead to this controller. Read by fleet/work/look.rs. Changes nothing.
#
# stdin: the marker, then one line of code that sets f (the settings) and w (where its coordinator file is, below
# the home). The last line that names a coordinator file counts, as it does for the daemon; a quote may follow.
# Answers the marker with `pull`, or nothing.
IFS= read -r c || exit 1;
eval "$c";
[ -f "$f" ] && [ -r "$f" ] || exit 0;
v=;
while read -r l || [ -n "$l" ]; do
case $l in SKYCLAW_COORDINATOR_FILE=*) v=${l#*=};; esac;
done <"$f";
case $v in *"/$w"|*"/$w"?) echo "$_m pull";; esac;
exit 0;

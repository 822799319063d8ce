# Tells whether the settings of a host daemon lead to this controller. Read by fleet/work/look.rs. Changes nothing.
#
# stdin: the marker, then one line of code that sets f (the settings) and w (what they hold if they do).
# Answers the marker with `pull`, or nothing.
IFS= read -r c || exit 1;
eval "$c";
grep -qsF -e "$w" -- "$f" && echo "$_m pull";
exit 0;

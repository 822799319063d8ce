# Tells whether there is anything at a path. Read by ssh/forward.rs.
#
# stdin: the marker, one line of code that sets p. Answers `yes` or `no`.
IFS= read -r c || exit 1;
eval "$c";
if [ -e "$p" ] || [ -h "$p" ]; then echo "$_m yes"; else echo "$_m no"; fi

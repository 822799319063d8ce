# Reads one small file. Read by fleet/teardown.rs.
#
# stdin: the marker, then one line of code that sets p (path). Answers `none`, `link` (the file or its
# directory is a symlink: not followed), `denied`, or `file` and the content.
IFS= read -r c || exit 1;
eval "$c";
if [ -L "$p" ] || [ -L "${p%/*}" ]; then echo "$_m link";
elif [ -f "$p" ]; then if [ -r "$p" ]; then echo "$_m file"; cat "$p"; else echo "$_m denied"; fi;
else echo "$_m none"; fi

# Reads one small file. Read by fleet/teardown.rs.
#
# stdin: the marker, then one line of code that sets p (path). Answers `none`, `link` (the file or its
# directory is a symlink: not followed), `denied`, or `file` and the content.
n=${IFS#??};
while IFS= read -r m; do case $m in skyclaw-*) break;; esac; done;
IFS= read -r c || exit 1;
eval "$c";
if [ -L "$p" ] || [ -L "${p%/*}" ]; then echo "$m link";
elif [ -f "$p" ]; then if [ -r "$p" ]; then echo "$m file"; cat "$p"; else echo "$m denied"; fi;
else echo "$m none"; fi

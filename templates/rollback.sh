# Swaps programs with their predecessors, all of them or none. Read by fleet/rollback.rs.
#
# stdin: the marker, one line of code that makes the programs the arguments. Answers `ok`, `none PATH` (that one has no
# predecessor; nothing was changed), or `failed PATH`.
IFS= read -r c || exit 1;
eval "$c";
for p in "$@"; do [ -f "$p.prev" ] || { echo "$_m none $p"; exit 0; }; done;
for p in "$@"; do
t=${p%/*}/.skyclaw-upload.$$;
rm -f "$t";
# At no moment is there no program.
if [ -e "$p" ]; then ln "$p" "$t" || cp -p "$p" "$t"; fi && mv -f "$p.prev" "$p" || { rm -f "$t"; echo "$_m failed $p"; exit 1; };
if [ -e "$t" ]; then mv -f "$t" "$p.prev"; fi;
done;
echo "$_m ok"

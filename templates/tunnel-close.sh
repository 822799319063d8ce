# Removes what a tunnel has on a host, unless another one has taken over. Read by fleet/tunnel/place.rs.
#
# stdin: the marker, one line of code that sets d (the directory), s (the socket), f (the file) and i (what
# the file says if it is ours). Answers `ok`, also when there is nothing of ours.
IFS= read -r c || exit 1;
eval "$c";
say() { echo "$_m $*"; };
cd "$d" 2>/dev/null || { say ok; exit 0; };
case $(cat "$f" 2>/dev/null) in *"$i"*) rm -f "$s" "$f" || { say remove "$d"; exit 1; };; esac;
say ok

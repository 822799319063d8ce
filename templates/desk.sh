# What a deploy does on a host, in one shell. Read by fleet/deploy/desk.rs; put.sh and desk-*.sh come before it.
#
# stdin: the marker, then lines of code, each of which sets what one of their functions wants and calls it. put is followed by its file.
# What fails ends the shell, because what is left on stdin may be no code. So does end of file, which every kind of death of ours
# leads to.
umask 077;
trap "" HUP INT TERM PIPE;
leave() { gone; unlock; };
trap leave EXIT;
while IFS= read -r c; do eval "$c" || exit 1; done

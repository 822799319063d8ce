# Takes one file on stdin and puts it in place. Read by ssh/upload.rs; put.sh comes before it and says how.
#
# stdin: the marker, one line of code that sets what put wants, then the file. A cut transfer leaves the old file untouched.
IFS= read -r c || exit 1;
eval "$c";
umask 077;
trap gone EXIT;
# PIPE too: when the controller is gone, our answer has no reader, and the file must go all the same.
trap "exit 1" HUP INT PIPE TERM;
put

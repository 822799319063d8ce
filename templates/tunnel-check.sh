# Sees to it that nobody else can use a tunnel's socket. Read by fleet/tunnel/place.rs.
#
# stdin: the marker, one line of code that sets p (the socket). Answers `ok`, or what the socket is like.
IFS= read -r c || exit 1;
eval "$c";
say() { echo "$_m $*"; };
u=$(id -u);
look() { set -- $(ls -ldn "$p"); echo "$1 $3"; };
# A server may be told to make it for all (StreamLocalBindMask).
case $(look) in srw-------*" $u") ;; *) chmod 600 "$p";; esac;
case $(look) in srw-------*" $u") say ok;; *) say socket "$p is" $(look);; esac

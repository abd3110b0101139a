# Runs one check: one.sh FILE NAME. The guests are first brought to where every check starts from, but for the
# checks called check_dead_*, which come last in a boot and may find no store any more.
. /check/lib.sh
. "$1"

case $2 in
check_dead_*) ;;
*)
    # What a check that failed has left is not the next one's fault.
    left_over | xargs -r rm -f
    start_over g1 g2 || exit 1
    ;;
esac
set -eu
"$2"

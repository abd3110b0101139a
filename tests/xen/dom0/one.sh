# Runs one check: one.sh FILE NAME. The domains are first brought to where every check starts from.
. /check/lib.sh
. "$1"

# g1 and g2: target 192 MiB, static-max 256 MiB, limit in step, by xl, only if something is different.
start_over() { # DOM
    case $(state "$1") in
    "target 196608 static-max 262144 limit $((196608 + slack)) /vm/memory 192") return ;;
    esac
    xenstore-write "/local/domain/$(domid_of "$1")/memory/static-max" 262144 \
        "/local/domain/$(domid_of "$1")/memory/videoram" 0
    xl mem-set "$1" 192
}

if [ "$2" != "${2#check_dead_}" ]; then
    : # the last ones of a boot may find no store any more
else
    start_over g1
    start_over g2
fi
set -eu
"$2"

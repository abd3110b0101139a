# Sourced by every task; sources the other libraries.
export PATH=/usr/lib/xen/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
. /check/plan
. /check/store.sh
. /check/memory.sh
. /check/guests.sh
. /check/expect.sh
. /check/strace.sh

# The program under test. With VIA=bus it reaches the store through the kernel's device; everything else uses the
# socket.
program=/usr/sbin/xmem
device=/dev/xen/xenbus

xmem() {
    if [ "$VIA" = bus ]; then
        XENSTORED_PATH=$device $program "$@"
    else
        $program "$@"
    fi
}

# On arm64, `xl mem-set` and `xl mem-max` abort on an assertion. Checks that only need another writer get a stand-in,
# which leaves what libxl would leave; checks that compare with xl are skipped (x86_only).
xl() {
    case $ARCH:$1 in
    arm64:mem-set) set_without_xl "$2" "$3" ;;
    arm64:mem-max) max_without_xl "$2" "$3" ;;
    *) command xl "$@" ;;
    esac
}

# Seconds since boot, in $uptime; starts no process.
read_uptime() {
    read -r uptime _ </proc/uptime
    uptime=${uptime%.*}
}

# Repeats a command until it succeeds.
eventually() { # SECONDS COMMAND...
    read_uptime
    ev_end=$((uptime + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        read_uptime
        [ "$uptime" -lt $ev_end ] || return 1
        sleep 0.5
    done
}

# What checks, demo and shell share inside dom0. Sourced; brings the other libraries along.
export PATH=/usr/lib/xen/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
. /check/plan
. /check/store.sh
. /check/guests.sh
. /check/state.sh
. /check/expect.sh
. /check/faults.sh
. /check/costs.sh

# The program under test. With VIA=bus it talks to the store through the kernel's device; all others keep the socket.
program=/usr/sbin/xmem
device=/dev/xen/xenbus

xmem() {
    if [ "$VIA" = bus ]; then
        XENSTORED_PATH=$device $program "$@"
    else
        $program "$@"
    fi
}

# Seconds since boot, in $uptime; starts no process.
read_uptime() {
    read -r uptime _ </proc/uptime
    uptime=${uptime%.*}
}

# Tries a command until it succeeds.
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

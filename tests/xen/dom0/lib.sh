# What checks, demo and shell share inside dom0. Sourced; brings the other libraries along.
export PATH=/usr/lib/xen/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
. /check/plan
. /check/store.sh
. /check/guests.sh
. /check/state.sh
. /check/expect.sh

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

# Tries a command about every 0.1 s until it succeeds.
eventually() { # SECONDS COMMAND...
    ev_end=$(($(cut -d . -f 1 /proc/uptime) + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(cut -d . -f 1 /proc/uptime)" -lt $ev_end ] || return 1
        sleep 0.1
    done
}

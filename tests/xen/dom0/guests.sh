# Starting guests. Sourced.
#   g1   a PV guest             g2   a PVH guest, populate-on-demand
# Both: memory 192 MiB, at most 256 MiB. Each says on its console (see console_of) how much memory it has.

guest_config() { # NAME pv|pvh MEMORY MAXMEM
    echo "name = '$1'"
    if [ "$2" = pvh ]; then
        echo "type = 'pvh'"
        echo "acpi = 0"
    fi
    echo "kernel = '/guest/vmlinux'"
    echo "ramdisk = '/guest/initrd.gz'"
    echo "extra = 'console=hvc0 quiet sysrq_always_enabled'"
    echo "memory = $3"
    echo "maxmem = $4"
    echo "vcpus = 1"
}

console_of() { # NAME
    echo "/var/log/xen/console/guest-$1.log"
}

# Starts a guest; further words go to `xl create` (-p: leave it paused).
start_guest() { # NAME pv|pvh MEMORY MAXMEM [OPTION...]
    guest_config "$1" "$2" "$3" "$4" >"/tmp/$1.cfg"
    sg_name=$1
    shift 4
    xl create -q "$@" "/tmp/$sg_name.cfg"
}

# The kernel of a PVH guest dies now and then of the emulation, whatever is done to it: it takes a page fault in its own
# page fault handler, where it reads through GS, until the stack is full. That is no result of any check.
dies_of_emulation='stack guard page was hit'

# Prints the consoles of the guests that have died so.
died_of_emulation() {
    grep -ls "$dies_of_emulation" "$(console_of g1)" "$(console_of g2)"
}

# Waits until the guest's init runs: by then its balloon driver listens.
wait_for_guest() { # NAME
    eventually 240 grep -q -e '^guest: ready' -e "$dies_of_emulation" "$(console_of "$1")"
    grep -q '^guest: ready' "$(console_of "$1")"
}

start_guests() { # NAME...: any of g1 and g2, at the same time
    for sg in "$@"; do
        case $sg in
        g1) start_guest g1 pv 192 256 >/tmp/g1.log 2>&1 & ;;
        g2) start_guest g2 pvh 192 256 >/tmp/g2.log 2>&1 & ;;
        esac
    done
    wait
    for sg in "$@"; do
        if ! wait_for_guest "$sg"; then
            echo "guest $sg did not come up"
            cat "/tmp/$sg.log" "$(console_of "$sg")"
            return 1
        fi
    done
}

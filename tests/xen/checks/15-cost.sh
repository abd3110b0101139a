# The cost of commands in counts, so that an increase fails. tests/xen/bench measures times.

costs_at_most() { # WHAT SYSTEM-CALLS HYPERCALLS ROUND-TRIPS
    count_costs
    echo "$system_calls system calls, $hypercalls hypercalls, $round_trips round trips to xenstore; $more_reads more reads"
    # A misread trace must not pass for a cheap run.
    [ "$system_calls" -gt 20 ] && [ "$hypercalls" -ge 3 ] && [ "$round_trips" -ge 3 ] || fail "$1: the trace is incomplete"
    [ "$hypercalls" -le "$3" ] || fail "$1 costs more than $3 hypercalls"
    # The device takes one message at a time.
    [ "$VIA" != bus ] || return 0
    [ "$system_calls" -le "$2" ] || fail "$1 costs more than $2 system calls: $(cat /tmp/trace)"
    # Some fifteen replies, each in two pieces at worst.
    [ "$more_reads" -le 30 ] || fail "$1 needs $more_reads extra reads"
    [ "$round_trips" -le "$4" ] || fail "$1 costs more than $4 round trips"
}

check_cost_of_a_set_by_name() {
    needs_xmem
    traced -- set g1 128M
    costs_at_most "set of a PV guest" 114 4 5
    traced -- set g2 128M
    # Two more hypercalls for populate on demand: to set its target and, since the guest shrinks, to read its state.
    costs_at_most "set of a PVH guest" 116 6 5
}

check_cost_of_a_set_by_domid() {
    needs_xmem
    traced -- set "$(domid_of g1)" 128M
    costs_at_most "set by domid" 114 4 4
}

# The requests sent to xenstore and the domctls made after the first line with WORDS in the last traced run.
sent_after() { # WORDS
    awk -v words="$1" '
        index($0, words) { seen = 1 }
        match($0, /\([0-9]+/) { fd = substr($0, RSTART + 1, RLENGTH - 1) }
        /^connect\(.*xenstored\/socket/ { leads_to_store[fd] = 1 }
        /^open(at)?\(.*"\/dev\/xen\/xenbus"/ { leads_to_store[$NF] = 1 }
        /^(write|writev|sendto|sendmsg)\(/ && seen && fd in leads_to_store { sent++ }
        /^ioctl\(.*_IOC_NONE, 0x50, 0, 0x30/ && seen { hypercalls++ }
        END { if (!seen) exit 1; print sent + 0, hypercalls + 0 }' /tmp/trace || fail "no '$1' in the trace"
}

check_cost_of_watching_idle_domains() {
    needs_xmem
    needs_idle_kernel
    trap 'destroy_idle 12' EXIT
    start_idle 1 12
    way=
    [ "$VIA" != bus ] || way="-E XENSTORED_PATH=$device"
    # shellcheck disable=SC2086 # options are words
    strace -s 64 -o /tmp/trace $way $program watch --json --interval 1s --count 31 >/tmp/frames
    # Later frames contain changes only.
    grep -q '"idle12"' /tmp/frames || fail "no frame shows idle12"
    # The first frame is written once everything has been read. Each later one needs a list of the domains and the
    # host's memory.
    set -- $(sent_after 'write(1, ')
    echo "after the first frame: sent to xenstore $1 times, $2 hypercalls"
    [ "$2" -ge 60 ] || fail "too few hypercalls: the trace is incomplete"
    is "requests to xenstore in half a minute" "$1" 0
}

# The guest is paused, so the wait lasts until its time bound.
waits_traced() { # MIB SECONDS
    traced -- set g1 "$1M" --wait="$2s" || echo "exit code $?"
    sent_after 'T\\0"'
}

check_cost_of_waiting() {
    needs_xmem
    trap 'xl unpause g1' EXIT
    xl pause g1
    short=$(waits_traced 128 5 | tail -n 1)
    long=$(waits_traced 160 40 | tail -n 1)
    echo "requests to xenstore and hypercalls after the commit: in 5 s $short, in 40 s $long"
    [ "${long#* }" -gt "${short#* }" ] || fail "a longer wait asks the hypervisor no more often"
    is "requests in 40 s" "${long% *}" "${short% *}"
}

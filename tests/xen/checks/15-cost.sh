# What one change costs: counts, so that they cannot creep up unseen. What it takes in time: tests/xen/bench.

costs_at_most() { # WHAT SYSTEM-CALLS HYPERCALLS ROUND-TRIPS
    count_costs
    echo "$system_calls system calls, $hypercalls hypercalls, $round_trips round trips to xenstore; $more_reads more reads"
    # A trace that was misread must not look like a cheap run.
    [ "$system_calls" -gt 20 ] && [ "$hypercalls" -ge 3 ] && [ "$round_trips" -ge 3 ] || fail "$1: too few to be true"
    [ "$hypercalls" -le "$3" ] || fail "$1 costs more than $3 hypercalls"
    # Over the device each message goes alone.
    [ "$VIA" != bus ] || return 0
    [ "$system_calls" -le "$2" ] || fail "$1 costs more than $2 system calls: $(cat /tmp/trace)"
    # Some fifteen replies, each in two pieces at the worst.
    [ "$more_reads" -le 30 ] || fail "$1 reads $more_reads times more than it has to"
    [ "$round_trips" -le "$4" ] || fail "$1 costs more than $4 round trips"
}

check_cost_of_a_set_by_name() {
    needs_xmem
    traced -- set g1 128M
    costs_at_most "set of a PV guest" 61 4 5
    traced -- set g2 128M
    costs_at_most "set of a PVH guest" 62 5 5
}

check_cost_of_a_set_by_domid() {
    needs_xmem
    traced -- set "$(domid_of g1)" 128M
    costs_at_most "set by domid" 59 4 4
}

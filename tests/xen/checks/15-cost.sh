# What one change costs: counts, so that they cannot creep up unseen. Hypercalls and messages are the same on every
# machine; how many system calls it takes to read an answer depends on how fast it comes.

# The last traced run's system calls, hypercalls, and messages to xenstore and how many of these went out together.
count_costs() {
    system_calls=$(calls | awk '{ sum += $2 } END { print sum }')
    hypercalls=$(grep -c '^ioctl(.*_IOC_NONE, 0x50, 0, 0x30' /tmp/trace)
    case $VIA in
    bus) sent=$(grep -c '^write(' /tmp/trace) ;;
    *) sent=$(grep '^sendto(' /tmp/trace | grep -vc /dev/log) ;;
    esac
    echo "$system_calls system calls, $hypercalls hypercalls, $sent times sent to xenstore"
}

costs_at_most() { # WHAT SYSTEM-CALLS HYPERCALLS SENT
    count_costs
    [ "$hypercalls" -le "$3" ] || fail "$1 costs more than $3 hypercalls"
    # Over the device each message goes alone.
    [ "$VIA" != bus ] || return 0
    [ "$system_calls" -le "$2" ] || fail "$1 costs more than $2 system calls"
    [ "$sent" -le "$4" ] || fail "$1 sends more than $4 times"
}

check_cost_of_a_set_by_name() {
    needs_xmem
    traced -- set g1 128M
    costs_at_most "set of a PV guest" 110 4 5
    traced -- set g2 128M
    costs_at_most "set of a PVH guest" 114 5 5
}

check_cost_of_a_set_by_domid() {
    needs_xmem
    traced -- set "$(domid_of g1)" 128M
    costs_at_most "set by domid" 105 4 4
}

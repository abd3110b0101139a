# Counting what a run under strace cost, from /tmp/trace, be it written with or without -f. Sourced.
# Counts are the same on every machine, but for one: how many system calls it takes to read an answer depends on how fast
# it comes.

# Sets $system_calls, $hypercalls, and $round_trips: how many times it sent something to xenstore and then read from
# there. Requests that go out together are one round trip.
count_costs() {
    # shellcheck disable=SC2046 # three numbers
    set -- $(awk '
        { sub(/^[0-9]+ +/, "") }
        !/^[a-z_0-9]+\(/ || /^execve\(/ { next }
        { system_calls++ }
        /^ioctl\(.*_IOC_NONE, 0x50, 0, 0x30/ { hypercalls++ }
        match($0, /\([0-9]+/) { fd = substr($0, RSTART + 1, RLENGTH - 1) }
        /^connect\(.*xenstored\/socket/ { leads_to_store[fd] = 1 }
        /^open(at)?\(.*"\/dev\/xen\/xenbus"/ { leads_to_store[$NF] = 1 }
        /^(write|writev|sendto|sendmsg)\(/ && fd in leads_to_store { sent = 1 }
        /^(read|readv|recvfrom|recvmsg)\(/ && fd in leads_to_store && sent { round_trips++; sent = 0 }
        END { print system_calls + 0, hypercalls + 0, round_trips + 0 }' /tmp/trace)
    system_calls=$1 hypercalls=$2 round_trips=$3
}

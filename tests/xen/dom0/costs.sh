# Counting what a run under strace cost, from /tmp/trace, be it written with or without -f. Sourced.
# Counts are the same on every machine, but for one: how many reads an answer takes depends on how fast it comes, since
# the store writes each reply by itself, and its header apart from the rest. So only the first read of an answer is
# counted with the others. Nor is what the time is counted: a kernel that can tell it without a system call does (that
# of the dom0 here can under Xen 4.17 and 4.20, and cannot under 4.14).

# Sets $system_calls, $hypercalls, and $round_trips: how many times it sent something to xenstore and then read from
# there. Requests that go out together are one round trip. And $more_reads: those that are left out of $system_calls.
count_costs() {
    # shellcheck disable=SC2046 # four numbers
    set -- $(awk '
        { sub(/^[0-9]+ +/, "") }
        !/^[a-z_0-9]+\(/ || /^(execve|clock_gettime)\(/ { next }
        { system_calls++ }
        /^ioctl\(.*_IOC_NONE, 0x50, 0, 0x30/ { hypercalls++ }
        match($0, /\([0-9]+/) { fd = substr($0, RSTART + 1, RLENGTH - 1) }
        /^connect\(.*xenstored\/socket/ { leads_to_store[fd] = 1 }
        /^open(at)?\(.*"\/dev\/xen\/xenbus"/ { leads_to_store[$NF] = 1 }
        /^(write|writev|sendto|sendmsg)\(/ && fd in leads_to_store { sent = 1 }
        /^(read|readv|recvfrom|recvmsg)\(/ && fd in leads_to_store {
            if (sent) round_trips++; else more_reads++
            sent = 0
        }
        END { print system_calls - more_reads, hypercalls + 0, round_trips + 0, more_reads + 0 }' /tmp/trace)
    system_calls=$1 hypercalls=$2 round_trips=$3 more_reads=$4
}

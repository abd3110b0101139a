# Making system calls of xmem fail, end it, or take long, by strace, and judging the result. Sourced.

# Runs xmem under strace, quietly, so that its only writes are those to the store and to its own record.
traced() { # STRACE-OPTION... -- XMEM-ARGUMENT...
    tr_options=
    while [ "$1" != -- ]; do
        tr_options="$tr_options $1"
        shift
    done
    shift
    [ "$VIA" != bus ] || tr_options="$tr_options -E XENSTORED_PATH=$device"
    # shellcheck disable=SC2086 # options are words
    strace -s 64 -o /tmp/trace $tr_options $program --quiet "$@"
}

# The number of calls of each name in the last traced run, as lines NAME COUNT. All names if none is given.
calls() { # NAME...
    awk -v names=" $* " '
        match($0, /^[a-z_0-9]+\(/) {
            name = substr($0, 1, RLENGTH - 1)
            if (name != "execve" && (names == "  " || index(names, " " name " "))) count[name]++
        }
        END { for (name in count) print name, count[name] }' /tmp/trace | sort
}

# The number of calls of NAME in the last traced run up to its (first) commit, inclusive.
calls_until_commit() { # NAME
    awk -v name="$1(" '
        index($0, name) == 1 { count++ }
        /^(sendto|write)\(.*"\\7\\0\\0\\0.*T\\0"/ { print count + 0; found = 1; exit }
        END { if (!found) exit 1 }' /tmp/trace || fail "no commit in the trace: $(cat /tmp/trace)"
}

# Starts xmem and stops it (SIGSTOP) right before it sends its commit: limit set, nothing visible in xenstore.
# Returns when it is stopped. Its own pid is $held_pid, that to wait for $held_run; its messages are in /tmp/err.
hold_before_commit() { # DOM MIB
    traced -- set "$1" "$2M"
    # The check that the lock is still held is the last call before it. The number of hypercalls varies: a guest
    # slightly below its target costs one more.
    hb_call=$(calls_until_commit statx)
    xl mem-set "$1" 192
    hold_at "statx:signal=SIGSTOP:when=$hb_call" "$1" "$2"
    hb_limit=$(($2 * 1024 + slack))
    eventually 120 limit_is "$1" $hb_limit || fail "the limit was never set: $(cat /tmp/err)"
}

# The same, stopped right after the commit is sent and before its reply is read; the change is visible by then.
hold_after_commit() { # DOM MIB
    traced -- set "$1" "$2M"
    case $VIA in
    bus) hb_name=write ;;
    *) hb_name=sendto ;;
    esac
    hb_call=$(calls_until_commit $hb_name)
    xl mem-set "$1" 192
    hold_at "$hb_name:signal=SIGSTOP:when=$hb_call" "$1" "$2"
    eventually 120 target_is "$1" $(($2 * 1024)) || fail "the commit was never made: $(cat /tmp/err)"
}

hold_at() { # FAULT DOM MIB
    rm -f /tmp/err
    traced -e inject="$1" -- set "$2" "$3M" >/tmp/out 2>/tmp/err &
    held_run=$!
    eventually 60 pidof xmem || fail "xmem did not start"
    held_pid=$(pidof xmem)
}

limit_is() { [ "$(limit "$1")" = "$2" ]; }
target_is() { [ "$(target "$1")" = "$2" ]; }

# Continues the held run and waits for its end: its exit code is in $code.
resume_held() {
    code=0
    kill -CONT "$held_pid"
    wait $held_run || code=$?
    echo "the held run ended with exit code $code. $(cat /tmp/err)"
}

# Checks that a run that was to change DOM from BEFORE to AFTER (see numbers) left what its exit code promises.
# 0: changed. 9: out of step, and a record is left for the next run. Any other: nothing changed.
verify_outcome() { # WHAT CODE DOM AFTER BEFORE
    ju_now=$(numbers "$3")
    case $2 in
    0)
        [ "$ju_now" = "$4" ] || fail "$1: exit code 0, but $ju_now"
        ;;
    9)
        grep -q "out of step" /tmp/err || fail "$1: exit code 9, but the message does not say so: $(cat /tmp/err)"
        [ -e "$(intent_file "$3")" ] || fail "$1: exit code 9 without a record for the next run"
        ;;
    *)
        [ "$ju_now" = "$5" ] || fail "$1: exit code $2, before: $5, now: $ju_now. It said: $(cat /tmp/err)"
        ;;
    esac
}

# Checks that the next command finds the lock free, succeeds, and leaves DOM in step and no file behind.
recovers() { # WHAT DOM COMMAND...
    me_what=$1 me_dom=$2 me_code=0
    shift 2
    "$@" >/tmp/next.out 2>&1 || me_code=$?
    [ $me_code = 0 ] || fail "$me_what: '$*' left with $me_code: $(cat /tmp/next.out)"
    in_step "$me_dom" >/tmp/step || fail "$me_what: '$*' left it out of step: $(cat /tmp/step /tmp/next.out)"
    is_tidy
    echo "$me_what: then '$*' said: $(cat /tmp/next.out)"
}

next_run_recovers() { # WHAT DOM SIZE
    recovers "$1" "$2" xmem set --lock-timeout 20s "$2" "$3"
}
# The cost of a run under strace, from /tmp/trace, with or without -f. Sourced.
# The counts are the same on every machine, except for the number of reads per reply. That depends on how fast it
# arrives: the store writes each reply by itself, and its header apart from the rest. So only the first read of a reply
# is counted, and the wait before it. Reads of the clock are not counted either: some kernels need no system call for
# them (that of this dom0 does not under Xen 4.17 and 4.20, but does under 4.14).

# Sets $system_calls, $hypercalls, and $round_trips: the number of times that something was sent to xenstore and then
# read. Requests sent together are one round trip. $more_reads are the reads left out of $system_calls.
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
            if (sent) round_trips++; else { more_reads++; more_waits += has_waited }
            sent = 0
        }
        { has_waited = /^ppoll\(/ }
        END { print system_calls - more_reads - more_waits, hypercalls + 0, round_trips + 0, more_reads + 0 }' /tmp/trace)
    system_calls=$1 hypercalls=$2 round_trips=$3 more_reads=$4
}

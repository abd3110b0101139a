# Several programs change one domain at once. After each of ROUNDS rounds, target and limit are in step and no lock
# remains. That xl and xmem wait for the same lock is shown by check_lock_* and check_fault_xl_waits_for_the_held_run:
# here xenstore's transactions alone would keep most rounds in step.

# One round: two commands at once, which both must succeed. The second begins up to 4 ms later, which is a tick of the
# kernel's clock, so that it meets the first at another point in each round.
both() { # "COMMAND" "COMMAND"
    bo_delay=$(((round * 3 + SEED) % 40))
    (eval "$1") >/tmp/first 2>&1 &
    bo_first=$!
    (sleep 0.00$((bo_delay / 10))$((bo_delay % 10)) && eval "$2") >/tmp/second 2>&1 &
    bo_second=$!
    bo_code=0
    wait $bo_first || bo_code=$?
    [ $bo_code = 0 ] || fail "round $round: '$1' left with $bo_code: $(cat /tmp/first)"
    wait $bo_second || bo_code=$?
    [ $bo_code = 0 ] || fail "round $round: '$2' left with $bo_code: $(cat /tmp/second)"
}

# Many rounds. No size follows itself, so that every command changes something. The sizes are close together, since a
# guest that follows takes long.
rounds() { # DOM ROUNDS "COMMAND" "COMMAND", in which $a $b $c stand for sizes in MiB
    round=0
    while [ $round -lt "$2" ]; do
        round=$((round + 1))
        a=$((182 + round % 3)) b=$((186 + round % 2)) c=$((189 + round % 3))
        both "$3" "$4"
        in_step "$1" || fail "round $round: out of step. First said: $(cat /tmp/first) Second said: $(cat /tmp/second)"
        is_tidy
    done
    echo "$2 rounds"
}

check_race_xl_and_xmem_on_pv() { # every boot
    x86_only "xl sets no memory on Arm"
    needs_xmem
    # xmem is several times faster, so it runs several times per round.
    rounds g1 "$ROUNDS" 'xl mem-set g1 $a' 'xmem set g1 $b && xmem set g1 $c && xmem set g1 $b'
}

check_race_xl_and_xmem_on_pvh() { # every boot
    x86_only "xl sets no memory on Arm"
    needs_xmem
    rounds g2 $((ROUNDS / 4)) 'xl mem-set g2 $a' 'xmem set g2 $b && xmem set g2 $c && xmem set g2 $b'
}

check_race_two_xmem() { # every boot
    needs_xmem
    rounds g1 $((ROUNDS / 4)) 'xmem set g1 $a && xmem set g1 $b' 'xmem set g1 $c && xmem set g1 $a'
}

check_race_xl_max_and_xmem_set() { # every boot
    x86_only "xl sets no memory on Arm"
    needs_xmem
    [ "$XEN" != 4.14 ] || skip "xl mem-max of 4.14 does not change static-max, so the results differ"
    rounds g1 $((ROUNDS / 8)) 'xl mem-max g1 $((a + 100))' 'xmem set g1 $b && xmem set g1 $c'
}

# A writer without the lock makes commits conflict. xmem tries again, or gives up and changes nothing.
check_race_writer_without_the_lock() { # every boot
    needs_xmem
    (while :; do write_key g1 static-max 262144; done) &
    writer=$!
    trap 'kill $writer' EXIT
    round=0 refused=0
    while [ $round -lt $((ROUNDS / 8 + 3)) ]; do
        round=$((round + 1))
        before=$(target g1)
        code=0
        xmem set g1 $((140 + round % 7)) >/tmp/out 2>&1 || code=$?
        case $code in
        0) is "target" "$(target g1)" $(((140 + round % 7) * 1024)) ;;
        6)
            refused=$((refused + 1))
            is "target" "$(target g1)" "$before"
            ;;
        *) fail "round $round: xmem left with $code: $(cat /tmp/out)" ;;
        esac
        is_in_step g1
        is_tidy
    done
    echo "$round rounds, $refused of them given up"
}

# Two workers run xmem and two run xl, on two guests and on a domain that is created and destroyed all the time.
# `xmem watch` runs meanwhile. About ROUNDS changes.
check_race_torture() { # every boot
    x86_only "xl sets no memory on Arm"
    needs_xmem
    each=$((ROUNDS / 4 + 5))
    rm -f /tmp/worker.* /tmp/torture.end
    (
        [ "$VIA" != bus ] || export XENSTORED_PATH=$device
        exec $program watch --json --interval 1s >/dev/null 2>/tmp/watch.err
    ) &
    watcher=$!
    create_and_destroy &
    creator=$!
    trap 'kill $watcher; touch /tmp/torture.end; wait; destroy g5' EXIT
    workers=
    for worker in 1 2; do
        worker "xmem set" $worker >/tmp/worker.xmem.$worker 2>&1 &
        workers="$workers $!"
        worker "xl mem-set" $worker >/tmp/worker.xl.$worker 2>&1 &
        workers="$workers $!"
    done
    eventually 600 test -s /tmp/worker.xmem.2 || fail "nothing happens"
    for worker in $workers; do
        wait "$worker" || fail "a worker failed: $(tail -n 3 /tmp/worker.*)"
    done
    last=$(memory_of $watcher)
    [ -n "$last" ] || fail "xmem watch has ended: $(cat /tmp/watch.err)"
    kill $watcher
    touch /tmp/torture.end
    wait $creator || fail "creating and destroying: $(cat /tmp/create)"
    trap - EXIT
    is_in_step g1
    is_in_step g2
    is_tidy
    # It starts with about 3 MiB, including its program's own pages. More than twice that is a leak.
    [ "$last" -le 6144 ] || fail "xmem watch has grown to $last KiB"
    grep -h "exit code" /tmp/worker.* | sort | uniq -c
    figure $((each * 4)) "changes by four workers at once, in step afterwards"
}

memory_of() { # PID: its resident memory in KiB
    sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$1/status"
}

create_and_destroy() {
    while [ ! -e /tmp/torture.end ]; do
        start_guest g5 pv 128 192 -p >/tmp/create 2>&1
        sleep 1
        xl destroy g5 >>/tmp/create 2>&1
    done
}

# A random domain, and a random size for it.
any_domain() {
    random=$(((random * 1103515245 + 12345) % 2147483648))
    an_more=$((random / 1024 % 20))
    case $((random / 65536 % 5)) in
    0 | 1) any=g1 size=$((180 + an_more)) ;;
    2 | 3) any=g2 size=$((180 + an_more)) ;;
    4) any=g5 size=$((80 + an_more)) ;;
    esac
}

worker() { # COMMAND NUMBER: xmem set | xl mem-set
    wo_round=0 random=$((SEED * 8 + $2 * 2 + ${#1} % 2))
    while [ $wo_round -lt $each ]; do
        wo_round=$((wo_round + 1))
        any_domain
        wo_code=0
        # shellcheck disable=SC2086 # two words
        wo_said=$($1 $any $size 2>&1) || wo_code=$?
        echo "$1, exit code $wo_code"
        case ${1% *},$any,$wo_code in
        *,*,0) ;;
        # A xenstored that makes up conflicts may never stop.
        xmem,*,6) ;;
        # The domain comes and goes, and may lack some nodes.
        xmem,g5,[134] | xl,g5,*) ;;
        *)
            echo "$1 $any $size left with $wo_code: $wo_said"
            return 1
            ;;
        esac
    done
}

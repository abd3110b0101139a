# Every system call by which xmem talks to anybody fails once, or ends it. By strace, on the shipped program.
# A boot with few ROUNDS takes every fifth of these points.

talk="sendto sendmsg write ppoll read recvfrom ioctl flock unlink rename openat open fsync socket connect setsockopt signalfd4 statx"

stride() {
    if [ "$ROUNDS" -ge 100 ]; then echo 1; else echo 5; fi
}

# For each point: FUNCTION NAME NUMBER.
at_every_point() { # FUNCTION
    traced -- set g1 128M || fail "the run that counts left with $?"
    # shellcheck disable=SC2086 # a list of words
    calls $talk >/tmp/calls
    echo "calls: $(tr '\n' ' ' </tmp/calls)"
    start_over g1
    point=0
    while read -r name count <&4; do
        number=0
        while [ $number -lt "$count" ]; do
            number=$((number + 1))
            point=$((point + 1))
            [ $((point % $(stride))) != 0 ] || "$1" "$name" $number
        done
    done 4</tmp/calls
    echo "$point points"
}

fails_with_eio() { # NAME NUMBER
    before=$(state g1)
    code=0
    traced -e inject="$1:error=EIO:when=$2" -- set --lock-timeout 20s g1 128M >/tmp/out 2>/tmp/err || code=$?
    echo "$1 $2 fails: exit code $code. $(cat /tmp/err)"
    judge "$1 $2 fails with EIO" $code g1 131072 "$before"
    [ "$(state g1)" = "$before" ] || next_run_mends "after $1 $2 failed" g1 192M
}

killed() { # NAME NUMBER
    traced -e inject="$1:signal=SIGKILL:when=$2" -- set g1 128M >/tmp/out 2>/tmp/err || true
    left="target $(target g1), limit $(limit g1)"
    in_step g1 >/tmp/step || [ -e "$(intent_file g1)" ] ||
        fail "killed at $1 $2: $(cat /tmp/step), and no record is left for the next run"
    # The next run asks for the same, or for something else.
    size=$((128 + $2 % 2 * 16))
    next_run_mends "killed at $1 $2 ($left)" g1 ${size}M
    echo "killed at $1 $2: left $left; the next run said: $(cat /tmp/next.out)"
    start_over g1
}

check_fault_every_call_fails() {
    needs_xmem
    at_every_point fails_with_eio
    next_run_mends "after all that" g1 192M
}

check_fault_killed_at_every_call() {
    needs_xmem
    at_every_point killed
}

# A PVH guest has one more hypercall, the populate-on-demand target.
check_fault_every_hypercall_fails_for_pvh() {
    needs_xmem
    traced -- set g2 128M
    calls ioctl >/tmp/calls
    start_over g2
    read -r _ count </tmp/calls
    number=0
    while [ $number -lt "$count" ]; do
        number=$((number + 1))
        before=$(state g2)
        code=0
        traced -e inject="ioctl:error=ENOMEM:when=$number" -- set g2 128M >/tmp/out 2>/tmp/err || code=$?
        echo "ioctl $number fails: exit code $code. $(cat /tmp/err)"
        judge "ioctl $number fails with ENOMEM" $code g2 131072 "$before"
        start_over g2
    done
    is_tidy
}

# The result cannot be told. Exit code 1 would promise that nothing is changed.
check_fault_stdout_is_full() {
    needs_xmem
    before=$(state g1)
    code=0
    xmem set g1 128M >/dev/full 2>/tmp/err || code=$?
    echo "exit code $code. $(cat /tmp/err)"
    case $code in
    1) is "state after exit code 1" "$(state g1)" "$before" ;;
    esac
    is_in_step g1
    is_tidy
}

# Starts xmem and holds it for 15 s right before it sends its commit; returns when it is there: the limit is new.
hold_before_commit() { # DOM SIZE LIMIT
    traced -- set --dry-run "$1" "$2" >/dev/null
    traced -- set "$1" "$2"
    call=$(commit_call)
    [ -n "$call" ] || fail "no commit in the trace: $(cat /tmp/trace)"
    start_over "$1"
    traced -e inject="${call% *}:delay_enter=15000000:when=${call#* }" -- set "$1" "$2" >/tmp/out 2>/tmp/err &
    held_run=$!
    limit_is() { [ "$(limit "$1")" = "$2" ]; }
    eventually 60 limit_is "$1" "$3" || fail "the limit was never set: $(cat /tmp/err)"
}

check_fault_sigterm_at_the_commit_waits() {
    needs_xmem
    hold_before_commit g1 128M 132096
    is "target while it is held" "$(target g1)" 196608
    kill -TERM "$(pidof xmem)"
    code=0
    wait $held_run || code=$?
    echo "exit code $code. $(cat /tmp/err)"
    is "target" "$(target g1)" 131072
    is_in_step g1
    is_tidy
}

# Somebody who asks xenstore while the change is half made sees the old target; the one after it, the new one.
check_fault_xl_waits_for_the_held_run() {
    needs_xmem
    hold_before_commit g1 128M 132096
    expect 0 xl mem-set g1 160
    wait $held_run || fail "the held run left with $?: $(cat /tmp/err)"
    is "target" "$(target g1)" 163840
    is_in_step g1
    is_tidy
}

# A target written without the lock while xmem is about to commit: the commit fails, xmem reads and plans again.
check_fault_target_written_at_the_commit() {
    needs_xmem
    hold_before_commit g1 128M 132096
    put g1 target 180224
    wait $held_run || fail "the held run left with $?: $(cat /tmp/err)"
    is "target" "$(target g1)" 131072
    is_in_step g1
    is_tidy
}

# The domain is destroyed while xmem is about to commit. Nothing of it may be made again.
check_fault_domain_destroyed_at_the_commit() {
    needs_xmem
    start_guest g4 pv 64 64 -p || skip "another guest did not start"
    remember g4
    trap 'xl destroy g4 2>/dev/null || true' EXIT
    traced -- set g4 48M
    call=$(commit_call)
    expect 0 xl mem-set g4 64
    traced -e inject="${call% *}:delay_enter=15000000:when=${call#* }" -- set g4 48M >/tmp/out 2>/tmp/err &
    held_run=$!
    eventually 60 limit_is_of_g4 || fail "the limit was never set: $(cat /tmp/err)"
    xl destroy g4 >/tmp/xl.out 2>&1 &
    destroyer=$!
    code=0
    wait $held_run || code=$?
    wait $destroyer || echo "xl destroy left with $?: $(cat /tmp/xl.out)"
    trap - EXIT
    echo "exit code $code. $(cat /tmp/err)"
    is "exit code" $code 3
    place=/local/domain/$(domid_of g4)
    ! xenstore-exists "$place" || fail "$place is there again: $(xenstore-ls "$place")"
    eventually 30 nothing_left || fail "left behind: $(left_over)"
}

limit_is_of_g4() { [ "$(limit g4)" = $((48 * 1024 + slack)) ]; }
nothing_left() { [ -z "$(left_over)" ]; }

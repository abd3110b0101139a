# Every system call by which xmem talks to anybody fails once, or ends it. By strace, on the shipped program.
# One in STRIDE of these points, beginning with one that SEED chooses.

talk="sendto sendmsg write ppoll read recvfrom ioctl flock unlink rename openat open fsync socket connect setsockopt signalfd4 statx"

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
            [ $(((point + SEED) % STRIDE)) != 0 ] || "$1" "$name" $number
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

check_fault_sigterm_at_the_commit_waits() {
    needs_xmem
    hold_before_commit g1 128
    is "target while it is held" "$(target g1)" 196608
    kill -TERM "$held_pid"
    let_go
    is "target" "$(target g1)" 131072
    is_in_step g1
    is_tidy
}

check_fault_xl_waits_for_the_held_run() {
    needs_xmem
    hold_before_commit g1 128
    xl mem-set g1 160 >/tmp/xl.out 2>&1 &
    other=$!
    eventually 60 somebody_waits || fail "xl does not wait for the lock"
    is "target while both wait" "$(target g1)" 196608
    let_go
    is "exit code" $code 0
    wait $other || fail "xl left with $?: $(cat /tmp/xl.out)"
    is "target" "$(target g1)" 163840
    is_in_step g1
    is_tidy
}

# A target written without the lock while xmem is about to commit: the commit fails, xmem reads and plans again.
check_fault_target_written_at_the_commit() {
    needs_xmem
    hold_before_commit g1 128
    put g1 target 180224
    let_go
    is "exit code" $code 0
    is "target" "$(target g1)" 131072
    is_in_step g1
    is_tidy
}

# The same, but what is written makes the request impossible: the limit has to be put back.
check_fault_maximum_lowered_at_the_commit() {
    needs_xmem
    hold_before_commit g1 160
    put g1 static-max 147456
    put g1 target 147456
    let_go
    is "exit code" $code 4
    is "target" "$(target g1)" 147456
    is "limit" "$(limit g1)" 197632
    is_tidy
}

# The domain is destroyed while xmem is about to commit. Nothing of it may be made again.
check_fault_domain_destroyed_at_the_commit() {
    needs_xmem
    expect 0 start_guest g4 pv 192 192 -p
    remember g4
    trap 'xl destroy g4 2>/dev/null || true' EXIT
    hold_before_commit g4 128
    place=/local/domain/$(domid_of g4)
    xl destroy g4 >/tmp/xl.out 2>&1 &
    destroyer=$!
    gone() { ! xenstore-exists "$place"; }
    eventually 60 gone || fail "xl destroy did not begin"
    let_go
    wait $destroyer || echo "xl destroy left with $?: $(cat /tmp/xl.out)"
    trap - EXIT
    is "exit code" $code 3
    gone || fail "$place is there again: $(xenstore-ls "$place")"
    eventually 60 nothing_left || fail "left behind: $(left_over)"
}

# libxl's userdata lock: waits, timeouts, and a domain that goes away meanwhile.

check_lock_timeout_exits_5_and_names_the_holder() {
    needs_xmem
    before=$(numbers g1)
    hold g1 300
    read_uptime
    begin=$uptime
    expect 5 xmem set --lock-timeout 2s g1 128M
    read_uptime
    took=$((uptime - begin))
    release
    contains "stderr" "$err" "(flock "
    [ $took -ge 1 ] && [ $took -le 30 ] || fail "it took $took s"
    is "numbers" "$(numbers g1)" "$before"
    is_tidy
}

check_lock_names_the_holders_pid() {
    needs_xmem
    hold g1 300
    pid=$holder
    expect 5 xmem set --lock-timeout 0 g1 128M
    release
    contains "stderr" "$err" "$pid"
    contains "stderr" "$err" "hint: "
    is_tidy
}

check_lock_freed_in_time() { # every boot
    needs_xmem
    hold g1 300
    xmem -v set --lock-timeout 120s g1 128M >/tmp/out 2>&1 &
    waiter=$!
    eventually 30 xmem_waits || fail "xmem does not wait for the lock: $(cat /tmp/out)"
    is "target" "$(target g1)" 196608
    release
    wait $waiter || fail "xmem left with $?: $(cat /tmp/out)"
    is "target" "$(target g1)" 131072
    is_in_step g1
    is_tidy
}

# A killed holder's file is not a lock.
check_lock_file_of_a_killed_holder_is_reused() {
    needs_xmem
    : >"$(lock_file g1)"
    expect 0 xmem set --lock-timeout 5s g1 128M
    is_in_step g1
    is_tidy
}

check_lock_waiting_ends_on_sigterm() {
    needs_xmem
    before=$(numbers g1)
    hold g1 300
    set +e
    xmem -v set --lock-timeout 120s g1 128M >/tmp/out 2>&1 &
    waiter=$!
    eventually 30 xmem_waits || fail "xmem does not wait for the lock: $(cat /tmp/out)"
    kill -TERM "$(pidof xmem)"
    wait $waiter
    code=$?
    set -e
    release
    echo "xmem left with $code: $(cat /tmp/out)"
    [ $code != 0 ] || fail "exit code 0"
    is "numbers" "$(numbers g1)" "$before"
    is_tidy
}

# A lock on one domain does not affect another.
check_lock_of_another_domain_does_not_matter() {
    needs_xmem
    hold g1 300
    expect 0 xmem set --lock-timeout 5s g2 128M
    release
    is_in_step g2
}

# `xl destroy` removes the domain's xenstore directory, then waits for the lock like xmem. Whichever gets the lock
# first, xmem must not write there again.
check_lock_domain_destroyed_while_waiting() { # every boot
    needs_xmem
    expect 0 start_guest g3 pv 128 128 -p
    store_ids g3
    trap 'destroy g3' EXIT
    hold g3 300
    xmem -v set --lock-timeout 120s g3 96M >/tmp/out 2>&1 &
    waiter=$!
    eventually 30 xmem_waits || fail "xmem does not wait for the lock: $(cat /tmp/out)"
    xl destroy g3 >/tmp/xl.out 2>&1 &
    destroyer=$!
    place=/local/domain/$(domid_of g3)
    gone() { ! xenstore-exists "$place"; }
    eventually 60 gone || fail "xl destroy did not begin"
    release
    code=0
    wait $waiter || code=$?
    wait $destroyer || echo "xl destroy left with $?: $(cat /tmp/xl.out)"
    echo "xmem left with $code: $(cat /tmp/out)"
    is "exit code" $code 3
    gone || fail "$place exists again: $(xenstore-ls "$place")"
    eventually 30 nothing_left || fail "left behind: $(leftovers)"
    trap - EXIT
}

# xmem --wait: the guest has the memory that xmem reports; a stalled balloon driver is nudged.

is_there() { # DOM KIB
    holds_between "$1" $(($2 - 1024)) $(($2 + 1024)) || fail "$1 holds $(current "$1") KiB, not $2"
}

waits_down_and_up() { # DOM
    expect 0 xmem set "$1" 128M --wait --patience 5m
    is_there "$1" 131072
    expect 0 xmem set "$1" 192M --wait --patience 5m
    is_there "$1" 196608
    # It returns at once.
    expect 0 xmem set "$1" 192M --wait=0
    is_in_step "$1"
    is_tidy
}

check_wait_for_pv() {
    needs_xmem
    waits_down_and_up g1
}

check_wait_for_pvh() {
    needs_xmem
    waits_down_and_up g2
}

check_wait_for_a_paused_guest() {
    needs_xmem
    trap 'xl unpause g1' EXIT
    xl pause g1
    expect 8 xmem set g1 128M --wait --patience 3s
    contains "stderr" "$err" "it is paused"
    is "target" "$(target g1)" 131072
    xl unpause g1
    # By itself, or nudged.
    expect 0 xmem set g1 128M --wait --patience 5m
    is_there g1 131072
}

# Another program sets a target above the limit. The driver tries a few times and then sleeps, even after the limit is
# raised. Older kernels' drivers never stop trying.
check_wait_nudges_a_stalled_driver() {
    needs_xmem
    write_key g1 target 262144
    sleep 90
    expect 0 xl mem-max g1 256
    is "target" "$(target g1)" 262144
    sleep 45
    ! holds_between g1 210000 300000 || skip "this kernel's driver never sleeps"
    expect 0 xmem set g1 256M --wait --patience 5m
    contains "stderr" "$err" "one page off"
    is_there g1 262144
    is_in_step g1
    is_tidy
}

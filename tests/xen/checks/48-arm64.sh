# 64-bit Arm, where xl can set no memory.

arm64_check() {
    [ "$ARCH" = arm64 ] || skip "not on arm64"
}

# The assertion in libxl_arm.c: the domain's acpi is a default that libxl never resolves in the stored configuration.
check_arm64_xl_dies() {
    arm64_check
    before=$(numbers g1)
    for command in mem-set mem-max; do
        code=0
        command xl $command g1 256 >/tmp/out 2>&1 || code=$?
        echo "xl $command g1 256: exit code $code: $(cat /tmp/out)"
        is "exit code of xl $command" $code 134
        contains "xl $command" "$(cat /tmp/out)" "libxl_defbool_val: Assertion"
        [ -e "$(lock_file g1)" ] || fail "it has left no lock file"
    done
    is "numbers" "$(numbers g1)" "$before"
    needs_xmem
    expect 0 xmem check
    contains "check" "$out" "$(lock_file g1)"
    expect 0 xmem check --repair
    is_tidy
}

check_arm64_xl_dies_for_dom0() {
    arm64_check
    code=0
    command xl mem-set 0 700 >/tmp/out 2>&1 || code=$?
    echo "exit code $code: $(cat /tmp/out)"
    is "exit code" $code 134
    rm -f "$(lock_file Domain-0)"
}

check_arm64_guests_follow() {
    arm64_check
    needs_xmem
    expect 0 xmem set g1 128M --wait --patience 5m
    is "numbers" "$(numbers g1)" "target 131072 static-max 262144 limit 132096 /vm/memory 128"
    follows g1 131072
    expect 0 xmem set g1 192M --wait --patience 5m
    follows g1 196608
    expect 0 xmem set g2 160M --wait --patience 5m
    is_in_step g1
    is_in_step g2
    is_tidy
}

check_arm64_raise_and_max() {
    arm64_check
    needs_xmem
    expect 0 xmem set --raise-max g1 300M
    is "numbers" "$(numbers g1)" "target 307200 static-max 307200 limit 308224 /vm/memory 300"
    expect 0 xmem set g1 192M
    expect 0 xmem max g1 256M
    is "static-max and limit" "$(static_max g1) $(limit g1)" "262144 263168"
    is_in_step g1
}

# No populate on demand there, so its hypercall is not made.
check_arm64_hypercalls() {
    arm64_check
    needs_xmem
    traced -- set g1 128M
    count_costs
    is "hypercalls" "$hypercalls" 4
    calls ioctl
}

# Here xl resolves acpi, and fails at the next step: no set knows the guest's interrupt controller. libxl means to add room
# for the ACPI tables to the limit; it does not when it creates the guest.
check_arm64_guest_with_acpi() {
    arm64_check
    needs_xmem
    trap 'destroy g3' EXIT
    expect 0 run_guest g3 pvh 128 128 'acpi=1'
    is "limit as created" "$(limit g3)" 132096
    expect 1 command xl mem-set g3 120
    contains "xl mem-set" "$err" "Couldn't get arch extra constant memory size"
    is "target" "$(target g3)" 131072
    rm -f "$(lock_file g3)"
    expect 0 xmem set g3 112M --wait --patience 5m
    is "limit" "$(limit g3)" 115712
    follows g3 114688
    expect 0 xmem set g3 128M --wait --patience 5m
    is "limit" "$(limit g3)" 132096
    is_tidy
}

# Its memory is mapped 1:1, and never goes back to the hypervisor.
check_arm64_dom0_gives_nothing_back() {
    arm64_check
    needs_xmem
    trap 'write_key Domain-0 target 786432; domctl limit 0 786432' EXIT
    before=$(current Domain-0)
    expect 4 xmem set 0 -64M
    contains "stderr" "$err" "--force"
    expect 0 xmem set --force 0 -64M
    ! eventually 20 holds_between Domain-0 0 $((before - 4096)) || fail "dom0 gave memory back: $(current Domain-0)"
}

# 64-bit Arm, where xl cannot set memory.

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

# Here xl resolves acpi, and fails at the next step: no command for a running guest knows its interrupt controller.
xl_refuses() { # COMMAND SIZE
    expect 1 command xl "$1" g3 "$2"
    contains "xl $1" "$err" "Couldn't get arch extra constant memory size"
    rm -f "$(lock_file g3)"
}

# libxl builds a guest with room for its ACPI tables: less than a page more, and one page from 34 virtual processors on.
# xmem sets the limit without it, as for any other guest. Neither is out of step.
changes_with_acpi() { # LIMIT-AS-BUILT
    is "numbers as built" "$(numbers g3)" "target 196608 static-max 196608 limit $1 /vm/memory absent"
    finds_nothing
    xl_refuses mem-set 180
    xl_refuses mem-max 256
    is "limit" "$(limit g3)" "$1"
    expect 0 xmem set g3 160M
    is "numbers" "$(numbers g3)" "target 163840 static-max 196608 limit 164864 /vm/memory 160"
    finds_nothing
    expect 0 xmem max g3 256M
    is "numbers" "$(numbers g3)" "target 163840 static-max 262144 limit 263168 /vm/memory 160"
    finds_nothing
    expect 0 xmem set g3 192M
    is "limit" "$(limit g3)" 197632
    finds_nothing
    is_tidy
}

finds_nothing() {
    expect 0 xmem check g3
    contains "check" "$out" "1 domain: nothing out of step"
}

check_arm64_guest_with_acpi() {
    arm64_check
    needs_xmem
    trap 'destroy g3' EXIT
    expect 0 run_guest g3 pvh 192 192 'acpi=1'
    changes_with_acpi 197632
    expect 0 xmem set g3 160M --wait --patience 5m
    follows g3 163840
    expect 0 xmem set g3 192M --wait --patience 5m
    follows g3 196608
    # Not even a notice.
    expect 0 xmem check g3
    is "check" "$out" "1 domain: nothing out of step"
}

# Paused: it takes minutes to come up.
check_arm64_guest_with_acpi_and_many_processors() {
    arm64_check
    needs_xmem
    trap 'destroy g3' EXIT
    expect 0 start_guest g3 pvh 192 192 -p 'acpi=1' 'maxvcpus=40'
    store_ids g3
    changes_with_acpi 197636
}

# libxl gives a guest all of its maximum when it builds it, under a limit that follows from the target.
check_arm64_reboot_needs_a_target_at_the_maximum() {
    arm64_check
    needs_xmem
    trap 'destroy g3' EXIT
    expect 0 run_guest g3 pvh 192 192
    expect 0 xmem set g3 160M --wait --patience 5m
    expect 0 xmem max g3 160M
    rm -f "$(console_of g3)"
    reboot_guest g3 || fail "it did not reboot: $(domctl) $(cat /var/log/xen/xl-g3.log)"
    is "target and maximum" "$(target g3) $(static_max g3)" "163840 163840"
    is_in_step g3
    wait_for_guest g3 || fail "its successor does not come up: $(cat "$(console_of g3)")"
    expect 0 xmem set g3 128M --wait --patience 5m
    contains "notes" "$err" "cannot start the guest again at a reboot"
    command xl sysrq g3 b
    lost() { ! command xl domid g3 && grep -q "can't allocate low memory for domain" /var/log/xen/xl-g3.log; }
    eventually 120 lost || fail "it was rebuilt: $(domctl) $(cat /var/log/xen/xl-g3.log)"
    expect 3 xmem set "$(uuid_of g3)" 192M
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

# dom0: missing keys are filled in as libxl does, and it is never shrunk below its minimum.
# In this boot dom0 has 768 MiB, and a limit of the same size.

# The two keys, each a size or "absent".
keys() { # TARGET STATIC-MAX
    write_key Domain-0 target "$1"
    write_key Domain-0 static-max "$2"
}

# Restores the numbers of the boot, however a check ends.
dom0_as_before() {
    keys 786432 786432
    xl mem-set 0 768
    eventually 60 holds_between Domain-0 780000 790000 || echo "dom0 did not get its memory back"
}

dom0_check() {
    x86_only "dom0 is mapped 1:1 on Arm and gives nothing back; see 48-arm64.sh"
    needs_xmem
    trap dom0_as_before EXIT
}

check_dom0_set_with_no_keys() {
    dom0_check
    # At boot its limit equals its memory; this makes them differ, so that neither passes for the other.
    dom0_as_before
    keys absent absent
    before=$(limit Domain-0)
    expect 0 xmem set 0 700M
    is "target" "$(target Domain-0)" 716800
    is "static-max, the limit that dom0 had" "$(static_max Domain-0)" "$before"
    is "limit" "$(limit Domain-0)" $((716800 + 1024))
    is_in_step Domain-0
    is_tidy
}

# Compared with xl.
check_dom0_set_with_no_keys_as_xl() { # every boot
    dom0_check
    # Both derive them from the limit after a set, not from that of the boot.
    dom0_as_before
    keys absent absent
    expect 0 xl mem-set 0 700
    by_xl=$(numbers Domain-0)
    dom0_as_before
    keys absent absent
    expect 0 xmem set Domain-0 700
    is "what xmem left" "$(numbers Domain-0)" "$by_xl"
}

check_dom0_set_with_only_target() { # every boot
    dom0_check
    keys 786432 absent
    before=$(limit Domain-0)
    expect 0 xmem set 0 704M
    is "target" "$(target Domain-0)" 720896
    is "static-max" "$(static_max Domain-0)" "$before"
    is_in_step Domain-0
}

check_dom0_set_with_only_static_max() { # every boot
    dom0_check
    keys absent 786432
    expect 0 xmem set 0 704M
    is "target" "$(target Domain-0)" 720896
    is "static-max" "$(static_max Domain-0)" 786432
    is_in_step Domain-0
}

check_dom0_set_with_both_and_follows() {
    dom0_check
    keys 786432 786432
    expect 0 xmem set Domain-0 640M
    is "target" "$(target Domain-0)" 655360
    is_in_step Domain-0
    follows Domain-0 655360
}

check_dom0_below_128_mib_is_refused() {
    dom0_check
    before="$(target Domain-0) $(limit Domain-0)"
    expect 4 xmem set 0 127M
    expect 4 xmem set --force 0 64M
    is "numbers" "$(target Domain-0) $(limit Domain-0)" "$before"
    is_tidy
}

check_dom0_max() {
    dom0_check
    keys 786432 786432
    expect 0 xmem max 0 800M
    is "static-max" "$(static_max Domain-0)" 819200
    is "limit" "$(limit Domain-0)" $((819200 + 1024))
    is_in_step Domain-0
    is_tidy
}

check_dom0_max_with_no_keys() { # every boot
    dom0_check
    keys absent absent
    expect 0 xmem max 0 800M
    [ "$(target Domain-0)" != absent ] || fail "the target is not filled in"
    is "static-max" "$(static_max Domain-0)" 819200
    is "limit" "$(limit Domain-0)" $((819200 + 1024))
    is_in_step Domain-0
}

# README relies on it: xl takes an unset variable in a script for domain 0.
check_dom0_is_an_empty_domain_to_xl() {
    x86_only "xl sets no memory on Arm"
    trap dom0_as_before EXIT
    keys 786432 786432
    expect 0 xl mem-set "" 704
    is "target" "$(target Domain-0)" 720896
}

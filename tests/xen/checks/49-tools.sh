# Programs of another release than the hypervisor's, as after an update without a reboot: xl may fail, xmem works.

check_tools_do_what_they_can() {
    code=0
    xl list >/tmp/out 2>&1 || code=$?
    echo "xl list of $TOOLS under Xen $XEN: exit code $code: $(cat /tmp/out)"
    figure 1 "boot of Xen $XEN with programs of $TOOLS: xl list left with $code"
}

check_tools_xmem_lists_dom0() {
    needs_xmem
    expect 0 xmem list --json
    is "domid" "$(json domid | head -n 1)" 0
    is "current" "$(json current_kib | head -n 1)" "$(field held Domain-0)"
}

check_tools_xmem_changes_dom0() {
    needs_xmem
    before=$(domctl 0 | sed 's/.* limit \([0-9]*\).*/\1/')
    trap 'xenstore-write /local/domain/0/memory/target 786432; domctl limit 0 $before' EXIT
    expect 0 xmem set 0 700M --wait --patience 5m
    is "target" "$(xenstore-read /local/domain/0/memory/target)" 716800
    is "limit" "$(domctl 0 | sed 's/.* limit \([0-9]*\).*/\1/')" $((716800 + slack))
    expect 0 xmem max 0 800M
    is "limit" "$(domctl 0 | sed 's/.* limit \([0-9]*\).*/\1/')" $((819200 + slack))
    expect 0 xmem check 0
    is_tidy
}

# Guests, where these programs can make them.
check_tools_xmem_changes_a_guest() {
    needs_xmem
    trap 'destroy g3' EXIT
    start_guest g3 pv 128 160 -p >/tmp/out 2>&1 || skip "xl of $TOOLS makes no guest under Xen $XEN: $(tail -n 1 /tmp/out)"
    # These programs may not find it themselves.
    id=$(domctl | sed -n '$s/^domid \([0-9]*\) .*/\1/p')
    [ "$id" != 0 ] || skip "xl of $TOOLS under Xen $XEN reports success and makes no guest: $(tail -n 1 /tmp/out)"
    echo "domid_g3=$id uuid_g3=$(xenstore-read "/local/domain/$id/vm" | sed 's|.*/||')" >>/tmp/domains
    . /tmp/domains
    expect 0 xmem set "$id" 112M
    is "limit" "$(field limit g3)" $((112 * 1024 + slack))
    is "target" "$(target g3)" $((112 * 1024))
    is_tidy
}

# The real xl without xmem: shows that the parts of this test bench work.

check_xl_set_moves_target_and_limit_of_pv() { # every boot
    x86_only "xl sets no memory on Arm"
    expect 0 xl mem-set g1 128
    is "numbers" "$(numbers g1)" "target 131072 static-max 262144 limit 132096 /vm/memory 128"
    is_in_step g1
    is_tidy
}

check_xl_set_moves_target_and_limit_of_pvh() { # every boot
    x86_only "xl sets no memory on Arm"
    expect 0 xl mem-set g2 128
    is "numbers" "$(numbers g2)" "target 131072 static-max 262144 limit 132096 /vm/memory 128"
    is_in_step g2
    is_tidy
}

check_xl_guests_follow_down_and_up() { # every boot
    x86_only "xl sets no memory on Arm"
    expect 0 xl mem-set g1 128
    expect 0 xl mem-set g2 128
    follows g1 131072
    follows g2 131072
    expect 0 xl mem-set g1 192
    expect 0 xl mem-set g2 192
    follows g1 196608
    follows g2 196608
}

check_xl_max_moves_the_limit() { # every boot
    x86_only "xl sets no memory on Arm"
    expect 0 xl mem-max g1 300
    is "limit" "$(limit g1)" 308224
    case $XEN in
    4.14) is "static-max" "$(static_max g1)" 262144 ;;
    *) is "static-max" "$(static_max g1)" 307200 ;;
    esac
}

# The ways to read a domain's memory agree. The last one of the limit is needed once xenstored is gone.
check_xl_limit_read_from_the_hypervisor_itself() { # every boot
    follows g1 196608
    for dom in g1 Domain-0; do
        read_xentop $dom
        by_xentop="held $h limit $l"
        read_all $dom
        is "$dom by domctl" "held $h limit $l" "$by_xentop"
        is "$dom in xenstore by domctl" "$t $s $v $m" \
            "$(target $dom) $(static_max $dom) $(videoram $dom) $(vm_memory $dom)"
    done
    xl mem-set g1 160
    is "limit by xentop" "$(limit g1)" 164864
    is "limit by the hypervisor" "$(limit_by_hypervisor g1)" 164864
}

# README relies on it. A guest of its own, since xl accepts any size.
check_xl_takes_a_unit_without_a_number_for_zero() {
    x86_only "xl sets no memory on Arm"
    expect 0 start_guest g3 pv 128 128 -p
    store_ids g3
    trap 'destroy g3' EXIT
    expect 0 xl mem-set g3 k
    is "target" "$(target g3)" 0
}

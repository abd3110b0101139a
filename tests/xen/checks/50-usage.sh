# Bad sizes, bad domains, wrong usage. Each is refused with its exit code, and dom0 does not change, which xl
# takes some of these for.

# Target and limit of dom0 and of both guests.
all_numbers() {
    for ev_dom in Domain-0 g1 g2; do
        echo "$ev_dom $(target $ev_dom) $(limit $ev_dom)"
    done
}

refused() { # CODE COMMAND...
    expect "$@"
    is "stdout" "$out" ""
    contains "stderr" "$err" "xmem: "
}

check_usage_bad_sizes() {
    needs_xmem
    before=$(all_numbers)
    for size in "" " " k m 0 0k 00 -5 +0 1.5g 0x200 512KB 512MB 512GB 5q 12m3 "1 2" é 99999999999999999999 \
        18446744073709551615 9007199254740992t 17592186044416m 36028797018963968k; do
        ex_got=0
        xmem set g1 -- "$size" >/tmp/out 2>/tmp/err || ex_got=$?
        echo "size '$size': exit code $ex_got: $(cat /tmp/err)"
        case "$size" in
        # Valid words that are too much or too little for the domain.
        -5 | +0) ;;
        *) [ $ex_got = 2 ] || [ $ex_got = 4 ] || fail "size '$size' left with $ex_got" ;;
        esac
        [ "$size" != -5 ] || xl mem-set g1 192
    done
    is "numbers of dom0, g1 and g2" "$(all_numbers)" "$before"
    is_tidy
}

check_usage_bad_sizes_are_wrong_usage() {
    needs_xmem
    for size in "" " " k m 0 0k 1.5g 0x200 512KB 512MB 5q 99999999999999999999; do
        refused 2 xmem set g1 "$size"
        contains "stderr" "$err" "hint: "
    done
    before=$(target g1)
    refused 2 xmem max g1 ""
    refused 2 xmem max g1 0
    is "target" "$(target g1)" "$before"
}

check_usage_negative_maximum_is_refused() {
    needs_xmem
    before=$(numbers g1)
    expect 4 xmem max g1 -100M
    expect 4 xmem max g1 -1000M
    is "numbers" "$(numbers g1)" "$before"
}

check_usage_overflow_never_wraps() {
    needs_xmem
    before=$(numbers g1)
    for size in 16777216g 4194304g 17592186044415m 16383t; do
        for command in "set" "set --raise-max" "max"; do
            ex_got=0
            # shellcheck disable=SC2086 # it may contain an option
            xmem $command g1 $size >/tmp/out 2>/tmp/err || ex_got=$?
            echo "$command $size: exit code $ex_got: $(cat /tmp/err)"
            [ $ex_got = 2 ] || [ $ex_got = 4 ] || fail "$command $size left with $ex_got"
        done
    done
    is "numbers" "$(numbers g1)" "$before"
}

check_usage_bad_domains() {
    needs_xmem
    before=$(all_numbers)
    for dom in "" 4294967296 65543 65536 32752 99 nosuch g G1 "g1 " Domain- domain-0 Domain-00 007x id: id:x id:99 name: name:nosuch uuid:x \
        00000000-0000-0000-0000-00000000abcd uuid:00000000-0000-0000-0000-00000000abcd; do
        for command in set max; do
            ex_got=0
            xmem $command "$dom" 512M >/tmp/out 2>/tmp/err || ex_got=$?
            echo "$command '$dom': exit code $ex_got: $(cat /tmp/err)"
            [ $ex_got = 2 ] || [ $ex_got = 3 ] || fail "domain '$dom' left with $ex_got"
            [ ! -s /tmp/out ] || fail "domain '$dom': stdout says $(cat /tmp/out)"
        done
    done
    is "numbers of dom0, g1 and g2" "$(all_numbers)" "$before"
    is_tidy
}

check_usage_no_such_domain_is_3() {
    needs_xmem
    for dom in nosuch 99 id:99 name:nosuch 00000000-0000-0000-0000-00000000abcd; do
        refused 3 xmem set "$dom" 512M
    done
    refused 2 xmem set "" 512M
}

check_usage_wrong_usage() {
    needs_xmem
    before=$(all_numbers)
    expect 2 xmem
    expect 2 xmem set
    expect 2 xmem set g1
    expect 2 xmem set g1 128M 256M
    expect 2 xmem set --nosuch g1 128M
    expect 2 xmem nosuch g1 128M
    expect 2 xmem set --lock-timeout never g1 128M
    expect 2 xmem --host nosuch set g1 128M
    is "numbers of dom0, g1 and g2" "$(all_numbers)" "$before"
}

check_usage_mem_set_is_an_alias() {
    needs_xmem
    expect 0 xmem mem-set "$(domid_of g1)" 144
    is "target" "$(target g1)" 147456
}

# xl cannot address a domain whose name is all digits. An ambiguous name is never guessed.
check_usage_odd_names() {
    needs_xmem
    id=$(domid_of g1)
    name_of() { xenstore-read "/local/domain/$id/name"; }
    trap 'xenstore-write /local/domain/$id/name g1' EXIT
    xenstore-write "/local/domain/$id/name" 12345
    expect 3 xmem set 12345 128M
    expect 0 xmem set name:12345 128M
    is "target" "$(target g1)" 131072
    xenstore-write "/local/domain/$id/name" g2
    expect 3 xmem set g2 144M
    is "targets" "$(target g1) $(target g2)" "131072 196608"
}

# xmem max, compared with xl mem-max, and where it differs on purpose:
#   xl of 4.14 does not write static-max; xmem does.
#   xl can put the limit below target + video + slack; xmem does not.

check_max_as_xl() { # every boot
    needs_xmem
    for dom in g1 g2; do
        expect 0 xl mem-max $dom 300
        by_xl=$(limit $dom)
        write_key $dom static-max 262144
        xl mem-set $dom 192
        expect 0 xmem max $dom 300
        is "limit of $dom" "$(limit $dom)" "$by_xl"
        is "numbers" "$(numbers $dom)" "target 196608 static-max 307200 limit 308224 /vm/memory 192"
        is_in_step $dom
    done
    is_tidy
}

check_max_alias_and_json() {
    needs_xmem
    expect 0 xmem --json mem-max g1 300
    is "changed" "$(json changed)" true
    is "old" "$(json old target_kib) $(json old static_max_kib) $(json old limit_kib)" "196608 262144 197632"
    is "new" "$(json new target_kib) $(json new static_max_kib) $(json new limit_kib)" "196608 307200 308224"
    expect 0 xmem --json mem-max g1 300
    is "changed" "$(json changed)" false
    is "numbers" "$(numbers g1)" "target 196608 static-max 307200 limit 308224 /vm/memory 192"
}

check_max_below_the_target_is_refused() {
    needs_xmem
    before=$(numbers g1)
    expect 4 xmem max g1 128M
    is "numbers" "$(numbers g1)" "$before"
    is_tidy
}

check_max_counts_video_memory() {
    needs_xmem
    write_key g1 videoram 16384
    expect 0 xmem max g1 192M
    is "static-max" "$(static_max g1)" 196608
    is "limit" "$(limit g1)" $((196608 + 16384 + 1024))
    is_in_step g1
}

check_max_dry_run_changes_nothing() {
    needs_xmem
    before=$(numbers g2)
    expect 0 xmem max --dry-run g2 300M
    is "numbers" "$(numbers g2)" "$before"
    is_tidy
}

check_max_then_set_up_to_it() {
    needs_xmem
    expect 0 xmem max g1 300M
    expect 0 xmem set g1 300M
    is "numbers" "$(numbers g1)" "target 307200 static-max 307200 limit 308224 /vm/memory 300"
    # xl can work with the domain afterwards.
    expect 0 xl mem-set g1 192
    is_in_step g1
}

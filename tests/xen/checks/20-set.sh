# xmem set: xenstore and the hypervisor afterwards, compared with the real xl for the same request.

# Makes the same request with xl and with xmem from the same start; both must leave the same numbers.
same_as_xl() { # DOM SUBCOMMAND SIZE-FOR-XL SIZE-FOR-XMEM
    sx_start="$(target "$1") $(static_max "$1")"
    expect 0 xl "$2" "$1" "$3"
    sx_xl=$(numbers "$1")
    set_by_xl "$1" "$sx_start"
    expect 0 xmem "$2" "$1" "$4"
    is "what xmem left of $1" "$(numbers "$1")" "$sx_xl"
    is_in_step "$1"
    is_tidy
}

# Sets a domain's target and static-max (KiB) with xl and xenstore-write alone, without video memory meanwhile. With -1,
# xl would ask for one KiB less than whole pages, and the hypervisor refuse its populate-on-demand target.
set_by_xl() { # DOM "TARGET STATIC-MAX"
    sb_dom=$1 sb_video=$(videoram "$1")
    set -- $2
    write_key "$sb_dom" videoram 0
    write_key "$sb_dom" static-max "$2"
    xl mem-set "$sb_dom" "${1}k"
    write_key "$sb_dom" videoram "$sb_video"
}

check_set_pv_as_xl() { # every boot
    needs_xmem
    same_as_xl g1 mem-set 128 128
    is "numbers" "$(numbers g1)" "target 131072 static-max 262144 limit 132096 /vm/memory 128"
}

check_set_pvh_as_xl() { # every boot
    needs_xmem
    same_as_xl g2 mem-set 128 128
    is "numbers" "$(numbers g2)" "target 131072 static-max 262144 limit 132096 /vm/memory 128"
}

# A new guest has unpopulated memory; its cache counts as allocated.
check_set_pvh_grows_the_pod_cache_as_xl() { # every boot
    x86_only "no populate on demand there"
    needs_xmem
    trap 'destroy g3' EXIT
    holds_after() { # COMMAND...: the memory of a new g3 before and after it
        start_guest g3 pvh 96 192 -p
        store_ids g3
        before=$(current g3)
        expect 0 "$@"
        after=$(current g3)
        xl destroy g3
    }
    holds_after xl mem-set g3 128
    [ "$after" -gt "$before" ] || fail "xl did not grow the cache: $before, $after"
    by_xl=$after
    holds_after xmem set g3 128M
    is "memory after xmem" "$after" "$by_xl"
}

check_set_up_to_the_maximum_as_xl() { # every boot
    needs_xmem
    same_as_xl g1 mem-set 256 256M
    same_as_xl g2 mem-set 256 262144k
}

# Values of HVM guests. They need no device model here: the node of any guest will do.
check_set_with_video_memory_of_stdvga_as_xl() { # every boot
    needs_xmem
    write_key g1 videoram 16384
    same_as_xl g1 mem-set 160 160
    is "numbers" "$(numbers g1)" "target 147456 static-max 262144 limit 164864 /vm/memory 144"
}

check_set_with_video_memory_of_cirrus_as_xl() {
    needs_xmem
    write_key g1 videoram 8192
    same_as_xl g1 mem-set 160 160
    is "numbers" "$(numbers g1)" "target 155648 static-max 262144 limit 164864 /vm/memory 152"
}

check_set_with_video_memory_minus_one_as_xl() {
    needs_xmem
    write_key g2 videoram -1
    same_as_xl g2 mem-set 160 160
    is "numbers" "$(numbers g2)" "target 163841 static-max 262144 limit 164864 /vm/memory 160"
}

check_set_of_less_than_the_video_memory_is_refused() {
    needs_xmem
    write_key g1 videoram 65536
    before=$(numbers g1)
    expect 4 xmem set --force g1 64
    is "numbers" "$(numbers g1)" "$before"
    is_tidy
}

check_set_one_step_up_and_down() {
    needs_xmem
    expect 0 xmem set g1 +64M
    is "numbers" "$(numbers g1)" "target 262144 static-max 262144 limit 263168 /vm/memory 256"
    expect 0 xmem set g1 -64M
    is "numbers" "$(numbers g1)" "target 196608 static-max 262144 limit 197632 /vm/memory 192"
    expect 0 xmem set g2 -64M
    is "numbers" "$(numbers g2)" "target 131072 static-max 262144 limit 132096 /vm/memory 128"
    is_tidy
}

# A step changes the target by exactly that much, whatever the video memory.
check_set_step_leaves_video_memory_alone() {
    needs_xmem
    write_key g1 videoram 16384
    set_by_xl g1 "163840 262144"
    expect 0 xmem set g1 -32M
    is "numbers" "$(numbers g1)" "target 131072 static-max 262144 limit 148480 /vm/memory 128"
    is_in_step g1
}

check_set_above_the_maximum_is_refused() {
    needs_xmem
    before=$(numbers g1)
    expect 4 xmem set g1 300M
    contains "stderr" "$err" "xmem: "
    contains "stderr" "$err" "hint: "
    contains "stderr" "$err" "--raise-max"
    is "stdout" "$out" ""
    is "numbers" "$(numbers g1)" "$before"
    is_tidy
}

check_set_raise_max_raises_both() { # every boot
    needs_xmem
    expect 0 xmem set --raise-max g1 300M
    is "numbers" "$(numbers g1)" "target 307200 static-max 307200 limit 308224 /vm/memory 300"
    is_in_step g1
    expect 0 xmem set --raise-max g2 320M
    is "numbers" "$(numbers g2)" "target 327680 static-max 327680 limit 328704 /vm/memory 320"
    reset_guests g1
    # It never lowers the maximum.
    expect 0 xmem set --raise-max g1 160M
    is "numbers" "$(numbers g1)" "target 163840 static-max 262144 limit 164864 /vm/memory 160"
    is_tidy
}

check_set_same_size_changes_nothing() { # every boot
    needs_xmem
    expect 0 xmem set g1 128M
    before=$(numbers g1)
    expect 0 xmem --json set g1 128M
    is "changed" "$(json changed)" false
    is "numbers" "$(numbers g1)" "$before"
    is_tidy
}

# A target that is set already, with a limit out of step, must still be put in step.
check_set_same_size_fixes_the_limit() { # every boot
    needs_xmem
    expect 0 xl mem-max g1 300
    expect 0 xmem --json set g1 192M
    is "changed" "$(json changed)" true
    is "limit" "$(limit g1)" 197632
    is_in_step g1
}

check_set_dry_run_changes_nothing() {
    needs_xmem
    for dom in g1 g2; do
        before=$(numbers $dom)
        expect 0 xmem --json set --dry-run $dom 128M
        is "new target" "$(json new target_kib)" 131072
        is "new limit" "$(json new limit_kib)" 132096
        is "numbers" "$(numbers $dom)" "$before"
    done
    expect 4 xmem set --dry-run g1 512M
    is_tidy
}

check_set_json_has_old_and_new() {
    needs_xmem
    expect 0 xmem --json set g1 128M
    is "schema" "$(json schema)" 2
    is "domid" "$(json domid)" "$(domid_of g1)"
    is "name" "$(json name)" g1
    is "changed" "$(json changed)" true
    is "old" "$(json old target_kib) $(json old static_max_kib) $(json old limit_kib)" "196608 262144 197632"
    is "new" "$(json new target_kib) $(json new static_max_kib) $(json new limit_kib)" "131072 262144 132096"
    is "lines of output" "$(echo "$out" | wc -l)" 1
}

check_set_prints_old_and_new() {
    needs_xmem
    expect 0 xmem set g1 128M
    contains "stdout" "$out" g1
    contains "stdout" "$out" 128
    case $ARCH in
    x86) is "stderr" "$err" "" ;;
    arm64) contains "stderr" "$err" "before it reboots: xmem max $(domid_of g1) 128M" ;;
    esac
    expect 0 xmem --quiet set g1 160M
    is "stdout" "$out" ""
}

check_set_by_domid_name_and_uuid() {
    needs_xmem
    expect 0 xmem set "$(domid_of g1)" 150M
    is "target by domid" "$(target g1)" 153600
    expect 0 xmem set "$(uuid_of g1)" 151M
    is "target by UUID" "$(target g1)" 154624
    expect 0 xmem set "id:$(domid_of g1)" 152M
    is "target by id:" "$(target g1)" 155648
    expect 0 xmem set name:g1 153M
    is "target by name:" "$(target g1)" 156672
    expect 0 xmem set "uuid:$(uuid_of g1)" 154M
    is "target by uuid:" "$(target g1)" 157696
    is_in_step g1
}

check_set_rounds_down_to_whole_pages_and_says_so() {
    needs_xmem
    expect 0 xmem set g1 131075k
    is "target" "$(target g1)" 131072
    is_in_step g1
    contains "stderr" "$err" "4"
}

check_set_below_32_mib_is_refused_without_force() {
    needs_xmem
    before=$(numbers g1)
    expect 4 xmem set g1 16M
    is "numbers" "$(numbers g1)" "$before"
    contains "stderr" "$err" "--force"
}

check_follow_pv_goes_down_and_up() { # every boot
    needs_xmem
    expect 0 xmem set g1 128M
    follows g1 131072
    expect 0 xmem set g1 192M
    follows g1 196608
}

check_follow_pvh_goes_down_and_up() { # every boot
    needs_xmem
    expect 0 xmem set g2 128M
    follows g2 131072
    expect 0 xmem set g2 192M
    follows g2 196608
}

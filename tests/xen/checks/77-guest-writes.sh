# A guest that was given write access to its own memory nodes, which libxl never does, and abuses it.

# A guest with another user land: of two files with one name in an initramfs, the kernel takes the later.
start_racer() { # NAME
    mkdir -p /tmp/race
    cp /check/writer /tmp/race/init
    (zcat /guest/initrd.gz && cd /tmp/race && echo init | cpio -o -H newc 2>/dev/null) | gzip -1 >/tmp/racer.gz
    guest_config "$1" pv 192 256 | sed 's|/guest/initrd.gz|/tmp/racer.gz|' >"/tmp/$1.cfg"
    xl create -q -p "/tmp/$1.cfg"
    store_ids "$1"
    load_ids "$1"
    # All nodes below it, and the right to create it again.
    xenstore-chmod -r "/local/domain/$domid/memory" n0 "b$domid"
}

# The permissions of its memory nodes, without their values.
rights() { # DOM
    load_ids "$1"
    xenstore-ls -p "/local/domain/$domid/memory" | sed 's/ = ".*"//' | tr -s ' ' | sort | tr '\n' ';'
}

# Whether xenstored has taken all that it has sent.
is_quiet() { # DOM
    load_ids "$1"
    iq_before=$(xenstore-ls "/local/domain/$domid/memory")
    sleep 1
    [ "$(xenstore-ls "/local/domain/$domid/memory")" = "$iq_before" ]
}

# Whatever the guest writes, xmem makes the change, refuses it, or fails with an error. The limit never rises above the
# requested size.
check_guest_writes_never_raise_the_limit() {
    needs_xmem
    trap 'destroy g6' EXIT
    expect 0 start_racer g6
    xl unpause g6
    eventually 300 grep -q '^guest: ready' "$(console_of g6)" || fail "it does not run: $(cat "$(console_of g6)")"
    round=0 codes=
    while [ $round -lt 12 ]; do
        round=$((round + 1))
        case $((round % 6)) in
        0) words="set g6 $((140 + round % 50))M" ;;
        1) words="set g6 -4M" ;;
        2) words="max g6 256M" ;;
        3) words="check --repair $domid" ;;
        4) words="set --raise-max g6 250M" ;;
        5) words="max g6 -4k" ;;
        esac
        code=0
        # shellcheck disable=SC2086 # a list of words
        xmem $words --lock-timeout 20s >/tmp/out 2>&1 || code=$?
        case $code in
        0 | 1 | 4 | 6) ;;
        # check finds its latest value.
        9) case $words in check*) ;; *) fail "round $round: '$words' left with 9: $(cat /tmp/out)" ;; esac ;;
        *) fail "round $round: '$words' left with $code: $(cat /tmp/out)" ;;
        esac
        codes="$codes $code"
        now=$(limit g6)
        [ "$now" != none ] && [ "$now" -le $((256 * 1024 + slack)) ] ||
            fail "round $round: '$words' made its limit $now: $(cat /tmp/out)"
        is_tidy
    done
    echo "exit codes:$codes; it said: $(tail -n 1 "$(console_of g6)")"
    grep -q '^guest: [0-9]* rounds' "$(console_of g6)" || fail "it wrote nothing"
    xl pause g6
    eventually 60 is_quiet g6 || fail "it still writes although it is paused"
    write_key g6 videoram 0
    write_key g6 static-max 262144
    write_key g6 target 196608
    before=$(rights g6)
    contains "its rights" "$before" "$domid"
    expect 0 xmem set g6 160M
    is "target" "$(target g6)" 163840
    is_in_step g6
    expect 0 xmem max g6 240M
    is_in_step g6
    is_tidy
    is "who may write" "$(rights g6)" "$before"
    # Its value, without further writes.
    for node in target static-max; do write_key g6 $node 1048576; done
    expect 4 xmem set g6 -4M
    contains "stderr" "$err" "the guest itself may write"
    # The domain is out of step, and stays so.
    expect 9 xmem check --repair "$domid"
    contains "stdout" "$out" "fix: xmem set $domid SIZE with the size it should have"
    contains "stdout" "$out" "the guest itself may write there"
    is "limit" "$(limit g6)" $((240 * 1024 + slack))
    expect 0 xmem set g6 160M
    is "limit" "$(limit g6)" $((160 * 1024 + slack))
    # Values written by dom0 do count.
    xenstore-chmod -r "/local/domain/$domid/memory" n0 "r$domid"
    write_key g6 target 204800
    expect 0 xmem check --repair "$domid"
    is "limit" "$(limit g6)" $((204800 + slack))
    is_in_step g6
}

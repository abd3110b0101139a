# Others at work on the same domain at the same time. After every round target and limit belong together, and
# nobody left a lock. ROUNDS says how many.

# One round: two commands at once, both have to succeed.
both() { # "COMMAND" "COMMAND"
    (eval "$1") >/tmp/first 2>&1 &
    bo_first=$!
    (eval "$2") >/tmp/second 2>&1 &
    bo_second=$!
    bo_code=0
    wait $bo_first || bo_code=$?
    [ $bo_code = 0 ] || fail "round $round: '$1' left with $bo_code: $(cat /tmp/first)"
    wait $bo_second || bo_code=$?
    [ $bo_code = 0 ] || fail "round $round: '$2' left with $bo_code: $(cat /tmp/second)"
}

# As many rounds of it. The sizes are never the same twice running, so that every command has something to do.
rounds() { # DOM ROUNDS "COMMAND" "COMMAND", in which $a $b $c stand for sizes in MiB
    round=0
    while [ $round -lt "$2" ]; do
        round=$((round + 1))
        a=$((140 + round % 7)) b=$((150 + round % 5)) c=$((160 + round % 3))
        both "$3" "$4"
        in_step "$1" || fail "round $round: out of step. First said: $(cat /tmp/first) Second said: $(cat /tmp/second)"
        is_tidy
    done
    echo "$2 rounds"
}

check_race_xl_and_xmem_on_pv() {
    needs_xmem
    # xmem is several times faster, so it goes several times.
    rounds g1 "$ROUNDS" 'xl mem-set g1 $a' 'xmem set g1 $b && xmem set g1 $c && xmem set g1 $b'
}

check_race_xl_and_xmem_on_pvh() {
    needs_xmem
    rounds g2 $((ROUNDS / 4)) 'xl mem-set g2 $a' 'xmem set g2 $b && xmem set g2 $c && xmem set g2 $b'
}

check_race_two_xmem() {
    needs_xmem
    rounds g1 $((ROUNDS / 4)) 'xmem set g1 $a && xmem set g1 $b' 'xmem set g1 $c && xmem set g1 $a'
}

check_race_xl_max_and_xmem_set() {
    needs_xmem
    [ "$XEN" != 4.14 ] || skip "xl mem-max of 4.14 leaves static-max as it is, so the two differ by right"
    rounds g1 $((ROUNDS / 8)) 'xl mem-max g1 $((a + 100))' 'xmem set g1 $b && xmem set g1 $c'
}

# A program that writes without the lock makes commits fail. xmem tries again, or says so and changes nothing.
check_race_writer_without_the_lock() {
    needs_xmem
    (while :; do put g1 static-max 262144; done) &
    writer=$!
    trap 'kill $writer' EXIT
    round=0 refused=0
    while [ $round -lt $((ROUNDS / 8 + 3)) ]; do
        round=$((round + 1))
        before=$(target g1)
        code=0
        xmem set g1 $((140 + round % 7)) >/tmp/out 2>&1 || code=$?
        case $code in
        0) is "target" "$(target g1)" $(((140 + round % 7) * 1024)) ;;
        6)
            refused=$((refused + 1))
            is "target" "$(target g1)" "$before"
            ;;
        *) fail "round $round: xmem left with $code: $(cat /tmp/out)" ;;
        esac
        is_in_step g1
        is_tidy
    done
    echo "$round rounds, $refused of them given up"
}

# HVM guests with a real device model: the numbers of h1 after each command of xmem and xl. They are created paused and
# stay so, since real mode takes minutes under two layers of emulation.

# Creates h1 again, with a BIOS and nothing to boot. $flavour: VGA VIDEORAM MEMORY MAXMEM, in MiB; populated on demand
# if the latter two differ.
fresh() {
    destroy h1
    # shellcheck disable=SC2086 # words
    set -- $flavour
    {
        echo "name = 'h1'"
        echo "type = 'hvm'"
        printf "vga = '%s'\nvideoram = %s\nmemory = %s\nmaxmem = %s\n" "$@"
        printf "vcpus = 1\nvnc = 0\nsdl = 0\nnographic = 1\nserial = 'pty'\n"
    } >/tmp/h1.cfg
    xl create -q -p /tmp/h1.cfg >/tmp/h1.log 2>&1 || fail "h1 was not created: $(cat /tmp/h1.log /var/log/xen/qemu-dm-h1.log)"
    store_ids h1
}

hvm_check() { # FLAVOUR
    needs_xmem
    flavour=$1
    trap 'destroy h1' EXIT
}

# The same request to xl and, for a newly created guest, to xmem: both must leave the same numbers.
same_end() { # "XL-COMMANDS" XMEM-ARGUMENT...
    fresh
    by_hand=$1
    shift
    eval "$by_hand" || fail "$by_hand"
    by_xl=$(numbers h1)
    fresh
    expect 0 xmem "$@"
    is "what xmem left after $*" "$(numbers h1)" "$by_xl"
    is_in_step h1
    is_tidy
}

every_command() {
    # It has never run, and its boot memory is not populated yet.
    same_end "xl mem-set h1 200" set --force h1 200M
    echo "$by_xl"
    same_end "xl mem-set h1 256" set h1 256M
    same_end "xl mem-max h1 400" max h1 400M
    same_end "xl mem-max h1 400 && xl mem-set h1 400" set --raise-max h1 400M
}

# The size that `set` takes is the one shown by list, JSON and xl.
size_round_trips() {
    fresh
    expect 4 xmem set h1 200M
    contains "stderr" "$err" "--force"
    expect 0 xmem set --force h1 200M
    expect 0 xmem list --json h1
    is "size" "$(json size_kib | head -n 1)" $((200 * 1024))
    expect 0 xmem --json set h1 "$(json size_kib | head -n 1)k"
    is "changed" "$(json changed)" false
    expect 0 xmem check h1
    contains "its state" "$out" paused
}

check_hvm_device_model_is_there() {
    hvm_check "stdvga 16 256 320"
    fresh
    is "numbers" "$(numbers h1 | cut -d ' ' -f 1-4)" "target 244736 static-max 327680"
    is "video memory" "$(videoram h1)" 16384
    pidof xen-qemu-system-i386 qemu-system-i386 || fail "no device model: $(ps)"
}

check_hvm_stdvga_populated_on_demand() {
    hvm_check "stdvga 16 256 320"
    every_command
    size_round_trips
}

check_hvm_stdvga() {
    hvm_check "stdvga 16 256 256"
    fresh
    is "target" "$(target h1)" $((262144 - 16384))
    same_end "xl mem-set h1 200" set h1 200M
    same_end "xl mem-max h1 400 && xl mem-set h1 400" set --raise-max h1 400M
}

check_hvm_cirrus_populated_on_demand() {
    hvm_check "cirrus 8 256 320"
    every_command
    size_round_trips
}

check_hvm_cirrus() {
    hvm_check "cirrus 8 256 256"
    fresh
    is "target" "$(target h1)" 253952
    same_end "xl mem-set h1 200" set h1 200M
    same_end "xl mem-max h1 400 && xl mem-set h1 400" set --raise-max h1 400M
}

# The device model knows only the maximum at the guest's start.
check_hvm_raised_maximum_is_noted() {
    hvm_check "stdvga 16 256 320"
    fresh
    expect 0 xmem max h1 400M
    contains "stderr" "$err" "device model"
}

check_hvm_in_the_list() {
    hvm_check "stdvga 16 256 320"
    fresh
    expect 0 xmem list --json h1
    is "type" "$(json type | head -n 1)" HVM
    is "video memory" "$(json videoram_kib | head -n 1)" 16384
    is_state h1 paused
}

# libvirt beside xmem: virsh and xmem change the same domain, v1, which libvirt has defined and started.

start_libvirt() {
    needs_xmem
    [ ! -S /run/libvirt/libvirt-sock ] || return 0
    [ ! -e /tmp/libvirt.failed ] || fail "libvirtd or its domain did not start: see the first libvirt check"
    : >/tmp/libvirt.failed
    # libvirt requires the processor to have all features of one of its models, and emulated ones have no VME. So a
    # model without it is added.
    maps=/usr/share/libvirt/cpu_map
    echo "<cpus><model name='emulated'><decode host='on' guest='off'/><feature name='fpu'/></model></cpus>" >$maps/emulated.xml
    sed -i "s|<include filename='x86_features.xml'/>|&<include filename='emulated.xml'/>|" $maps/index.xml
    mkdir -p /run/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt /etc/libvirt
    cat >/tmp/libvirtd.conf <<END
auth_unix_ro = "none"
auth_unix_rw = "none"
END
    setsid libvirtd -f /tmp/libvirtd.conf >/tmp/libvirtd.log 2>&1 </dev/null &
    eventually 60 virsh -c xen:///system list || fail "libvirtd does not answer: $(tail -n 6 /tmp/libvirtd.log; virsh -c xen:///system list 2>&1)"
    cat >/tmp/v1.xml <<END
<domain type='xen'>
  <name>v1</name>
  <memory unit='MiB'>256</memory>
  <currentMemory unit='MiB'>192</currentMemory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='xenpv'>linux</type>
    <kernel>/guest/vmlinux</kernel>
    <initrd>/guest/initrd.gz</initrd>
    <cmdline>console=hvc0 quiet cryptomgr.notests rodata=off</cmdline>
  </os>
  <devices><console type='pty'/></devices>
</domain>
END
    expect 0 virsh -c xen:///system define /tmp/v1.xml
    expect 0 virsh -c xen:///system start v1
    eventually 240 grep -q '^guest: ready' "$(console_of v1)" || fail "v1 did not start: $(cat "$(console_of v1)")"
    store_ids v1
    rm /tmp/libvirt.failed
}

virsh_says() { # COMMAND FIELD: a number of KiB
    virsh -c xen:///system "$1" v1 | sed -n "s/^$2:* *\([0-9]*\).*/\1/p"
}

back_to_192() {
    virsh -c xen:///system setmem v1 192M --live >/dev/null
    follows v1 196608
}

check_libvirt_domain_is_like_any_other() {
    start_libvirt
    echo "$(numbers v1); held $(current v1)"
    expect 0 xmem check v1
    is_state v1 running
    expect 0 xmem set v1 176M --wait --patience 5m
    is "target" "$(target v1)" 180224
    is_in_step v1
    expect 0 xmem set "$(uuid_of v1)" 192M --wait --patience 5m
    expect 0 xmem max v1 240M
    expect 0 xmem max v1 256M
    is_in_step v1
    is_tidy
}

check_libvirt_sees_what_xmem_sets() {
    start_libvirt
    expect 0 xmem set v1 128M --wait --patience 5m
    # dommemstat: the domain's memory, from which dominfo's used memory comes too.
    actual=$(virsh_says dommemstat actual)
    [ "$actual" -ge 129024 ] && [ "$actual" -le 133120 ] || fail "dommemstat says $actual KiB: $(virsh -c xen:///system dommemstat v1)"
    used=$(virsh_says dominfo 'Used memory')
    [ "$used" -ge 129024 ] && [ "$used" -le 133120 ] || fail "dominfo says $used KiB: $(virsh -c xen:///system dominfo v1)"
    expect 0 xmem max v1 300M
    echo "dominfo after a maximum of 300 MiB: $(virsh_says dominfo 'Max memory'); dumpxml: $(virsh -c xen:///system dumpxml v1 | grep -i memory)"
    expect 0 xmem max v1 256M
    back_to_192
}

check_libvirt_sets_what_xmem_sees() {
    start_libvirt
    expect 0 virsh -c xen:///system setmem v1 144M --live
    expect 0 xmem list --json v1
    is "target" "$(json target_kib | head -n 1)" 147456
    is_in_step v1
    expect 0 virsh -c xen:///system setmaxmem v1 280M --live
    expect 0 xmem list --json v1
    is "static-max" "$(json static_max_kib | head -n 1)" 286720
    is_in_step v1
    expect 0 xmem check v1
    expect 0 virsh -c xen:///system setmaxmem v1 256M --live
    back_to_192
}

# Both at once, many times; they take turns by libxl's lock.
check_libvirt_and_xmem_at_once() {
    start_libvirt
    round=0
    while [ $round -lt "$ROUNDS" ]; do
        round=$((round + 1))
        a=$((140 + round % 7)) b=$((150 + round % 5))
        virsh -q -c xen:///system setmem v1 ${a}M --live >/tmp/virsh.out 2>&1 &
        other=$!
        xmem set v1 ${b}M >/tmp/xmem.out 2>&1 || fail "round $round: xmem left with $?: $(cat /tmp/xmem.out)"
        wait $other || fail "round $round: virsh left with $?: $(cat /tmp/virsh.out)"
        in_step v1 || fail "round $round: out of step"
        is_tidy
        case $(target v1) in
        $((a * 1024)) | $((b * 1024))) ;;
        *) fail "round $round: target $(target v1) is neither $a nor $b MiB" ;;
        esac
    done
    figure $round "changes by virsh and xmem at once, in step after each"
    back_to_192
}

check_libvirt_shuts_it_down() {
    start_libvirt
    expect 0 virsh -c xen:///system destroy v1
    expect 3 xmem set v1 128M
    is_tidy
}

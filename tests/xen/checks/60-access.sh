# Missing permissions, hosts without Xen, and a Xen of an unknown interface version.

check_access_not_root() {
    needs_xmem
    before=$(numbers g1)
    expect 7 su -s /bin/sh nobody -c "$program set g1 128M"
    contains "stderr" "$err" "xmem: "
    contains "stderr" "$err" "root"
    is "numbers" "$(numbers g1)" "$before"
    is_tidy
}

# In a root directory with the program alone: no devices, no socket, no libxl.
check_access_no_xen_at_all() {
    needs_xmem
    mkdir -p /tmp/empty
    cp $program /tmp/empty/xmem
    expect 7 chroot /tmp/empty /xmem set g1 128M
    contains "stderr" "$err" "xmem: "
    contains "stderr" "$err" "--host sim"
    rm -rf /tmp/empty
}

# Xen answers EACCES to any other interface version than its own. The limit is never set by one that no read has proved.
check_access_unknown_interface_version() { # every boot
    needs_xmem
    before=$(numbers g1)
    expect 7 traced -e inject=ioctl:error=EACCES -- set "$(domid_of g1)" 128M
    contains "stderr" "$err" "Xen accepts none of the known domctl interface versions 0x10 to 0x18"
    contains "stderr" "$err" "hint: this Xen is newer than this xmem"
    is "numbers" "$(numbers g1)" "$before"
    is_tidy
}

# The second hypercall of a list is that sysctl; the first asks for the release.
check_access_sysctl_refused_leaves_the_list() { # every boot
    needs_xmem
    traced -e trace=ioctl -- list >/tmp/out
    second=$(awk '/_IOC_NONE, 0x50, 0, 0x30/ && ++calls == 2 { print NR }' /tmp/trace)
    expect 0 strace -o /tmp/trace -e "inject=ioctl:error=EPERM:when=$second" $program list
    contains "stderr" "$err" "domains without a directory in xenstore are missing"
    contains "stderr" "$err" "XEN_SYSCTL_getdomaininfolist"
    for dom in Domain-0 g1 g2; do
        contains "list" "$out" "$dom"
    done
}

# The hypervisor without xenstored: neither a socket nor the device.
check_access_no_store_at_all() {
    needs_xmem
    before=$(numbers g1)
    expect 7 env XENSTORED_PATH=/run/nosuch/socket $program set g1 128M
    contains "stderr" "$err" "/run/nosuch/socket"
    contains "stderr" "$err" "hint: "
    is "numbers" "$(numbers g1)" "$before"
    is_tidy
}

check_access_state_directory_is_missing() {
    needs_xmem
    before=$(numbers g1)
    mv $state_dir $state_dir.away
    trap 'mv $state_dir.away $state_dir' EXIT
    expect 7 xmem set g1 128M
    contains "stderr" "$err" "$state_dir"
    is "numbers" "$(numbers g1)" "$before"
}

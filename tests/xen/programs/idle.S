# A kernel of one instruction, for domains that are only listed: they stay paused.
# libxl starts a PVH domain with any ELF file that says where to enter it (XEN_ELFNOTE_PHYS32_ENTRY, 18).
    .section .note.Xen, "a", @note
    .long 4, 4, 18
    .asciz "Xen"
    .long _start

    .text
    .globl _start
_start:
    hlt

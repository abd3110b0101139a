/*
 * What the hypervisor says about its domains, and changes that no tool makes, without xmem's or libxl's code:
 *
 *   domctl [DOMID]             one line for each domain, or for one (exit code 1 if it does not exist)
 *   domctl memory DOMID UUID   its target, static-max, videoram and /vm/UUID/memory in xenstore (`absent` if not
 *                              there, `empty`), what it holds and its limit (both `-` if it does not exist)
 *   domctl limit DOMID KIB     set its limit (XEN_DOMCTL_max_mem)
 *   domctl claim DOMID KIB     claim memory for it on top of what it holds (0: drop the claim)
 *
 * domid 3 type hvm flags 0xffff000a state paused reason - held 65536 limit 66560 outstanding 0 cpu_ns 0 vcpus 1 pod 0/0 uuid ...
 *
 * Sizes are in KiB. `state`: the flags by name. `reason`: the shutdown code (0 poweroff, 1 reboot, 2 suspend, 3 crash).
 * `vcpus`: those online. `pod`: pages in the populate-on-demand cache / entries not populated yet.
 * Offsets: struct xen_domctl_getdomaininfo in xen/include/public/domctl.h.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { MEMORY_OP = 12, DOMCTL = 36 };                      /* hypercalls */
enum { GETDOMAININFO = 5, MAX_MEM = 11 };                  /* of DOMCTL */
enum { GET_POD_TARGET = 17, CLAIM_PAGES = 24 };            /* of MEMORY_OP */

static int privcmd;
static uint8_t *page;      /* shared with the hypervisor */
static uint32_t version;

#define FIELD(type, offset) (*(type *)(page + (offset)))

static int hypercall(uint64_t op, uint64_t first, uint64_t second)
{
    uint64_t call[6] = { op, first, second };
    return ioctl(privcmd, _IOC(_IOC_NONE, 'P', 0, sizeof call), call);
}

static int domctl(uint32_t command, uint16_t domid, uint64_t argument)
{
    memset(page, 0, 4096);
    FIELD(uint32_t, 0) = command;
    FIELD(uint32_t, 4) = version;
    FIELD(uint16_t, 8) = domid;
    FIELD(uint64_t, 16) = argument;
    return hypercall(DOMCTL, (uint64_t)page, 0);
}

/* Up to Xen 4.17, asking for a domain that does not exist is answered with the next one. */
static int exists(uint16_t domid)
{
    return domctl(GETDOMAININFO, domid, 0) == 0 && FIELD(uint16_t, 16) == domid;
}

static void die(const char *what)
{
    perror(what);
    exit(2);
}

static int print(uint16_t domid)
{
    static const char *const names[] = { "dying", "", "shutdown", "paused", "blocked", "running", "debugged", "xenstore", "hap" };
    uint8_t uuid[16];
    uint32_t flags;

    if (!exists(domid))
        return 1;
    flags = FIELD(uint32_t, 20);
    memcpy(uuid, page + 92, 16);
    printf("domid %u type %s flags %#x state ", domid, flags & 2 ? "hvm" : "pv", flags);
    for (int bit = 0; bit < 9; bit++)
        if (bit != 1 && flags & 1u << bit)
            printf("%s,", names[bit]);
    if (flags & 4)
        printf(" reason %u", flags >> 16 & 255);
    else
        printf(" reason -");
    printf(" held %" PRIu64 " limit %" PRIu64 " outstanding %" PRIu64 " cpu_ns %" PRIu64 " vcpus %" PRIu32,
           4 * FIELD(uint64_t, 24), 4 * FIELD(uint64_t, 32), 4 * FIELD(uint64_t, 40), FIELD(uint64_t, 72), FIELD(uint32_t, 80));
    memset(page, 0, 4096);
    FIELD(uint16_t, 32) = domid;
    if (hypercall(MEMORY_OP, GET_POD_TARGET, (uint64_t)page) == 0)
        printf(" pod %" PRIu64 "/%" PRIu64, FIELD(uint64_t, 16), FIELD(uint64_t, 24));
    else
        printf(" pod -");
    printf(" uuid ");
    for (int byte = 0; byte < 16; byte++)
        printf("%02x", uuid[byte]);
    putchar('\n');
    return 0;
}

static void claim(uint16_t domid, uint64_t kib)
{
    uint64_t held;

    if (!exists(domid))
        die("no such domain");
    held = FIELD(uint64_t, 24);
    memset(page, 0, 4096);
    FIELD(uint64_t, 8) = kib ? held + kib / 4 : 0;
    FIELD(uint16_t, 24) = domid;
    if (hypercall(MEMORY_OP, CLAIM_PAGES, (uint64_t)page) != 0)
        die("claim");
}

/* xen/include/public/io/xs_wire.h */
struct message { uint32_t type, request, transaction, length; char text[4096]; };
enum { HEAD = 16, READ = 2 };

static int receive(int store, void *into, size_t length)
{
    for (char *at = into; length > 0;) {
        ssize_t got = read(store, at, length);
        if (got <= 0)
            return 0;
        at += got;
        length -= got;
    }
    return 1;
}

/* Prints a node's value, and a blank. */
static void print_node(int store, const char *format, const char *of)
{
    struct message m = { .type = READ };

    m.length = snprintf(m.text, sizeof m.text, format, of) + 1;
    if (write(store, &m, HEAD + m.length) == HEAD + (ssize_t)m.length && receive(store, &m, HEAD) &&
        m.length < sizeof m.text && receive(store, m.text, m.length) && m.type == READ)
        m.length ? printf("%.*s ", (int)m.length, m.text) : printf("empty ");
    else
        printf("absent ");
}

static void print_memory(const char *domid, const char *uuid)
{
    struct sockaddr_un path = { .sun_family = AF_UNIX, .sun_path = "/run/xenstored/socket" };
    int store = socket(AF_UNIX, SOCK_STREAM, 0);

    signal(SIGPIPE, SIG_IGN);
    connect(store, (struct sockaddr *)&path, sizeof path);
    print_node(store, "/local/domain/%s/memory/target", domid);
    print_node(store, "/local/domain/%s/memory/static-max", domid);
    print_node(store, "/local/domain/%s/memory/videoram", domid);
    print_node(store, "/vm/%s/memory", uuid);
    if (exists(atoi(domid)))
        printf("%" PRIu64 " %" PRIu64 "\n", 4 * FIELD(uint64_t, 24), 4 * FIELD(uint64_t, 32));
    else
        printf("- -\n");
}

int main(int count, char **words)
{
    int buffer = open("/dev/xen/hypercall", O_RDWR | O_CLOEXEC);

    privcmd = open("/dev/xen/privcmd", O_RDWR | O_CLOEXEC);
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, buffer, 0);
    if (privcmd < 0 || page == MAP_FAILED)
        die("/dev/xen");
    for (version = 0x11; !exists(0); version++)
        if (version == 0x20)
            die("no known version of the interface");
    if (count == 1)
        for (int domid = 0; domid < 500; domid++)
            print(domid);
    else if (count == 2)
        return print(atoi(words[1]));
    else if (count == 4 && strcmp(words[1], "memory") == 0)
        print_memory(words[2], words[3]);
    else if (count == 4 && strcmp(words[1], "limit") == 0) {
        if (domctl(MAX_MEM, atoi(words[2]), strtoull(words[3], NULL, 10)) != 0)
            die("limit");
    } else if (count == 4 && strcmp(words[1], "claim") == 0)
        claim(atoi(words[2]), strtoull(words[3], NULL, 10));
    else
        die("domctl [DOMID] | domctl memory DOMID UUID | domctl limit|claim DOMID KIB");
    return 0;
}

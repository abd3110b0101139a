# Builds the static binary, installs it, and makes packages of it.
#   make                 the binary
#   make deb | rpm       a package, by cargo-deb or cargo-generate-rpm
#   make tarball         files to unpack over /usr/local
#   make collection      the Ansible collection, by ansible-galaxy
#   sudo make install [PREFIX=/usr/local] [DESTDIR=]
#   sudo make uninstall
#
# Each is for the architecture of this machine, or for ARCH=x86_64 or ARCH=aarch64.

PREFIX ?= /usr/local
DESTDIR ?=
ARCH ?= $(shell uname -m)

CARGO ?= cargo
CARGO_TARGET_DIR ?= target
TRIPLE = $(ARCH)-unknown-linux-gnu
BINARY ?= $(CARGO_TARGET_DIR)/$(TRIPLE)/release/xmem
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

SBIN = $(DESTDIR)$(PREFIX)/sbin
SHARE = $(DESTDIR)$(PREFIX)/share
UNITS = $(DESTDIR)$(PREFIX)/lib/systemd/system
BASH_COMPLETIONS = $(SHARE)/bash-completion/completions
ZSH_COMPLETIONS = $(SHARE)/zsh/site-functions
FISH_COMPLETIONS = $(SHARE)/fish/vendor_completions.d
MAN1 = $(SHARE)/man/man1

PAGES = $(notdir $(wildcard man/*.1))
UNIT_FILES = $(notdir $(wildcard packaging/systemd/*))
MONITORING = xmem-alerts.yml xmem-dashboard.json
DIST = $(CARGO_TARGET_DIR)/dist
TARBALL = xmem-$(VERSION)-$(ARCH)

ALIAS_x86_64 = static
ALIAS_aarch64 = static-arm64

ifneq ($(shell uname -m),aarch64)
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER ?= aarch64-linux-gnu-gcc
endif

.PHONY: all check-static collection deb install rpm tarball uninstall

all:
	@test -n "$(ALIAS_$(ARCH))" || { echo "xmem is for x86_64 and aarch64, not for $(ARCH)" >&2; exit 1; }
	$(CARGO) $(ALIAS_$(ARCH))
	@$(MAKE) --no-print-directory check-static

# RUSTFLAGS in the environment or in a cargo configuration replaces the flag that makes the binary static.
check-static:
	@test -f "$(BINARY)" || { echo "$(BINARY) does not exist: run make first" >&2; exit 1; }
	@headers=$$(readelf -lW "$(BINARY)") || exit 1; case $$headers in \
	*INTERP*) echo "$(BINARY) is not static: unset RUSTFLAGS and any build.rustflags of cargo" >&2; exit 1;; esac

# Installs what was built: root often has no cargo.
install: check-static
	install -D -m 755 "$(BINARY)" "$(SBIN)/xmem"
	install -D -m 644 completions/xmem.bash "$(BASH_COMPLETIONS)/xmem"
	install -D -m 644 completions/_xmem "$(ZSH_COMPLETIONS)/_xmem"
	install -D -m 644 completions/xmem.fish "$(FISH_COMPLETIONS)/xmem.fish"
	install -d "$(MAN1)" "$(UNITS)" "$(SHARE)/xmem"
	install -m 644 man/*.1 "$(MAN1)"
	install -m 644 packaging/systemd/* "$(UNITS)"
	sed -i 's|/usr/sbin/xmem|$(PREFIX)/sbin/xmem|' $(UNIT_FILES:%="$(UNITS)/%")
	install -m 644 $(MONITORING:%=monitoring/%) "$(SHARE)/xmem"
	install -D -m 644 docs/sudoers "$(SHARE)/doc/xmem/examples/sudoers"

uninstall:
	rm -f "$(SBIN)/xmem" "$(BASH_COMPLETIONS)/xmem" "$(ZSH_COMPLETIONS)/_xmem"
	rm -f "$(FISH_COMPLETIONS)/xmem.fish" $(PAGES:%="$(MAN1)/%") $(UNIT_FILES:%="$(UNITS)/%")
	rm -rf "$(SHARE)/xmem" "$(SHARE)/doc/xmem"

deb: all
	$(CARGO) deb --no-build --no-strip --target $(TRIPLE)

rpm: all
	install -d "$(DIST)"
	$(CARGO) generate-rpm --target $(TRIPLE) --output "$(DIST)/xmem-$(VERSION)-1.$(ARCH).rpm"
	@echo "$(DIST)/xmem-$(VERSION)-1.$(ARCH).rpm"

# Unpacks over /usr/local: tar -xzf xmem-VERSION-ARCH.tar.gz -C /usr/local --strip-components=1
tarball: all
	rm -rf "$(DIST)/$(TARBALL)"
	@$(MAKE) --no-print-directory install DESTDIR="$(DIST)/$(TARBALL).root" PREFIX=/usr/local >/dev/null
	mv "$(DIST)/$(TARBALL).root/usr/local" "$(DIST)/$(TARBALL)"
	rm -r "$(DIST)/$(TARBALL).root"
	install -D -m 644 README.md CHANGELOG.md LICENSE -t "$(DIST)/$(TARBALL)/share/doc/xmem"
	install -D -m 644 docs/*.md docs/json-schema.json -t "$(DIST)/$(TARBALL)/share/doc/xmem/docs"
	tar -C "$(DIST)" --owner=0 --group=0 --sort=name -czf "$(DIST)/$(TARBALL).tar.gz" "$(TARBALL)"
	@echo "$(DIST)/$(TARBALL).tar.gz"

collection:
	install -d "$(DIST)"
	ansible-galaxy collection build --force --output-path "$(DIST)" ansible

# Builds the static binary and installs it with its completions and man pages.
#   make
#   sudo make install [PREFIX=/usr/local] [DESTDIR=]
#   sudo make uninstall

PREFIX ?= /usr/local
DESTDIR ?=

CARGO ?= cargo
CARGO_TARGET_DIR ?= target
BINARY ?= $(CARGO_TARGET_DIR)/x86_64-unknown-linux-gnu/release/xmem

SBIN = $(DESTDIR)$(PREFIX)/sbin
SHARE = $(DESTDIR)$(PREFIX)/share
BASH_COMPLETIONS = $(SHARE)/bash-completion/completions
ZSH_COMPLETIONS = $(SHARE)/zsh/site-functions
FISH_COMPLETIONS = $(SHARE)/fish/vendor_completions.d
MAN1 = $(SHARE)/man/man1

PAGES = $(notdir $(wildcard man/*.1))

.PHONY: all deb install uninstall

all:
	$(CARGO) static

# Installs what was built: root often has no cargo.
install:
	@test -f "$(BINARY)" || { echo "$(BINARY) is not there: run make first" >&2; exit 1; }
	install -D -m 755 "$(BINARY)" "$(SBIN)/xmem"
	install -D -m 644 completions/xmem.bash "$(BASH_COMPLETIONS)/xmem"
	install -D -m 644 completions/_xmem "$(ZSH_COMPLETIONS)/_xmem"
	install -D -m 644 completions/xmem.fish "$(FISH_COMPLETIONS)/xmem.fish"
	install -d "$(MAN1)"
	install -m 644 man/*.1 "$(MAN1)"

uninstall:
	rm -f "$(SBIN)/xmem" "$(BASH_COMPLETIONS)/xmem" "$(ZSH_COMPLETIONS)/_xmem"
	rm -f "$(FISH_COMPLETIONS)/xmem.fish" $(PAGES:%="$(MAN1)/%")

# A Debian package, by cargo-deb (cargo install cargo-deb).
deb: all
	$(CARGO) deb --no-build --no-strip --target x86_64-unknown-linux-gnu

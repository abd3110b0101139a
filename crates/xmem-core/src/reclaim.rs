//! Making room on the host: shrinks the named guests until the host has enough free.

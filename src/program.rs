//! The command line that runs xmem again, for a user to paste into a shell.

use xen::escape::Escaped;

/// The command for the same host: `xmem`, or `xmem --host sim:DIR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program(String);

impl Program {
    /// With the `--host` of the command line, if there was one.
    pub(crate) fn new(host: Option<&str>) -> Self {
        Self(host.map_or_else(|| "xmem".to_owned(), |host| format!("xmem --host {}", quoted(host))))
    }

    /// The command with `words`.
    pub(crate) fn command(&self, words: &str) -> String {
        format!("{} {words}", self.0)
    }
}

/// `text` quoted as one word of a shell.
pub(crate) fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/:._-+,@%=".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else if text.contains(Escaped::must_escape) {
        let bytes = text.bytes().map(|byte| match char::from(byte) {
            c if is_plain(c) => c.to_string(),
            _ => format!("\\x{byte:02x}"),
        });
        format!("$'{}'", bytes.collect::<String>())
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_names_the_host_of_the_command_line() {
        let program = Program::new(Some("sim:/tmp/my sim"));
        assert_eq!(program.command("list"), "xmem --host 'sim:/tmp/my sim' list");
        assert_eq!(quoted("\u{1b}[2J"), r"$'\x1b\x5b2J'");
        assert_eq!(Program::new(None).command("list"), "xmem list");
    }
}

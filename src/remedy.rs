//! What to do about a failure or a finding, in the sentences that hints and fixes share.

use xen::DomId;
use xen::escape::Escaped;
use xen::lock::Holder;

/// A sentence or a command. Users paste it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remedy {
    pub(crate) text: String,
    /// Whether it names programs of Xen, which would act on this machine's domain and not on a simulated one.
    pub(crate) needs_xen: bool,
}

impl<T: Into<String>> From<T> for Remedy {
    fn from(text: T) -> Self {
        Self { text: text.into(), needs_xen: false }
    }
}

impl Remedy {
    /// One that names programs of Xen.
    pub(crate) fn on_xen(text: impl Into<String>) -> Self {
        Self { text: text.into(), needs_xen: true }
    }

    /// For a domain that makes no progress because it is paused.
    pub(crate) fn unpause(domid: DomId) -> Self {
        Self::on_xen(format!(
            "if nothing keeps it paused on purpose (a backup, a debugger): xl unpause {domid}"
        ))
    }

    /// For a node that is not a size.
    pub(crate) fn rewrite(path: &str) -> Self {
        let path = Escaped(path);
        Self::on_xen(format!(
            "find and stop the program that wrote it, then: xenstore-write {path} KIB"
        ))
    }

    /// For a lock that stays held by `holder`, after the words `first`.
    pub(crate) fn await_lock(first: &str, holder: Option<&Holder>) -> Self {
        let then = match holder {
            Some(holder) if holder.has_ended => {
                "find the process that has the file open: lsof | grep domain-userdata-lock"
            }
            _ => "check what that process is doing",
        };
        format!("{first} {then}").into()
    }
}

//! Which domains a lock or a record of a change may be there of, by one look at the state folder: to ask
//! for each file of each domain would be two calls for each.
//!
//! Owns that look. Never opens a file, and never says what one means.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use crate::domain::DomId;

/// The ends of the names of the files that count. A draft ends like its record: one that becomes the
/// other while the folder is read counts by either name, and by its lock's.
const FILES: [&str; 2] = [".domain-userdata-lock", ".xmem-intent"];

/// The domids that there are such files of.
#[derive(Debug)]
pub(super) struct Traces {
    /// `None`: that cannot be known.
    domids: Option<BTreeSet<DomId>>,
}

impl Traces {
    /// Those in `folder`.
    pub(super) fn in_folder(folder: &Path) -> Self {
        match domids(folder) {
            Ok(domids) => Self { domids: Some(domids) },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Self { domids: Some(BTreeSet::new()) }
            }
            Err(error) => {
                tracing::debug!(folder = %folder.display(), %error, "cannot be listed");
                Self { domids: None }
            }
        }
    }

    /// Whether there may be one of `domid`.
    pub(super) fn may_be_of(&self, domid: DomId) -> bool {
        self.domids.as_ref().is_none_or(|domids| domids.contains(&domid))
    }
}

fn domids(folder: &Path) -> io::Result<BTreeSet<DomId>> {
    let mut domids = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        domids.extend(entry?.file_name().to_str().and_then(domid));
    }
    Ok(domids)
}

/// The domid in the name of a file that counts: `userdata-l.7.UUID.domain-userdata-lock`.
fn domid(name: &str) -> Option<DomId> {
    let rest = name.strip_prefix("userdata-")?;
    if !FILES.iter().any(|end| rest.ends_with(end)) {
        return None;
    }
    rest.split('.').nth(1)?.parse().ok().and_then(DomId::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Identity, Uuid};
    use crate::intent::IntentFile;
    use crate::lock;

    fn id(number: u32) -> DomId {
        DomId::new(number).unwrap()
    }

    #[test]
    fn every_file_of_a_change_counts_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let of = |number| Identity { domid: id(number), uuid: Uuid([1; 16]) };
        let place = |number| IntentFile::new(dir.path(), of(number)).path().to_owned();
        let put = |path: &Path| fs::write(path, "").unwrap();
        put(&lock::path(dir.path(), of(7)));
        put(&place(8));
        put(Path::new(&place(9).to_str().unwrap().replace("userdata-d", "userdata-n")));
        put(Path::new(&place(10).to_str().unwrap().replace("xmem-intent", "libxl-json")));
        fs::create_dir(dir.path().join("userdata-x")).unwrap();
        let traces = Traces::in_folder(dir.path());
        let found: Vec<u32> = (0..20).filter(|number| traces.may_be_of(id(*number))).collect();
        assert_eq!(found, [7, 8, 9]);
    }

    #[test]
    fn what_cannot_be_listed_may_have_any_and_what_is_not_there_has_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!Traces::in_folder(&dir.path().join("missing")).may_be_of(id(7)));
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(Traces::in_folder(&file).may_be_of(id(7)));
    }
}
